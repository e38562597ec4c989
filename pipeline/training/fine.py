"""Training of the fine local features: a network learns from another program's features, and to see
them in every light.

A teacher's features of each photo are given as `index --features` takes them. The photo comes as
two views (stages/views.py); at the teacher's keypoints in either, the network has to say what the
teacher said of the whole, sharp photo (distillation, Hinton et al. 2015), to tell each keypoint
from all others of the batch (InfoNCE, van den Oord et al. 2018, equation 4), and to find the
keypoints (SuperPoint, DeTone et al. 2018, section 3.2). Its attention learns which of them are each
other's nearest among those of the two views: what verification counts.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.base.errors import ImageError, UsageError
from pipeline.base.images import load_image
from pipeline.gallery.imported import UNUSABLE, as_features, read_arrays
from pipeline.training.data import TENTH, made_ahead
from pipeline.training.folders import list_rows
from pipeline.training.loop import Plan
from stages.fine_network import LENGTH, FineNetwork
from stages.fine_quantised import CELL
from stages.records import Bool, Float32, Int64, LocalFeatures, UInt8
from stages.reduce import Reduce
from stages.trunk import to_tensor
from stages.views import View, moved, two_views

LOG = logging.getLogger("pipeline.training.fine")

POINTS = 256  # of a photo at most
FEWEST = 8  # points that both views show, else the photo is left out of its batch
MARGIN = 6  # px from the border of a view, within which no point counts
NEAR = 5.0  # px: neighbours so near are no examples of different points
TEMPERATURE = 0.06  # of the similarities of unit descriptors
SURE = 0.05  # score of a teacher's keypoint from which it is one for the network, too
# weights of the parts of the loss; how they compare was not searched
IMITATE, TELL_APART, DETECT, ATTEND = 2.0, 0.5, 1.0, 0.25
JUDGED = 400  # photos that validate, at most
SAMPLE = 400  # photos whose teacher's descriptors their principal components are fitted on


@dataclass(frozen=True)
class Example:
    """A photo and the file of its teacher's features."""

    photo: Path
    taught: Path
    key: int  # for random draws


@dataclass(frozen=True, eq=False)
class Batch:
    """B photos, each as a first and a second view; a photo's points in both."""

    views: UInt8  # (2 B, px, px, 3) first views, then second ones
    xy: Float32  # (2 B, POINTS, 2) px
    taught: Float32  # (B, POINTS, LENGTH) unit
    there: Bool  # (B, POINTS) which rows are points
    cells: Int64  # (2 B, px / CELL, px / CELL) the keypoint's pixel of each cell; CELL^2: none


def read_examples(
    folders: Sequence[Path], teachers: Sequence[Path]
) -> tuple[list[Example], list[Example], str]:
    """Photos to learn from and to validate on, those that have a teacher's features; a sha256 over
    what they are. Raises UsageError.
    """
    if len(folders) != len(teachers):
        raise UsageError(
            f"--teacher: expected one folder for each of --data, got {len(teachers)} for"
            f" {len(folders)}"
        )
    found, missing, digest = [], 0, hashlib.sha256()
    for folder, teacher in zip(folders, teachers, strict=True):
        rows, _ = list_rows([folder], "--data")
        for path, _, key in rows:
            taught = teacher / f"{path.relative_to(folder).as_posix()}.npz"
            if taught.is_file():
                found.append(Example(path, taught, key))
                digest.update(f"{key} {path.stat().st_size} {taught.stat().st_size}\0".encode())
            else:
                missing += 1
    train = [each for each in found if each.key % TENTH]
    held = [each for each in found if not each.key % TENTH][:JUDGED]
    if not train or not held:
        raise UsageError(
            "--data, --teacher: expected features of photos to learn from and of some to validate"
            f" on, got {len(train)} and {len(held)}"
        )
    if missing:
        LOG.info(f"{missing} photos without a teacher's features; left out")
    return train, held, digest.hexdigest()


def read_example(example: Example, length: int | None) -> tuple[UInt8, LocalFeatures] | None:
    """The photo's pixels and its features; None where one of them cannot be read. length: of a
    descriptor, None for any.
    """
    try:
        pixels = load_image(example.photo).pixels
        arrays = read_arrays(example.taught)
        features = as_features(arrays, length or np.asarray(arrays["descriptor"]).shape[-1])
    except (ImageError, *UNUSABLE):
        return None
    return (pixels, features) if features.size == pixels.shape[1::-1] else None


def fit_teacher(examples: Sequence[Example]) -> Reduce:
    """The principal components of the teacher's descriptors, as many as ours have numbers. Raises
    UsageError.
    """
    step = max(1, len(examples) // SAMPLE)
    sample: list[Float32] = []
    for example in examples[::step]:
        read = read_example(example, len(sample[0][0]) if sample else None)
        if read is not None and len(read[1]):
            sample.append(read[1].unit[:200])
    try:
        return Reduce.fit(np.concatenate(sample), LENGTH, unit=True)
    except ValueError as error:
        raise UsageError(f"--teacher: {error}") from None


def make_batch(
    examples: Sequence[Example], px: int, teacher: Reduce, draw: tuple[int, ...]
) -> Batch:
    """draw: what the random numbers of the batch depend on, beside each photo's key. Raises
    UsageError where no photo can be used.
    """
    count, side = len(examples), px // CELL
    views = np.zeros((2 * count, px, px, 3), np.uint8)
    xy = np.full((2 * count, POINTS, 2), px / 2, np.float32)
    taught = np.zeros((count, POINTS, LENGTH), np.float32)
    there = np.zeros((count, POINTS), np.bool_)
    cells = np.full((2 * count, side, side), CELL * CELL, np.int64)
    for place, example in enumerate(examples):
        read = read_example(example, teacher.components.shape[1])
        if read is None:
            continue
        pixels, features = read
        rng = np.random.default_rng([*draw, example.key])
        pair = two_views(pixels, px, rng)
        ends = np.stack([moved(features.xy, view.went) for view in pair])  # (2, M, 2)
        seen = ((ends > MARGIN) & (ends < px - 1 - MARGIN)).all((0, 2))
        chosen = np.flatnonzero(seen)
        if len(chosen) < FEWEST:
            continue
        chosen = np.sort(rng.permutation(chosen)[:POINTS])
        for half, view in enumerate(pair):
            views[place + half * count] = view.pixels
            xy[place + half * count, : len(chosen)] = ends[half, chosen]
            cells[place + half * count] = mark(view, features, ends[half], side)
        taught[place, : len(chosen)] = teacher(features.unit[chosen])
        there[place, : len(chosen)] = True
    kept = there.any(1)
    if not kept.any():
        raise UsageError(
            f"--teacher: expected photos of which two views of {px} px show {FEWEST} keypoints, got"
            f" none among {count}; run with a larger `--px` or more features a photo"
        )
    twice = np.tile(kept, 2)
    return Batch(views[twice], xy[twice], taught[kept], there[kept], cells[twice])


def mark(view: View, features: LocalFeatures, ends: np.ndarray, side: int) -> Int64:
    """The strongest keypoint of each cell of a view (side, side); CELL^2 where there is none."""
    column, row = np.rint(ends).astype(np.int64).T
    inside = (np.minimum(column, row) >= 0) & (np.maximum(column, row) < len(view.pixels))
    order = np.flatnonzero(inside & (features.score > SURE))[::-1]  # the strongest is written last
    column, row = column[order], row[order]
    cells = np.full((side, side), CELL * CELL, np.int64)
    cells[row // CELL, column // CELL] = row % CELL * CELL + column % CELL
    return cells


def batches(
    examples: Sequence[Example], plan: Plan, teacher: Reduce, epoch: int, first: int
) -> Iterator[tuple[Batch, Int64]]:
    """Shuffled batches of one epoch from batch `first` on, made ahead in a thread."""
    order = np.random.default_rng([plan.seed, epoch]).permutation(len(examples))

    def make(start: int) -> tuple[Batch, Int64]:
        some = [examples[i] for i in order[start : start + plan.batch]]
        batch = make_batch(some, plan.px[-1], teacher, (plan.seed, epoch))
        return batch, np.empty(0, np.int64)  # there are no labels

    return made_ahead(make, range(0, len(order) - plan.batch + 1, plan.batch)[first:])


def losses(network: FineNetwork, batch: Batch, bf16: bool, device: str) -> tuple[Tensor, Tensor]:
    """The loss (), and which points are each other's nearest among those of their photo (n,)."""
    count = len(batch.there)
    with torch.autocast(device, torch.bfloat16, enabled=bf16):
        maps = network.maps(to_tensor(batch.views, device))
        cells = network.detection(maps)
    there = torch.from_numpy(batch.there).to(device)
    columns = network.columns(maps, torch.from_numpy(batch.xy).to(device))
    columns = torch.cat([columns[:count][there], columns[count:][there]])
    unit = functional.normalize(network.describe(columns), dim=1)
    one, other = unit.chunk(2)
    taught = torch.from_numpy(batch.taught).to(device)[there]
    imitate = 2 - (one * taught).sum(1).mean() - (other * taught).sum(1).mean()
    alike = one @ other.T
    photo = torch.arange(count, device=device)[:, None].expand_as(there)[there]
    own = photo[:, None] == photo
    at = torch.from_numpy(batch.xy[:count]).to(device)[there]
    near = own & (torch.cdist(at, at) < NEAR)
    near.fill_diagonal_(False)
    logits = (alike / TEMPERATURE).masked_fill(near, -1e4)
    itself = torch.arange(len(at), device=device)
    apart = functional.cross_entropy(logits, itself) + functional.cross_entropy(logits.T, itself)
    detect = functional.cross_entropy(
        cells.flatten(0, 2), torch.from_numpy(batch.cells).to(device).flatten()
    )
    with torch.no_grad():
        within = alike.masked_fill(near | ~own, -2)
        found = (within.argmax(1) == itself) & (within.argmax(0) == itself)
    attention = network.attend(columns.detach())[:, 0]
    attend = functional.binary_cross_entropy_with_logits(attention, found.repeat(2).float())
    return IMITATE * imitate + TELL_APART * apart / 2 + DETECT * detect + ATTEND * 2 * attend, found
