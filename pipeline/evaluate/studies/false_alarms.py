"""Measure whether false alarms come at the stated rate. Queries of which nothing in the gallery
shows the same, and what is accepted all the same.

--features: published features, a name's part before the first _ is its class; a query's whole class
is taken out of the gallery, every other photo is a candidate, the null is measured anew without the
class. --gallery with --against FOLDER: the indexed photos outside the folder ask the photos inside
it, which are the whole gallery; fewer than 300 use the model's null.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.errors import UsageError
from pipeline.base.values import at_least_one
from pipeline.cli import Parser, add_seed, finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from stages.null import Null
    from stages.records import PackedFeatures

RATES = (0.1, 1.0)
BINS = 4


def accepted(
    features: "PackedFeatures",
    codes: "np.ndarray",
    query: int,
    rows: "np.ndarray",
    null: "Null",
    seed: int,
) -> list[int]:
    """How many of these photos the query accepts at each rate, all of them candidates by codes."""
    import numpy as np

    from pipeline.recipes import second_look
    from stages.rank import judge, stands_for

    inliers = second_look(seed).many(features[query], features, rows)[1]
    distance = np.square(codes[rows] - codes[query]).sum(1)
    place = np.searchsorted(np.sort(distance), distance, "right")
    _, taken, _ = judge(
        null,
        int(features.count[query]),
        features.count[rows],
        inliers,
        stands_for(null, place, len(rows)),
        *RATES,
        share=place / len(rows),
    )
    return [int(count) for count in taken.sum(1)]


def class_removed(args: argparse.Namespace) -> "tuple[np.ndarray, np.ndarray]":
    """Feature counts of the queries (Q,) and what each accepted (Q, R)."""
    import numpy as np
    from tqdm import tqdm

    from pipeline.datasets.published import read_published
    from pipeline.gallery.chance import measure_null
    from pipeline.recipes import second_look

    gallery = read_published(args.features)
    classes = np.array([name.split("_")[0] for name in gallery.names])
    queries = np.random.default_rng(args.seed).choice(
        len(gallery), min(args.count, len(gallery)), replace=False
    )
    nulls: dict[str, Null] = {}
    for name in np.unique(classes[queries]):
        rest = np.flatnonzero(classes != name)
        null = measure_null(
            [gallery.names[row] for row in rest],
            gallery.codes[rest],
            gallery.features.part(rest),
            second_look(),
        )
        if null is None:
            raise UsageError(
                f"--features {args.features}: expected photos enough for a null without class"
                f" {name}, got {len(rest)}"
            )
        nulls[name] = null
    found = [
        accepted(
            gallery.features,
            gallery.codes,
            q,
            np.flatnonzero(classes != classes[q]),
            nulls[classes[q]],
            args.seed,
        )
        for q in tqdm(queries, unit="query")
    ]
    return gallery.features.count[queries], np.array(found)


def parted(names: "Sequence[str]", folder: str) -> "tuple[np.ndarray, np.ndarray]":
    """The photos of a gallery that lie in one of its folders, and the others: rows of each. Raises
    UsageError where there are none of either.
    """
    import numpy as np

    inside = np.array([name.startswith(folder.rstrip("/") + "/") for name in names], np.bool_)
    rows, others = np.flatnonzero(inside), np.flatnonzero(~inside)
    if not len(rows) or not len(others):
        raise UsageError(
            f"--against {folder}: expected a folder with photos in it and others beside it, got"
            f" {len(rows)} and {len(others)}"
        )
    return rows, others


def against(args: argparse.Namespace) -> "tuple[np.ndarray, np.ndarray]":
    """The same for the photos of a gallery and one of its folders."""
    import numpy as np
    from tqdm import tqdm

    from pipeline.gallery.chance import measure_null
    from pipeline.gallery.store import read_gallery
    from pipeline.model.weights import open_model
    from pipeline.recipes import second_look

    reading = read_gallery(args.gallery)
    rows, others = parted(reading.names, args.against)
    part = reading.features.part(rows)
    null = (
        measure_null(
            [reading.contents[int(row)] for row in rows], reading.codes[rows], part, second_look()
        )
        or open_model(reading.binding.where, reading.binding.precision).null
    )
    if null is None:
        raise UsageError(
            f"model {reading.binding.model}: expected one that knows chance, got one that accepts"
            " from a fixed count"
        )
    queries = np.random.default_rng(args.seed).choice(
        others, min(args.count, len(others)), replace=False
    )
    found = [
        accepted(reading.features, reading.codes, q, rows, null, args.seed)
        for q in tqdm(queries, unit="query")
    ]
    return reading.features.count[queries], np.array(found)


def summary(counts: "np.ndarray", found: "np.ndarray", seed: int) -> dict[str, Any]:
    """Accepted a query over the stated rate, with 95 % bootstrap intervals over queries: overall,
    and by the query's feature count.
    """
    import numpy as np

    edges = np.quantile(counts, np.linspace(0, 1, BINS + 1)[1:-1])
    bins = np.digitize(counts, edges)
    rng = np.random.default_rng(seed)
    result: dict[str, Any] = {"queries": len(counts), "feature_count_edges": edges.tolist()}
    for place, rate in enumerate(RATES):
        rows = []
        for name, members in (
            ("all", np.arange(len(counts))),
            *((f"bin {b + 1}", np.flatnonzero(bins == b)) for b in range(BINS)),
        ):
            if len(members):
                drawn = found[rng.choice(members, (2000, len(members))), place].mean(1) / rate
                low, high = np.quantile(drawn, [0.025, 0.975])
                ratio = found[members, place].mean() / rate
                rows.append(
                    {
                        "queries": name,
                        "accepted_over_stated": round(float(ratio), 3),
                        "low": round(float(low), 3),
                        "high": round(float(high), 3),
                    }
                )
        result[f"at {rate:g}"] = rows
    return result


def make_parser() -> Parser:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--features",
        type=Path,
        metavar="DIR",
        help="published features, as scripts/reproduce_seed004.py takes them",
    )
    what.add_argument("--gallery", type=Path, metavar="DIR", help="an indexed gallery")
    parser.add_argument(
        "--against",
        metavar="FOLDER",
        help="with --gallery: the folder inside it that is the whole gallery",
    )
    parser.add_argument(
        "--count",
        type=at_least_one,
        default=500,
        metavar="N",
        help="queries at most (default: 500)",
    )
    add_seed(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        from pipeline.base.compute import one_thread_each

        if (args.gallery is None) != (args.against is None):
            raise UsageError(
                "--against FOLDER goes with --gallery: expected both or neither, got one"
            )
        one_thread_each()
        counts, found = class_removed(args) if args.features else against(args)
        print(json.dumps(summary(counts, found, args.seed), indent=1))
        return 0

    return finish("false_alarms", job)


if __name__ == "__main__":
    sys.exit(main())
