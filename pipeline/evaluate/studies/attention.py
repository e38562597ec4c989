"""Compare ways of choosing local features. The same photos with their features chosen by trained
attention, without it and at random. Without it, DELF's go by their length, fine ones by how likely
a keypoint is there.

Every photo is described once with all of its cells; of these each rule picks so many, and every
query is verified against every photo. There is no first look: what is measured is the choice alone.
Photos are ranked by inliers, ties by path. Queries that lie among the photos are no answers. A
model without trained attention has the two other rules. Of a model with two kinds of features, only
the learned one is looked at.
"""

import argparse
import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.errors import UsageError
from pipeline.base.values import at_least_one, natural
from pipeline.cli import Parser, add_model, finish
from pipeline.evaluate.ground_truth import Case, read_truth
from pipeline.results.file import check_results, command, write_row

if TYPE_CHECKING:
    from stages.delf import Describe
    from stages.fine import DescribeFine
    from stages.records import Float32, Image, Int8, LocalFeatures


@dataclass(frozen=True, eq=False)
class Cells:
    """All cells of a photo as features, and what each rule thinks of them."""

    xy: "Float32"  # (M, 2) px
    descriptor: "Int8"  # (M, D)
    scores: "dict[str, Float32]"  # (M,) by rule
    size: tuple[int, int]  # px


def describe_all(describe: "Describe | DescribeFine", image: "Image", seeds: list[int]) -> Cells:
    """A photo's cells reduced as the model does, and their scores; random ones are drawn from the
    seed and the descriptors.
    """
    import numpy as np

    from stages.delf import Describe, feature_norm, normalised

    if isinstance(describe, Describe):
        xy, raw = describe.cells(image)
        scores = {} if describe.attention is None else {"attention": describe.attention(raw)}
        scores["feature norm"] = feature_norm(raw)
        raw = normalised(raw)
    else:
        xy, likely, attention, raw = describe.keypoints(image)
        scores = {"attention": likely * attention, "likelihood": likely}
    descriptor = np.rint(describe.reduce(raw) * 127).astype(np.int8)
    content = int(hashlib.sha256(descriptor.tobytes()).hexdigest()[:16], 16)
    scores |= {
        f"random, seed {seed}": np.random.default_rng([seed, content]).random(len(raw), np.float32)
        for seed in seeds
    }
    return Cells(xy, descriptor, scores, image.size)


def choose(cells: Cells, rule: str, keep: int) -> "LocalFeatures":
    """The best cells by a rule; the model's score threshold is left out, so that every rule has as
    many.
    """
    import numpy as np

    from stages.records import LocalFeatures

    score = cells.scores[rule]
    best = np.argsort(-score, kind="stable")[:keep]
    return LocalFeatures(cells.xy[best], cells.descriptor[best], score[best], cells.size)


def measure(
    photos: dict[str, Cells],
    queries: list[Cells],
    cases: list[Case],
    rule: str,
    keep: int,
    seed: int,
    jobs: int,
) -> dict[str, Any]:
    """One row: every query verified against every photo."""
    import numpy as np

    from pipeline.recipes import second_look
    from stages.metrics import interval
    from stages.records import PackedFeatures

    packed, rows = (
        PackedFeatures.of([choose(cells, rule, keep) for cells in photos.values()]),
        np.arange(len(photos)),
    )
    verify, hits, true, false = second_look(seed, jobs), [], [], []
    for case, query in zip(cases, queries, strict=True):
        relevant = np.array([name in case.relevant for name in photos])
        inliers = verify.many(choose(query, rule, keep), packed, rows)[1]
        hits.append(float(relevant[inliers.argmax()]))  # of equal ones the first path
        true.append(inliers[relevant])
        false.append(inliers[~relevant].max(initial=0))
    low, high = interval(np.array(hits), seed)
    return {
        "selection": rule,
        "keep": keep,
        "queries": len(cases),
        "photos": len(photos),
        "hit@1": round(float(np.mean(hits)), 6),
        "hit@1_low": round(float(low), 6),
        "hit@1_high": round(float(high), 6),
        "true_inliers": round(float(np.concatenate(true).mean()), 3),
        "best_false_inliers": round(float(np.mean(false)), 3),
    }


def measure_selection(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Every row, each with what it was measured on."""
    from tqdm import tqdm

    from pipeline.base.compute import one_thread_each
    from pipeline.base.errors import QueryError
    from pipeline.base.files import digest, file_sha256
    from pipeline.base.folders import find_photos
    from pipeline.base.lookup import Lookup
    from pipeline.model.card import DEFAULT
    from pipeline.model.weights import open_model
    from pipeline.recipes import attentive_of
    from pipeline.search.query import read_query

    one_thread_each()
    model = open_model(args.model or DEFAULT)
    describe = attentive_of(model, args.device)
    if not args.photos.is_dir():
        raise UsageError(f"--photos {args.photos}: expected a folder of photos, got none")
    paths = {found.name: found.path for found in find_photos(args.photos) if found.reason is None}
    cases = read_truth(args.truth, Lookup(paths))
    asked = {Path(case.query).resolve() for case in cases}
    paths = {name: path for name, path in paths.items() if path.resolve() not in asked}
    for case in cases:
        if not case.relevant & paths.keys():
            raise UsageError(
                f"{args.truth}: query {case.query}: expected a relevant photo that does not ask"
                " itself, got none"
            )
    seeds = list(range(args.seed, args.seed + args.seeds))

    def one(path: Path | str) -> Cells:
        return describe_all(describe, read_query(str(path)), seeds)

    with ThreadPoolExecutor(args.jobs) as pool:
        work = [
            *(paths[name] for name in sorted(paths, key=os.fsencode)),
            *(case.query for case in cases),
        ]
        try:
            cells = list(
                tqdm(
                    pool.map(one, work),
                    total=len(work),
                    desc="describe",
                    unit="photo",
                    mininterval=0.5,
                )
            )
        except QueryError as error:
            pool.shutdown(cancel_futures=True)
            raise UsageError(str(error)) from None
    photos = dict(zip(sorted(paths, key=os.fsencode), cells, strict=False))
    settings = [(rule, keep) for keep in args.keep for rule in cells[0].scores]
    progress = tqdm(settings, desc="verify", unit="row", mininterval=0.5)
    rows = [
        measure(photos, cells[len(photos) :], cases, rule, keep, args.seed, args.jobs)
        for rule, keep in progress
    ]
    shared = {
        "recipe": "two_stage",
        "command": args.command,
        "seed": args.seed,
        "model": {"name": model.name, "identity": model.identity},
        "data": {
            "photos": len(photos),
            "sha256": digest((name, file_sha256(paths[name])) for name in photos),
            "truth": {"name": args.truth.name, "sha256": file_sha256(args.truth)},
            "queries": digest(
                (Path(case.query).name, file_sha256(Path(case.query))) for case in cases
            ),
        },
    }
    return [{**shared, "label": f"{row['keep']} by {row['selection']}", **row} for row in rows]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a person reads them."""
    lines = [
        f"{rows[0]['queries']} queries, {rows[0]['photos']} photos, second look alone; [95 %"
        " intervals over queries]"
    ]
    lines.append(
        f"{'keep':>5s}  {'selection':16s}  {'hit@1':24s}  inliers of true pairs  of the best"
        " false one"
    )
    for row in rows:
        hit = f"{row['hit@1']:.4f} [{row['hit@1_low']:.4f}, {row['hit@1_high']:.4f}]"
        lines.append(
            f"{row['keep']:5d}  {row['selection']:16s}  {hit:24s}  {row['true_inliers']:21.1f} "
            f" {row['best_false_inliers']:21.1f}"
        )
    return "\n".join(lines)


def make_parser() -> Parser:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    add_model(parser)
    parser.add_argument(
        "--photos",
        type=Path,
        required=True,
        metavar="DIR",
        help="the photos that the queries are looked for in",
    )
    parser.add_argument(
        "--truth",
        type=Path,
        required=True,
        metavar="FILE.csv",
        help="query,relevant: relative to the file, and to DIR",
    )
    parser.add_argument(
        "--keep",
        type=at_least_one,
        nargs="+",
        default=[100, 300, 1000],
        metavar="N",
        help="features per photo (default: 100 300 1000)",
    )
    parser.add_argument(
        "--seeds", type=at_least_one, default=3, metavar="N", help="random selections (default: 3)"
    )
    parser.add_argument(
        "--seed",
        type=natural,
        default=0,
        help="of the affine fit, and of the first random selection (default: 0)",
    )
    parser.add_argument(
        "--jobs",
        type=at_least_one,
        default=os.cpu_count() or 1,
        metavar="N",
        help="threads (default: all cores)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where the results go, too")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    args.command = command("scripts/study.py attention", sys.argv[1:] if argv is None else argv)

    def job() -> int:
        check_results("--out", args.out)
        rows = measure_selection(args)
        print(json.dumps({"rows": rows}) if args.json else table(rows), flush=True)
        for row in rows if args.out else ():
            write_row(args.out, row)
        return 0

    return finish("attention", job)


if __name__ == "__main__":
    sys.exit(main())
