"""Local features and vectors that another program computed, as rows of a gallery.

A folder holds `<relative path>.npz` for every photo, or one HDF5 file holds them all in hloc's
layout; whole-photo vectors come beside them as one array. Descriptors become int8 as ours are, so
that matching, verification and acceptance are the same for all kinds of features.
"""

import hashlib
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import UsageError
from pipeline.base.folders import Found
from pipeline.base.install import add_extra
from pipeline.base.names import IMPORTED, printable
from pipeline.gallery.binding import Binding
from pipeline.gallery.encode import Failed, Same
from pipeline.gallery.roots import Roots
from pipeline.gallery.store import Encoded, Entry
from stages.records import Float32, LocalFeatures

MOST_FEATURES = 16_384  # of a photo, as stages/match.py counts them
LONGEST_DESCRIPTOR = 256  # numbers
LONGEST_SIDE = 1_000_000  # px
MOST_BYTES = 256 << 20  # of one photo's arrays
UNIT = 0.02  # how far a descriptor's length may be from 1
# what reading arrays of a damaged or foreign file raises; HDF5 has its own for every kind of damage
UNUSABLE = (
    ValueError,
    LookupError,
    TypeError,
    OSError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
)
MEMBERS = {"xy": "keypoints", "descriptor": "descriptors", "score": "scores", "size": "image_size"}


@dataclass(frozen=True)
class Source:
    """Where features lie, in the order of their photos' paths."""

    path: Path  # a folder of .npz files, or an HDF5 file
    names: tuple[str, ...]  # relative paths of the photos, ascending
    codes: Float32 | None  # (N, D) in that order
    length: int  # of a descriptor

    def found(self) -> Iterator[Found]:
        """As `find_photos` lists photos."""
        for name in self.names:
            yield Found(name, self.path / f"{name}.npz" if self.path.is_dir() else self.path)

    def binding(self) -> Binding:
        """What the gallery's numbers are made by: only features and codes of these lengths meet."""
        code = 0 if self.codes is None else self.codes.shape[1]
        identity = hashlib.sha256(f"imported {self.length} {code}".encode()).hexdigest()
        return Binding(IMPORTED, identity, "", Roots.of(str(self.path.resolve())), IMPORTED)

    def rows(
        self, todo: Sequence[Found], known: Mapping[str, Entry]
    ) -> Iterator[Encoded | Failed | Same]:
        """What becomes of each photo, in order; one that cannot be used is `Failed`."""
        places = {name: place for place, name in enumerate(self.names)}
        with _opened(self.path) as read:
            for found in todo:
                code = None if self.codes is None else self.codes[places[found.name]]
                yield self._row(found, known.get(found.name), code, read)

    def _row(
        self, found: Found, known: Entry | None, code: Float32 | None, read: Any
    ) -> Encoded | Failed | Same:
        try:
            if not found.name:
                raise ValueError("expected features called as their photo is, got no name")
            arrays = read(found)
            features = as_features(arrays, self.length)
            status = found.path.stat()
        except UNUSABLE as error:
            return Failed(found.name, " ".join(str(error).split())[:300] or type(error).__name__)
        given = np.zeros(1, np.float32) if code is None else code
        digest = hashlib.sha256(given.tobytes())
        for array in (features.xy, features.descriptor, features.score):
            digest.update(array.tobytes())
        entry = Entry(digest.hexdigest(), status.st_size, status.st_mtime_ns)
        if known is not None and known.sha256 == entry.sha256:
            return Same(found.name, entry)
        return Encoded(found.name, entry, np.zeros((2, 0), np.float32), given, features)


def read_source(path: Path, codes: Path | None) -> Source:
    """List the photos of a folder of .npz files or of an HDF5 file. Raises UsageError."""
    if path.is_dir():
        files = sorted(path.rglob("*.npz"), key=os.fsencode)
        names = [file.relative_to(path).as_posix().removesuffix(".npz") for file in files]
    elif path.is_file():
        names = _hdf5_names(path)
    else:
        raise UsageError(f"--features {path}: expected a folder or an HDF5 file, got none")
    names = sorted(names, key=os.fsencode)
    if not names:
        raise UsageError(f"--features {path}: expected features of at least one photo, got none")
    given = None if codes is None else read_codes("--codes", codes, len(names))
    source = Source(path, tuple(names), given, 0)
    length = 0
    with _opened(path) as read:
        for found in source.found():
            try:
                length = np.asarray(read(found)["descriptor"]).shape[-1]
                break
            except UNUSABLE:
                continue
    if not 0 < length <= LONGEST_DESCRIPTOR:
        raise UsageError(
            f"--features {path}: expected descriptors of 1 to {LONGEST_DESCRIPTOR} numbers, got"
            f" {length or 'none that can be read'}"
        )
    return Source(path, source.names, source.codes, length)


def as_features(arrays: Mapping[str, Any], length: int) -> LocalFeatures:
    """xy (M, 2) px, descriptor (M, D) unit, score (M,), size (2,) -> the record, strongest first.
    Raises ValueError or KeyError that says what is wrong.
    """
    for name in MEMBERS:
        if np.asarray(arrays[name]).dtype.kind not in "fiu":
            raise ValueError(f"{name}: expected numbers, got {np.asarray(arrays[name]).dtype}")
    with np.errstate(over="ignore"):  # infinity is refused below
        xy, descriptor, score = (
            np.asarray(arrays[name], np.float32) for name in ("xy", "descriptor", "score")
        )
    size = np.asarray(arrays["size"], np.float64).ravel()
    if descriptor.ndim != 2 or descriptor.shape[1] != length:
        raise ValueError(f"descriptor: expected (M, {length}), got {descriptor.shape}")
    rows = len(descriptor)
    if xy.shape != (rows, 2) or score.shape != (rows,):
        raise ValueError(
            f"xy, score: expected ({rows}, 2), ({rows},), got {xy.shape}, {score.shape}"
        )
    if size.shape != (2,) or not ((size >= 1) & (size <= LONGEST_SIDE)).all():
        got = " x ".join(f"{side:g}" for side in size)
        raise ValueError(f"size: expected width and height in px, got {got or 'none'}")
    if rows > MOST_FEATURES:
        raise ValueError(f"descriptor: expected at most {MOST_FEATURES} features, got {rows}")
    for name, array in (("xy", xy), ("descriptor", descriptor), ("score", score)):
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    lengths = np.linalg.norm(descriptor.astype(np.float64), axis=1)
    if rows and np.abs(lengths - 1).max() > UNIT:
        worst = float(lengths[np.abs(lengths - 1).argmax()])
        raise ValueError(f"descriptor: expected unit vectors, got one of length {worst:.3g}")
    order = np.argsort(-score, kind="stable")
    whole = np.rint(descriptor[order] * 127).clip(-127, 127).astype(np.int8)
    return LocalFeatures(xy[order].copy(), whole, score[order].copy(), (int(size[0]), int(size[1])))


def read_codes(flag: str, path: Path, photos: int) -> Float32:
    """(N, D) a vector for each photo in the order of their paths. Raises UsageError."""
    try:
        codes = np.load(path, allow_pickle=False)
        if codes.ndim != 2 or codes.dtype.kind != "f" or len(codes) != photos:
            raise ValueError(f"{codes.dtype} {codes.shape}")
        if not np.isfinite(codes).all():
            raise ValueError("NaN or infinity")
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{flag} {path}: expected a float array (N, D), a row for each of {photos:,} photos in"
            f" the order of their paths, got {error}"
        ) from None
    found: Float32 = np.ascontiguousarray(codes, np.float32)
    return found


class _opened:
    """`with _opened(path) as read`: read(found) -> its four arrays by our names."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, None

    def __enter__(self) -> Any:
        if self.path.is_dir():
            return lambda found: read_arrays(found.path)
        self.file = _hdf5(self.path)
        return self._read_group

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()

    def _read_group(self, found: Found) -> dict[str, Any]:
        assert self.file is not None
        group, arrays, held = self.file[os.fsencode(found.name)], {}, 0
        for ours, theirs in MEMBERS.items():
            if theirs not in group and ours == "score":  # hloc leaves it out where there is none
                arrays[ours] = np.zeros(len(arrays["xy"]), np.float32)
                continue
            array = group.get(theirs)
            if not hasattr(array, "dtype"):
                raise ValueError(f"expected an array {theirs}, got none")
            held += array.size * array.dtype.itemsize
            if held > MOST_BYTES:
                raise ValueError(f"expected at most {MOST_BYTES:,} bytes, got more")
            arrays[ours] = np.atleast_1d(array[()])
        return {**arrays, "descriptor": arrays["descriptor"].T}  # (D, M) there


def read_arrays(path: Path) -> dict[str, Any]:
    """The four arrays of a photo's .npz file by our names. Raises what UNUSABLE lists."""
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
            raise ValueError(f"expected at most {MOST_BYTES:,} bytes, got more")
    with np.load(path, allow_pickle=False) as arrays:
        missing = [name for name in MEMBERS if name not in arrays]
        if missing:
            raise ValueError(f"expected {', '.join(MEMBERS)}, got none called {missing[0]}")
        return {name: arrays[name] for name in MEMBERS}


def _hdf5(path: Path) -> Any:
    try:
        import h5py
    except ImportError:
        raise UsageError(
            f"--features {path}: expected the package h5py, got none; run {add_extra('hloc')}"
        ) from None
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise UsageError(
            f"--features {printable(str(path))}: expected an HDF5 file, got: {error}"
        ) from None


def _hdf5_names(path: Path) -> list[str]:
    """Groups that hold keypoints; a photo's path may nest them."""
    within: list[str | bytes] = []  # bytes where it is no UTF-8
    with _hdf5(path) as file:
        try:
            file.visit(within.append)  # opens none of them: a damaged one costs no other
        except UNUSABLE as error:
            raise UsageError(
                f"--features {printable(str(path))}: expected a sound HDF5 file, got: {error}"
            ) from None
    parts = (os.fsdecode(name).rpartition("/") for name in within)
    return [group for group, _, array in parts if array == MEMBERS["xy"]]
