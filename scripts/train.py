"""Train the two looks: `embedding` teaches the trunk to tell classes apart, `delf` teaches it where
to look; or the model of another recipe.
"""

import sys

from pipeline.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
