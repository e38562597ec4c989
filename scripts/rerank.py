"""Re-rank any engine's shortlists by the second look, many at once: `query,image` rows or a TREC
run in, the same out.
"""

import sys

from pipeline.commands.rerank import main

if __name__ == "__main__":
    sys.exit(main())
