"""Shards: immutable safetensors files that hold what a run of photos became, read by memory map.

A shard is written under a temporary name, fsynced, renamed and its folder fsynced before anything
points to it; its sha256 is checked before a byte of it is believed. What has to be read of every
shard when a gallery is opened, its head, has a sha256 of its own, so that the rest can wait until
it is read.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np

from pipeline.base.errors import GalleryError
from pipeline.base.files import file_sha256, write_whole
from stages.records import UInt8

DTYPES = {
    "F16": np.float16,
    "F32": np.float32,
    "I8": np.int8,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
    "U16": np.uint16,
}
HEAD = ("code", "size", "start")


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


def written_here(name: str) -> bool:
    """Whether a file is called as `write_new` calls its own, whole or on the way."""
    return re.fullmatch(r"[0-9a-f]{16}\.safetensors(\.tmp)?", name) is not None


def write_shard(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Write and return the sha256."""
    from safetensors.numpy import save

    # it takes an array's bytes as they lie, whatever its strides
    data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    write_whole(path, data)
    return hashlib.sha256(data).hexdigest()


def map_shard(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a shard whose sha256 was checked, as read-only memory maps."""
    return arrays_of(np.memmap(path, np.uint8, "r"))


def header_of(whole: UInt8) -> bytes:
    """A file's bytes (B,) -> those that say what lies where."""
    return whole[8 : 8 + int.from_bytes(whole[:8].tobytes(), "little")].tobytes()


def arrays_of(whole: UInt8) -> dict[str, np.ndarray]:
    """A file's bytes (B,) -> its arrays by name, in the same memory."""
    header = header_of(whole)
    arrays: dict[str, np.ndarray] = {}
    for name, entry in json.loads(header).items():
        if name != "__metadata__":
            begin, end = (8 + len(header) + offset for offset in entry["data_offsets"])
            arrays[name] = whole[begin:end].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def head_sha256(whole: UInt8) -> str:
    """A file's bytes (B,) -> the sha256 of what is read when a gallery is opened. Raises
    LookupError for a file without it.
    """
    digest, arrays = hashlib.sha256(header_of(whole)), arrays_of(whole)
    for name in HEAD:
        digest.update(arrays[name].data)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Shard:
    """A file of a gallery that the manifest vouches for."""

    path: Path
    sha256: str
    head: str  # its `head_sha256`; nothing where none was written down
    what: str  # "shard" or "index of parts"
    mend: str  # the command that does

    @cached_property
    def _bytes(self) -> UInt8:
        try:
            return np.memmap(self.path, np.uint8, "r")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._unreadable(error) from None
        except ValueError:  # an empty file
            raise self._damaged(hashlib.sha256().hexdigest()) from None

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Memory maps, unchecked. Raises GalleryError, and FileNotFoundError."""
        try:
            return arrays_of(self._bytes)
        except (GalleryError, OSError):
            raise
        except Exception:  # a header that is none raises anything
            self.check()
            raise

    @cached_property
    def _checked(self) -> bool:
        mapped = self._bytes
        try:
            got = file_sha256(self.path)
        except FileNotFoundError:  # merged into another one since
            got = hashlib.sha256(mapped.data).hexdigest()
        except OSError as error:
            raise self._unreadable(error) from None
        if got != self.sha256:
            raise self._damaged(got)
        return True

    def check(self) -> None:
        """Every byte, once. Raises GalleryError, and FileNotFoundError."""
        assert self._checked

    def check_head(self) -> None:
        """What is read at opening, or every byte. Raises GalleryError, and FileNotFoundError."""
        try:
            whole = bool(self.arrays) and head_sha256(self._bytes) == self.head
        except LookupError:  # it lacks some of it
            whole = False
        if not whole:
            self.check()

    def _unreadable(self, error: OSError) -> GalleryError:
        return GalleryError(
            f"gallery {self.what} {self.path}: expected a readable file, got {error.strerror}; run"
            f" {self.mend}"
        )

    def _damaged(self, got: str) -> GalleryError:
        return GalleryError(
            f"gallery {self.what} {self.path}: expected sha256 {self.sha256[:12]}, got {got[:12]}:"
            f" the file is damaged; run {self.mend}"
        )


@dataclass(frozen=True, eq=False)
class Blocks(Sequence[tuple[np.ndarray, ...]]):
    """The same arrays of several shards: a shard's bytes are checked when one is first asked for.
    Raises GalleryError then.
    """

    shards: tuple[Shard, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Rows of each, unchecked."""
        return tuple(min(len(each.arrays[name]) for name in self.names) for each in self.shards)

    @overload
    def __getitem__(self, place: int) -> tuple[np.ndarray, ...]: ...
    @overload
    def __getitem__(self, place: slice) -> "Blocks": ...
    def __getitem__(self, place: int | slice) -> "tuple[np.ndarray, ...] | Blocks":
        if isinstance(place, slice):
            return Blocks(self.shards[place], self.names)
        self.shards[place].check()
        return tuple(self.shards[place].arrays[name] for name in self.names)
