"""An engine over planted features, and stages that tell what they are asked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from planted_features import pack, planted_pair, unrelated
from small import OPTIONS

from pipeline.graph import Graph, Node
from pipeline.recipes import answer
from pipeline.search.engine import Engine
from pipeline.search.open import open_engine
from stages.gallery import Gallery
from stages.null import Null
from stages.rank import Calibrated
from stages.records import Candidates, LocalFeatures, Matches


def families(indexed: Path) -> Engine:
    """Eight folders of three photos: two show the same, the third does not; the codes say
    nothing."""
    opened, photos = open_engine(indexed, OPTIONS), {}
    for c in range(8):
        rng = np.random.default_rng(c)
        photos[f"{c}/a.png"], photos[f"{c}/b.png"], _ = planted_pair(rng, count=60)
        photos[f"{c}/c.png"] = unrelated(rng, 60)
    codes = np.random.default_rng(99).normal(size=(24, 32)).astype(np.float32)
    return replace(
        opened, gallery=Gallery.from_arrays(tuple(photos), codes, pack(list(photos.values())))
    )


def crowd(indexed: Path, photos: int, seed: int = 0) -> Engine:
    """Photos with nothing in common but those whose number ends in 7: they show one thing."""
    rng = np.random.default_rng(seed)
    shared = planted_pair(rng, count=40)[0]
    look = {
        f"{i:03d}.png": shared if i % 10 == 7 else unrelated(rng, int(rng.integers(20, 40)))
        for i in range(photos)
    }
    codes = rng.normal(size=(photos, 32)).astype(np.float32)
    return replace(
        open_engine(indexed, OPTIONS),
        gallery=Gallery.from_arrays(tuple(look), codes, pack([*look.values()])),
    )


def judged(engine: Engine, rate: float, models: Null, own: Null | None = None) -> Engine:
    """The same engine, accepting at a rate of false alarms."""
    recipe = replace(engine.recipe, answer=answer(engine.verify, Calibrated(rate, models)))
    return replace(engine, recipe=recipe, gallery=replace(engine.gallery, null=own))


@dataclass(frozen=True)
class Watched:
    """Verification that tells which pairs it was asked for."""

    stage: Callable[..., Matches]
    tell: Callable[[list[int]], object]

    def __call__(
        self, features: LocalFeatures, candidates: Candidates, gallery: Gallery
    ) -> Matches:
        self.tell(candidates.rows[0].tolist())
        return self.stage(features, candidates, gallery)


def altered(engine: Engine, **stages: Callable[[Any], Any]) -> Engine:
    """The same recipe with some stages of its answer replaced."""
    rows = [
        Node(n.output, stages.get(n.output, lambda stage: stage)(n.stage), *n.reads)
        for n in engine.recipe.answer.rows
    ]
    return replace(
        engine, recipe=replace(engine.recipe, answer=Graph(engine.recipe.answer.inputs, rows))
    )
