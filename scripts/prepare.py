"""Prepare photos, weights and galleries for the other commands. `NAME --help` says what each
takes."""

import sys

from pipeline.commands.prepare import main

if __name__ == "__main__":
    sys.exit(main())
