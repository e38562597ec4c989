"""What the photos of a gallery found in each other, kept beside the gallery, so that photos that
are added or removed cost only themselves.

A SQLite file of its own, known by what made it: model, shortlist and parameters. What it holds is
known by the sha256 of the photos' bytes, so that moved and renamed photos cost nothing. It is
derived data: what is damaged is made again. A search neither reads nor writes it.
"""

import hashlib
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np

from pipeline.base.errors import UsageError
from pipeline.pairs.looks import ROW, SEEN, Look

LOG = logging.getLogger(__name__)
FILE = "groups.sqlite"  # in a gallery's folder
OURS = 0x324C4750  # SQLite's application id: "2LGP"
SCHEMA = f"""
CREATE TABLE made (by TEXT NOT NULL);
CREATE TABLE kept (kind TEXT, key BLOB, value BLOB NOT NULL, sum BLOB NOT NULL,
                   PRIMARY KEY (kind, key)) WITHOUT ROWID;
PRAGMA application_id = {OURS};
"""
SECONDS = 2.0  # of work that a kill may cost


class Evidence:
    """Use `keeping(...)`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.saved = time.monotonic()
        self.damaged = 0

    def look(self, photo: bytes) -> Look | None:
        """What a photo with these contents found; None where it has not asked yet."""
        data = self._value("look", photo)
        if data is None or len(data) < 8 or (len(data) - 8) % ROW.itemsize:
            return None
        return Look(int.from_bytes(data[:8], "little"), np.frombuffer(data, ROW, offset=8))

    def keep_look(self, photo: bytes, look: Look) -> None:
        self._keep("look", photo, look.among.to_bytes(8, "little") + look.rows.tobytes())

    def pair(self, one: bytes, other: bytes) -> np.void | None:
        """What one photo verified with another showed, () of SEEN; None where nobody did so."""
        data = self._value("pair", one + other)
        if data is None or len(data) != SEEN.itemsize:
            return None
        seen: np.void = np.frombuffer(data, SEEN)[0]
        return seen

    def keep_pair(self, one: bytes, other: bytes, seen: np.void) -> None:
        self._keep("pair", one + other, seen.tobytes())

    def sharpness(self, photo: bytes) -> tuple[float, int] | None:
        """Of a photo with these contents, and the bytes of its file; None where nobody measured."""
        data = self._value("sharpness", photo)
        if data is None or len(data) != 16:
            return None
        return float(np.frombuffer(data, "<f8", 1)[0]), int.from_bytes(data[8:], "little")

    def keep_sharpness(self, photo: bytes, sharpness: float, size: int) -> None:
        data = np.array(sharpness, "<f8").tobytes() + size.to_bytes(8, "little")
        self._keep("sharpness", photo, data)

    def forget_others(self, photos: set[bytes]) -> None:
        """Drop what photos found that are not among these, once they are more than these."""
        known = [key for (key,) in self._rows("SELECT key FROM kept WHERE kind = 'look'")]
        if len(known) > 2 * len(photos):
            gone = [key for key in known if key not in photos]
            self.connection.executemany("DELETE FROM kept WHERE substr(key, 1, 32) = ?", zip(gone))

    def save(self) -> None:
        """Raises UsageError on a full disk."""
        self.saved = time.monotonic()
        try:
            self.connection.commit()
        except sqlite3.Error as error:
            raise UsageError(
                f"evidence of groups: expected to write it, got {error}; see to that and run again"
            ) from None

    def _value(self, kind: str, key: bytes) -> bytes | None:
        found = self._rows("SELECT value, sum FROM kept WHERE kind = ? AND key = ?", kind, key)
        if not found:
            return None
        value, total = found[0]
        if not isinstance(value, bytes) or total != _sum(kind, key, value):
            self.damaged += 1
            return None
        return value

    def _rows(self, query: str, *values: object) -> list[tuple[bytes, ...]]:
        """Nothing where the file turns out to be damaged there: it is made again."""
        try:
            return self.connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError:
            self.damaged += 1
            return []

    def _keep(self, kind: str, key: bytes, value: bytes) -> None:
        row = kind, key, value, _sum(kind, key, value)
        try:
            self.connection.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            raise UsageError(
                f"evidence of groups: expected to write it, got {error}; run again, with"
                " `--evidence FILE` where that does not help"
            ) from None
        if time.monotonic() - self.saved >= SECONDS:
            self.save()


def _sum(kind: str, key: bytes, value: bytes) -> bytes:
    return hashlib.sha256(kind.encode() + key + value).digest()[:8]


@contextmanager
def keeping(path: Path | None, made_by: str, *, own: bool) -> Iterator[Evidence]:
    """The evidence of this file, begun where there is none; None: kept in memory alone.

    made_by: what it depends on; evidence that something else made is dropped, with a word. own:
    whether the file is the gallery's, which is replaced where it is damaged; another one is refused
    then. A file or folder that cannot be written to is read, and what is new is not kept. Raises
    UsageError.
    """
    with closing(_opened(path, made_by, own)) as connection:
        evidence = Evidence(connection)
        try:
            yield evidence
        finally:
            if evidence.damaged:
                LOG.info(f"{path}: {evidence.damaged} damaged entries were made again")
            evidence.save()


def _opened(path: Path | None, made_by: str, own: bool) -> sqlite3.Connection:
    if path is None:
        return _begun(_connected(":memory:"), made_by)
    try:
        connection = _connected(str(path))
        try:
            return _begun(connection, made_by, path)
        except sqlite3.DatabaseError:
            connection.close()
            raise
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_NOTADB) & 0xFF
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return _read_only(path, made_by)
        if code not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
            raise UsageError(
                f"{path}: expected evidence that can be used, got {error}; see to that and run"
                " again"
            ) from None
        if not own:
            raise UsageError(
                f"{path}: expected evidence of groups, got another or a damaged file; move it"
                " away, or run with another `--evidence`"
            ) from None
        LOG.info(f"{path}: damaged ({error}); made again")
        for suffix in ("", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _begun(_connected(str(path)), made_by, path)


def _connected(name: str) -> sqlite3.Connection:
    return sqlite3.connect(name, timeout=30, uri=name.startswith("file:"))


def _begun(
    connection: sqlite3.Connection, made_by: str, path: Path | None = None
) -> sqlite3.Connection:
    """Ready to be added to. Raises sqlite3.DatabaseError."""
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not tables:
        connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
    elif connection.execute("PRAGMA application_id").fetchone()[0] != OURS:
        raise sqlite3.DatabaseError("no evidence of groups")
    elif connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise sqlite3.DatabaseError("damaged pages")
    known = connection.execute("SELECT by FROM made").fetchone()
    if known is not None and known[0] != made_by:
        LOG.info(f"{path}: made by another model, or with other candidates; made again")
        connection.executescript("BEGIN IMMEDIATE; DELETE FROM kept; DELETE FROM made; COMMIT;")
    if known is None or known[0] != made_by:
        connection.execute("INSERT INTO made VALUES (?)", (made_by,))
        connection.commit()
    # taken early, so that a file that can only be read is known before the work
    connection.execute("BEGIN IMMEDIATE")
    connection.commit()
    return connection


def _read_only(path: Path, made_by: str) -> sqlite3.Connection:
    LOG.info(
        f"{path}: cannot be written to, so what is found now is not kept; `--evidence FILE` keeps"
        " it elsewhere"
    )
    memory = _connected(":memory:")
    with suppress(sqlite3.Error), closing(_connected(f"{path.resolve().as_uri()}?mode=ro")) as old:
        old.backup(memory)
    try:
        return _begun(memory, made_by, path)
    except sqlite3.DatabaseError:
        return _begun(_connected(":memory:"), made_by)
