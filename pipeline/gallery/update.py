"""Bring a gallery up to date with its folders of photos.

Each thread decodes and encodes one photo at a time while the caller's commits what is ready: at
least every two seconds of work or 64 photos, and only then does the bar count them.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.errors import ImageError, UsageError
from pipeline.gallery.encode import Failed, Same, encode_file
from pipeline.gallery.relocate import in_threads, relocate, unchanged

if TYPE_CHECKING:
    from pipeline.base.folders import Found
    from pipeline.gallery.encode import Outcomes
    from pipeline.gallery.roots import Root, Roots
    from pipeline.gallery.store import Encoded, Entry
    from pipeline.gallery.writer import GalleryWriter
    from pipeline.graph import Graph

COMMIT_PHOTOS = 64
COMMIT_SECONDS = 2.0
PROGRESS = "progress.json"  # while a run is at work: how many photos are done, and of how many
SAY_SECONDS = 1.0

Fail = Callable[[str, str], None]  # a file's name, and why it is no photo


def update(
    roots: "Sequence[Root]",
    writer: "GalleryWriter",
    encoder: "Callable[[], Graph]",
    threads: int,
    *,
    prune: bool,
    prune_most: bool = False,
    quiet: bool = False,
    elsewhere: "Callable[[list[Found], dict[str, Entry]], Outcomes] | None" = None,
    listed: "Iterable[Found] | None" = None,
) -> dict[str, int]:
    """Bring the gallery up to date with some of its folders. Returns the counts that the command
    prints.

    `encoder` gives the encode half of the recipe; it is not asked when no photo is new, or where
    `elsewhere` encodes them. prune: drop photos whose files have vanished, also where a folder
    lacks most of its photos if `prune_most`. listed: files that somebody else has listed, whose
    times say nothing of what goes with them: each is compared by its contents. Raises UsageError.
    """
    counts = dict.fromkeys(
        (
            "indexed",
            "unchanged",
            "moved",
            "copied",
            "failed",
            "removed",
            "vanished",
            "excluded",
        ),
        0,
    )
    known, every = writer.known(), writer.binding.photos
    with _errors(writer.folder, every, roots) as write:

        def fail(name: str, reason: str) -> None:
            counts["failed"] += 1
            write(name, reason)

        todo, gone = [], {}
        for root in roots:
            new, gone[root] = _walked(root, every, known, counts, fail, listed)
            todo += new
        if listed is None and todo:
            settled = {name for root in roots if gone[root].settled for name in gone[root].names}
            todo, done, moved = relocate(todo, writer, known, settled, threads, quiet=quiet)
            for count, number in done.items():
                counts[count] += number
            gone = {
                root: replace(missing, names=missing.names - moved)
                for root, missing in gone.items()
            }
        if prune and not prune_most:
            for root, missing in gone.items():
                missing.check(root, writer.folder)
        if todo:
            if elsewhere is None:
                encode = encoder()
                rows: Outcomes = in_threads(lambda found: encode_file(found, encode), todo, threads)
            else:
                rows = elsewhere(todo, known)
            _take_in(rows, len(todo), writer, counts, fail, quiet)
    lost = [name for missing in gone.values() for name in (*missing.names, *missing.excluded)]
    if prune and lost:
        writer.remove(lost)
        counts["removed"] = len(lost)
    else:
        counts["vanished"] = sum(len(missing.names) for missing in gone.values())
        counts["excluded"] = sum(len(missing.excluded) for missing in gone.values())
    writer.compact()
    return counts


@dataclass(frozen=True)
class _Gone:
    """Photos of one folder that a walk did not find."""

    names: frozenset[str]  # whose files are not there
    excluded: frozenset[str]  # whose files are there and are left out now
    known: int  # photos that the gallery has of this folder
    settled: bool  # something was found there: it is no disk that is not mounted

    def check(self, root: "Root", gallery: Path) -> None:
        """Raises UsageError where most photos are gone, as those of a disk are that is not
        mounted.
        """
        lost = len(self.names) + len(self.excluded)
        if lost and (not self.settled or 2 * lost > self.known):
            raise UsageError(
                f"--prune: expected most of the {self.known} photos of {root.path} that {gallery}"
                f" has, got {self.known - lost}; if its disk is mounted and they are to be dropped,"
                " run with `--prune-most`"
            )


def _walked(
    root: "Root",
    roots: "Roots",
    every: "dict[str, Entry]",
    counts: dict[str, int],
    fail: Fail,
    listed: "Iterable[Found] | None",
) -> "tuple[list[Found], _Gone]":
    """The files of one folder that have to be read, by the names that photos have; and the photos
    that it lacks. roots: all folders; every: the photos of all.
    """
    from pipeline.base.folders import find_photos

    prefix = roots.prefix(root)
    known = {name: entry for name, entry in every.items() if name.startswith(prefix)}
    todo, gone, settled = [], set(known), False
    if listed is None:
        try:
            listed_here: Iterable[Found] = list(
                find_photos(Path(root.path), exclude=root.exclude, follow_links=root.follow_links)
            )
        except ImageError as error:
            if os.path.lexists(root.path):
                raise UsageError(f"{root.path}: {error}") from None
            listed_here = ()  # asked to be pruned
    else:
        listed_here = listed
    for each in listed_here:
        found = replace(each, name=prefix + each.name)
        settled = True
        gone.discard(found.name)
        if found.reason is not None:
            fail(found.name, found.reason)
            if found.name.endswith("/"):  # unread, not vanished
                gone = {name for name in gone if not name.startswith(found.name)}
        elif listed is None and unchanged(found.path, known.get(found.name)):
            counts["unchanged"] += 1
        else:
            todo.append(found)
    there = {name for name in gone if listed is None and os.path.lexists(roots.file(name))}
    # what cannot be read was not left out
    excluded = {name for name in there if os.access(roots.file(name), os.R_OK)}
    gone -= there - excluded
    return todo, _Gone(frozenset(gone - excluded), frozenset(excluded), len(known), settled)


def _take_in(
    rows: "Outcomes",
    total: int,
    writer: "GalleryWriter",
    counts: dict[str, int],
    fail: Fail,
    quiet: bool,
) -> None:
    """Commit what becomes of each photo, and say how far it is."""
    from tqdm import tqdm

    batch: list[Encoded] = []
    committed = said = time.monotonic()

    def commit() -> None:
        writer.add(batch)
        bar.update(len(batch))
        counts["indexed"] += len(batch)
        batch.clear()

    with (
        _progress(writer.folder, total) as say,
        tqdm(total=total, desc="index", unit="photo", disable=quiet, mininterval=0.5) as bar,
    ):
        for done, row in enumerate(rows, 1):
            if isinstance(row, Failed):
                fail(row.name, row.reason)
                bar.update()
            elif isinstance(row, Same):
                writer.rename([(row.name, row.name, row.entry)])
                counts["unchanged"] += 1
                bar.update()
            else:
                batch.append(row)
            now = time.monotonic()
            if len(batch) >= COMMIT_PHOTOS or (batch and now - committed > COMMIT_SECONDS):
                commit()
                committed = now
            if now - said > SAY_SECONDS:
                say(done)
                said = now
        commit()


@contextmanager
def _progress(folder: Path, total: int) -> "Iterator[Callable[[int], None]]":
    """What tells others how far the run is: a file that is there only while it is at work."""
    path = folder / PROGRESS

    def say(done: int) -> None:
        with suppress(OSError):  # a full disk ends the run where photos are lost by it
            beside = path.with_name(path.name + ".tmp")
            beside.write_text(json.dumps({"done": done, "todo": total, "at": time.time()}))
            os.replace(beside, path)

    say(0)
    try:
        yield say
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _errors(
    folder: Path, known: "Roots", asked: "Sequence[Root]"
) -> "Iterator[Callable[[str, str], None]]":
    """The list of files that could not be read, written anew; what was listed of folders that this
    run is not about stays.
    """
    path = folder / "errors.jsonl"
    others = tuple(known.prefix(root) for root in known.each if root not in asked)
    kept = []
    if others:
        with suppress(OSError, ValueError, LookupError, TypeError):  # damaged: written anew
            for line in path.read_text("utf-8").splitlines():
                said = json.loads(line)
                if not said["path"].startswith(known.labels):  # its folder was the only one then
                    said["path"] = known.labels[0] + said["path"]
                if said["path"].startswith(others):
                    kept.append(json.dumps(said))
    with path.open("w", encoding="utf-8") as file:

        def write(name: str, reason: str) -> None:
            file.write(json.dumps({"path": name, "reason": reason}) + "\n")
            file.flush()

        for line in kept:
            file.write(line + "\n")
        file.flush()
        yield write
