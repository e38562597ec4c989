"""Galleries on disk whose photos nobody took: features drawn at random, bound to a real model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from planted_features import described, directions, lengths_one, rounded, scattered

from pipeline.gallery.binding import Binding
from pipeline.gallery.roots import Roots
from pipeline.gallery.store import Encoded, Entry
from pipeline.gallery.writer import writing
from pipeline.model.codebook import read_codebook
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


def related(name: str, seed: int) -> Encoded:
    """A photo whose 25 features look much like those of others: of sixty things that there are, it
    shows so many.
    """
    things, rng = directions(np.random.default_rng(5), 60), np.random.default_rng([seed, 9])
    seen = things[rng.permutation(60)[:25]] + 0.03 * rng.normal(size=(25, 40))
    return taken(name, seed, described(scattered(rng, 25), rounded(lengths_one(seen))))


def binding(model: Path) -> Binding:
    opened = open_model(model)
    return Binding(opened.name, opened.identity, str(model), Roots.of("/photos"))


def planted(
    folder: Path, model: Path, photos: Sequence[Encoded], remove: Sequence[str] = ()
) -> Path:
    """Add the photos, as one run of indexing does that is not allowed to calibrate."""
    with writing(folder, binding(model), read_codebook(model)) as writer:
        for start in range(0, len(photos), 16):
            writer.add(photos[start : start + 16])
        writer.remove(remove)
    return folder
