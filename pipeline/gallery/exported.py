"""A gallery's photos as files that other programs read. Features are read and written photo by
photo: however many there are, memory holds few of them at once.
"""

import csv
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import UsageError
from pipeline.base.install import add_extra
from pipeline.gallery.about import Listed
from pipeline.gallery.store import Reading
from stages.records import Float32

Embed = Callable[[Float32], Float32]  # pooled (2, C) -> unit (E,)
COLUMNS = ("image", "sha256", "bytes", "width", "height", "features")


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Where to write a file that appears whole under its name, or not at all. Raises UsageError
    where the disk refuses.
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise UsageError(
            f"{path}: expected a file that can be written, got {error.strerror or error}"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def as_csv(path: Path, photos: Sequence[Listed]) -> None:
    """A row a photo; a name that is not UTF-8 keeps its bytes."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        # names are quoted: one may hold a carriage return
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(COLUMNS)
        writer.writerows([getattr(photo, name) for name in COLUMNS] for photo in photos)


def as_npy(path: Path, reading: Reading, embed: Embed | None) -> None:
    """(N, D) float32, codes or embeddings, in the order of the names."""
    with path.open("wb") as file:
        rows = iter(reading.codes) if embed is None else _embeddings(reading, embed)
        _stream(file, rows, len(reading.names))


def as_npz(path: Path, photos: Sequence[Listed], reading: Reading, embed: Embed | None) -> None:
    """`names`, `sha256` (N,); `size` (N, 2) px; `codes` (N, D); `embeddings` (N, E) where there are
    some; and the features of all photos end to end: photo i has rows start[i] to start[i + 1] of
    `xy` (M, 2) px, `descriptor` (M, D) int8, 127 x a unit vector, and `score` (M,).
    """
    features, count = reading.features, len(photos)
    rows = int(features.count.sum())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

        def member(name: str) -> Any:
            return archive.open(f"{name}.npy", "w", force_zip64=True)

        small = {
            "names": np.array([photo.image for photo in photos]),
            "sha256": np.array([photo.sha256 for photo in photos]),
            "size": features.size,
            "codes": reading.codes,
            "start": np.concatenate([[0], np.cumsum(features.count)]).astype(np.int64),
        }
        for name, array in small.items():
            with member(name) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
        if embed is not None:
            with member("embeddings") as file:
                _stream(file, _embeddings(reading, embed), count)
        for name in ("xy", "descriptor", "score"):
            with member(name) as file:
                parts = (getattr(features[i], name) for i in _told(range(count), name))
                _stream(file, parts, rows, joined=True)


def as_hdf5(path: Path, reading: Reading, embed: Embed | None) -> None:
    """hloc's layout, a group a photo, called by its path, whose folders are groups: `keypoints`
    (M, 2) px, `descriptors` (D, M) unit vectors, `scores` (M,), `image_size` (2,) px, and
    `global_descriptor` (E,), the embedding, or the code where there are none.
    """
    try:
        import h5py
    except ImportError:
        raise UsageError(
            f"--out {path}: expected the package h5py, got none; run {add_extra('hloc')}"
        ) from None
    with h5py.File(path, "w") as file:
        for row in _told(range(len(reading.names)), "features"):
            features = reading.features[row]
            group = file.create_group(os.fsencode(reading.names[row]))
            whole = reading.codes[row]
            if embed is not None:
                whole = embed(reading.pooled[row].astype(np.float32))
            arrays = {
                "keypoints": features.xy,
                "descriptors": np.ascontiguousarray(features.unit.T),
                "scores": features.score,
                "image_size": np.array(features.size, np.int32),
                "global_descriptor": whole,
            }
            for name, array in arrays.items():
                group.create_dataset(name, data=array)


def _embeddings(reading: Reading, embed: Embed) -> Iterator[Float32]:
    pooled = reading.pooled
    return (
        embed(pooled[row].astype(np.float32)) for row in _told(range(len(pooled)), "embeddings")
    )


def _told(rows: Sequence[int], what: str) -> Iterable[int]:
    """With a bar on stderr."""
    from tqdm import tqdm

    bar: Iterable[int] = tqdm(rows, desc=what, unit="photo", mininterval=0.5)
    return bar


def _stream(file: Any, parts: Iterator[np.ndarray], rows: int, joined: bool = False) -> None:
    """An array of so many rows, written as its parts come: a row each, or several."""
    first = True
    for part in parts:
        array = np.ascontiguousarray(part if joined else part[None])
        if first:
            header = {
                "descr": np.lib.format.dtype_to_descr(array.dtype),
                "fortran_order": False,
                "shape": (rows, *array.shape[1:]),
            }
            np.lib.format.write_array_header_2_0(file, header)
            first = False
        file.write(array.tobytes())
