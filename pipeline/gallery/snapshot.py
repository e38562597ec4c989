"""One version of a gallery's manifest, read without writing: from a folder that may only be read,
for another user than the one who made it, and while its writer is at work.

SQLite itself writes beside a database in WAL mode whenever it reads it. Where no log lies beside
the manifest, all of it is in one file: that is copied into memory, and taken if the file is the
same afterwards. Where there is one, its writer is at work or was killed, and SQLite reads both;
what it may not share, a private copy of the two files stands in for.
"""

import os
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

MANIFEST = "manifest.sqlite"
TRIES = 100  # of a manifest that changes each time: its writer's log appears and goes
PAUSE = 0.02  # seconds between two of them
Stamp = tuple[int, ...]  # nothing where there is no file, or nothing in it


def read_version(manifest: Path) -> sqlite3.Connection:
    """A connection that sees one version of it, and that nothing is written by. Raises
    sqlite3.Error.
    """
    log = manifest.with_name(manifest.name + "-wal")
    for _ in range(TRIES):
        try:
            if (version := _try_version(manifest, log)) is not None:
                return version
        except FileNotFoundError:  # its writer ended and took the log away before it was copied
            pass
        time.sleep(PAUSE)
    return _shared(manifest)


def _try_version(manifest: Path, log: Path) -> sqlite3.Connection | None:
    """None where either file changed meanwhile. Raises sqlite3.Error and FileNotFoundError."""
    before = stamp(manifest)
    if not stamp(log):
        copy = _in_memory(manifest)
        if (stamp(manifest), stamp(log)) == (before, ()):
            return copy
        copy.close()
    elif log.with_name(manifest.name + "-shm").exists():
        try:
            return _shared(manifest)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (
                sqlite3.SQLITE_CANTOPEN,
                sqlite3.SQLITE_READONLY,
            ):
                raise
            return _aside(manifest, log)
    else:
        logged = stamp(log)
        copy = _aside(manifest, log)
        if (stamp(manifest), stamp(log)) == (before, logged):
            return copy
        copy.close()
    return None


def stamp(path: Path) -> Stamp:
    """What every change to a file's contents changes."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    if not status.st_size:
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _uri(path: Path, more: str) -> str:
    return f"file:{quote(os.fsencode(path.absolute()))}?mode=ro{more}"


def _in_memory(manifest: Path) -> sqlite3.Connection:
    memory = sqlite3.connect(":memory:", isolation_level=None)
    try:
        with closing(sqlite3.connect(_uri(manifest, "&immutable=1"), uri=True)) as file:
            file.backup(memory)
    except BaseException:
        memory.close()
        raise
    return memory


def _shared(manifest: Path) -> sqlite3.Connection:
    uri = _uri(manifest, "&readonly_shm=1")
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _aside(manifest: Path, log: Path) -> sqlite3.Connection:
    with tempfile.TemporaryDirectory(prefix="two-look-") as folder:
        copy = Path(folder, MANIFEST)
        shutil.copyfile(manifest, copy)
        shutil.copyfile(log, copy.with_name(log.name))
        memory = sqlite3.connect(":memory:", isolation_level=None)
        try:
            with closing(sqlite3.connect(copy)) as file:
                file.backup(memory)
        except BaseException:
            memory.close()
            raise
        return memory
