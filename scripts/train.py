"""Train the two looks: `embedding` teaches the trunk to tell classes apart, `delf` teaches it where to look.

Both run the same on two CPU cores and on a GPU, log a line an epoch to `log.jsonl`, and continue exactly where they
were killed: every random draw is a function of (seed, epoch, photo).
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.images import SUFFIXES, ImageError, load_image
from stages.trunk import MEAN, STD, build_resnet

HOLD_OUT = 20  # one photo in twenty, by the hash of its path, is for validation and never trained on
CHECKPOINT_SECONDS = 120


@dataclass(frozen=True)
class Photos:
    """A labelled set of photos held decoded in memory, so that an epoch costs no decoding."""

    pixels: list[np.ndarray]  # each (h, w, 3) uint8 RGB, its shorter side at most the requested one
    labels: np.ndarray  # (N,) int64
    keys: np.ndarray  # (N,) uint64, the photo's identity for random draws
    classes: tuple[str, ...]


def list_photos(folders: list[Path]) -> list[tuple[Path, str, str]]:
    """(file, class, key) of every photo: the class is the folder a photo lies in (`images` folders count for their parent)."""
    rows = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                home = path.parent.parent if path.parent.name == "images" else path.parent
                if home.name != "BACKGROUND_Google":
                    rows.append((path, home.name, f"{folder.name}/{path.relative_to(folder)}"))
    if not rows:
        raise SystemExit(f"train: {', '.join(map(str, folders))}: want folders of classes with photos, got none")
    return rows


def load_photos(rows: list[tuple[Path, str, str]], classes: tuple[str, ...], side: int) -> Photos:
    """Decode in threads and shrink to `side` pixels on the shorter side."""

    def one(path: Path) -> np.ndarray | None:
        try:
            pixels = load_image(path).pixels
        except ImageError:
            return None
        scale = side / min(pixels.shape[:2])
        if scale < 1:
            pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(pixels)

    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(one, [path for path, _, _ in rows]))
    kept = [(pixels, classes.index(label), key) for pixels, (_, label, key) in zip(decoded, rows, strict=True) if pixels is not None]
    return Photos(
        [pixels for pixels, _, _ in kept],
        np.array([label for _, label, _ in kept], np.int64),
        np.array([stable_hash(key) for _, _, key in kept], np.uint64),
        classes,
    )


def stable_hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "little")


def crop(pixels: np.ndarray, px: int, rng: np.random.Generator | None, smallest: float) -> np.ndarray:
    """A random resized crop, mirrored and relit, (px, px, 3) uint8; without `rng` the centre square."""
    h, w = pixels.shape[:2]
    if rng is None:
        side = min(h, w)
        top, left = (h - side) // 2, (w - side) // 2
        return cv2.resize(pixels[top : top + side, left : left + side], (px, px), interpolation=cv2.INTER_AREA)
    area, ratio = h * w * rng.uniform(smallest, 1), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    ch, cw = min(h, round(float(np.sqrt(area / ratio)))), min(w, round(float(np.sqrt(area * ratio))))
    top, left = rng.integers(0, h - ch + 1), rng.integers(0, w - cw + 1)
    out = cv2.resize(pixels[top : top + ch, left : left + cw], (px, px), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        out = out[:, ::-1]
    light = rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3)  # exposure and white balance
    return np.clip(out * light, 0, 255).astype(np.uint8)


def to_tensor(batch: np.ndarray, device: torch.device) -> Tensor:
    """(B, h, w, 3) uint8 to (B, 3, h, w) float32, normalised, channels last in memory."""
    x = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float().div_(255)
    return x.sub_(x.new_tensor(MEAN).view(3, 1, 1)).div_(x.new_tensor(STD).view(3, 1, 1)).contiguous(memory_format=torch.channels_last)


def batches(photos: Photos, size: int, px: int, seed: int, epoch: int, first: int, smallest: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shuffled, augmented batches of one epoch from batch `first` on, made one ahead in a thread."""
    order = np.random.default_rng([seed, epoch]).permutation(len(photos.labels))

    def make(start: int) -> tuple[np.ndarray, np.ndarray]:
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


@torch.inference_mode()
def accuracy(model: nn.Module, photos: Photos, px: int, device: torch.device) -> float:
    model.eval()
    hits = 0
    for start in range(0, len(photos.labels), 64):
        images = np.stack([crop(p, px, None, 1) for p in photos.pixels[start : start + 64]])
        hits += int((model(to_tensor(images, device)).argmax(1).cpu().numpy() == photos.labels[start : start + 64]).sum())
    model.train()
    return hits / max(1, len(photos.labels))


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Weights, momentum and the step in one safetensors file, renamed into place whole."""
    tensors = {f"model.{k}": v.contiguous() for k, v in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        if "momentum_buffer" in optimizer.state[parameter]:
            tensors[f"momentum.{name}"] = optimizer.state[parameter]["momentum_buffer"].contiguous()
    save_file(tensors, path.with_suffix(".tmp"), metadata={"step": str(step)})
    path.with_suffix(".tmp").rename(path)


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    from safetensors import safe_open

    tensors = load_file(path)
    model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    for name, parameter in model.named_parameters():
        if f"momentum.{name}" in tensors:
            buffer = tensors[f"momentum.{name}"].to(parameter.device)
            optimizer.state[parameter]["momentum_buffer"] = buffer.contiguous(memory_format=torch.channels_last) if buffer.ndim == 4 else buffer
    with safe_open(path, "pt") as file:
        return int(file.metadata()["step"])


def train_embedding(args: argparse.Namespace) -> None:
    """Cross-entropy with label smoothing over the union of the folders' classes; best validation weights are kept."""
    device = torch.device("cuda" if args.device == "auto" and torch.cuda.is_available() else args.device.replace("auto", "cpu"))
    rows = list_photos(args.data)
    classes = tuple(sorted({label for _, label, _ in rows}))
    held = [stable_hash(key) % HOLD_OUT == 0 for _, _, key in rows]
    side = round(args.px * 1.3)
    train = load_photos([r for r, h in zip(rows, held, strict=True) if not h], classes, side)
    valid = load_photos([r for r, h in zip(rows, held, strict=True) if h], classes, side)
    torch.manual_seed(args.seed)
    model = build_resnet("resnet18", len(classes))
    if args.start:
        state = load_file(args.start / "weights.safetensors")
        model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items() if not k.startswith("fc.")}, strict=False)
    model = model.to(device, memory_format=torch.channels_last).train()
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD([{"params": decay, "weight_decay": 5e-4}, {"params": plain}], lr=args.rate, momentum=0.9, nesterov=True)
    a_epoch = len(train.labels) // args.batch
    total, checkpoint = a_epoch * args.epochs, args.out / "checkpoint.safetensors"
    args.out.mkdir(parents=True, exist_ok=True)
    step = load_checkpoint(checkpoint, model, optimizer) if checkpoint.exists() else 0
    log = (args.out / "log.jsonl").open("a", buffering=1)
    print(
        f"{len(train.labels)} photos to train on, {len(valid.labels)} to validate, {len(classes)} classes; step {step} of {total}",
        file=sys.stderr,
        flush=True,
    )
    saved, began, running = time.monotonic(), time.monotonic(), 0.0
    while step < total:
        epoch = step // a_epoch
        for images, labels in batches(train, args.batch, args.px, args.seed, epoch, step % a_epoch, args.smallest):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step / total, args.rate)
            with torch.autocast(device.type, torch.bfloat16, enabled=args.bf16):
                loss = nn.functional.cross_entropy(model(to_tensor(images, device)), torch.from_numpy(labels).to(device), label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            running = loss.item() if running == 0 else 0.98 * running + 0.02 * loss.item()
            if step % 50 == 0:
                print(f"step {step}/{total} loss {running:.3f} {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                save_checkpoint(checkpoint, model, optimizer, step)
                saved = time.monotonic()
        line = {
            "epoch": epoch + 1,
            "step": step,
            "loss": running,
            "validation": accuracy(model, valid, args.px, device),
            "seconds": round(time.monotonic() - began),
        }
        log.write(json.dumps(line) + "\n")
        print(line, file=sys.stderr, flush=True)
        save_checkpoint(checkpoint, model, optimizer, step)
    state = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(state, args.out / "weights.safetensors")
    (args.out / "classes.json").write_text(json.dumps(classes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["embedding"])
    parser.add_argument("--data", nargs="+", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--px", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--smallest", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--device", default="auto")
    train_embedding(parser.parse_args())
