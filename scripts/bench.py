"""Benchmarks, each against its baseline in the same run: a ratio travels between machines, a time does not.

index: photos a second of the whole job, decoding and writing included, against the bare forward passes of the same networks
at the same sizes on the same threads, on tensors already in memory; ratio = job / bare.
query: seconds a query by stage, medians after a warm-up, against the bare forward passes; ratio = bare / total.
hamming: seconds a query over generated binary codes, exactly and in packed form, against FAISS; ratio = ours / FAISS flat.
first_look: seconds a query over generated codes of 32 numbers, the ball tree against FAISS, by size; ratio = tree at a million / FAISS at most.
cluster: queries a second of scripts/rerank.py with --cluster against joblib; ratio = cluster / joblib.
capacity: bytes and seconds a photo of galleries of generated rows, 1,000 to 100,000, and what thirty of --photos take to encode.
verify: pairs a second with seed 004's rule on published features, against its own way, a good OpenCV loop and the bare float32 product.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.flags import Parser, UsageError, add_gallery, add_model, at_least_one, finish, natural

if TYPE_CHECKING:
    from torch import nn

    from pipeline.graph import Graph
    from stages.records import Image


def inputs(encode: "Graph", image: "Image") -> list[Callable[[], object]]:
    """The forward passes that encoding a photo takes, each on a tensor that is ready."""
    import torch

    from stages.delf import Describe
    from stages.embed import Embed
    from stages.trunk import last_map, resize, third_map, to_tensor

    stages = {node.name: node.stage for node in encode.rows}
    if "embed" not in stages:
        raise UsageError(
            "--model: want one of recipe two_stage, whose forward passes are the baseline, got a hashing recipe's; run with another `--model`"
        )
    embed, describe = stages["embed"], stages["describe"]
    assert isinstance(embed, Embed)
    if not isinstance(describe, Describe):
        raise UsageError("--model: want DELF features, whose forward passes are the baseline, got RootSIFT's; run with another `--model`")
    device = next(embed.trunk.parameters()).device

    def forward(network: Callable[..., object], trunk: "nn.Module", size: tuple[int, int]) -> Callable[[], object]:
        x = to_tensor(resize(image.pixels, *size), device)

        def step() -> object:
            with torch.inference_mode():
                return network(trunk, x)

        return step

    first = forward(last_map, embed.trunk, embed.input_size(image))
    return [first, *(forward(third_map, describe.trunk, size) for size in describe.input_sizes(image))]


def bench_index(args: argparse.Namespace) -> dict[str, Any]:
    """Half of the bare passes run before the job and half after, so that a drifting clock hits both alike."""
    from pipeline.encoded import load_encoder
    from pipeline.gallery_writer import writing
    from pipeline.images import find_photos, load_image
    from pipeline.index import bind, index_folder

    found = [photo.path for photo in find_photos(args.photos) if photo.reason is None]
    if not found:
        raise UsageError(f"--photos {args.photos}: want a folder of photos, got none in it")
    step = max(1, len(found) // args.count)
    sample = found[::step][: args.count]
    with tempfile.TemporaryDirectory() as scratch:
        photos, gallery = Path(scratch, "photos"), Path(scratch, "gallery")
        photos.mkdir()
        for i, path in enumerate(sample):
            shutil.copyfile(path, photos / f"{i:06d}{path.suffix}")
        binding = bind(gallery, args.model, photos)
        encode = load_encoder(binding.where, args.device)
        ready = [inputs(encode, load_image(path)) for path in sample[:: max(1, len(sample) // 48)]]

        def bare() -> float:
            began = time.perf_counter()
            with ThreadPoolExecutor(args.jobs) as pool:
                list(pool.map(lambda steps: [step() for step in steps], ready))
            return (time.perf_counter() - began) / len(ready)

        bare()
        before = bare()
        with writing(gallery, binding) as writer:
            began = time.perf_counter()
            index_folder(photos, writer, lambda: encode, args.jobs, prune=False, quiet=True)
            job = (time.perf_counter() - began) / len(sample)
        after = bare()
    forward = (before + after) / 2
    return {"photos": len(sample), "photos_per_second": 1 / job, "bare_forward_photos_per_second": 1 / forward, "ratio": forward / job}


def bench_query(args: argparse.Namespace) -> dict[str, Any]:
    """One query after another, as `pipeline.run` answers them."""
    from pipeline.engine import open_engine, read_query
    from pipeline.images import find_photos

    engine = open_engine(args.gallery, None, args.model, None, args.device, 0)
    names = [str(photo.path) for photo in find_photos(args.queries) if photo.reason is None]
    if not names:
        raise UsageError(f"--queries {args.queries}: want a folder of photos, got none in it")
    engine.answer(engine.query(names[0]), 10)
    spent: list[dict[str, float]] = []
    bare: list[float] = []
    for name in names[: args.count]:
        began = time.perf_counter()
        query = engine.query(name)
        engine.answer(query, 10)
        spent.append({**query.seconds, "total": time.perf_counter() - began})
        steps = inputs(engine.recipe.encode, read_query(name))
        began = time.perf_counter()
        for step in steps:
            step()
        bare.append(time.perf_counter() - began)
    seconds = {stage: statistics.median(s[stage] for s in spent) for stage in spent[0]}
    total, forward = seconds.pop("total"), statistics.median(bare)
    return {
        "queries": len(spent),
        "photos": len(engine.gallery),
        "seconds": seconds,
        "total": total,
        "bare_forward": forward,
        "ratio": forward / total,
    }


@dataclass
class Sample:
    """A slow way of verifying, on a random few of the pairs."""

    seconds: float = 0.0
    pairs: int = 0
    ours: int = 0  # inliers, ours on the same pairs
    theirs: int = 0

    def to_json(self, name: str) -> dict[str, Any]:
        per_pair = self.seconds / max(1, self.pairs)
        return {"name": name, "pairs": self.pairs, "seconds_per_pair": per_pair, "inliers_same_pairs": [self.ours, self.theirs]}


def timed(step: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    done = step()
    return time.perf_counter() - began, done


def bench_verify(args: argparse.Namespace) -> dict[str, Any]:
    """Every query of Table 2 with its nearest photos by seed 004's constants; the slow ways see a random few of the same pairs."""
    import numpy as np

    from pipeline.baselines import bare_products, opencv_pair, skimage_pair, unit
    from pipeline.published import read_published, read_table
    from pipeline.recipes import published_second_look
    from pipeline.threads import one_thread_each
    from stages.search import search

    if args.features is None:
        raise UsageError("verify: want published features, got none; run with `--features DIR`")
    one_thread_each()
    gallery, rng = read_published(args.features), np.random.default_rng(args.seed)
    queries = [gallery.row(name) for name in read_table(args.features)] or list(range(0, len(gallery), max(1, len(gallery) // 14)))
    verify = published_second_look(args.seed, args.jobs)
    verify.many(gallery.features[queries[0]], gallery.features, np.arange(min(64, len(gallery))))  # compile
    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    skimage, opencv = Sample(), Sample()
    pairs = inliers = 0
    for row in queries:
        query, rows = gallery.features[row], search(gallery.codes[row], args.candidates, gallery).rows[0]
        spent, (_, counts, _) = timed(partial(verify.many, query, gallery.features, rows))
        seconds["ours"].append(spent)
        pairs, inliers = pairs + len(rows), inliers + int(counts.sum())
        mine, ready = unit(query), [unit(gallery.features[other]) for other in rows]
        seconds["bare"].append(timed(partial(bare_products, mine, np.concatenate(ready), args.jobs))[0])
        for sample, size in ((skimage, -(-args.count // 20)), (opencv, args.count)):
            places = rng.choice(len(rows), min(size, len(rows)), replace=False)
            others = [gallery.features[rows[place]] for place in places]
            with ThreadPoolExecutor(args.jobs) as pool:
                if sample is skimage:
                    ways: Iterable[int] = map(partial(skimage_pair, query, seed=args.seed), others)
                else:
                    ways = pool.map(partial(opencv_pair, query, mine), others, [ready[place] for place in places])
                spent, found = timed(partial(list, ways))
            sample.seconds, sample.pairs = sample.seconds + spent, sample.pairs + len(places)
            sample.ours, sample.theirs = sample.ours + int(counts[places].sum()), sample.theirs + sum(found)
    ours, bare, each = statistics.mean(seconds["ours"]), statistics.mean(seconds["bare"]), sum(seconds["ours"]) / pairs
    result: dict[str, Any] = {"queries": len(queries), "pairs": pairs, "seconds_per_query": ours, "bare_matmul_seconds_per_query": bare}
    result |= {"bare_matmul_ratio": ours / bare, "pairs_per_second": 1 / each, "inliers": inliers}
    result |= {"reference": skimage.to_json("cKDTree + skimage ransac"), "opencv": opencv.to_json("matmul a pair + USAC")}
    return {**result, "speedup": skimage.seconds / skimage.pairs / each, "speedup_opencv": opencv.seconds / opencv.pairs / each}


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("index", "query", "verify", "hamming", "first_look", "capacity", "cluster"))
    parser.add_argument("--photos", type=Path, default=Path("demo/photos"), metavar="DIR", help="index: photos (default: the demo's)")
    parser.add_argument("--queries", type=Path, default=Path("demo/queries"), metavar="DIR", help="query: photos to ask with (default: the demo's)")
    parser.add_argument(
        "--count",
        type=at_least_one,
        default=300,
        metavar="N",
        help="photos or queries at most; verify: pairs a query for OpenCV, a twentieth of them for skimage (default: 300)",
    )
    parser.add_argument("--features", type=Path, metavar="DIR", help="verify: published features, as scripts/reproduce_seed004.py takes them")
    parser.add_argument("--candidates", type=at_least_one, default=4000, metavar="N", help="of each query (default: 4000)")
    parser.add_argument("--codes", type=at_least_one, default=10_000_000, metavar="N", help="generated codes (default: 10000000)")
    parser.add_argument("--kinds", type=natural, default=1000, metavar="N", help="first_look: of codes, 0: all of one kind (default: 1000)")
    parser.add_argument("--bits", type=at_least_one, default=48, metavar="N", help="hamming: of a code (default: 48)")
    parser.add_argument("--seed", type=natural, default=0, help="of the random draws (default: 0)")
    add_gallery(parser)
    add_model(parser)
    parser.add_argument("--jobs", type=at_least_one, default=os.cpu_count() or 1, metavar="N", help="threads (default: all cores)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args(argv)

    def job() -> int:
        from pipeline.bench_others import bench_others

        result = {"index": bench_index, "query": bench_query, "verify": bench_verify}.get(args.name, bench_others)(args)
        if args.json:
            print(json.dumps(result))
        else:
            for key, value in result.items():
                print(f"{key:32s}{value:.4f}" if isinstance(value, float) else f"{key:32s}{value}")
        return 0

    return finish("bench", job)


if __name__ == "__main__":
    sys.exit(main())
