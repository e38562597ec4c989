"""Measure whether false alarms come at the stated rate at every length of the list of candidates,
and in small galleries.

The indexed photos outside the folder FOLDER ask those inside it, of which none shows the same:
whatever is accepted is a false alarm. Galleries are all photos of the folder and random ones of
them; candidates are the nearest by codes, the first by the odds of codes and votes, or those that
another engine lists, which counts votes alone.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.values import at_least_one
from pipeline.cli import Parser, add_seed, finish
from pipeline.evaluate.studies.false_alarms import RATES, parted

if TYPE_CHECKING:
    import numpy as np

    from pipeline.gallery.store import Reading
    from pipeline.model.weights import Model
    from stages.gallery import Gallery
    from stages.records import Candidates

SIZES = (3, 30, 150)  # beside all
LISTS = (2, 10, 40, 200)  # beside all
DRAWN = 8  # galleries of each smaller size, each asked by a share of the queries


def make_parser() -> Parser:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument(
        "--gallery", type=Path, metavar="DIR", required=True, help="an indexed gallery"
    )
    parser.add_argument(
        "--against",
        metavar="FOLDER",
        required=True,
        help="the folder inside it that the others ask",
    )
    parser.add_argument(
        "--count",
        type=at_least_one,
        default=1000,
        metavar="N",
        help="queries at most (default: 1000)",
    )
    add_seed(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        import numpy as np

        from pipeline.base.compute import one_thread_each
        from pipeline.gallery.store import read_gallery
        from pipeline.model.weights import open_model

        one_thread_each()
        reading = read_gallery(args.gallery, parts=True)
        rows, others = parted(reading.names, args.against)
        model = open_model(reading.binding.where, reading.binding.precision)
        rng = np.random.default_rng(args.seed)
        queries = rng.choice(others, min(args.count, len(others)), replace=False)
        measured = []
        for size in (*(size for size in SIZES if size < len(rows)), len(rows)):
            drawn = [
                np.sort(rng.choice(rows, size, replace=False))
                for _ in range(DRAWN if size < len(rows) else 1)
            ]
            measured += measure(reading, model, drawn, queries, args.seed)
        print(json.dumps({"queries": len(queries), "rows": measured}, indent=1))
        return 0

    return finish("alarm_lists", job)


def measure(
    reading: "Reading",
    model: "Model",
    drawn: "list[np.ndarray]",
    queries: "np.ndarray",
    seed: int,
) -> list[dict[str, Any]]:
    """Galleries of these rows each, asked in turn -> a row of figures for each list."""
    import numpy as np
    from tqdm import tqdm

    from pipeline.recipes import second_look
    from stages.rank import Calibrated
    from stages.records import Matches

    size, verify = len(drawn[0]), second_look(seed)
    galleries = [gallery_of(reading, model, rows) for rows in drawn]
    accepted: dict[tuple[str, int], list[list[int]]] = {}
    for place, query in enumerate(tqdm(queries.tolist(), unit="query", desc=f"{size} photos")):
        gallery, features = galleries[place % len(galleries)], reading.features[query]
        inliers = verify.many(features, gallery.features, np.arange(size))[1]
        for name, whole in lists(gallery, reading.codes[query], features).items():
            for count in (*(each for each in LISTS if each < size), size):
                found = whole.part(0, count)
                counts = inliers[found.rows]
                nothing = np.full((*counts.shape, 2, 3), np.nan, np.float32)
                matches = Matches(counts, counts, nothing)
                accepted.setdefault((name, count), []).append(
                    [
                        int(
                            Calibrated(rate, model.null)(
                                features, found, matches, gallery
                            ).accepted.sum()
                        )
                        for rate in RATES
                    ]
                )
    rng, rows = np.random.default_rng(seed), []
    for (name, count), counted in accepted.items():
        ratios = np.array(counted) / np.array(RATES)
        means = ratios[rng.integers(0, len(ratios), (2000, len(ratios)))].mean(1)
        bounds = np.quantile(means, [0.025, 0.975], axis=0)
        figures = np.concatenate([ratios.mean(0)[None], bounds]).round(3).T.tolist()
        rows.append(
            {
                "photos": size,
                "list": name,
                "candidates": count,
                **{f"at {rate:g}": each for rate, each in zip(RATES, figures, strict=True)},
            }
        )
    return rows


def gallery_of(reading: "Reading", model: "Model", rows: "np.ndarray") -> "Gallery":
    """A gallery of these photos alone, with its own chance where there are enough."""
    from pipeline.gallery.chance import measure_null
    from pipeline.gallery.contents import Contents
    from pipeline.model.codebook import read_codebook
    from pipeline.recipes import second_look
    from stages.gallery import Gallery

    contents, features = Contents(reading.contents.digests[rows]), reading.features.part(rows)
    codebook = read_codebook(model.folder)
    parts = None
    if codebook is not None and reading.parts is not None:
        parts = partial(reading.parts.index, codebook, contents)
    return Gallery.from_arrays(
        [reading.names[row] for row in rows],
        reading.codes[rows],
        features,
        measure_null(contents, reading.codes[rows], features, second_look()),
        parts=parts,
    )


def lists(gallery: "Gallery", code: "np.ndarray", features: Any) -> "dict[str, Candidates]":
    """All photos in the order of each list."""
    from stages.search import search, search_parts
    from stages.shortlist import ByOdds, listed

    by_codes = search(code, len(gallery), gallery)
    found = {"codes": by_codes}
    if gallery.parts is not None:
        by_votes = search_parts(features, len(gallery), gallery)
        found["codes and votes"] = ByOdds()(by_codes, by_votes, len(gallery))
        found["another engine"] = listed(gallery.codes, code, by_votes.rows[0])
    return found


if __name__ == "__main__":
    sys.exit(main())
