"""The recipes: every system of this project is one table of stages. Read this file first.

A recipe has two halves: `encode`, how a photo becomes a row of the gallery, and `answer`, how a query meets the gallery.
Indexing runs the first; answering runs both.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.graph import Graph, Node
from pipeline.models import Model
from stages.delf import Attention, Describe
from stages.embed import Classify, Embed, normalise
from stages.match import MutualNearest, OneWay
from stages.rank import Rank
from stages.reduce import Reduce
from stages.search import search
from stages.trunk import load_resnet
from stages.verify import RobustAffine, Verify


@dataclass(frozen=True)
class Recipe:
    """A system: two tables, and how many candidates its second look takes unless told otherwise."""

    name: str
    encode: Graph
    answer: Graph
    candidates: str  # "4000", or "4x": so many times k


def two_stage(model: Model, seed: int = 0, device: str = "cpu") -> Recipe:
    """Ours: ResNet18 -> PCA 32 -> ball tree; then DELF, mutual nearest neighbours, a robust affine map."""
    verify = Verify(MutualNearest(), RobustAffine(), seed, threads())
    return Recipe("two_stage", encode(model, device), answer(verify, Rank(int(model.card["accept"]["inliers"]))), "4000")


def seed004(model: Model, seed: int = 0, device: str = "cpu") -> Recipe:
    """Seed 004 as published: 4 x k candidates, one-way matches under 0.8, RANSAC with 3 points, 20 px and 1,000 trials, any
    affine map, accepted above 20 inliers. Its first look is the shared one, so that one gallery serves both recipes."""
    verify = Verify(
        OneWay(0.8), RobustAffine("ransac", threshold=20, iterations=1000, least=3, largest_scale=None, largest_stretch=None), seed, threads()
    )
    return Recipe("seed004", encode(model, device), answer(verify, Rank(21)), "4x")


def encode(model: Model, device: str) -> Graph:
    """How a photo becomes a row of the gallery. The first look searches `pca`, `embedding` or `logits`: `--code` says which."""
    trunk = load_resnet(model.settings.trunk, model.part("trunk"), device)
    embed = Embed(trunk, model.settings.embed_side)
    classify = Classify(model.float32("trunk.fc.weight"), model.float32("trunk.fc.bias"))
    reduce = Reduce(model.float32("reduce.mean"), model.float32("reduce.components"))
    describe = Describe(
        trunk,
        Attention(*(model.float32(f"attention.{name}") for name in ("hidden", "hidden_bias", "out", "out_bias")))
        if model.part("attention")
        else None,
        Reduce(model.float32("delf.mean"), model.float32("delf.components"), unit=True),
        side=model.settings.describe_side,
        keep=model.settings.keep,
    )
    return Graph(
        inputs=("image",),
        rows=[
            #    output       stage      reads
            Node("pooled", embed, "image"),  # (2, 512) mean and generalised mean of the last map
            Node("logits", classify, "pooled"),  # (L,)
            Node("embedding", normalise, "pooled"),  # (512,) unit
            Node("pca", reduce, "embedding"),  # (32,)
            Node("features", describe, "image"),  # LocalFeatures
        ],
    )


def answer(verify: Verify, rank: Rank) -> Graph:
    """How a query meets the gallery."""
    return Graph(
        inputs=("code", "count", "features", "gallery"),
        rows=[
            #    output        stage   reads
            Node("candidates", search, "code", "count", "gallery"),  # Candidates (1, K)
            Node("matches", verify, "features", "candidates", "gallery"),  # Matches (1, K)
            Node("ranking", rank, "candidates", "matches"),  # Ranking (1, K)
        ],
    )


def threads() -> int:
    """A count changes how long verification takes and nothing else."""
    return os.cpu_count() or 1


RECIPES: dict[str, Callable[..., Recipe]] = {"two_stage": two_stage, "seed004": seed004}
