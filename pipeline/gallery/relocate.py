"""Files whose bytes a gallery knows already: photos that moved, were copied, or have changed by
their time alone. None of them is encoded again.
"""

import hashlib
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.base.errors import ImageError, UsageError
from pipeline.base.folders import Found, find_photos
from pipeline.base.images import read_photo
from pipeline.gallery.store import Encoded, Entry

if TYPE_CHECKING:
    from pipeline.gallery.roots import Root, Roots
    from pipeline.gallery.writer import GalleryWriter

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
COMMIT_PHOTOS = 256


def in_threads(
    work: Callable[[Item], Outcome], items: Sequence[Item], threads: int
) -> Iterator[Outcome]:
    """`map` on threads that never runs far ahead of its reader, so that memory stays flat."""
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Outcome]] = deque()
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


def entry_of(path: Path) -> tuple[Entry, bytes]:
    """A file's bytes, and what the manifest keeps of it. Raises ImageError or OSError."""
    status = path.stat()  # before it is read: a later change shows
    data = read_photo(path)
    digest = hashlib.sha256(data).hexdigest()
    return Entry(digest, len(data), status.st_mtime_ns, status.st_ctime_ns), data


def unchanged(path: Path, known: Entry | None) -> bool:
    """By size and both times, without reading it."""
    try:
        found = path.stat()
    except OSError:
        return False
    return known is not None and (found.st_size, found.st_mtime_ns, found.st_ctime_ns) == (
        known.size,
        known.mtime_ns,
        known.ctime_ns,
    )


def relocate(
    todo: Sequence[Found],
    writer: "GalleryWriter",
    known: dict[str, Entry],
    gone: Set[str],
    threads: int,
    *,
    quiet: bool = False,
) -> tuple[list[Found], dict[str, int], set[str]]:
    """Of files that are new or look changed, take in those whose bytes are known.

    known: all indexed photos; gone: those whose files are not there any more, though their folders
    are: one of equal bytes has moved. Returns the files that are left, what was done, and the
    photos that have moved, by the names that they had.
    """
    if not known:
        return list(todo), {}, set()
    places, roots = writer.places(), writer.binding.photos
    named: dict[str, list[str]] = defaultdict(list)
    for name in known:
        named[known[name].sha256].append(name)
    counts, rest, moved = dict.fromkeys(("unchanged", "moved", "copied"), 0), set(), set()
    copies: list[Encoded] = []
    renamed: list[tuple[str, str, Entry]] = []

    def commit() -> None:
        writer.add(copies)
        writer.rename(renamed)
        copies.clear()
        renamed.clear()

    for found, entry in _compared(todo, known, threads, quiet):
        before = known.get(found.name)
        if entry is None or entry.sha256 not in places:
            rest.add(found.name)
        elif before is not None and before.sha256 == entry.sha256:
            renamed.append((found.name, found.name, entry))
            counts["unchanged"] += 1
        elif source := next(
            (name for name in named[entry.sha256] if _moved(name, gone, roots)), None
        ):
            named[entry.sha256].remove(source)
            renamed.append((source, found.name, entry))
            moved.add(source)
            counts["moved"] += 1
        else:
            copies.append(Encoded(found.name, entry, *writer.stored(*places[entry.sha256])))
            counts["copied"] += 1
        if len(copies) + len(renamed) >= COMMIT_PHOTOS:
            commit()
    commit()
    return [found for found in todo if found.name in rest], counts, moved


def _compared(
    todo: Sequence[Found], known: dict[str, Entry], threads: int, quiet: bool
) -> Iterator[tuple[Found, Entry | None]]:
    """Each file with what it holds, or None where no known photo is of its size."""
    from tqdm import tqdm

    sizes = {entry.size for entry in known.values()}

    def one(found: Found) -> tuple[Found, Entry | None]:
        try:
            if os.stat(found.path).st_size not in sizes:
                return found, None
            return found, entry_of(found.path)[0]
        except (OSError, ImageError):
            return found, None  # encoding it says why it cannot be read

    bar = tqdm(total=len(todo), desc="compare", unit="file", disable=quiet, delay=1)
    with bar:
        for each in in_threads(one, todo, threads):
            yield each
            bar.update()


def _moved(name: str, gone: Set[str], roots: "Roots") -> bool:
    """Whether an indexed photo's file is not there any more, though its folder is."""
    return name in gone or (
        not os.path.lexists(roots.file(name)) and is_there(roots.split(name)[0])
    )


def is_there(root: "Root") -> bool:
    """Whether a folder of photos is to be had: a disk that is not mounted leaves an empty one."""
    try:
        with os.scandir(root.path) as entries:
            return any(True for _ in entries)
    except OSError:
        return False


def rebind(
    writer: "GalleryWriter", old: "Root", new: str, threads: int, *, quiet: bool = False
) -> None:
    """A folder of photos is elsewhere now. Raises UsageError where fewer than half of its photos
    are there, byte for byte, under whatever name.
    """
    roots = writer.binding.photos
    prefix = roots.prefix(old)
    mine = {
        name.removeprefix(prefix): entry
        for name, entry in writer.known().items()
        if name.startswith(prefix)
    }
    try:
        found = list(find_photos(Path(new), exclude=old.exclude, follow_links=old.follow_links))
    except ImageError as error:
        raise UsageError(f"{new}: {error}") from None
    there = [each for each in found if each.reason is None]
    held = {
        each.name: entry
        for each, entry in _compared(there, mine, threads, quiet)
        if entry is not None
    }
    contents = {entry.sha256 for entry in held.values()}
    same = sum(entry.sha256 in contents for entry in mine.values())
    if 2 * same < len(mine):
        raise UsageError(
            f"{new}: expected the photos of {old.path}, got {same} of {len(mine)} as they were"
            f" indexed; index it as a folder of its own: `python -m pipeline.index {new}` with this"
            " `--gallery`"
        )
    writer.remember(roots.moving(old.path, new))
    writer.rename(
        (prefix + name, prefix + name, entry)
        for name, entry in held.items()
        if name in mine and mine[name].sha256 == entry.sha256
    )
