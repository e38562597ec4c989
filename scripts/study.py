"""Make one table or picture of the documentation. `NAME --help` says what a
study takes.
"""

import sys

from pipeline.commands.study import main

if __name__ == "__main__":
    sys.exit(main())
