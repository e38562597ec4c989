"""Measure a gallery against known answers: mAP, precision and hit rate of both looks together and
of the first alone.

--truth is a CSV `query,relevant`, one relevant photo a row: queries relative to the CSV, relevant
photos to the gallery's folder. --labels folder: every indexed photo is a query, is left out, and
its first folder is its class; with --queries every photo of another gallery is one. mAP is over
the full depth, divided by the number of relevant photos; tied places count at their expectation.
precision@K is the share of the first K places, hit@K whether there is any. Intervals are the 95 %
percentile bootstrap over queries, the gain (both looks less the first) is paired. A query whose
bytes are in the gallery is refused; where a photo of the gallery asks, copies of it are left out.
--revisited takes its own measures: average precision by trapezoids, and precision@K up to the last
positive.
"""

import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.errors import UsageError
from pipeline.base.files import check_place, write_file
from pipeline.base.values import at_least_one
from pipeline.cli import (
    Parser,
    add_cluster,
    add_gallery,
    add_jobs,
    add_model,
    add_search,
    add_truth,
    add_turns,
    finish,
    joined_cluster,
    search_options,
    truth_options,
)
from pipeline.evaluate.ground_truth import (
    Case,
    as_sent,
    data_row,
    read_cases,
    read_contents,
    say_labels,
)
from pipeline.evaluate.quality import Outcome, evaluate_query, measure_quality, measure_revisited
from pipeline.results.file import check_results, command, figures, write_row

if TYPE_CHECKING:
    from pipeline.cluster.jobs import ClusterJobs
    from pipeline.search.engine import Engine


def summarise(outcomes: Sequence[Outcome], names: Sequence[str], seed: int) -> dict[str, Any]:
    """Means and 95 % intervals over queries, as `evaluate.py --json` prints them."""
    import numpy as np

    from stages.metrics import compare

    values = np.array([[one.both, one.coarse] for one in outcomes], np.float64).transpose(1, 2, 0)
    return {"queries": len(outcomes), **compare(values, names, seed)}


def evaluate(
    engine: "Engine", cases: Sequence[Case], k: int, candidates: str | None, seed: int = 0
) -> dict[str, Any]:
    """Every query by our own measures, summed up."""
    from stages.metrics import QUALITY

    return summarise([evaluate_query(engine, case, k, candidates) for case in cases], QUALITY, seed)


def table(result: dict[str, Any], names: Sequence[str], title: str) -> str:
    """The measures as a person reads them."""

    def cell(part: dict[str, Any], name: str) -> str:
        low, high = part["interval"][name]
        return f"{part[name]:8.4f} [{low:7.4f}, {high:7.4f}]"

    lines = [title, f"{'':14s}{'both looks':27s}{'first look':27s}{'gain':27s}"]
    lines += [
        f"{name:13s}"
        + " ".join(cell(part, name) for part in (result, result["coarse"], result["gain"]))
        for name in names
    ]
    return "\n".join([*lines, f"mAP: {result['mAP_is']}; [95 % intervals over queries]"])


def to_csv(outcomes: Sequence[Outcome], hit: int) -> bytes:
    """One line a query; `hit` is the place of the measure that says whether the first result is
    right.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        (
            "query",
            "AP",
            "hit@1",
            "first_relevant",
            "coarse_AP",
            "coarse_hit@1",
            "coarse_first_relevant",
            "accepted",
        )
    )
    for one in outcomes:
        looks = [
            (round(of[0], 6), round(of[hit]), rank)
            for of, rank in zip((one.both, one.coarse), one.found, strict=True)
        ]
        writer.writerow((one.case.query, *looks[0], *looks[1], one.accepted))
    return text.getvalue().encode("utf-8", "surrogateescape")


def make_parser() -> Parser:
    about = __doc__.split("\n\n")
    parser = Parser(description=about[0], epilog=about[1])
    add_gallery(parser, several=True)
    add_truth(parser, revisited=True)
    add_search(parser)
    add_turns(parser, "none")
    add_model(parser)
    parser.add_argument(
        "--first-look",
        type=Path,
        metavar="RUN",
        help="a training run whose embedding is used in place of the gallery's codes",
    )
    parser.add_argument(
        "--components",
        type=at_least_one,
        metavar="N",
        help="of --first-look: the vector's first principal components among the photos that the"
        " run learned from",
    )
    add_jobs(parser, "threads of --first-look")
    add_cluster(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument(
        "--per-query", type=Path, metavar="FILE.csv", help="also a line for every query"
    )
    parser.add_argument(
        "--failures",
        type=Path,
        metavar="FILE.png",
        help="also a contact sheet of the queries whose first result is wrong",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE.json", help="also a row of this results file"
    )
    parser.add_argument(
        "--label",
        metavar="TEXT",
        help="of the row; one of the same label is replaced (default: the recipe and the model)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        if args.cluster and args.first_look:
            raise UsageError(
                "--cluster: expected it without --first-look, whose codes only this process has,"
                " got both; run without one of them"
            )
        if args.components and not args.first_look:
            raise UsageError(
                f"--components {args.components}: expected --first-look, whose vectors have them,"
                " got none"
            )
        with joined_cluster(args.cluster) as cluster:
            return work(cluster)

    def work(cluster: "ClusterJobs | None") -> int:
        from tqdm import tqdm

        from pipeline.search.open import engine_of, open_engine
        from pipeline.search.process import opening_of
        from stages import metrics

        for flag, path in (("--per-query", args.per_query), ("--failures", args.failures)):
            check_place(flag, path)
        check_results("--out", args.out)
        options, truth = search_options(args), truth_options(args)
        if args.first_look:
            if options.shortlist not in (None, "global"):
                raise UsageError(
                    f"--shortlist {options.shortlist}: expected global with --first-look, whose"
                    " vectors are compared; run without one of them"
                )
            # parts are of the gallery's own codes
            options = replace(options, shortlist="global")
        opening = opening_of(args.gallery, options, cluster.threads) if cluster else None
        engine = open_engine(
            args.gallery, options, cluster.assembler(args.gallery) if cluster else engine_of
        )
        trained = None
        if args.first_look:
            from pipeline.training.embedding_search import cost, read_run, with_first_look

            trained = read_run(args.first_look)
            engine = with_first_look(engine, trained, args.jobs, args.components)
        names: Sequence[str] = metrics.QUALITY
        measure, meaning, hit = measure_quality, metrics.MAP, names.index("hit@1")
        if args.revisited:
            from pipeline.evaluate import revisited

            names, measure, meaning, hit = (
                revisited.MEASURES,
                measure_revisited,
                revisited.MAP,
                revisited.MEASURES.index("mP@1"),
            )
            photos = args.query_photos or args.revisited.parent
            cases = revisited.read_revisited(
                args.revisited, args.protocol, photos, engine.gallery.names
            )
        else:
            cases = read_cases(truth, options, args.gallery, engine)
        contents = read_contents(engine, cases, args.allow_self)
        say_labels(truth, options, args.gallery, engine)
        one_query = partial(evaluate_query, k=args.k, candidates=args.candidates, measure=measure)
        if cluster and opening:
            found = cluster.evaluate(
                opening, engine, one_query, cases, [as_sent(case) for case in cases]
            )
        else:
            found = (one_query(engine, case) for case in cases)
        bar = tqdm(found, desc="evaluate", total=len(cases), unit="query", mininterval=0.5)
        # as it is called here
        outcomes = [replace(one, case=case) for one, case in zip(bar, cases, strict=True)]
        result = {**summarise(outcomes, names, args.seed), "mAP_is": meaning}
        title = f"recipe {engine.recipe.name}, model {engine.binding.model}"
        print(
            (
                json.dumps(result)
                if args.json
                else table(
                    result, names, f"{len(cases)} queries, {len(engine.gallery)} photos, {title}"
                )
            ),
            flush=True,
        )
        if args.per_query:
            write_file(args.per_query, to_csv(outcomes, hit))
        if args.failures:
            from pipeline.report.failures import draw

            write_file(args.failures, draw([one.failure for one in outcomes if one.failure], title))
        if args.out:
            row = {
                "recipe": engine.recipe.name,
                "label": args.label or f"{engine.recipe.name}, {engine.binding.model}",
                "command": command("scripts/evaluate.py", sys.argv[1:] if argv is None else argv),
                "seed": args.seed,
                "model": {"name": engine.binding.model, "identity": engine.binding.identity},
                "data": data_row(truth, options, engine, contents),
                "queries": len(cases),
                **figures(result, names),
            }
            if trained:
                own = {
                    "name": f"{trained.run.resolve().name}, then {engine.binding.model}",
                    "weights_sha256": trained.sha256,
                    **row["model"],
                }
                row |= {"recipe": trained.recipe, "model": own, **trained.facts, **cost(trained)}
                row |= {"components": args.components} if args.components else {}
            write_row(args.out, row)
        return 0

    return finish("evaluate", job)


if __name__ == "__main__":
    sys.exit(main())
