"""What training needs whatever is trained: labelled photos in memory, reproducible batches, a schedule, checkpoints.

Every random draw is a function of (seed, epoch, photo), so a run that was killed goes on as if it had not been.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.flags import UsageError
from pipeline.images import ImageError, find_photos, load_image
from stages.records import Int64, UInt8
from stages.trunk import resize, to_tensor

HOLD_OUT = 20  # one photo in twenty, by the hash of its path, is for validation and never trained on


@dataclass(frozen=True)
class Photos:
    """A labelled set of photos held decoded in memory, so that an epoch costs no decoding."""

    pixels: list[UInt8]  # each (h, w, 3) uint8 RGB, its shorter side at most the requested one
    labels: Int64  # (N,)
    keys: npt.NDArray[np.uint64]  # (N,) the photo's identity for random draws
    classes: tuple[str, ...]


def read_folders(folders: list[Path], side: int) -> tuple[Photos, Photos]:
    """The photos to train on and those held out, decoded and shrunk to `side` px on the shorter side.

    A photo's class is the folder it lies in, or the one above a folder called `images`. Raises UsageError without photos.
    """
    rows = []
    for folder in folders:
        for found in find_photos(folder):
            home = found.path.parent.parent if found.path.parent.name == "images" else found.path.parent
            if found.reason is None and home.name != "BACKGROUND_Google":  # Caltech-101's class of everything else
                rows.append((found.path, home.name, stable_hash(f"{folder.name}/{found.name}")))
    if not rows:
        raise UsageError(f"--data {' '.join(map(str, folders))}: want folders of classes with photos, got none")
    classes = tuple(sorted({label for _, label, _ in rows}))
    held = [row for row in rows if row[2] % HOLD_OUT == 0]
    kept = [row for row in rows if row[2] % HOLD_OUT]
    return load_photos(kept, classes, side), load_photos(held, classes, side)


def load_photos(rows: list[tuple[Path, str, int]], classes: tuple[str, ...], side: int) -> Photos:
    """Decode (file, class, key) rows in threads; what cannot be decoded is left out."""

    def one(path: Path) -> UInt8 | None:
        try:
            pixels = load_image(path).pixels
        except ImageError:
            return None
        scale = side / min(pixels.shape[:2])
        return resize(pixels, round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)) if scale < 1 else pixels

    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(one, [path for path, _, _ in rows]))
    place = {label: i for i, label in enumerate(classes)}
    kept = [(pixels, place[label], key) for pixels, (_, label, key) in zip(decoded, rows, strict=True) if pixels is not None]
    return Photos(
        [pixels for pixels, _, _ in kept],
        np.array([label for _, label, _ in kept], np.int64),
        np.array([key for _, _, key in kept], np.uint64),
        classes,
    )


def stable_hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "little")


def crop(pixels: UInt8, px: int, rng: np.random.Generator | None, smallest: float) -> UInt8:
    """A random resized crop, mirrored and relit, (px, px, 3) uint8; without `rng` the centre square."""
    h, w = pixels.shape[:2]
    if rng is None:
        side = min(h, w)
        top, left = (h - side) // 2, (w - side) // 2
        return cv2.resize(pixels[top : top + side, left : left + side], (px, px), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    area, ratio = h * w * rng.uniform(smallest, 1), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    ch, cw = min(h, round(float(np.sqrt(area / ratio)))), min(w, round(float(np.sqrt(area * ratio))))
    top, left = rng.integers(0, h - ch + 1), rng.integers(0, w - cw + 1)
    out = cv2.resize(pixels[top : top + ch, left : left + cw], (px, px), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    if rng.random() < 0.5:
        out = out[:, ::-1]
    light = rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3)  # exposure and white balance
    return np.clip(out * light, 0, 255).astype(np.uint8)


def batches(photos: Photos, size: int, px: int, seed: int, epoch: int, first: int, smallest: float) -> Iterator[tuple[UInt8, Int64]]:
    """Shuffled, augmented batches of one epoch from batch `first` on, made one ahead in a thread."""
    order = np.random.default_rng([seed, epoch]).permutation(len(photos.labels))

    def make(start: int) -> tuple[UInt8, Int64]:
        rows = order[start : start + size]
        images = [crop(photos.pixels[i], px, np.random.default_rng([seed, epoch, int(photos.keys[i])]), smallest) for i in rows]
        return np.stack(images), photos.labels[rows]

    starts = list(range(0, len(order) - size + 1, size))[first:]
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(make, start) for start in starts[:2]]
        for k in range(len(starts)):
            yield ahead.pop(0).result()
            if k + 2 < len(starts):
                ahead.append(pool.submit(make, starts[k + 2]))


def learning_rate(progress: float, peak: float) -> float:
    """One cycle: a linear warm-up over the first fifteenth, then a cosine to nothing (Loshchilov & Hutter 2017)."""
    warm = 1 / 15
    return peak * progress / warm if progress < warm else peak * 0.5 * (1 + float(np.cos(np.pi * (progress - warm) / (1 - warm))))


def hits(logits: Callable[[UInt8], Tensor], photos: Photos, px: int) -> float:
    """The share of photos whose centre square is given its own class."""
    right = 0
    for start in range(0, len(photos.labels), 64):
        images = np.stack([crop(pixels, px, None, 1) for pixels in photos.pixels[start : start + 64]])
        right += int((logits(images).argmax(1).cpu().numpy() == photos.labels[start : start + 64]).sum())
    return right / max(1, len(photos.labels))


@torch.inference_mode()
def accuracy(model: nn.Module, photos: Photos, px: int) -> float:
    """Top-1 of a classifier; it is left in training mode."""
    device = next(model.parameters()).device
    model.eval()
    share = hits(lambda images: model(to_tensor(images, device)), photos, px)
    model.train()
    return share


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Weights, momentum and the step in one safetensors file, renamed into place whole."""
    tensors = {f"model.{k}": v.contiguous() for k, v in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        if "momentum_buffer" in optimizer.state[parameter]:
            tensors[f"momentum.{name}"] = optimizer.state[parameter]["momentum_buffer"].contiguous()
    save_file(tensors, path.with_suffix(".tmp"), metadata={"step": str(step)})
    path.with_suffix(".tmp").rename(path)


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    tensors = load_file(path)
    model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    for name, parameter in model.named_parameters():
        if f"momentum.{name}" in tensors:
            buffer = tensors[f"momentum.{name}"].to(parameter.device)
            optimizer.state[parameter]["momentum_buffer"] = buffer.contiguous(memory_format=torch.channels_last) if buffer.ndim == 4 else buffer
    with safe_open(path, "pt") as file:
        return int(file.metadata()["step"])
