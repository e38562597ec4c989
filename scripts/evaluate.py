"""Measure a gallery against known answers: mAP, precision and hit rate of both looks together and
of the first alone.
"""

import sys

from pipeline.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
