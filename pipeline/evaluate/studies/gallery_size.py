"""Measure quality of both looks against gallery size and against the number of true matches.

A sample of queries is verified against the whole gallery once. A smaller gallery is drawn for each
query from the same photos and ranked by the recipe's own ranking stage from those counts: a pair's
score depends on the pair alone. --sizes keeps a query's share of relevant photos, at least one;
--matches gives it so many of them in a gallery of --at photos, queries that have fewer are left
out. What chance does is not measured anew on a part: --null says whose measure judges all parts.
DIR gets gallery_size.json and gallery_size.png. Intervals are the 95 % percentile bootstrap over
queries, each the mean of its draws; gains are paired. precision@10 cannot be above a tenth of the
number of matches.
"""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.errors import UsageError
from pipeline.base.files import check_folder, write_file
from pipeline.base.names import count_candidates
from pipeline.base.values import at_least_one
from pipeline.cli import (
    Parser,
    add_gallery,
    add_model,
    add_search,
    add_truth,
    finish,
    search_options,
    truth_options,
)
from pipeline.evaluate.ground_truth import Case, data_row, read_cases, read_contents, say_labels
from pipeline.results.file import command, figures

SHOWN_BY_SIZE = ("hit@1", "precision@10", "mAP")  # as the plot shows them

if TYPE_CHECKING:
    import numpy as np

    from pipeline.search.engine import Engine
    from pipeline.search.query import Query
    from stages.records import Bool, Candidates, Int64, Matches

LOG = logging.getLogger("pipeline.evaluate.studies.gallery_size")


@dataclass(frozen=True)
class Part:
    """Galleries of one kind that are drawn from the whole one."""

    curve: str  # "size" or "matches": which of the two is varied
    photos: int  # the query's own row not counted
    matches: int | None = None  # relevant photos; None: the query's share of the whole gallery

    def of(self, relevant: "Int64", others: "Int64") -> "Int64 | None":
        """Places of relevant photos (R,) and of all others (O,), each in random order -> those of
        the part, ascending; None where there are too few. A larger part of the same orders holds
        the smaller ones' photos.
        """
        import numpy as np

        photos = min(self.photos, len(relevant) + len(others))
        if self.matches is None:
            matches = min(
                max(1, round(len(relevant) * photos / (len(relevant) + len(others)))), len(relevant)
            )
        elif self.matches > min(len(relevant), self.photos) or self.photos - self.matches > len(
            others
        ):
            return None
        else:
            matches = self.matches
        return np.sort(np.concatenate([relevant[:matches], others[: photos - matches]]))


@dataclass(frozen=True)
class Outcome:
    """What one query came to in one part, means over its draws."""

    both: "np.ndarray"  # (5,) as metrics.QUALITY
    coarse: "np.ndarray"  # (5,)
    photos: float
    matches: float
    accepted: float


def rank_part(
    engine: "Engine",
    query: "Query",
    coarse: "Candidates",
    matches: "Matches",
    places: "Int64",
    relevant: "Bool",
    candidates: int,
) -> tuple[tuple[float, ...], tuple[float, ...], int]:
    """Measures of both looks and of the first, and how many are accepted, as if the photos at these
    places were the whole gallery.

    coarse, matches and relevant are of all photos, in the first look's order; of the part's, the
    first `candidates` are candidates.
    """
    import numpy as np

    from stages.metrics import one
    from stages.order import both_ties, first_ties
    from stages.records import Candidates, Matches

    part = Candidates(coarse.rows[:, places], coarse.distance[:, places])
    asked = places[:candidates]
    seen = Matches(matches.matches[:, asked], matches.inliers[:, asked], matches.affine[:, asked])
    ranking = engine.judge(query, part.part(0, candidates), seen)
    order, ties = both_ties(ranking, part.part(0, candidates), part)
    right, total = relevant[places], int(relevant[places].sum())
    place_of = np.empty(len(engine.gallery), np.int64)
    place_of[part.rows[0]] = np.arange(len(places))
    return (
        astuple(one(right[place_of[order]], ties, total)),
        astuple(one(right, first_ties(part), total)),
        int(ranking.accepted.sum()),
    )


def evaluate_drawn(
    engine: "Engine",
    case: Case,
    parts: Sequence[Part],
    candidates: int,
    draws: int,
    seed: Sequence[int],
) -> list[Outcome | None]:
    """One query in every part: verified once, ranked many times. None where a part cannot be drawn
    for it.
    """
    import numpy as np

    from pipeline.base.errors import QueryError

    try:
        query = engine.query(case.query, case.box)
    except QueryError as error:
        raise UsageError(str(error)) from None
    coarse = engine.coarse(query, len(engine.gallery))
    matches = engine.match(query, coarse)
    relevant, kept = (marks[coarse.rows[0]] for marks in case.marks(engine.gallery))
    found: list[list[tuple[Any, ...]]] = [[] for _ in parts]
    for draw in range(draws):
        rng = np.random.default_rng([*seed, draw])
        orders = (
            rng.permutation(np.flatnonzero(relevant)),
            rng.permutation(np.flatnonzero(kept & ~relevant)),
        )
        for at, part in enumerate(parts):
            if (places := part.of(*orders)) is not None:
                ranked = rank_part(engine, query, coarse, matches, places, relevant, candidates)
                found[at].append((*ranked, len(places), int(relevant[places].sum())))
    return [_mean(drawn) if drawn else None for drawn in found]


def _mean(drawn: Sequence[tuple[Any, ...]]) -> Outcome:
    import numpy as np

    both, coarse, accepted, photos, matches = (
        np.mean(of, axis=0) for of in zip(*drawn, strict=True)
    )
    return Outcome(both, coarse, float(photos), float(matches), float(accepted))


def summarise(
    outcomes: Sequence[Sequence[Outcome | None]], parts: Sequence[Part], seed: int
) -> list[dict[str, Any]]:
    """Outcomes by query and part -> a row for every part that some query has."""
    import numpy as np

    from stages.metrics import QUALITY, compare

    rows = []
    for at, part in enumerate(parts):
        found = [one for query in outcomes if (one := query[at]) is not None]
        if not found:
            continue
        compared = compare(
            np.array([[one.both, one.coarse] for one in found]).transpose(1, 2, 0), QUALITY, seed
        )
        row: dict[str, Any] = {"curve": part.curve, "queries": len(found)}
        row |= {
            name: round(float(np.mean([getattr(one, name) for one in found])), 3)
            for name in ("photos", "matches", "accepted")
        }
        rows.append({**row, **figures(compared, QUALITY)})
    return rows


def table(result: dict[str, Any]) -> str:
    """The rows as a person reads them: for each measure the first look's, and what the second look
    adds.
    """
    lines = [
        (
            f"{result['queries']} queries, {result['data']['photos']} photos, recipe"
            f" {result['recipe']}, model {result['model']['name']}, judged by {result['null']}; the"
            " first look and the gain of both [95 % interval over queries]"
        ),
        f"{'curve':8s}{'photos':>7s}{'matches':>9s}{'queries':>9s}{'accepted':>10s}"
        + "".join(f"   {name:34s}" for name in SHOWN_BY_SIZE),
    ]
    for row in result["rows"]:
        start = f"{row['curve']:8s}{row['photos']:7.0f}{row['matches']:9.1f}"
        start += f"{row['queries']:9d}{row['accepted']:10.2f}"
        cells = [
            f"   {row[f'coarse_{name}']:.4f} {row[f'{name}_gain']:+.4f}"
            f" [{row[f'{name}_gain_low']:+.4f}, {row[f'{name}_gain_high']:+.4f}]"
            for name in SHOWN_BY_SIZE
        ]
        lines.append(start + "".join(cells))
    return "\n".join(lines)


def make_parser() -> Parser:
    about = __doc__.split("\n\n")
    parser = Parser(description=about[0], epilog=about[1])
    add_gallery(parser, several=True)
    add_truth(parser)
    add_search(parser)
    add_model(parser)
    parser.add_argument(
        "--sample",
        type=at_least_one,
        default=100,
        metavar="Q",
        help="queries at most (default: 100)",
    )
    parser.add_argument(
        "--sizes",
        type=at_least_one,
        nargs="+",
        default=(),
        metavar="N",
        help="photos in the gallery",
    )
    parser.add_argument(
        "--matches",
        type=at_least_one,
        nargs="+",
        default=(),
        metavar="M",
        help="relevant photos of a query, of --at photos",
    )
    parser.add_argument(
        "--at",
        type=at_least_one,
        default=1000,
        metavar="N",
        help="photos in the gallery, with --matches (default: 1000)",
    )
    parser.add_argument(
        "--draws",
        type=at_least_one,
        default=5,
        metavar="N",
        help="random galleries of each kind for a query (default: 5)",
    )
    parser.add_argument(
        "--null",
        choices=("gallery", "model"),
        default="gallery",
        help="whose chance judges all parts (default: the whole gallery's)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for gallery_size.json and gallery_size.png",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        import numpy as np
        from tqdm import tqdm

        from pipeline.report.plots import plot_gallery_size
        from pipeline.search.open import open_engine
        from stages.rank import Calibrated

        if not (args.sizes or args.matches):
            raise UsageError("--sizes, --matches: expected at least one, got neither")
        check_folder("--out", args.out)
        options, truth = search_options(args), truth_options(args)
        engine = open_engine(args.gallery, options)
        if args.null == "model":
            engine = replace(engine, gallery=replace(engine.gallery, null=None))
        parts = [
            Part("size", size)
            for size in sorted({min(size, len(engine.gallery)) for size in args.sizes})
        ]
        parts += [Part("matches", args.at, count) for count in sorted(set(args.matches))]
        cases = read_cases(truth, options, args.gallery, engine)
        drawn = np.sort(
            np.random.default_rng(args.seed).choice(
                len(cases), min(args.sample, len(cases)), replace=False
            )
        )
        cases = [cases[place] for place in drawn]
        contents = read_contents(engine, cases, args.allow_self)
        say_labels(truth, options, args.gallery, engine)
        candidates = count_candidates(args.candidates or engine.recipe.candidates, args.k)
        outcomes = [
            evaluate_drawn(engine, case, parts, candidates, args.draws, (args.seed, at))
            for at, case in enumerate(tqdm(cases, unit="query", mininterval=0.5))
        ]
        judge = (
            f"the {'model' if engine.gallery.null is None else 'gallery'}'s null"
            if isinstance(engine.acceptance, Calibrated)
            else "a fixed count"
        )
        result: dict[str, Any] = {
            "command": command(
                "scripts/study.py gallery-size", sys.argv[1:] if argv is None else argv
            ),
            "recipe": engine.recipe.name,
            "model": {"name": engine.binding.model, "identity": engine.binding.identity},
            "data": data_row(truth, options, engine, contents),
            "seed": args.seed,
            "queries": len(cases),
            "draws": args.draws,
            "candidates": candidates,
            "null": judge,
        }
        result["rows"] = [
            {"recipe": engine.recipe.name, "command": result["command"], **row}
            for row in summarise(outcomes, parts, args.seed)
        ]
        if not result["rows"]:
            raise UsageError(
                f"--matches {' '.join(map(str, args.matches))} --at {args.at}: expected a query"
                " with so many matches and others, got none"
            )
        print(json.dumps(result) if args.json else table(result), flush=True)
        for name, data in (
            ("gallery_size.json", json.dumps(result, indent=1).encode()),
            ("gallery_size.png", plot_gallery_size(result)),
        ):
            write_file(args.out / name, data)
        LOG.info(f"wrote {args.out}/gallery_size.json and gallery_size.png")
        return 0

    return finish("gallery_size", job)


if __name__ == "__main__":
    sys.exit(main())
