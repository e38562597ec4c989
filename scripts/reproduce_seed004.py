"""Reproduce seed 004's Table 2 from its authors' own features: the mean inliers of the ten best
candidates against their number.
"""

import sys

from pipeline.commands.reproduce_seed004 import main

if __name__ == "__main__":
    sys.exit(main())
