"""Make the README's tables from artifacts/results/*.json, in place; --check only says which of them
differ.

A new results file needs two lines in the README, <!-- table: NAME --> and <!-- end: NAME -->, where
the table of artifacts/results/NAME.json shall stand.
"""

import sys
from pathlib import Path

from pipeline.cli import Parser, finish

ROOT = Path(__file__).resolve().parents[2]


def make_parser() -> Parser:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; exit 1 and name the tables that differ",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        from pipeline.base.files import write_whole
        from pipeline.results.documents import fill

        text, stale = fill((ROOT / "README.md").read_text("utf-8"), ROOT / "artifacts/results")
        if args.check:
            for name in stale:
                print(
                    f"README.md: the table {name} is not what its results file says; run `python"
                    " scripts/tables.py`",
                    file=sys.stderr,
                )
            return 1 if stale else 0
        if stale:
            write_whole(ROOT / "README.md", text.encode())
        print(f"README.md: {', '.join(stale) or 'nothing'} changed")
        return 0

    return finish("tables", job)


if __name__ == "__main__":
    sys.exit(main())
