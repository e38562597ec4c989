"""`scripts/bench.py capacity`: what a photo costs, in bytes and seconds, while galleries of
generated rows grow; and what a real one takes to encode.

Seconds are those of this process's processor time on one thread, so that other work on the machine
does not count. A generated photo has 500 features, as many as the embedded model keeps at most;
what they say is random, so that a second look finds what chance does.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.bench.code_search import timed
from pipeline.bench.photos import photos_in, spread
from pipeline.gallery.binding import Binding
from pipeline.gallery.roots import Roots
from pipeline.gallery.store import Encoded, Entry, read_gallery
from pipeline.gallery.writer import writing
from pipeline.recipes import second_look
from pipeline.search.code_index import choose
from stages.records import LocalFeatures
from stages.search import search

SIZES = (1_000, 10_000, 100_000)
FEATURES, QUERIES, SHARD, WARM = 500, 9, 1000, 50


def bench_capacity(
    photos: Path | None, largest: int, candidates: int, model: str | None, seed: int
) -> dict[str, Any]:
    """photos: real ones, of which thirty are encoded; None: none. Galleries up to `largest` photos
    lie in a temporary folder meanwhile.
    """
    rows = []
    # the first loads and compiles what the others use, and is forgotten
    for size in (WARM, *(size for size in SIZES if size <= largest)):
        with tempfile.TemporaryDirectory() as scratch:
            rows.append(measure(Path(scratch) / "gallery", size, candidates, seed))
    result: dict[str, Any] = {"features": FEATURES, "candidates": candidates, "sizes": rows[1:]}
    return result if photos is None else {**result, **encoding(photos, model)}


def measure(folder: Path, size: int, candidates: int, seed: int) -> dict[str, Any]:
    """One gallery: written, opened, asked."""
    write, _ = timed(partial(fill, folder, size, seed))
    row: dict[str, Any] = {"photos": size, "write_seconds_a_photo": write / size}
    row["bytes_a_photo"] = (
        sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / size
    )
    before = anonymous()
    row["read_seconds"], reading = timed(partial(read_gallery, folder, late=True))
    find = choose("auto", size, False, None)
    row["index_seconds"], gallery = timed(partial(reading.gallery, reading.codes, None, find))
    # bytes that are nobody else's; features stay on the disk
    row["memory_a_photo"] = (anonymous() - before) / size
    row["search"] = "tree" if gallery.index is None else gallery.index.kind
    verify, asked = second_look(seed, threads=1), np.linspace(0, size - 1, QUERIES).astype(int)
    found = [search(gallery.codes[query], min(candidates, size), gallery) for query in asked]
    row["search_seconds"] = middle(
        lambda query: search(gallery.codes[query], min(candidates, size), gallery), asked
    )
    rows = dict(zip(asked.tolist(), (each.rows[0] for each in found), strict=True))
    row["candidates"] = min(candidates, size)
    row["verify_seconds"] = middle(
        lambda query: verify.many(gallery.features[query], gallery.features, rows[int(query)]),
        asked[:3],
    )
    return row


def middle(ask: Callable[[Any], object], asked: Any) -> float:
    """Median seconds a query, after one that warms up."""
    ask(asked[0])
    return statistics.median(timed(partial(ask, query))[0] for query in asked)


def fill(folder: Path, size: int, seed: int) -> None:
    """A gallery of so many generated photos. The features of a shard's photos are cut from one
    block of random numbers at different places.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(FEATURES + SHARD, 40))
    descriptor = np.rint(127 * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.int8)
    xy, score = (
        rng.uniform(0, 480, (FEATURES, 2)).astype(np.float32),
        np.linspace(9, 1, FEATURES).astype(np.float32),
    )
    with writing(
        folder, Binding("generated", "0" * 64, "generated", Roots.of("/photos"))
    ) as writer:
        for start in range(0, size, SHARD):
            many = range(start, min(start + SHARD, size))
            codes, pooled = (
                rng.normal(size=(len(many), 32)).astype(np.float32),
                rng.random((len(many), 2, 512), np.float32),
            )
            writer.add(
                [
                    Encoded(
                        f"{number // 1000:06d}/{number:09d}.jpg",
                        Entry(f"{number:064x}", number, number),
                        pooled[place],
                        codes[place],
                        LocalFeatures(xy, descriptor[place : place + FEATURES], score, (480, 480)),
                    )
                    for place, number in enumerate(many)
                ]
            )


def encoding(photos: Path, model: str | None) -> dict[str, Any]:
    """Processor seconds a photo of the first forward passes and the local features, decoding
    included.
    """
    from pipeline.base.compute import one_thread_each
    from pipeline.base.images import load_image
    from pipeline.model.card import DEFAULT
    from pipeline.recipes import load_encoder

    one_thread_each()
    sample = spread(photos_in(photos, "--photos"), 30)
    encode = load_encoder(model or DEFAULT, "cpu")
    encode({"image": load_image(sample[0])}, "pca", "features")
    counts, spent = [], time.process_time()
    for path in sample:
        counts.append(len(encode({"image": load_image(path)}, "pca", "features")[1]))
    return {
        "encode_seconds_a_photo": (time.process_time() - spent) / len(sample),
        "encoded": len(sample),
        "features_a_photo": statistics.mean(counts),
    }


def anonymous() -> int:
    """Bytes of memory that this process does not share with a file. Linux."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024
