"""Walk a folder for its photos: which files are taken, which are left out, and which are named with
the reason why they cannot be.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.decode import words
from pipeline.base.errors import ImageError, UsageError
from pipeline.base.formats import SUFFIXES
from pipeline.base.images import is_photo

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

# what systems keep beside people's photos: thumbnails, previews, deleted files and old versions.
# Hidden folders are left out anyway.
SYSTEM = (
    "@eaDir/",  # Synology
    "@tmp/",
    "@sharesnap/",
    r"\#recycle/",
    r"\#snapshot/",
    "@Recycle/",  # QNAP
    "@Recently-Snapshot/",
    "$RECYCLE.BIN/",  # Windows
    "$Recycle.Bin/",
    "RECYCLER/",
    "System Volume Information/",
    "Network Trash Folder/",  # macOS
    "__MACOSX/",
    "*.photoslibrary/resources/",
    "*.photoslibrary/database/",
    "*.photoslibrary/private/",
    "*.photolibrary/Thumbnails/",
    "*.photolibrary/Previews/",
    "*.lrdata/",  # Lightroom
    "iPod Photo Cache/",
    "lost+found/",  # Linux
)


@dataclass(frozen=True)
class Found:
    """A file to index, or one to list with the reason why it is not."""

    # relative to the root, '/' between folders, bytes that are not UTF-8 as surrogates; a folder's
    # ends in '/'
    name: str
    path: Path
    reason: str | None = None


def find_photos(
    root: Path,
    suffixes: frozenset[str] = SUFFIXES,
    exclude: Sequence[str] = (),
    follow_links: bool = False,
) -> Iterator[Found]:
    """Walk a folder in the order of its relative paths' bytes and yield what is a photo by suffix
    or by content.

    Hidden files and folders are left out, and what `SYSTEM` and then `exclude` say: patterns as
    .gitignore has them, relative to the root; `!@eaDir/` takes in again what was left out. A linked
    file is followed inside the root, a linked folder never: inside the root its photos are found
    anyway. Links that escape, loop or dangle come with a reason. follow_links: links that leave the
    root are followed, too; a folder that several lead to is walked once. Raises ImageError when the
    root cannot be listed, UsageError for what is no pattern.
    """
    home = os.path.realpath(root)
    left_out = _patterns(exclude)
    walked: set[tuple[int, int]] = set()
    pending = [""]
    while pending:
        name = pending.pop()
        path = Path(root, name)
        if name and not name.endswith("/"):
            if found := _judge(name, path, home, suffixes, follow_links):
                yield found
            continue
        try:
            if follow_links:
                status = os.stat(path)
                if (status.st_dev, status.st_ino) in walked:
                    continue
                walked.add((status.st_dev, status.st_ino))
            with os.scandir(path) as entries:
                # With its '/' a folder's name stands exactly where the paths inside it do.
                inside = [
                    name + entry.name + ("/" if _enters(entry, home, follow_links) else "")
                    for entry in entries
                    if not entry.name.startswith(".")
                ]
        except OSError as error:
            reason = f"expected a readable folder, got: {words(error)}"
            if not name:
                raise ImageError(reason) from error
            yield Found(name, path, reason)
            continue
        wanted = [each for each in inside if not left_out.match_file(each)]
        pending += sorted(wanted, key=os.fsencode, reverse=True)


def _patterns(exclude: Sequence[str]) -> "GitIgnoreSpec":
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines([*SYSTEM, *exclude])
    except ValueError as error:
        raise UsageError(
            f"--exclude: expected a pattern as .gitignore has it, got {error}"
        ) from None


def _enters(entry: "os.DirEntry[str]", home: str, follow_links: bool) -> bool:
    """Whether it is a folder that is walked."""
    if not entry.is_symlink():
        return entry.is_dir(follow_symlinks=False)
    if not (follow_links and entry.is_dir()):
        return False
    target = os.path.realpath(entry.path)
    return not _within(target, home) and not _leads_up(entry.path, target)


def _within(path: str, folder: str) -> bool:
    return os.path.commonpath([folder, path]) == folder


def _leads_up(link: str | Path, target: str) -> bool:
    return _within(os.path.realpath(os.path.dirname(link)), target)


def _judge(
    name: str, path: Path, home: str, suffixes: frozenset[str], follow_links: bool
) -> Found | None:
    suffix = os.path.splitext(name)[1].lower()
    wanted = suffix in suffixes
    if os.path.islink(path):
        try:
            target = os.path.realpath(path, strict=True)
        except OSError as error:  # without a suffix it may have been a folder full of photos
            return (
                Found(name, path, f"expected a link to a photo, got: {words(error)}")
                if wanted or not suffix
                else None
            )
        folder = os.path.isdir(target)
        if not (follow_links or _within(target, home)):
            return (
                Found(
                    name,
                    path,
                    "expected a link that stays among the photos, got one that leaves them; run"
                    " with `--follow-links` to take in what it leads to",
                )
                if wanted or folder
                else None
            )
        if folder:
            reason = "expected no link to a folder above it, got a loop"
            return Found(name, path, reason) if _leads_up(path, target) else None
    return Found(name, path) if wanted or is_photo(path) else None
