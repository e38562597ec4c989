"""Labelled photos for training: folders of classes held decoded in memory, what is held out of
them, reproducible crops and batches.

Every random draw is a function of (seed, epoch, photo), so a run that was killed goes on as if it
had not been.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.base.errors import ImageError, UsageError
from pipeline.base.images import load_image, read_photo
from pipeline.training.folders import Row, list_rows, split_rows
from stages.augment import relit, scene
from stages.records import Int64, UInt8
from stages.trunk import resize

LOG = logging.getLogger("pipeline.training.data")

# one photo in twenty, by the hash of its path, is for validation and never trained on
HOLD_OUT = 20
TENTH = 10  # or one in ten, where what is held out also says how sure its figure is
SPELT = {HOLD_OUT: "twenty", TENTH: "ten"}
MANY_CORES = 4  # more than these make batches in processes of their own
Made = TypeVar("Made")


@dataclass(frozen=True)
class Photos:
    """A labelled set of photos held decoded in memory, so that an epoch costs no decoding."""

    pixels: list[UInt8]  # each (h, w, 3) uint8 RGB, its shorter side at most the requested one
    labels: Int64  # (N,)
    keys: npt.NDArray[np.uint64]  # (N,) the photo's identity for random draws
    classes: tuple[str, ...]
    sha256: str  # over the bytes of each file and its class


@dataclass(frozen=True)
class Data:
    """What a training sees: to learn from, to choose by, and to be measured on once at the end."""

    train: Photos
    valid: Photos
    test: Photos | None
    unreadable: int  # files that were left out
    folders: tuple[Path, ...]  # where the photos to learn from lie
    held: bool  # what validates is held out of them

    @property
    def digest(self) -> str:
        """Which photos these are, by their bytes and classes: a run goes on with those that it
        began with.
        """
        return hashlib.sha256(
            "".join(
                photos.sha256 for photos in (self.train, self.valid, self.test) if photos
            ).encode()
        ).hexdigest()


def read_data(
    folders: Sequence[Path],
    valid: Path | None,
    test: Path | None,
    side: int,
    valid_side: int,
    least: int = 2,
    hold_out: int = HOLD_OUT,
    labels: str | None = "folder",
) -> Data:
    """Decode every set, the shorter side shrunk to `side` px for training and `valid_side` px for
    validation and test.

    labels: which folder is a photo's class, as `list_rows` has it. Without `valid` the photos of
    val/ beside train/ validate, or one photo in `hold_out` is held out. What cannot be read is
    named on stderr and left out. Raises UsageError for folders that cannot be learned from, such as
    those of fewer than `least` classes.
    """
    name = f"--data {' '.join(map(str, folders))}"
    rows, unreadable = list_rows(folders, "--data", labels)
    parts, learned = split_rows(folders, rows)
    rows = parts["train"]
    classes = tuple(sorted({label for _, label, _ in rows}))
    if not rows:
        raise UsageError(f"{name}: expected folders of classes with photos, got none")
    if len(rows) == 1:
        raise UsageError(f"{name}: expected at least two classes of two photos, got one photo")
    if len(classes) < least:
        raise UsageError(
            f"{name}: expected a folder a class and at least two, got one class: {classes[0]}"
        )
    apart = bool(valid or parts["val"])  # what validates lies apart from what is learned from
    seen = [(flag, folder) for flag, folder in (("--valid", valid), ("--test", test)) if folder]
    for place, (flag, given) in enumerate(seen):
        for other in (*learned, *(before for _, before in seen[:place])):
            if _within(given, other) or _within(other, given):
                raise UsageError(
                    f"{flag} {given}: expected photos that were not seen before, got those of"
                    f" {other}"
                )
    kept = rows if apart else [row for row in rows if row[2] % hold_out]
    held = (
        list_rows([valid], "--valid", labels)
        if valid
        else (parts["val"] or [row for row in rows if row[2] % hold_out == 0], 0)
    )
    asked = list_rows([test], "--test", labels) if test else (parts["test"], 0)
    for flag, folder, (own, _) in (("--valid", valid, held), ("--test", test, asked)):
        strange = sorted({label for _, label, _ in own} - set(classes))
        if strange:
            raise UsageError(
                f"{flag} {folder or 'in ' + name}: expected the classes of --data, got another:"
                f" {strange[0]}"
            )
    sets, lost = [], unreadable + held[1] + asked[1]
    for own, size in ((kept, side), (held[0], valid_side), (asked[0], valid_side)):
        photos, gone = load_photos(own, classes, size)
        sets.append(photos)
        lost += gone
    counts = np.bincount(
        np.concatenate([sets[0].labels] if apart else [sets[0].labels, sets[1].labels]),
        minlength=len(classes),
    )
    for label, count in zip(classes, counts, strict=True):
        if count < 2:
            listed = sum(row[1] == label for row in rows)
            raise UsageError(
                f"--data, class {label}: expected at least two photos, got {count} that can be read"
                f" of {listed}"
            )
    for flag, photos in (("--valid", sets[1]), ("--test", sets[2])):
        if not len(photos.labels) and (flag == "--valid" or asked[0] or test):
            raise UsageError(
                f"{flag}: expected photos, got none"
                + (
                    ""
                    if apart or test
                    else f" in the one in {SPELT[hold_out]} held out; run with `--valid DIR`"
                )
            )
    return Data(sets[0], sets[1], sets[2] if test or asked[0] else None, lost, learned, not apart)


def load_photos(rows: list[Row], classes: tuple[str, ...], side: int) -> tuple[Photos, int]:
    """Decode rows in threads, the shorter side shrunk to `side` px; what cannot be decoded is
    named, left out and counted.
    """

    def one(path: Path) -> tuple[UInt8, str] | str:
        try:
            data = read_photo(path)
            pixels = load_image(data).pixels
        except ImageError as error:
            return str(error)
        scale, digest = side / min(pixels.shape[:2]), hashlib.sha256(data).hexdigest()
        return (
            resize(pixels, round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
            if scale < 1
            else pixels
        ), digest

    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(one, [path for path, _, _ in rows]))
    place, kept = {label: i for i, label in enumerate(classes)}, []
    whole = hashlib.sha256()
    for seen, (path, label, key) in zip(decoded, rows, strict=True):
        if isinstance(seen, str):
            LOG.info(f"{path}: {seen}; left out")
        else:
            kept.append((seen[0], place[label], key))
            whole.update(f"{seen[1]} {label}\0".encode("utf-8", "surrogateescape"))
    labels, keys = (
        np.array([label for _, label, _ in kept], np.int64),
        np.array([key for _, _, key in kept], np.uint64),
    )
    return Photos([pixels for pixels, _, _ in kept], labels, keys, classes, whole.hexdigest()), len(
        rows
    ) - len(kept)


def crop(pixels: UInt8, px: int, rng: np.random.Generator | None, smallest: float) -> UInt8:
    """A random resized crop, mirrored and relit, (px, px, 3) uint8; without `rng` the centre
    square.
    """
    h, w = pixels.shape[:2]
    if rng is None:
        side = min(h, w)
        top, left = (h - side) // 2, (w - side) // 2
        return resize(pixels[top : top + side, left : left + side], px, px)
    area, ratio = (
        h * w * rng.uniform(smallest, 1),
        np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3))),
    )
    ch, cw = (
        min(h, round(float(np.sqrt(area / ratio)))),
        min(w, round(float(np.sqrt(area * ratio)))),
    )
    top, left = rng.integers(0, h - ch + 1), rng.integers(0, w - cw + 1)
    out = resize(pixels[top : top + ch, left : left + cw], px, px)
    if rng.random() < 0.5:
        out = out[:, ::-1]
    return relit(out, rng)


def batches(
    photos: Photos,
    size: int,
    px: int,
    seed: int,
    epoch: int,
    first: int,
    smallest: float,
    pairs: bool = False,
) -> Iterator[tuple[UInt8, Int64]]:
    """Shuffled, augmented batches of one epoch from batch `first` on, made ahead in a thread:
    (size, px, px, 3), (size,).

    With `pairs` a batch is size / 2 photos: their crops, then a scene of each in the same order.
    """
    photos_a_batch = size // 2 if pairs else size
    order = np.random.default_rng([seed, epoch]).permutation(len(photos.labels))

    def make(start: int) -> tuple[UInt8, Int64]:
        rows = order[start : start + photos_a_batch]
        images = [
            crop(
                photos.pixels[i],
                px,
                np.random.default_rng([seed, epoch, int(photos.keys[i])]),
                smallest,
            )
            for i in rows
        ]
        if not pairs:
            return np.stack(images), photos.labels[rows]
        for place, i in enumerate(rows):
            behind = photos.pixels[rows[place - 1]]
            images.append(
                scene(
                    photos.pixels[i],
                    behind,
                    px,
                    np.random.default_rng([seed, epoch, int(photos.keys[i]), 1]),
                )
            )
        return np.stack(images), np.tile(photos.labels[rows], 2)

    starts = range(0, len(order) - photos_a_batch + 1, photos_a_batch)
    return made_ahead(make, starts[first:])


def made_ahead(make: Callable[[int], Made], starts: Sequence[int]) -> Iterator[Made]:
    """make(start) of each, in order, made meanwhile: by a thread, or by a process a core where
    there are many, as beside a GPU.
    """
    cores = len(os.sched_getaffinity(0))
    if cores > MANY_CORES:
        workers = min(cores - 1, len(starts))
        # arrays travel as tensors, in shared memory
        for made in DataLoader(_Made(make, starts), None, num_workers=workers, prefetch_factor=4):
            yield _arrays(made)
        return
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(make, start) for start in starts[:2]]
        for k in range(len(starts)):
            yield ahead.pop(0).result()
            if k + 2 < len(starts):
                ahead.append(pool.submit(make, starts[k + 2]))


class _Made(Dataset[Made]):
    """What a worker process of a DataLoader asks for."""

    def __init__(self, make: Callable[[int], Made], starts: Sequence[int]) -> None:
        self.make, self.starts = make, starts

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, k: int) -> Made:
        return self.make(self.starts[k])


def _arrays(made: Any) -> Any:
    if isinstance(made, (tuple, list)):
        return tuple(_arrays(each) for each in made)
    return made.numpy() if isinstance(made, Tensor) else made


def _within(folder: Path, other: Path) -> bool:
    return folder.resolve().is_relative_to(other.resolve())
