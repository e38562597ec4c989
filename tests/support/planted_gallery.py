"""Galleries on disk whose photos nobody took: features drawn at random, bound to a real model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from planted_features import described, directions, rounded, scattered

from pipeline.gallery.store import Binding, Encoded, Entry
from pipeline.gallery.writer import writing
from pipeline.model.weights import open_model
from stages.records import LocalFeatures


def taken(name: str, seed: int, features: LocalFeatures | None = None) -> Encoded:
    """A photo of between 20 and 80 random features; what it is depends on the seed, not on its
    name.
    """
    rng = np.random.default_rng([seed, 7])
    count = int(rng.integers(20, 81))
    drawn = described(scattered(rng, count), rounded(directions(rng, count)))
    pooled = np.abs(rng.normal(size=(2, 512))).astype(np.float16).astype(np.float32)
    return Encoded(
        name,
        Entry(f"{seed:064x}", seed, seed),
        pooled,
        rng.normal(size=32).astype(np.float32),
        drawn if features is None else features,
    )


def binding(model: Path) -> Binding:
    opened = open_model(model)
    return Binding(opened.name, opened.identity, str(model), "/photos")


def planted(
    folder: Path, model: Path, photos: Sequence[Encoded], remove: Sequence[str] = ()
) -> Path:
    """Add the photos, as one run of indexing does that is not allowed to calibrate."""
    with writing(folder, binding(model)) as writer:
        for start in range(0, len(photos), 16):
            writer.add(photos[start : start + 16])
        writer.remove(remove)
    return folder
