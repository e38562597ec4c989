"""Measure quality and time against the number of candidates; every size comes from one
verification, so that a sweep costs what its largest size does.

Each pair of photos is verified once, in slices from one size to the next that are timed apart;
every size then asks the recipe for its own ranking of what is verified by then. DIR gets sweep.csv,
sweep.json and sweep.png. mAP is over the full depth, as in evaluate.py; intervals are the 95 %
percentile bootstrap over queries. `ceiling` is the share of queries that have an answer among the
candidates, `gain` both looks less the first look, paired. Seconds are the stages'; reading the
photo is not in them, and neither are embed and describe where the query is an indexed photo
(--labels).
"""

import csv
import io
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.files import check_folder, write_file
from pipeline.base.names import count_candidates
from pipeline.base.values import candidates
from pipeline.cli import (
    Parser,
    add_cluster,
    add_gallery,
    add_model,
    add_search,
    add_truth,
    finish,
    joined_cluster,
    search_options,
    truth_options,
)
from pipeline.evaluate.ground_truth import as_sent, data_row, read_cases, read_contents, say_labels
from pipeline.evaluate.sweep import Outcome, Size, sweep_query
from pipeline.results.file import check_results, command, write_row

if TYPE_CHECKING:
    from pipeline.cluster.jobs import ClusterJobs

LOG = logging.getLogger("pipeline.commands.sweep")

SIZES = ("10", "20", "40", "100", "200", "400", "1000", "4000")
RULE = (
    "one-standard-error rule: the smallest size whose mAP is within one standard error of the best"
    " size's, paired over queries, and not below the first look's; 0 where the best is no better"
    " than the first look"
)


def count_sizes(labels: Sequence[str], k: int, photos: int) -> list[Size]:
    """Ascending, each once, none above the gallery."""
    found: dict[int, dict[str, None]] = {}
    for label in labels:
        found.setdefault(min(count_candidates(label, k), photos), {})[label] = None
    return [Size("=".join(found[count]), count) for count in sorted(found)]


def summarise(
    outcomes: Sequence[Sequence[Outcome]], sizes: Sequence[Size], seed: int
) -> tuple[list[dict[str, Any]], int]:
    """Outcomes by query and size -> a row for the first look alone and for every size; the number
    of candidates to recommend.
    """
    import numpy as np

    from stages.metrics import Quality, interval, knee

    # (1 + S, measures, Q)
    values = np.array([[astuple(at.quality) for at in query] for query in outcomes]).transpose(
        1, 2, 0
    )
    shortlisted, accepted, seconds = (
        np.array([[getattr(at, name) for at in query] for query in outcomes])
        for name in ("shortlisted", "accepted", "seconds")
    )
    means, gains = values.mean(2), values - values[0]
    spread, gain_spread = interval(values, seed), interval(gains, seed)
    rows = []
    for place, size in enumerate([Size("coarse", 0), *sizes]):
        row: dict[str, Any] = {
            "label": size.label,
            "candidates": size.candidates,
            "queries": len(outcomes),
        }
        low, high = (Quality(*ends[place].tolist()).to_json() for ends in spread)
        for name, value in Quality(*means[place].tolist()).to_json().items():
            row |= {name: value, f"{name}_low": low[name], f"{name}_high": high[name]}
        gain, low, high = (
            Quality(*of[place].tolist()).to_json() for of in (gains.mean(2), *gain_spread)
        )
        for name in ("mAP", "hit@1"):
            row |= {
                f"{name}_gain": gain[name],
                f"{name}_gain_low": low[name],
                f"{name}_gain_high": high[name],
            }
        row["ceiling"] = round(float(shortlisted[:, place].mean()), 6) if place else None
        row["seconds_mean"] = round(float(seconds[:, place].mean()), 6)
        row["seconds_median"] = round(float(np.median(seconds[:, place])), 6)
        row["accepted_mean"] = round(float(accepted[:, place].mean()), 6)
        rows.append(row)
    best = knee(values[0, 0], values[1:, 0])
    return rows, 0 if best is None else sizes[best].candidates


def table(result: dict[str, Any]) -> str:
    """The sweep as a person reads it."""
    lines = [
        (
            f"{result['queries']} queries, {result['photos']} photos, recipe {result['recipe']},"
            f" model {result['model']}; [95 % intervals over queries]"
        ),
        (
            f"{'requested':>12s}  candidates  {'mAP':24s}  {'hit@1':24s}  {'gain in mAP':26s} "
            " ceiling  accepted  seconds"
        ),
    ]
    for row in result["rows"]:
        mAP, hit, gain = (
            f"{row[n]:.4f} [{row[n + '_low']:.4f}, {row[n + '_high']:.4f}]"
            for n in ("mAP", "hit@1", "mAP_gain")
        )
        ceiling = "" if row["ceiling"] is None else f"{row['ceiling']:.4f}"
        start = f"{row['label']:>12s}  {row['candidates']:10d}  {mAP:24s}  {hit:24s}  {gain:26s}"
        lines.append(
            f"{start}  {ceiling:>7s}  {row['accepted_mean']:8.1f}  {row['seconds_median']:7.3f}"
        )
    helps = "" if result["recommended"] else ", the second look does not help here"
    return "\n".join([*lines, f"recommended: {result['recommended']} candidates{helps} ({RULE})"])


def to_csv(rows: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def make_parser() -> Parser:
    about = __doc__.split("\n\n")
    parser = Parser(
        description=about[0],
        epilog=f"{about[1]} Recommended is, by the {RULE}.",
        conflict_handler="resolve",
    )
    add_gallery(parser, several=True)
    add_truth(parser)
    add_search(parser)
    parser.add_argument(
        "--candidates",
        type=candidates,
        nargs="+",
        default=SIZES,
        metavar="N|Mx",
        help=f"numbers, or so many times k (default: {' '.join(SIZES)})",
    )
    add_model(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for sweep.csv, sweep.json and sweep.png",
    )
    add_cluster(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FILE.json",
        help="also a row of this results file for every size",
    )
    parser.add_argument(
        "--label",
        metavar="TEXT",
        help="of those rows, before the size; the same one is replaced (default: recipe and model)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        with joined_cluster(args.cluster) as cluster:
            return work(cluster)

    def work(cluster: "ClusterJobs | None") -> int:
        from tqdm import tqdm

        from pipeline.report.plots import plot_sweep
        from pipeline.search.open import engine_of, open_engine
        from pipeline.search.process import opening_of

        check_folder("--out", args.out)
        check_results("--results", args.results)
        options, truth = search_options(args), truth_options(args)
        opening = opening_of(args.gallery, options, cluster.threads) if cluster else None
        engine = open_engine(
            args.gallery, options, cluster.assembler(args.gallery) if cluster else engine_of
        )
        cases = read_cases(truth, options, args.gallery, engine)
        contents = read_contents(engine, cases, args.allow_self)
        say_labels(truth, options, args.gallery, engine)
        sizes = count_sizes(args.candidates, args.k, len(engine.gallery))
        one_query = partial(sweep_query, sizes=sizes)
        if cluster and opening:
            found = cluster.evaluate(
                opening, engine, one_query, cases, [as_sent(case) for case in cases]
            )
        else:
            found = (one_query(engine, case) for case in cases)
        with tqdm(found, desc="sweep", total=len(cases), unit="query", mininterval=0.5) as progress:
            outcomes = list(progress)
        rows, recommended = summarise(outcomes, sizes, args.seed)
        result = {
            "command": command("scripts/sweep.py", sys.argv[1:] if argv is None else argv),
            "recipe": engine.recipe.name,
            "code": engine.code,
            "model": engine.binding.model,
            "identity": engine.binding.identity,
            "seed": args.seed,
            "photos": len(engine.gallery),
            "queries": len(cases),
            "recommended": recommended,
            "rule": RULE,
            "rows": rows,
        }
        print(json.dumps(result) if args.json else table(result), flush=True)
        for name, data in (
            ("sweep.csv", to_csv(rows)),
            ("sweep.json", json.dumps(result, indent=1).encode()),
            ("sweep.png", plot_sweep(result)),
        ):
            write_file(args.out / name, data)
        if args.results:
            start = args.label or f"{engine.recipe.name}, {engine.binding.model}"
            shared = {name: result[name] for name in ("recipe", "command", "seed")}
            shared |= {
                "model": {"name": result["model"], "identity": result["identity"]},
                "data": data_row(truth, options, engine, contents),
            }
            for row in rows:
                write_row(args.results, {**shared, **row, "label": f"{start}, {row['label']}"})
        LOG.info(f"wrote {args.out}/sweep.csv, sweep.json and sweep.png")
        return 0

    return finish("sweep", job)


if __name__ == "__main__":
    sys.exit(main())
