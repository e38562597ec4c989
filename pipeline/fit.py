"""What a model learns from photos without labels: both PCAs, and the null, how many inliers unrelated photos reach by chance.

The null serves galleries that are too small to measure their own.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.calibrate import measure_null
from pipeline.images import ImageError, find_photos, load_image
from pipeline.models import Settings, null_to_json
from pipeline.recipes import second_look
from pipeline.threads import one_thread_each
from stages.delf import Attention, Describe, feature_norm, normalised
from stages.embed import Embed, normalise
from stages.records import Float32, LocalFeatures, PackedFeatures
from stages.reduce import Reduce
from stages.trunk import load_resnet

CODE, DESCRIPTOR = 32, 40  # numbers a photo, numbers a local feature
WHITEN = 0.5  # of the embedding only; with the generalised mean none, half and full tied on the museum (hit@1 .933, ImageNet weights, 487 photos)
PHOTOS = 600  # at most
MANY = 20  # inliers: where a model of fewer photos than a null takes accepts; seed 004's count


@dataclass(frozen=True, eq=False)
class Seen:
    """One photo of the fitting set."""

    embedding: Float32  # (C,)
    xy: Float32  # (M, 2) px
    raw: Float32  # (M, C') unit length, unreduced
    size: tuple[int, int]  # px


def look(folders: list[Path], weights: dict[str, np.ndarray], settings: Settings, attention: Attention | None, threads: int) -> list[Seen]:
    """Both networks over an even sample of the folders' photos, in path order."""
    from tqdm import tqdm

    one_thread_each()
    paths = [found.path for folder in folders for found in find_photos(folder) if found.reason is None]
    paths = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, PHOTOS).astype(int))] if paths else []
    trunk = load_resnet(settings.trunk, weights)
    embed = Embed(trunk, settings.embed_side)
    nothing = Reduce(np.zeros(1, np.float32), np.zeros((1, 1), np.float32))
    describe = Describe(trunk, attention, nothing, side=settings.describe_side, keep=settings.keep)

    def one(path: Path) -> Seen | None:
        try:
            image = load_image(path)
        except ImageError:
            return None
        xy, raw = describe.cells(image)
        best = np.argsort(-(feature_norm(raw) if attention is None else attention(raw)), kind="stable")[: settings.keep]
        return Seen(normalise(embed(image)), xy[best], normalised(raw[best]), image.size)

    with ThreadPoolExecutor(threads) as pool:
        seen = [s for s in tqdm(pool.map(one, paths), total=len(paths), desc="fit", unit="photo", mininterval=0.5) if s is not None]
    if len(seen) < 2 * DESCRIPTOR:
        raise ValueError(f"photos to fit on: want at least {2 * DESCRIPTOR} readable ones, got {len(seen)} in {', '.join(map(str, folders))}")
    return seen


def fit(seen: list[Seen], seed: int, threads: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays `reduce.*` and `delf.*`, and the card's entry `accept`."""
    rng = np.random.default_rng(seed)
    reduce = Reduce.fit(np.stack([s.embedding for s in seen]), CODE, whiten=WHITEN)
    sample = np.concatenate([s.raw[rng.permutation(len(s.raw))[: 60_000 // len(seen) + 1]] for s in seen])
    delf = Reduce.fit(sample, DESCRIPTOR, unit=True)
    features = [LocalFeatures(s.xy, np.rint(delf(s.raw) * 127).astype(np.int8), np.zeros(len(s.xy), np.float32), s.size) for s in seen]
    codes = np.stack([reduce(s.embedding) for s in seen])
    names = [hashlib.sha256(f.descriptor.tobytes()).hexdigest() for f in features]
    null = measure_null(names, codes, PackedFeatures.of(features), second_look(threads=threads))
    arrays = {"reduce.mean": reduce.mean, "reduce.components": reduce.components, "delf.mean": delf.mean, "delf.components": delf.components}
    return arrays, {"inliers": MANY} if null is None else {"null": null_to_json(null)}
