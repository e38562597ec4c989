"""Files that appear whole or not at all, and their digests."""

import hashlib
import os
import shlex
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from pipeline.base.errors import UsageError


def write_whole(path: Path, data: bytes) -> None:
    """The file appears whole under its name or not at all, and stays after a loss of power."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:  # a full disk: no half of it stays
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(contents: Iterable[tuple[str, str]]) -> str:
    """(name, sha256 of the contents) of many files, in any order -> sha256 over both, sorted."""
    return hashlib.sha256(
        b"".join(os.fsencode(f"{content}  {name}\0") for name, content in sorted(contents))
    ).hexdigest()


def as_on_disk(path: Path) -> Path:
    """The same path with its accents as the file system has them, in one or apart, where it is not
    there as it was typed.
    """
    if str(path).isascii() or os.path.lexists(path):
        return path
    there = Path(path.anchor)
    for part in path.parts[len(there.parts) :]:
        ways = (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD")))
        there /= next((way for way in ways if os.path.lexists(there / way)), part)
    return there


def write_file(path: Path, data: bytes) -> None:
    """The file whole, or UsageError."""
    try:
        write_whole(path, data)
    except OSError as error:
        raise UsageError(
            f"{path}: expected a file that can be written, got {error.strerror}"
        ) from None


def check_place(flag: str, path: Path | None) -> None:
    """What would stop a file from being written stops the job before its long work. Raises
    UsageError.
    """
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"{flag} {path}: expected a file, got a folder")
    if not path.resolve().parent.is_dir():
        raise UsageError(
            f"{flag} {path}: expected a file in an existing folder, got none; run `mkdir -p"
            f" {shlex.quote(str(path.parent))}`"
        )


def check_folder(flag: str, folder: Path) -> None:
    """The same for a folder of files, which is made. Raises UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{flag} {folder}: expected a folder, got {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise UsageError(
            f"{flag} {folder}: expected a folder that can be written to, got one that cannot"
        )
