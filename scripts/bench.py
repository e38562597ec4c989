"""Measure speed against a baseline in the same run: a ratio travels between machines, a time does
not.
"""

import sys

from pipeline.commands.bench import main

if __name__ == "__main__":
    sys.exit(main())
