"""The recipes: every system of this project is one table of stages. Read this file first.

A recipe has two halves: `encode`, how a photo becomes a row of the gallery, and `answer`, how a
query meets the gallery. Indexing runs the first; answering runs both.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from pipeline.base.compute import device_of, one_thread_each
from pipeline.base.errors import ModelError, UsageError
from pipeline.base.names import ATTENDED, HASHING, IMPORTED, INT8, LITE, STORED
from pipeline.graph import Graph, Node
from pipeline.model.card import default_precision
from pipeline.model.encoders import load_networks, map_trunk, plain_looks, quantised_looks
from pipeline.model.weights import Model, open_model
from stages.affine import RobustAffine
from stages.delf import Describe
from stages.embed import Classify, normalise
from stages.fine import DescribeFine
from stages.hashing import euclidean
from stages.kinds import REST, DescribeBoth
from stages.match import Nearest
from stages.rank import Calibrated, FixedCount
from stages.reduce import Reduce
from stages.search import search, search_parts
from stages.shortlist import ByOdds
from stages.shortlist import shortlist as first_of
from stages.verify import Verify


@dataclass(frozen=True)
class Recipe:
    """A system: two tables, and how many candidates its second look takes by default."""

    name: str
    encode: Graph
    answer: Graph
    candidates: str  # "4000", or "4x": so many times k
    binary: bool = False  # the first look compares the signs of the codes' numbers
    prefers: str = "global"  # of SHORTLISTS, where the gallery can and nobody asks for another
    model: Path | None = None  # its folder; None for features of another program

    @property
    def shortlist(self) -> str:
        """How candidates are found: one of SHORTLISTS."""
        rows = {row.output: row.stage for row in self.answer.rows}
        return "both" if "parts" in rows else "global" if rows["coarse"] is search else "parts"

    @property
    def stored(self) -> str:
        """The row of `encode` that a gallery keeps as its code."""
        return self.encode.row_among(STORED) if self.encode.rows else "code"


def two_stage(model: Model, seed: int = 0, device: str = "cpu", false_alarm: float = 0.1) -> Recipe:
    """Ours: ResNet18 -> PCA 32 -> ball tree, and votes of local features where the gallery has an
    index of them; then local features, mutual nearest neighbours, a robust affine map, accepted at
    a stated rate of false alarms a query. Seeds 000 and 001 are the same with a
    ResNet50 for the first look, plain or with attention in its bottlenecks; that is the model's
    matter, and their second look is another model's.
    """
    null = model.null
    verdict = (
        Calibrated(false_alarm, null) if null else FixedCount(int(model.card["accept"]["inliers"]))
    )
    return Recipe(
        model.settings.recipe,
        encode(model, device),
        answer(second_look(seed, device=device), verdict, "both"),
        "4000",
        prefers="both",
        model=model.folder,
    )


def imported(seed: int = 0, device: str = "cpu", false_alarm: float = 0.1) -> Recipe:
    """Features and vectors that another program computed, searched and verified as ours are. Photos
    cannot be encoded here, and no model brings a null: the gallery's own is used where it has one.
    """
    verdict = Calibrated(false_alarm, None)
    encode = Graph(inputs=("image",), rows=())
    return Recipe(IMPORTED, encode, answer(second_look(seed, device=device), verdict), "4000")


def second_look(seed: int = 0, threads: int = 0, device: str = "cpu") -> Verify:
    """Ours. The number of threads (0: all cores) changes how long it takes and nothing else."""
    return Verify(Nearest(), RobustAffine(), seed, threads or os.cpu_count() or 1, device)


def seed004(model: Model, seed: int = 0, device: str = "cpu", false_alarm: float = 0.1) -> Recipe:
    """Seed 004 as published: 4 x k candidates, one-way matches under 0.8, RANSAC with 3 points and
    20 px, any affine map, accepted above 20 inliers. Its first look is the shared one, so that one
    gallery serves both recipes.
    """
    second = published_second_look(seed, device=device)
    if "+" in model.settings.features:  # of two kinds: their own part of a descriptor is compared
        second = replace(second, match=replace(second.match, distance=0.8 * REST / 127))
    table = answer(second, FixedCount(21))
    return Recipe("seed004", encode(model, device), table, "4x", model=model.folder)


def published_second_look(seed: int = 0, threads: int = 0, device: str = "cpu") -> Verify:
    """Seed 004's: any affine map from candidate to query, the best of the trials as it is. Its
    1,000 trials are 4,000 here, which leaves a count a third of their noise: on 1,200 pairs ours
    agree with skimage's (correlation .9947) as those do among themselves (.9945); at 1,000 they do
    so a little less (.9940).
    """
    fit = RobustAffine(
        threshold=20, trials=4000, polish=0, least=3, largest_stretch=None, backward=True
    )
    return Verify(
        Nearest(mutual=False, distance=0.8), fit, seed, threads or os.cpu_count() or 1, device
    )


def hashing(model: Model, seed: int = 0, device: str = "cpu", false_alarm: float = 0.1) -> Recipe:
    """Seeds 002 and 003, and what they are compared with: short binary codes, then the distance of
    the real-valued ones.
    """
    inputs = ("code", "depth", "count", "features", "gallery")
    rows = [  # no row of matches: no points are compared
        #    output        stage        reads
        Node("coarse", search, "code", "depth", "gallery"),  # Candidates (1, depth)
        Node("candidates", first_of, "coarse", "count"),  # Candidates (1, K)
        Node("ranking", euclidean, "code", "candidates", "gallery"),  # Ranking (1, K)
    ]
    return Recipe(
        model.settings.recipe, encode(model, device), Graph(inputs, rows), "4000", binary=True
    )


@lru_cache(maxsize=1)  # galleries of one model share its network in memory
def encode(model: Model, device: str) -> Graph:
    """How a photo becomes a row of the gallery, whichever recipe the model is of."""
    if model.settings.recipe in HASHING:
        return encode_bits(model, device)
    return encode_photo(model, device)


def encode_bits(model: Model, device: str) -> Graph:
    """A trunk's last map of the photo as a square, and the learned code of it; nothing local."""
    from stages.hash_forms import FIRST_READING, FORMS, complete_form, reads_earlier
    from stages.hashnet import head_of
    from stages.squaremap import MAPS, SquareMap, no_features, pool_map

    maps, form = MAPS[model.settings.trunk], FORMS[model.settings.recipe]
    if "hash.attention.excite.0.weight" in model.arrays:  # learned before it read an earlier map
        form = FIRST_READING
    forward = maps.forward(reads_earlier(form))
    side = model.settings.embed_side // 32
    classes = model.arrays.get("hash.attention.classify.bias", ())
    form = complete_form(
        form, model.settings.width, maps.channels, side * side, maps.earlier, len(classes)
    )
    try:
        trunk, head = (
            map_trunk(f"model {model.name}", model.settings.trunk, model.part("trunk"), device),
            head_of(model.part("hash"), form, model.settings.bits, device),
        )
    except ValueError as error:
        raise ModelError(f"model {model.name}: {error}; run `{model.card['mend']}`") from None
    return Graph(
        inputs=("image",),
        rows=[
            #    output      stage      reads
            # (C, h, w), such as (512, 7, 7)
            Node("map", SquareMap(trunk, forward, model.settings.embed_side), "image"),
            Node("pooled", pool_map, "map"),  # (2, C) its mean, twice
            Node("bits", head, "map"),  # (b,) real-valued: a bit is whether it is 0 or more
            Node("features", no_features, "image"),  # LocalFeatures, none
        ],
    )


def encode_photo(model: Model, device: str) -> Graph:
    """The first look searches `pca`, `embedding` or `logits`: `--code` says which."""
    looks = quantised_looks(model) if model.precision == INT8 else plain_looks(model, device)
    classify = Classify(*(model.float32(f"trunk.{name}") for name in looks.head))
    reduce = Reduce(
        model.float32("reduce.mean"),
        model.float32("reduce.components"),
        unit="reduce.unit" in model.arrays,
    )
    classes = [Node("logits", classify, "pooled")] if len(classify.bias) else []  # (L,)
    return Graph(
        inputs=("image",),
        rows=[
            #    output       stage      reads
            # (2, 512) mean and generalised mean of the last map
            Node("pooled", looks.embed, "image"),
            *classes,
            Node("embedding", normalise, "pooled"),  # (512,) unit
            Node("pca", reduce, "embedding"),  # (32,)
            Node("features", looks.describe, "image"),  # LocalFeatures
        ],
    )


def load_encoder(model: str, device: str, precision: str | None = None) -> Graph:
    """The encode half of a model's recipe, one torch thread a photo: as fast as batching, and no
    photo's numbers depend on another's.

    model: name or folder; device as `--device` takes it. Raises ModelError or UsageError.
    """
    one_thread_each()
    try:
        table = encode(open_model(model, precision or default_precision(model)), device_of(device))
        # whoever encodes many photos hears of a damaged one before the first
        load_networks([node.stage for node in table.rows])
        return table
    except ValueError as error:
        raise UsageError(str(error)) from None


def attentive_of(model: Model, device: str) -> Describe | DescribeFine:
    """A model's learned local features alone; device as `--device` takes it. Raises ModelError or
    UsageError.
    """
    try:
        seen = encode(model, device_of(device)).stage("features")
    except ValueError as error:
        raise UsageError(str(error)) from None
    if isinstance(seen, DescribeBoth):
        seen = seen.first
    if not isinstance(seen, Describe | DescribeFine):
        other = "RootSIFT" if model.settings.recipe == "two_stage" else model.settings.recipe
        raise ModelError(
            f"model {model.name}: expected one with learned local features, got {other}, which has"
            " no attention; run with another `--model`"
        )
    return seen


def answer(verify: Verify, rank: FixedCount | Calibrated, shortlist: str = "global") -> Graph:
    """How a query meets the gallery."""
    return Graph(
        inputs=("code", "depth", "count", "features", "gallery"),
        rows=[
            #    output        stage   reads
            *shortlists(shortlist),  # Candidates: coarse (1, depth), candidates (1, K)
            Node("matches", verify, "features", "candidates", "gallery"),  # Matches (1, K)
            Node("ranking", rank, "features", "candidates", "matches", "gallery"),  # Ranking (1, K)
        ],
    )


def shortlists(kind: str) -> list[Node]:
    """What finds the candidates, and the order that stands where the second look says nothing: by
    codes, "global"; by votes of local features, "parts"; or candidates by the odds of both.
    """
    by_codes = Node("coarse", search, "code", "depth", "gallery")
    if kind == "global":
        return [by_codes, Node("candidates", first_of, "coarse", "count")]
    if kind == "parts":
        return [
            Node("coarse", search_parts, "features", "depth", "gallery"),
            Node("candidates", first_of, "coarse", "count"),
        ]
    return [
        by_codes,
        Node("parts", search_parts, "features", "depth", "gallery"),
        Node("candidates", ByOdds(), "coarse", "parts", "count"),
    ]


def with_shortlist(recipe: Recipe, kind: str) -> Recipe:
    """The same recipe, its candidates found in this way."""
    rest = [row for row in recipe.answer.rows if row.output in ("matches", "ranking")]
    return replace(recipe, answer=Graph(recipe.answer.inputs, [*shortlists(kind), *rest]))


RECIPES: dict[str, Callable[..., Recipe]] = {
    "two_stage": two_stage,
    "seed004": seed004,
    LITE: two_stage,
    **dict.fromkeys(HASHING, hashing),
    **dict.fromkeys(ATTENDED, two_stage),
}
