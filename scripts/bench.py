"""Benchmarks, each against its baseline in the same run: a ratio travels between machines, a time does not.

index: photos a second of the whole job, decoding and writing included, against the bare forward passes of the same networks
at the same sizes on the same threads, on tensors already in memory; ratio = job / bare.
query: seconds a query by stage, medians after a warm-up, against the bare forward passes; ratio = bare / total.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.flags import Parser, UsageError, add_gallery, add_model, at_least_one, finish

if TYPE_CHECKING:
    from pipeline.graph import Graph
    from stages.records import Image


def inputs(encode: "Graph", image: "Image") -> list[Callable[[], object]]:
    """The forward passes that encoding a photo takes, each on a tensor that is ready."""
    import torch

    from stages.delf import Describe
    from stages.embed import Embed
    from stages.trunk import last_map, resize, third_map, to_tensor

    stages = {node.name: node.stage for node in encode.rows}
    embed, describe = stages["embed"], stages["describe"]
    assert isinstance(embed, Embed)
    assert isinstance(describe, Describe)
    device = next(embed.trunk.parameters()).device

    def forward(network: Callable[..., object], size: tuple[int, int]) -> Callable[[], object]:
        x = to_tensor(resize(image.pixels, *size), device)

        def step() -> object:
            with torch.inference_mode():
                return network(embed.trunk, x)

        return step

    return [forward(last_map, embed.input_size(image)), *(forward(third_map, size) for size in describe.input_sizes(image))]


def bench_index(args: argparse.Namespace) -> dict[str, Any]:
    """Half of the bare passes run before the job and half after, so that a drifting clock hits both alike."""
    from pipeline.gallery_writer import writing
    from pipeline.images import find_photos, load_image
    from pipeline.index import bind, index_folder, load_encoder

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

    engine = open_engine(args.gallery, "two_stage", args.model, "pca", args.device, 0)
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


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("index", "query"))
    parser.add_argument("--photos", type=Path, default=Path("demo/photos"), metavar="DIR", help="index: photos (default: the demo's)")
    parser.add_argument("--queries", type=Path, default=Path("demo/queries"), metavar="DIR", help="query: photos to ask with (default: the demo's)")
    parser.add_argument("--count", type=at_least_one, default=300, metavar="N", help="photos or queries to take at most (default: 300)")
    add_gallery(parser)
    add_model(parser)
    parser.add_argument("--jobs", type=at_least_one, default=os.cpu_count() or 1, metavar="N", help="threads (default: all cores)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args(argv)

    def job() -> int:
        result = {"index": bench_index, "query": bench_query}[args.name](args)
        if args.json:
            print(json.dumps(result))
        else:
            for key, value in result.items():
                print(f"{key:32s}{value:.4f}" if isinstance(value, float) else f"{key:32s}{value}")
        return 0

    return finish("bench", job)


if __name__ == "__main__":
    sys.exit(main())
