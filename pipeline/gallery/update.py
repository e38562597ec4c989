"""Bring a gallery up to date with a folder of photos.

Each thread decodes and encodes one photo at a time while the caller's commits what is ready: at
least every two seconds of work or 64 photos, and only then does the bar count them.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.names import HASHING, OF_THEIR_OWN
from pipeline.gallery.encode import Failed, Same, encode_file

if TYPE_CHECKING:
    from pipeline.base.images import Found
    from pipeline.gallery.binding import Binding
    from pipeline.gallery.encode import Outcomes
    from pipeline.gallery.store import Encoded, Entry
    from pipeline.gallery.writer import GalleryWriter
    from pipeline.graph import Graph

COMMIT_PHOTOS = 64
COMMIT_SECONDS = 2.0


def in_threads(
    work: "Callable[[Found], Encoded | Failed | Same]", items: "list[Found]", threads: int
) -> "Iterator[Encoded | Failed | Same]":
    """`map` on threads that never runs far ahead of its reader, so that memory stays flat."""
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Encoded | Failed | Same]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) > 2 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def index_folder(
    photos: Path,
    writer: "GalleryWriter",
    encoder: "Callable[[], Graph]",
    threads: int,
    *,
    prune: bool,
    quiet: bool = False,
    elsewhere: "Callable[[list[Found], dict[str, Entry]], Outcomes] | None" = None,
    listed: "Iterable[Found] | None" = None,
) -> dict[str, int]:
    """Bring the gallery up to date with the folder. Returns the counts that the command prints.

    `encoder` gives the encode half of the recipe; it is not asked when no photo is new, or where
    `elsewhere` encodes them. listed: files that somebody else has listed, whose times say nothing
    of what goes with them: each is compared by its contents.
    """
    from tqdm import tqdm

    from pipeline.base.images import find_photos

    known = writer.known()
    counts = dict.fromkeys(("indexed", "unchanged", "failed", "removed"), 0)
    todo, gone = [], set(known)
    with (writer.folder / "errors.jsonl").open("w", encoding="utf-8") as errors:

        def fail(name: str, reason: str) -> None:
            counts["failed"] += 1
            errors.write(json.dumps({"path": name, "reason": reason}) + "\n")
            errors.flush()

        for found in find_photos(photos) if listed is None else listed:
            gone.discard(found.name)
            if found.reason is not None:
                fail(found.name, found.reason)
                # unread, not vanished
                gone -= {
                    name
                    for name in gone
                    if found.name.endswith("/") and name.startswith(found.name)
                }
            elif listed is None and _unchanged(found.path, known.get(found.name)):
                counts["unchanged"] += 1
            else:
                todo.append(found)
        if todo:
            if elsewhere is None:
                encode = encoder()
                rows = in_threads(
                    lambda found: encode_file(found, known.get(found.name), encode), todo, threads
                )
            else:
                rows = elsewhere(todo, known)
            batch: list[Encoded] = []
            committed = time.monotonic()
            with tqdm(
                total=len(todo), desc="index", unit="photo", disable=quiet, mininterval=0.5
            ) as bar:
                for done in rows:
                    if isinstance(done, Failed):
                        fail(done.name, done.reason)
                        bar.update()
                    elif isinstance(done, Same):
                        writer.touch(done.name, done.entry)
                        counts["unchanged"] += 1
                        bar.update()
                    else:
                        batch.append(done)
                    if len(batch) >= COMMIT_PHOTOS or (
                        batch and time.monotonic() - committed > COMMIT_SECONDS
                    ):
                        _commit(writer, batch, bar.update, counts)
                        committed = time.monotonic()
                _commit(writer, batch, bar.update, counts)
    if prune and gone:
        writer.remove(gone)
        counts["removed"] = len(gone)
    writer.compact()
    return counts


def _commit(
    writer: "GalleryWriter",
    batch: "list[Encoded]",
    count: "Callable[[int], object]",
    counts: dict[str, int],
) -> None:
    writer.add(batch)
    count(len(batch))
    counts["indexed"] += len(batch)
    batch.clear()


def _unchanged(path: Path, known: "Entry | None") -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return known is not None and (found.st_size, found.st_mtime_ns) == (known.size, known.mtime_ns)


def bind(
    gallery: Path,
    model: str | None,
    photos: Path,
    recipe: str | None = None,
    bits: int | None = None,
    precision: str | None = None,
) -> "Binding":
    """What this gallery's numbers are made by: the model and the precision asked for, else those it
    remembers, else the recipe's own.
    """
    from pipeline.base.errors import GalleryError, ModelError
    from pipeline.gallery.binding import Binding, check_recipe
    from pipeline.gallery.store import read_binding
    from pipeline.model.card import (
        DEFAULT,
        default_model,
        default_precision,
        find_model,
        read_identity,
        read_settings,
    )

    try:
        made = read_binding(gallery)
    except GalleryError:
        made = None
    if made is not None and (recipe, bits) != (None, None):
        check_recipe(gallery, made, read_settings(made.where).bits if bits else 0, recipe, bits)
    where = model or (made.where if made else default_model(recipe, bits))
    if model is not None and Path(model).is_dir():
        where = str(find_model(model))
    settings = read_settings(where)
    length = f" at {settings.bits} bits" if settings.recipe in HASHING else ""
    if recipe is not None and settings.recipe != (recipe if recipe in OF_THEIR_OWN else DEFAULT):
        raise ModelError(
            f"model {where}: expected one of recipe {recipe}, got one of {settings.recipe}{length};"
            " run with another `--model`"
        )
    if bits not in (None, settings.bits if length else None):
        raise ModelError(
            f"model {where}: expected a code of {bits} bits, got recipe {settings.recipe}{length};"
            " run with another `--model`"
        )
    if precision is None:
        precision = made.precision if made else default_precision(where)
    identity = read_identity(where, precision)
    return Binding(*identity, where, str(photos.resolve()), settings.recipe, precision)
