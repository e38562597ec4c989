"""Make the tables of README.md and docs/ from artifacts/results/*.json, in place; --check only says
which of them differ.

A new results file needs two lines in a document, <!-- table: NAME --> and <!-- end: NAME -->, where
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
        from pipeline.results.documents import documents, fill

        differing = 0
        for path in documents(ROOT):
            document = str(path.relative_to(ROOT))
            text, stale = fill(path.read_text("utf-8"), ROOT / "artifacts/results", document)
            differing += len(stale)
            for name in stale if args.check else ():
                print(
                    f"{document}: the table {name} is not what its results file says; run `python"
                    " scripts/tables.py`",
                    file=sys.stderr,
                )
            if stale and not args.check:
                write_whole(path, text.encode())
                print(f"{document}: {', '.join(stale)} changed")
        if not differing:
            print("every table is what its results file says")
        return 1 if args.check and differing else 0

    return finish("tables", job)


if __name__ == "__main__":
    sys.exit(main())
