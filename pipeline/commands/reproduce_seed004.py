"""Reproduce seed 004's Table 2 from its authors' own features: the mean inliers of the ten best
candidates against their number.

A query's shortlist is its nearest photos by the published 32-d codes; the table's were by 512-d
ones, which are lost. Each candidate feature takes its nearest query feature under 0.8; RANSAC of
candidate to query, three points, 20 px, 4,000 trials (the table: 1,000). The published means count
the query's match with itself.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.errors import UsageError
from pipeline.base.values import natural
from pipeline.cli import Parser, finish

if TYPE_CHECKING:
    from stages.gallery import Gallery

MULTIPLES = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0)
K = 10


@dataclass(frozen=True)
class Row:
    """One query of the table."""

    query: str
    mean_inliers: list[float]  # by multiple, the query itself left out
    with_self: list[float]  # by multiple, the query itself being one of the results
    pairs: dict[str, int]  # inliers of every candidate of the largest multiple


def table_row(gallery: "Gallery", name: str, seed: int, threads: int) -> Row:
    """Raises UsageError for a name that is not there."""
    import numpy as np

    from pipeline.recipes import published_second_look
    from stages.search import search

    try:
        query = gallery.row(name)
    except KeyError:
        raise UsageError(
            f"--queries {name}: expected a name as names.txt has it, got one that is not there"
        ) from None
    most = round(MULTIPLES[-1] * K)
    shortlist = search(gallery.codes[query], most + 1, gallery)
    matches = published_second_look(seed, threads)(gallery.features[query], shortlist, gallery)
    others = np.flatnonzero(shortlist.rows[0] != query)

    def mean(places: np.ndarray) -> float:
        """Of the ten best among these places."""
        return float(np.sort(matches.inliers[0, places])[-K:].mean())

    counts = [round(multiple * K) for multiple in MULTIPLES]
    pairs = {
        gallery.names[row]: int(n)
        for row, n in zip(shortlist.rows[0, :most], matches.inliers[0, :most], strict=True)
    }
    return Row(
        name,
        [mean(others[:count]) for count in counts],
        [mean(np.arange(min(count, len(shortlist.rows[0])))) for count in counts],
        pairs,
    )


def make_parser() -> Parser:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument(
        "--features",
        type=Path,
        required=True,
        metavar="DIR",
        help="names.txt, pca32.npy, local_*.npy, table2_published.csv",
    )
    parser.add_argument(
        "--queries", nargs="+", metavar="NAME", help="names as in names.txt (default: Table 2's)"
    )
    parser.add_argument("--seed", type=natural, default=0, help="of the random draws (default: 0)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        import os

        import numpy as np

        from pipeline.datasets.published import read_published, read_table

        table = read_table(args.features)
        if not (args.queries or table):
            raise UsageError(
                f"--features {args.features}: expected table2_published.csv or --queries, got"
                " neither"
            )
        gallery = read_published(args.features)
        rows = [
            table_row(gallery, name, args.seed, os.cpu_count() or 1)
            for name in dict.fromkeys(args.queries or table)
        ]
        ours, with_self = (
            np.array([row.mean_inliers for row in rows]),
            np.array([row.with_self for row in rows]),
        )
        result = {
            "multiples": list(MULTIPLES),
            "mean_inliers": ours.mean(0).round(2).tolist(),
            "mean_inliers_with_self": with_self.mean(0).round(2).tolist(),
        }
        if {row.query for row in rows} == set(table):
            published = np.array([table[row.query] for row in rows])
            result["published"] = published.mean(0).round(2).tolist()
            if len(rows) > 1:
                result["correlation_with_published"] = [
                    round(float(np.corrcoef(a, b)[0, 1]), 4)
                    for a, b in zip(with_self.T, published.T, strict=True)
                ]
        if args.json:
            print(json.dumps({**result, "pairs": {row.query: row.pairs for row in rows}}))
        else:
            print(f"{'candidates / k':28s}" + "".join(f"{multiple:8g}" for multiple in MULTIPLES))
            for name, values in list(result.items())[1:]:
                print(f"{name.replace('_', ' '):28s}" + "".join(f"{value:8g}" for value in values))
        return 0

    return finish("reproduce_seed004", job)


if __name__ == "__main__":
    sys.exit(main())
