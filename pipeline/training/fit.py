"""What a model learns from photos without labels: both PCAs, and the null, how many inliers
unrelated photos reach by chance.

The null serves galleries that are too small to measure their own.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.compute import one_thread_each
from pipeline.base.errors import ImageError
from pipeline.base.folders import find_photos
from pipeline.base.images import load_image
from pipeline.gallery.chance import FEWEST, measure_null
from pipeline.model.card import LITE0, Settings
from pipeline.model.chance import null_to_json
from pipeline.model.encoders import describe_kinds, lite_trunk
from pipeline.recipes import second_look
from stages.delf import Attention, Describe, normalised
from stages.embed import Embed, normalise
from stages.kinds import join_kinds
from stages.lite import lite_map
from stages.records import Float32, Image, LocalFeatures, PackedFeatures
from stages.reduce import Reduce
from stages.rootsift import LENGTH as SIFT_LENGTH
from stages.rootsift import RootSift
from stages.trunk import last_map, load_local, load_resnet

LOG = logging.getLogger("pipeline.training.fit")

CODE, DESCRIPTOR = 32, 40  # numbers a photo, numbers a local feature
# of the fine features' and RootSIFT's components: how far their variances are evened out
WHITEN_KINDS = 0.5
# of the embedding only; with the generalised mean none, half and full tied on the museum (hit@1
# .933, ImageNet weights, 487 photos)
WHITEN = 0.5
PHOTOS = 600  # at most
MANY = 20  # inliers: where a model of fewer photos than a null takes accepts; seed 004's count


@dataclass(frozen=True, eq=False)
class Cells:
    """The strongest cells of a photo, before there is a PCA to make features of them."""

    xy: Float32  # (M, 2) px
    raw: Float32  # (M, C) unit length
    score: Float32  # (A,) of all cells, descending: the first M are of those above
    size: tuple[int, int]  # px

    def above(self, threshold: np.float32) -> Cells:
        """Without those that score below it."""
        kept = int((self.score[: len(self.raw)] >= threshold).sum())
        return replace(self, xy=self.xy[:kept], raw=self.raw[:kept])


@dataclass(frozen=True, eq=False)
class Seen:
    """One photo of the fitting set."""

    embedding: Float32  # (C,)
    # finished ones, or those of each kind by name, not reduced yet
    local: Cells | LocalFeatures | dict[str, LocalFeatures]


def encode_sample(
    folders: Sequence[Path],
    weights: dict[str, np.ndarray],
    settings: Settings,
    attention: Attention | None,
    threads: int,
    local: dict[str, np.ndarray] | None = None,
    describe_with: Callable[[Image], LocalFeatures] | None = None,
    fine: dict[str, np.ndarray] | None = None,
) -> list[Seen]:
    """Both looks over an even sample of the folders' photos, in path order: at least 80 that can be
    read, else ValueError.

    weights: a ResNet's tensors; local: those of a second one for the local features alone, None
    where they share. describe_with: local features that are finished already. fine: the network of
    the fine ones, where the settings say that the second look sees them.
    """
    from tqdm import tqdm

    one_thread_each()
    paths = [
        found.path for folder in folders for found in find_photos(folder) if found.reason is None
    ]
    needed = (
        f"photos to fit on: expected at least {2 * DESCRIPTOR} that can be read, and {FEWEST}"
        " different ones for a chance model of its own"
    )
    if len(paths) < 2 * DESCRIPTOR:
        raise ValueError(f"{needed}, got {len(paths)} in {', '.join(map(str, folders))}")
    if len(paths) < FEWEST:
        LOG.info(f"{needed}, got {len(paths)}: a count of {MANY} inliers accepts in its place")
    paths = (
        [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, PHOTOS).astype(int))]
        if paths
        else []
    )
    if settings.trunk == LITE0:
        trunk, last = lite_trunk(f"weights of {LITE0}", weights), lite_map
    else:
        trunk, last = load_resnet(settings.trunk, weights, how=settings.how), last_map
    embed = Embed(trunk, settings.embed_side, last)
    nothing = Reduce(np.zeros(1, np.float32), np.zeros((1, 1), np.float32))
    describe = Describe(
        load_local(settings.trunk, local) if local else trunk,
        attention,
        nothing,
        side=settings.describe_side,
        keep=settings.keep,
    )
    sift = RootSift(settings.describe_side, settings.keep)
    kinds: Mapping[str, Callable[[Image], LocalFeatures]] = {}
    if fine is not None:
        from stages.fine_network import load_fine

        kinds = describe_kinds(settings, load_fine(fine), unreduced)

    def one(path: Path) -> Seen | None:
        try:
            image = load_image(path)
        except ImageError:
            return None
        embedding = normalise(embed(image))
        if settings.features == "rootsift":
            return Seen(embedding, sift(image))
        if describe_with is not None:
            return Seen(embedding, describe_with(image))
        if kinds:
            return Seen(embedding, {name: describe(image) for name, describe in kinds.items()})
        xy, raw = describe.cells(image)
        best, score = describe.strongest(raw)
        return Seen(embedding, Cells(xy[best], normalised(raw[best]), -np.sort(-score), image.size))

    with ThreadPoolExecutor(threads) as pool:
        seen = [
            s
            for s in tqdm(
                pool.map(one, paths), total=len(paths), desc="fit", unit="photo", mininterval=0.5
            )
            if s is not None
        ]
    if len(seen) < 2 * DESCRIPTOR:
        raise ValueError(f"{needed}, got {len(seen)} in {', '.join(map(str, folders))}")
    return seen


def unreduced(kind: str) -> Reduce:
    """Descriptors as they are, of as many numbers as the kind has."""
    from stages.fine_network import LENGTH as FINE_LENGTH

    length = FINE_LENGTH if kind == "fine" else SIFT_LENGTH
    return Reduce(np.zeros(length, np.float32), np.eye(length, dtype=np.float32), unit=True)


def fit(
    seen: list[Seen],
    seed: int,
    threads: int,
    quantile: float = 0.0,
    code: Reduce | None = None,
    keep: int = 500,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays `reduce.*` and `delf.*`, float32, and the card's entry `accept`.

    quantile: of all cells' scores, below which a cell is no feature; 0 keeps as many as the
    settings say. code: a learned one, in place of principal components. keep: features of a photo
    that has two kinds. Raises ValueError.
    """
    if not 0 <= quantile < 1:
        raise ValueError(f"quantile: expected 0 or more and below 1, got {quantile}")
    reduce = code or Reduce.fit(np.stack([s.embedding for s in seen]), CODE, whiten=WHITEN)
    arrays = {"reduce.mean": reduce.mean, "reduce.components": reduce.components}
    arrays |= {"reduce.unit": np.ones(1, np.float32)} if reduce.unit else {}
    features = [s.local for s in seen if isinstance(s.local, LocalFeatures)]
    if kinds := [s.local for s in seen if isinstance(s.local, dict)]:
        reduced, more = reduce_kinds(kinds, keep)
        features, arrays = reduced, arrays | more
    if cells := [s.local for s in seen if isinstance(s.local, Cells)]:
        threshold = np.float32(
            np.quantile(np.concatenate([c.score for c in cells]), quantile) if quantile else 0
        )
        cells = [c.above(threshold) for c in cells]
        rng = np.random.default_rng(seed)
        delf = Reduce.fit(
            np.concatenate(
                [c.raw[rng.permutation(len(c.raw))[: 60_000 // len(seen) + 1]] for c in cells]
            ),
            DESCRIPTOR,
            unit=True,
        )
        arrays |= {"delf.mean": delf.mean, "delf.components": delf.components}
        arrays |= {"delf.threshold": np.array([threshold])} if quantile else {}
        features = [
            LocalFeatures(
                c.xy, np.rint(delf(c.raw) * 127).astype(np.int8), c.score[: len(c.raw)], c.size
            )
            for c in cells
        ]
    codes = np.stack([reduce(s.embedding) for s in seen])
    names = [hashlib.sha256(f.descriptor.tobytes()).hexdigest() for f in features]
    null = measure_null(names, codes, PackedFeatures.of(features), second_look(threads=threads))
    return arrays, {"inliers": MANY} if null is None else {"null": null_to_json(null)}


def reduce_kinds(
    photos: Sequence[dict[str, LocalFeatures]], keep: int
) -> tuple[list[LocalFeatures], dict[str, np.ndarray]]:
    """Each kind's own principal components, `reduce_KIND.*`, and the photos' features by them:
    DESCRIPTOR numbers, of which two kinds in one photo spend one on telling each other apart.
    """
    reduced: list[list[LocalFeatures]] = [[] for _ in photos]
    arrays: dict[str, np.ndarray] = {}
    for kind in photos[0]:
        length = DESCRIPTOR - (len(photos[0]) > 1)
        features = [photo[kind] for photo in photos]
        sample = np.concatenate([each.unit[:200] for each in features])
        reduce = Reduce.fit(sample, length, unit=True, whiten=WHITEN_KINDS)
        arrays |= {
            f"reduce_{kind}.mean": reduce.mean,
            f"reduce_{kind}.components": reduce.components,
        }
        for mine, each in zip(reduced, features, strict=True):
            unit = reduce(each.unit)
            mine.append(replace(each, descriptor=np.rint(unit * 127).astype(np.int8)))
    return [join_kinds(mine, keep) if len(mine) > 1 else mine[0] for mine in reduced], arrays
