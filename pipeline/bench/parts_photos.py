"""The photos of `scripts/bench.py parts`: which are asked for, and in which order others join them.

Truth files are CSVs with the header `query,relevant`. A path stands for the photo whose path agrees
with it in most parts from the end, the file's name at least: galleries of one set of photos may
have been made from different folders.

Padding is a folder of files `NNNN.npz`, as `scripts/prepare.py padding` makes them, read in the
order of their names: `n` (P,) uint16, the features of each of P photos, and `d` (T, 40) int8, their
descriptors end to end, strongest first within a photo; T is the sum of n.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile

import numpy as np

from pipeline.base.errors import UsageError
from pipeline.base.lookup import spellings
from pipeline.base.names import printable
from pipeline.base.truth import truth_rows
from pipeline.gallery.store import Reading
from stages.records import Int8, Int64, LocalFeatures, PackedFeatures, UInt16

LOG = logging.getLogger(__name__)
Truth = dict[int, frozenset[int]]  # row of the gallery that asks -> rows that are relevant to it


class Ends:
    """Paths by how they end."""

    def __init__(self, names: Sequence[str]) -> None:
        self.rows: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for row, name in enumerate(names):
            parts = PurePosixPath(name).parts
            for begin in range(len(parts)):
                self.rows[parts[begin:]].append(row)

    def row(self, name: str) -> int | None:
        """Of the path that agrees with `name` in most parts from the end; None where none or
        several do.
        """
        parts = PurePosixPath(name).parts
        found = next(
            (rows for begin in range(len(parts)) if (rows := self.rows.get(parts[begin:]))), []
        )
        return found[0] if len(found) == 1 else None


def read_truth(path: Path, asking: Ends, asked: Ends) -> Truth:
    """Raises UsageError with the line's number."""
    relevant: dict[int, set[int]] = defaultdict(set)
    for line, query, answer in truth_rows(path):
        rows = []
        for name, ends in ((query, asking), (answer, asked)):
            row = next(
                (row for each in spellings(name) if (row := ends.row(each)) is not None), None
            )
            if row is None:
                raise UsageError(
                    f"{path}: line {line}: expected the path of one photo of"
                    f" {'--queries' if ends is asking else '--gallery'}, got"
                    f" {printable(name)}; index it, or correct the path"
                )
            rows.append(row)
        relevant[rows[0]].add(rows[1])
    return {query: frozenset(rows) for query, rows in relevant.items()}


@dataclass(frozen=True, eq=False)
class Padding:
    """Descriptors of photos that nobody asks for, file by file."""

    files: tuple[Path, ...]
    counts: tuple[UInt16, ...]  # (P,) of each file: the features of its photos
    first: Int64  # (files + 1,) the number of each file's first photo

    @classmethod
    def open(cls, folder: Path | None) -> "Padding":
        """None: of no photos. Raises UsageError."""
        files = () if folder is None else tuple(sorted(folder.glob("[0-9]*.npz")))
        if folder is not None and not files:
            raise UsageError(
                f"--padding {folder}: expected files NNNN.npz, got none; run `python"
                f" scripts/prepare.py padding PHOTOS --out {folder}`"
            )
        counts = tuple(_read(file)[0] for file in files)
        first = np.cumsum([0, *map(len, counts)], dtype=np.int64)
        return cls(files, counts, first)

    def __len__(self) -> int:
        return int(self.first[-1])

    def descriptors(self, begin: int, end: int) -> Iterator[Int8]:
        """(M, D) of each photo from begin to end, not more of a file than is needed."""
        for place, file in enumerate(self.files):
            low, high = int(self.first[place]), int(self.first[place + 1])
            if low < end and begin < high:
                counts, whole = _read(file)
                starts = np.cumsum([0, *counts.tolist()])
                for photo in range(max(begin, low) - low, min(end, high) - low):
                    yield whole[starts[photo] : starts[photo + 1]]


def _read(file: Path) -> tuple[UInt16, Int8]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            counts, whole = arrays["n"], arrays["d"]
        if counts.dtype != np.uint16 or counts.ndim != 1:
            raise ValueError(f"n {counts.dtype} {counts.shape}")
        if whole.dtype != np.int8 or whole.ndim != 2 or len(whole) != counts.sum():
            raise ValueError(f"d {whole.dtype} {whole.shape} for {counts.sum()} features")
        return counts, whole
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UsageError(
            f"{file}: expected n (P,) uint16 and d (T, D) int8 of P photos, got {error}; move it"
            " away"
        ) from None


@dataclass(frozen=True, eq=False)
class Photos:
    """All that there are, in the order in which they join: those that are relevant to a query,
    then other photos of the gallery, then padding.
    """

    features: PackedFeatures  # of the gallery
    order: Int64  # (N,) the gallery's rows
    padding: Padding
    place: dict[int, int] = field(default_factory=dict)  # row of the gallery -> place in the order

    @classmethod
    def of(cls, reading: Reading, truths: Sequence[Truth], padding: Padding, seed: int) -> "Photos":
        """What is not relevant joins in an order drawn by seed."""
        wanted = sorted({row for truth in truths for rows in truth.values() for row in rows})
        drawn = np.random.default_rng(seed).permutation(len(reading.names))
        order = np.concatenate([np.array(wanted, np.int64), drawn[~np.isin(drawn, wanted)]])
        return cls(
            reading.features, order, padding, {row: at for at, row in enumerate(order.tolist())}
        )

    def __len__(self) -> int:
        return len(self.order) + len(self.padding)

    def batches(self, begin: int, end: int, many: int) -> Iterator[list[LocalFeatures]]:
        """Places begin to end of the order, so many photos at once at most."""
        batch: list[LocalFeatures] = []
        for seen in self._each(begin, end):
            batch.append(seen)
            if len(batch) == many:
                yield batch
                batch = []
        if batch:
            yield batch

    def _each(self, begin: int, end: int) -> Iterator[LocalFeatures]:
        mine = len(self.order)
        for row in self.order[begin:end].tolist():
            yield self.features[row]
        for descriptor in self.padding.descriptors(max(0, begin - mine), max(0, end - mine)):
            nowhere = np.zeros((len(descriptor), 2), np.float32)
            yield LocalFeatures(nowhere, descriptor, np.zeros(len(descriptor), np.float32), (1, 1))
