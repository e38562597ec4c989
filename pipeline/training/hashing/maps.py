"""The maps of a frozen trunk, computed once and kept on the disk under the trunk's and the
photos' hashes; a kill loses at most 256.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pipeline.base.errors import ImageError, UsageError
from pipeline.base.files import digest, write_whole
from pipeline.base.images import load_image, read_photo
from pipeline.base.install import add_extra, packaged_weights
from pipeline.base.names import LITE
from pipeline.model.card import LITE0
from pipeline.model.encoders import map_trunk
from pipeline.model.resnets import check_resnet, with_head
from pipeline.training.embedding import read_weights
from pipeline.training.hashing.loop import Maps
from stages.lite import blocks_part
from stages.records import Float32, UInt8
from stages.squaremap import MAPS, square
from stages.trunk import to_tensor

TRUNKS = "a ResNet18, a ResNet50, a VGG16 or an EfficientNet-Lite0"
# a tensor that only this trunk has
KNOWN_BY = {
    "features.0.weight": "vgg16",
    "layer1.0.conv3.weight": "resnet50",
    "_conv_stem.weight": LITE0,
}
STEP = 256  # photos between two notes of how far it is


def photos_digest(paths: Sequence[Path], jobs: int) -> str:
    """sha256 over places and contents. Raises UsageError."""

    def one(path: Path) -> str:
        try:
            return hashlib.sha256(read_photo(path)).hexdigest()
        except (ImageError, OSError) as error:
            raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}") from None

    with ThreadPoolExecutor(jobs) as pool:
        return digest(zip(map(str, range(len(paths))), pool.map(one, paths), strict=True))


def check_side(flag: str, side: int) -> None:
    """A trunk's cells are 32 px wide. Raises UsageError."""
    if side % 32:
        raise UsageError(
            f"{flag} {side}: expected a multiple of 32, the side of a trunk's cell, got another"
            " number"
        )


def read_trunk(path: Path) -> tuple[dict[str, Float32], str]:
    """The tensors of --start and which of MAPS they are. A path that is the name of an
    EfficientNet-Lite0 and of no file is its package's. Raises UsageError.
    """
    if str(path) == LITE0 and not path.exists():
        path = packaged_weights(LITE0, add_extra(LITE))
    arrays = read_weights("--start", path)
    trunk = next((trunk for name, trunk in KNOWN_BY.items() if name in arrays), "resnet18")
    # what follows the map, of VGG16 120 million numbers, is not what this is about
    if trunk == "vgg16":
        arrays = {name: array for name, array in arrays.items() if name.startswith("features.")}
    elif trunk == LITE0:
        arrays = blocks_part(arrays)
    else:
        arrays = with_head(arrays)
        check_resnet(f"--start {path}", trunk, arrays, TRUNKS)
    try:
        map_trunk(f"--start {path}", trunk, arrays)
    except (ValueError, TypeError) as error:
        raise UsageError(f"--start {path}: {error}") from None
    return arrays, trunk


def weights_sha256(weights: dict[str, Float32]) -> str:
    """Over names and tensors."""
    return hashlib.sha256(
        b"".join(name.encode() + array.tobytes() for name, array in sorted(weights.items()))
    ).hexdigest()


def read_maps(
    paths: Sequence[Path],
    photos: str,
    trunk: str,
    weights: dict[str, Float32],
    side: int,
    two: bool,
    cache: Path,
    jobs: int,
    device: str,
) -> Maps:
    """(N, C, h, w) float16 on the disk, in bfloat16 arithmetic. Raises UsageError.

    photos: their digest; trunk: a name of MAPS; side: px of the square that a photo is brought to;
    two: whether an earlier map stands beside the last one.
    """
    forward = MAPS[trunk].forward(two)
    net = map_trunk("--start", trunk, weights, device)
    name = f"{trunk}_{weights_sha256(weights)[:12]}_{photos[:12]}_{side}{'_two' if two else ''}"
    whole, part, noted = cache / f"{name}.npy", cache / f"{name}.part", cache / f"{name}.count"

    def forwards(pixels: UInt8) -> np.ndarray:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
            cells: np.ndarray = (
                forward(net, to_tensor(pixels, device)).to(torch.float16).cpu().numpy()
            )
        return cells

    shape = (len(paths), *forwards(np.zeros((1, side, side, 3), np.uint8)).shape[1:])
    try:
        if whole.is_file():
            return _mapped(whole, shape)
        cache.mkdir(parents=True, exist_ok=True)
        done = int(noted.read_text()) if noted.is_file() and part.is_file() else 0
        if not done:
            noted.unlink(missing_ok=True)
        maps = np.lib.format.open_memmap(part, "r+" if done else "w+", np.float16, shape)
        # a page of a map that finds no room would end the process without a word
        with part.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
        with tqdm(total=len(paths), initial=done, desc="maps", unit="photo") as bar:
            for pixels in _squares(paths[done:], side, jobs):
                maps[done : done + len(pixels)] = np.concatenate(
                    [forwards(pixels[i : i + 32]) for i in range(0, len(pixels), 32)]
                )
                maps.flush()
                done += len(pixels)
                write_whole(noted, str(done).encode())
                bar.update(len(pixels))
        part.rename(whole)
        noted.unlink()
        return _mapped(whole, shape)
    except OSError as error:
        raise UsageError(
            f"{cache}: expected room for the maps of {len(paths):,} photos, got:"
            f" {error.strerror or error}"
        ) from None
    except ValueError as error:
        raise UsageError(
            f"{cache}: expected maps as they were written, got: {error}; remove {name}.* there and"
            " run again"
        ) from None


def _mapped(path: Path, shape: tuple[int, ...]) -> Maps:
    """Raises ValueError for a file of other maps."""
    found: Maps = np.load(path, mmap_mode="r")
    if found.shape != shape or found.dtype != np.float16:
        raise ValueError(f"{found.dtype} of shape {found.shape}, not float16 of {shape}")
    return found


def _squares(paths: Sequence[Path], side: int, jobs: int) -> Iterator[UInt8]:
    """STEP photos at a time, decoded ahead of their use."""

    def load(path: Path) -> UInt8:
        try:
            return square(load_image(path), side)
        except ImageError as error:
            raise UsageError(f"{path}: {error}") from None

    with ThreadPoolExecutor(jobs) as pool:
        for start in range(0, len(paths), STEP):
            yield np.stack(list(pool.map(load, paths[start : start + STEP])))
