"""Folders of classes as trainings take them: which photo is of which class, and which are to learn
from.
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.base.classes import SPLITS, read_labels, splits_among
from pipeline.base.errors import ImageError, UsageError
from pipeline.base.folders import find_photos

LOG = logging.getLogger("pipeline.training.data")

BACKGROUND = "BACKGROUND_Google"  # Caltech-101's class of everything else
Row = tuple[Path, str, int]  # file, class, key
Parts = dict[str, list[Row]]  # rows to train on, to validate on and to test on


def split_rows(folders: Sequence[Path], rows: Sequence[Row]) -> tuple[Parts, tuple[Path, ...]]:
    """Rows by what they are for, "train", "val" and "test", where every folder holds train/ and
    what is beside it, as ImageFolder has them; else all are to learn from. And where those lie.

    One line says which folders were taken for what. Raises UsageError where one folder holds those
    and another does not.
    """
    parts: Parts = {"train": [], "val": [], "test": []}
    learned: list[Path] = []
    split = 0
    for folder in folders:
        own = {
            path.relative_to(folder).as_posix(): (path, label, key)
            for path, label, key in rows
            if path.is_relative_to(folder)
        }
        tops = splits_among([*own])
        split += bool(tops)
        if tops and "train" not in {SPLITS[top.lower()] for top in tops}:
            raise UsageError(
                f"--data {folder}: expected train/ beside {', '.join(tops)}, got none; name the"
                " folder of the classes to learn from"
            )
        for name, row in own.items():
            parts[SPLITS[name.split("/")[0].lower()] if tops else "train"].append(row)
        learned += [folder / top for top in tops if SPLITS[top.lower()] == "train"] or [folder]
    if not split:
        return {**parts, "train": list(rows)}, tuple(folders)
    named = f"--data {' '.join(map(str, folders))}"
    if split < len(folders):
        raise UsageError(
            f"{named}: expected train/ in all folders or in none, got it in {split} of"
            f" {len(folders)}; name the folders of the classes to learn from"
        )
    does = {"train": "trained on", "val": "validated on", "test": "tested on"}
    said = [f"{len(parts[part]):,} photos {does[part]}" for part in parts if parts[part]]
    said += [] if parts["val"] else ["no val/ beside train/"]
    LOG.info(f"{named}: {', '.join(said)}")
    return parts, tuple(learned)


def list_rows(
    folders: Sequence[Path], flag: str, labels: str | None = None
) -> tuple[list[Row], int]:
    """(file, class, key) of every photo in path order, and how many entries were refused. Raises
    UsageError for a class without photos, and for what `read_labels` refuses.

    labels: which folder is the class, as `read_labels` has it, "parent" the one that the photo lies
    in, or the one above a folder called `images`; None where nobody asks for classes: that one, and
    nothing is said.
    """
    rows, refused = [], 0
    for folder in folders:
        try:
            found = list(find_photos(folder))
        except ImageError as error:
            raise UsageError(f"{flag} {folder}: {error}") from None
        inside = {each.name.split("/", 1)[0] for each in found if not each.name.endswith("/")}
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.is_dir() and not entry.name.startswith(".") and entry.name not in inside:
                raise UsageError(
                    f"{flag} {folder}: expected photos in every class, got none in {entry.name}"
                )
        read = [each.name for each in found if each.reason is None]
        classes = read_labels(read, labels, f"{flag} {folder}") if labels and read else None
        if classes is not None:
            LOG.info(f"{flag} {folder}: {classes}")
        for each in found:
            home = (
                each.path.parent.parent if each.path.parent.name == "images" else each.path.parent
            )
            if each.reason is not None:
                LOG.info(f"{each.path}: {each.reason}; left out")
                refused += 1
                continue
            label = home.name
            if classes is not None and labels != "parent":
                label = classes.of.get(each.name, "")
            if label and label != BACKGROUND:
                rows.append((each.path, label, stable_hash(f"{folder.name}/{each.name}")))
    return rows, refused


def stable_hash(text: str) -> int:
    """64 bits of a text's sha256, the same on every machine."""
    return int.from_bytes(
        hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "little"
    )
