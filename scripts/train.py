"""Train a model: its global embedding (`embedding`), the attention of its local features (`delf`),
or a recipe of the other papers.
"""

import sys

from pipeline.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
