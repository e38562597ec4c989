"""Measure quality and time against the number of candidates, every size from one verification: a
sweep costs what its largest does.
"""

import sys

from pipeline.commands.sweep import main

if __name__ == "__main__":
    sys.exit(main())
