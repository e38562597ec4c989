"""Make the tables of README.md and docs/ from artifacts/results/*.json, in place; --check only says
which of them differ.
"""

import sys

from pipeline.commands.tables import main

if __name__ == "__main__":
    sys.exit(main())
