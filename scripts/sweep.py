"""Measure quality and time against the number of candidates; every size comes from one
verification, so that a sweep costs what its largest size does.
"""

import sys

from pipeline.commands.sweep import main

if __name__ == "__main__":
    sys.exit(main())
