"""Queries, training photos and database: the protocols that published tables of hashing use, by
name.

CIFAR-10, 60,000 photos of ten classes: A has 1,000 queries (100 a class), 5,000 training photos
(500 a class) and the other 54,000 as database; B the same with the training photos in the database,
59,000; C asks with the 10,000 test photos, trains on the 50,000 others and searches those.
NUS-WIDE-21: 2,100 queries, 10,500 training photos, all that are no query as database, mAP@5000,
relevant where one label is shared.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.base.errors import ImageError, UsageError
from pipeline.base.folders import find_photos
from pipeline.base.lookup import spellings
from pipeline.base.tables import decoded, list_lines, read_bytes
from stages.records import Int64, UInt8

NAMES = ("A", "B", "C")
QUERIES, TRAIN = 100, 500  # a class, in A and B
LABELS = 21  # of NUS-WIDE-21


@dataclass(frozen=True, eq=False)
class Split:
    """A data set under a protocol; the three parts number its photos."""

    name: str
    paths: tuple[Path, ...]  # (N,)
    labels: UInt8  # (N, L) zeros and ones
    query: Int64
    train: Int64
    database: Int64  # in an order drawn once, so that a sort's ties are not decided by class
    depth: int | None = None  # of mAP; None: all of the database


def cifar10(folder: Path, protocol: str, queries: int = QUERIES, train: int = TRAIN) -> Split:
    """folder/train/CLASS/PHOTO and folder/test/CLASS/PHOTO. The draws of A and B are one for all
    time. Raises UsageError.
    """
    parts = {part: _classes(folder / part) for part in ("train", "test")}
    names = sorted(parts["train"])
    if names != sorted(parts["test"]):
        odd = ", ".join(sorted(set(names) ^ set(parts["test"])))
        raise UsageError(
            f"{folder}: expected the same classes in train and test, got {odd} in one alone"
        )
    paths = [
        (path, label)
        for part in parts.values()
        for label, name in enumerate(names)
        for path in part[name]
    ]
    classes = np.array([label for _, label in paths])
    tested = np.arange(len(paths)) >= sum(map(len, parts["train"].values()))
    if protocol == "C":
        query, train_rows = np.flatnonzero(tested), np.flatnonzero(~tested)
        database = train_rows
    else:
        rng = np.random.default_rng(0)
        drawn = [rng.permutation(np.flatnonzero(classes == label)) for label in range(len(names))]
        if short := [
            names[label] for label, rows in enumerate(drawn) if len(rows) <= queries + train
        ]:
            raise UsageError(
                f"{folder}: expected more than {queries + train} photos a class for protocol"
                f" {protocol}, got fewer of {', '.join(short)}"
            )
        query = np.sort(np.concatenate([rows[:queries] for rows in drawn]))
        train_rows = np.sort(np.concatenate([rows[queries : queries + train] for rows in drawn]))
        database = np.setdiff1d(
            np.arange(len(paths)), query if protocol == "B" else np.concatenate([query, train_rows])
        )
    labels = np.eye(len(names), dtype=np.uint8)[classes]
    database = np.random.default_rng(1).permutation(database)
    return Split(
        f"CIFAR-10 {protocol}",
        tuple(path for path, _ in paths),
        labels,
        query,
        train_rows,
        database,
    )


def _classes(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: expected a folder of classes, got none; it needs DATA/train/CLASS and"
            " DATA/test/CLASS"
        )
    try:
        found = {
            each.name: sorted(photo.path for photo in find_photos(each) if photo.reason is None)
            for each in sorted(folder.iterdir())
            if each.is_dir()
        }
    except ImageError as error:
        raise UsageError(f"{folder}: {error}") from None
    if empty := [name for name, photos in found.items() if not photos]:
        raise UsageError(f"{folder / empty[0]}: expected photos of a class, got none")
    if len(found) < 2:
        raise UsageError(f"{folder}: expected two classes or more, got {len(found)}")
    return found


def nus_wide(lists: Path, photos: Path | None, labels: int = LABELS) -> Split:
    """lists/test.txt, train.txt and database.txt: `PATH 0 1 0 ...`, one photo a line, its labels as
    zeros and ones.

    photos: the folder the paths are relative to; None reads labels alone. A photo of several lists
    is one. Raises UsageError naming file and line.
    """
    rows: dict[str, list[int]] = {}
    parts: dict[str, list[str]] = {}
    for part in ("test", "train", "database"):
        parts[part] = []
        for path, marks in _lines(lists / f"{part}.txt", labels):
            if rows.setdefault(path, marks) != marks:
                raise UsageError(
                    f"{lists / part}.txt: {path}: expected the same labels in every list, got"
                    " others than before"
                )
            parts[part].append(path)
        if len(set(parts[part])) < len(parts[part]):
            twice = next(path for path, times in Counter(parts[part]).items() if times > 1)
            raise UsageError(
                f"{lists / part}.txt: {twice}: expected every photo once, got it again"
            )
    if photos is not None and (missing := [path for path in rows if not (photos / path).is_file()]):
        raise UsageError(
            f"{photos}: expected the photos of the lists, got {len(missing):,} of {len(rows):,}"
            f" missing, the first {missing[0]}"
        )
    place = {path: number for number, path in enumerate(rows)}
    query, train, database = (
        np.array([place[path] for path in parts[part]], np.int64)
        for part in ("test", "train", "database")
    )
    for name, rows_of in (("database", database), ("training photos", train)):
        if len(shared := np.intersect1d(query, rows_of)):
            raise UsageError(
                f"{lists}: expected queries that are no part of the {name}, got {len(shared):,}"
                " that are"
            )
    root = photos or Path()
    return Split(
        "NUS-WIDE-21",
        tuple(root / path for path in rows),
        np.array(list(rows.values()), np.uint8),
        query,
        train,
        database,
        5000,
    )


def _lines(file: Path, labels: int) -> Sequence[tuple[str, list[int]]]:
    found = []
    for number, line in enumerate(list_lines(decoded(file, read_bytes(file)), empty=True), 1):
        if not line:
            continue
        path, *marks = line.split()
        path = list(spellings(path))[-1]
        if len(marks) != labels:
            raise UsageError(f"{file}: line {number}: expected {labels} labels, got {len(marks)}")
        if unknown := [mark for mark in marks if mark not in ("0", "1")]:
            raise UsageError(f"{file}: line {number}: expected labels of 0 or 1, got {unknown[0]}")
        if "1" not in marks:
            raise UsageError(f"{file}: line {number}: expected at least one label, got none")
        found.append((path, [int(mark) for mark in marks]))
    if not found:
        raise UsageError(f"{file}: expected at least one photo, got none")
    return found
