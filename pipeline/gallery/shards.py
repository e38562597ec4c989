"""Shards: immutable safetensors files that hold what a run of photos became, read by memory map.

A shard is written under a temporary name, fsynced, renamed and its folder fsynced before anything
points to it; its sha256 is checked before a byte of it is believed.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from pipeline.base.errors import GalleryError
from pipeline.base.files import write_whole

DTYPES = {
    "F16": np.float16,
    "F32": np.float32,
    "I8": np.int8,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
    "U16": np.uint16,
}


def write_new(folder: Path, below: str, write: Callable[[Path], str]) -> tuple[str, str]:
    """A file of a new name in a gallery's folder: its name, and what `write` returns. Raises
    GalleryError.
    """
    file = f"{os.urandom(8).hex()}.safetensors"
    try:
        return file, write(folder / below / file)
    except OSError as error:  # a full disk
        raise GalleryError(
            f"gallery {folder}: expected to write a shard, got {error.strerror}; see to that and"
            " run again"
        ) from None


def write_shard(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Write and return the sha256."""
    from safetensors.numpy import save

    # it takes an array's bytes as they lie, whatever its strides
    data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    write_whole(path, data)
    return hashlib.sha256(data).hexdigest()


def map_shard(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a shard whose sha256 was checked, as read-only memory maps."""
    whole = np.memmap(path, np.uint8, "r")
    length = int.from_bytes(whole[:8].tobytes(), "little")
    header = json.loads(whole[8 : 8 + length].tobytes())
    arrays: dict[str, np.ndarray] = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            arrays[name] = whole[begin:end].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays
