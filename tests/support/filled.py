"""Galleries of planted rows: photos that are random numbers drawn from a seed, and what a reader
must make of them.
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from pipeline.gallery.binding import Binding
from pipeline.gallery.roots import Roots
from pipeline.gallery.store import Encoded, Entry, Reading
from pipeline.gallery.writer import writing
from pipeline.model.codebook import ModelCodebook
from stages.records import LocalFeatures

BINDING = Binding("tiny", "a" * 64, "tiny", Roots.of("/photos"))


def encoded(name: str, seed: int, features: int = 5) -> Encoded:
    """A photo of random numbers, all drawn from the seed."""
    rng = np.random.default_rng(seed)
    local = LocalFeatures(
        rng.uniform(0, 90, (features, 2)).astype(np.float32),
        rng.integers(-127, 128, (features, 6)).astype(np.int8),
        np.sort(rng.uniform(0, 9, features).astype(np.float32))[::-1].copy(),
        (int(rng.integers(1, 9999)), int(rng.integers(1, 9999))),
    )
    pooled = rng.normal(size=(2, 8)).astype(np.float16).astype(np.float32)
    return Encoded(
        name,
        Entry(f"{seed:064x}", seed, seed * 10**9),
        pooled,
        rng.normal(size=4).astype(np.float32),
        local,
    )


def fill(folder: Path, *shards: list[Encoded], binding: Binding = BINDING) -> Path:
    with writing(folder, binding) as writer:
        for photos in shards:
            writer.add(photos)
    return folder


def as_voted(reading: Reading, codebook: ModelCodebook) -> dict[str, bytes]:
    """By name, the votes that a photo's features give to all; of an index that is incomplete, those
    to the photos that it has.
    """
    if reading.parts is None:
        return {}
    index = reading.parts.index(codebook, reading.contents, np.arange(len(reading.names)))
    return {
        name: index.votes(reading.features[row]).tobytes() for row, name in enumerate(reading.names)
    }


def as_read(reading: Reading) -> dict[str, tuple[bytes, ...]]:
    """By name, every number of a row as bytes."""
    rows = {}
    for i, name in enumerate(reading.names):
        features = reading.features[i]
        arrays = (
            reading.pooled[i],
            reading.codes[i],
            features.xy,
            features.descriptor,
            features.score,
            np.array(features.size, np.int32),
        )
        rows[name] = tuple(array.tobytes() for array in arrays)
    return rows


def as_written(*photos: Encoded) -> dict[str, tuple[bytes, ...]]:
    rows = {}
    for p in photos:
        arrays = (
            p.pooled.astype(np.float16),
            p.code,
            p.features.xy,
            p.features.descriptor,
            p.features.score,
            np.array(p.features.size, np.int32),
        )
        rows[p.name] = tuple(array.tobytes() for array in arrays)
    return rows


def files(folder: Path, below: str = "shards") -> set[str]:
    return {path.name for path in (folder / below).iterdir()}


def rows_of(shard: Path) -> int:
    return len(load_file(shard)["code"])
