"""Features that somebody published as arrays, as a gallery: seed 004's authors' own, or any in the
same layout.

A folder of names.txt (one a line), pca32.npy (N, 32), local_start.npy (N + 1,), local_xy.npy (M, 2)
px and local_descriptor.npy (M, D) unit vectors; photo i owns the local features local_start[i] to
local_start[i + 1].
"""

import csv
import io
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from pipeline.base.errors import UsageError
from pipeline.base.tables import decoded, list_lines, read_bytes
from stages.gallery import Gallery
from stages.records import PackedFeatures

# px: how far a photo may go on beyond its last feature, for layouts that do not say how large it is
BORDER = 32


def read_published(folder: Path) -> Gallery:
    """Raises UsageError that names the file."""

    def array(name: str, kind: str, *shape: int | None) -> np.ndarray:
        path = folder / name
        try:
            values: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
            if not isinstance(values, np.ndarray):
                raise ValueError("an archive of several")
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise UsageError(
                f"{path}: expected an array of numbers, got {error}; --features is the folder that"
                " holds it"
            ) from None
        fits = len(values.shape) == len(shape) and all(
            want in (None, got) for want, got in zip(shape, values.shape, strict=True)
        )
        if not fits or values.dtype.kind != kind:
            raise UsageError(
                f"{path}: expected shape {tuple('*' if n is None else n for n in shape)} of kind"
                f" {kind}, got {values.shape} {values.dtype}"
            )
        return values

    try:
        data = (folder / "names.txt").read_bytes()
    except OSError as error:
        raise UsageError(
            f"{folder / 'names.txt'}: expected the photos' names, got {error}; --features is the"
            " folder that holds it"
        ) from None
    names = list_lines(decoded(folder / "names.txt", data))
    start = array("local_start.npy", "i", len(names) + 1).astype(np.int64)
    xy = array("local_xy.npy", "f", None, 2)
    unit = array("local_descriptor.npy", "f", len(xy), None)
    if start[0] != 0 or start[-1] != len(xy) or (np.diff(start) < 0).any():
        raise UsageError(
            f"{folder / 'local_start.npy'}: expected ascending rows from 0 to {len(xy)}, got"
            f" {start[0]} to {start[-1]}"
        )
    descriptor = np.empty(unit.shape, np.int8)
    for rows in range(0, len(unit), 1 << 16):  # so that the float32 copy stays small
        descriptor[rows : rows + (1 << 16)] = np.rint(
            unit[rows : rows + (1 << 16)].astype(np.float32) * 127
        )
    points, count = np.ascontiguousarray(xy, np.float32), np.diff(start)
    size = np.full((len(names), 2), BORDER, np.int32)
    some = np.flatnonzero(count)
    size[some] += (
        np.ceil(np.maximum.reduceat(points, start[some])).astype(np.int32) if len(some) else 0
    )
    score = np.zeros(len(points), np.float32)
    if len(unit) and np.abs(unit).max() > 1.01:
        raise UsageError(
            f"{folder / 'local_descriptor.npy'}: expected unit vectors, got numbers up to"
            f" {np.abs(unit).max():.3g}"
        )
    features = PackedFeatures(
        ((points, descriptor, score),), np.zeros(len(names), np.int32), start[:-1], count, size
    )
    try:
        return Gallery.from_arrays(
            names, np.asarray(array("pca32.npy", "f", len(names), 32), np.float32), features
        )
    except ValueError as error:  # names that are there twice, codes that are no numbers
        raise UsageError(f"{folder}: {error}") from None


def read_table(folder: Path) -> dict[str, list[float]]:
    """Seed 004's Table 2 by query, for 1.5, 2, ... 5 times ten candidates; nothing where the folder
    has no table2_published.csv.
    """
    path = folder / "table2_published.csv"
    if not path.is_file():
        return {}
    try:
        text = decoded(path, read_bytes(path))
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row and row[0]]
        table = {Path(name).stem: [float(value) for value in values] for name, *values in rows}
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path}: expected a photo and eight numbers a row, got {error}") from None
    if any(len(values) != 8 for values in table.values()):
        raise UsageError(f"{path}: expected a photo and eight numbers a row, got another count")
    return table
