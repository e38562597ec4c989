"""Compare two ways of searching on the same queries. From what `evaluate.py
--per-query` wrote, paired by query.

Several files a side are runs of one way, such as seeds: their mean counts. The interval is over
queries; how runs differ is not in it.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.errors import UsageError
from pipeline.base.files import file_sha256
from pipeline.base.install import call
from pipeline.base.tables import table_rows
from pipeline.base.values import natural
from pipeline.cli import Parser, finish
from pipeline.results.file import check_results, command, write_row

if TYPE_CHECKING:
    from stages.metrics import Floats

MEASURES = {
    "AP": "mAP",
    "hit@1": "hit@1",
    "coarse_AP": "mAP, first look",
    "coarse_hit@1": "hit@1, first look",
}


def read(path: Path) -> dict[str, tuple[float, ...]]:
    """By query, the measures in the order of MEASURES. Raises UsageError."""
    written_by = f"{call('evaluate')} --per-query"
    try:
        found = {
            line.cells[0].strip(): tuple(map(float, line.cells[1:]))
            for line in table_rows(path, ("query", *MEASURES), hint=f"write it by `{written_by}`")
        }
    except (IndexError, ValueError) as error:
        raise UsageError(f"{path}: expected what `{written_by}` writes, got: {error}") from None
    if not found:
        raise UsageError(f"{path}: expected at least one query, got none")
    return found


def paired(sides: Sequence[Sequence[Path]]) -> "tuple[Floats, Floats]":
    """(measures, N) of either side, means over its files. Raises UsageError where files are about
    other queries.
    """
    import numpy as np

    runs = [[(path, read(path)) for path in side] for side in sides]
    first, queries = runs[0][0]
    for path, run in (each for side in runs for each in side):
        if run.keys() != queries.keys():
            shared = len(run.keys() & queries.keys())
            raise UsageError(
                f"{path}: expected the {len(queries)} queries of {first}, got {len(run)}, {shared}"
                " of them the same"
            )
    these, than = (
        np.array([[run[query] for query in queries] for _, run in side]).mean(0).T for side in runs
    )
    return these, than


def make_parser() -> Parser:
    about = __doc__.split("\n\n")
    parser = Parser(description=about[0], epilog=about[1])
    parser.add_argument("these", type=Path, nargs="+", metavar="FILE.csv", help="of one way")
    parser.add_argument(
        "--than", type=Path, nargs="+", required=True, metavar="FILE.csv", help="of the other"
    )
    parser.add_argument("--seed", type=natural, default=0, help="of the bootstrap (default: 0)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument(
        "--results", type=Path, metavar="FILE.json", help="also a row of this results file"
    )
    parser.add_argument("--label", metavar="TEXT", help="of that row (default: the files' names)")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    typed = command("scripts/study.py compare", sys.argv[1:] if argv is None else argv)

    def job() -> int:
        check_results("--results", args.results)
        result = compare(args)
        if args.results:
            write_row(args.results, {**row(args, result), "command": typed})
        if args.json:
            print(json.dumps(result))
        else:
            print(f"{result['queries']} queries; [95 % intervals of the difference over queries]")
            for name, one in result["measures"].items():
                low, high = one["interval"]
                print(
                    f"{name:20s}{one['these']:8.4f}{one['than']:8.4f}{one['difference']:+9.4f}"
                    f" [{low:+.4f}, {high:+.4f}]"
                )
        return 0

    return finish("compare", job)


def compare(args: argparse.Namespace) -> dict[str, Any]:
    from stages.metrics import interval

    these, than = paired([args.these, args.than])
    low, high = interval(these - than, args.seed)
    measures = {
        name: {
            "these": round(float(these[place].mean()), 6),
            "than": round(float(than[place].mean()), 6),
            "difference": round(float((these - than)[place].mean()), 6),
            "interval": [round(float(low[place]), 6), round(float(high[place]), 6)],
        }
        for place, name in enumerate(MEASURES.values())
    }
    return {"queries": these.shape[1], "measures": measures}


def row(args: argparse.Namespace, result: Mapping[str, Any]) -> dict[str, Any]:
    """What a results file keeps of a comparison, without its command; the models are named in the
    rows that came with the files.
    """
    sides = {"these": args.these, "than": args.than}
    files = {
        side: [{"name": path.stem, "sha256": file_sha256(path)} for path in paths]
        for side, paths in sides.items()
    }
    names = (" ".join(path.stem for path in paths) for paths in sides.values())
    return {
        "recipe": "compare",
        "label": args.label or " than ".join(names),
        "data": files,
        "model": None,
        "seed": args.seed,
        "queries": result["queries"],
        **{name: one["difference"] for name, one in result["measures"].items()},
        **{
            f"{name}_{end}": value
            for name, one in result["measures"].items()
            for end, value in zip(("low", "high"), one["interval"], strict=True)
        },
    }


if __name__ == "__main__":
    sys.exit(main())
