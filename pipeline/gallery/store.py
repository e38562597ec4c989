"""The gallery on disk: a SQLite manifest that says which photos there are, and immutable shards
that hold what they became.

A photo is in the gallery exactly when its manifest row is committed, and that happens only after
its shard is safe on the disk; a kill at any instant leaves at most files that nothing points to,
which the next writer sweeps away.
"""

import os
import shlex
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.base.errors import GalleryError
from pipeline.base.files import file_sha256
from pipeline.gallery.binding import Binding, binding_of
from pipeline.gallery.parts import FOLDER as PARTS
from pipeline.gallery.parts import MEND as MEND_PARTS
from pipeline.gallery.parts import PartsReading, map_segment
from pipeline.gallery.shards import map_shard
from stages.gallery import CodeIndex, Gallery, PartsVotes
from stages.null import Null
from stages.records import Float32, Int32, Int64, LocalFeatures, PackedFeatures

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE shards (id INTEGER PRIMARY KEY AUTOINCREMENT, file TEXT NOT NULL UNIQUE,
                     sha256 TEXT NOT NULL, photos INTEGER NOT NULL);
CREATE TABLE photos (path BLOB PRIMARY KEY, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
                     mtime_ns INTEGER NOT NULL,
                     shard INTEGER NOT NULL REFERENCES shards(id), row INTEGER NOT NULL)
                     WITHOUT ROWID;
CREATE INDEX photos_by_shard ON photos (shard);
PRAGMA user_version = 1;
"""
NOT_ITS_FAULT = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
)


@dataclass(frozen=True)
class Entry:
    """What the manifest knows of a photo's file."""

    sha256: str
    size: int  # bytes
    mtime_ns: int


@dataclass(frozen=True, eq=False)
class Encoded:
    """A photo that has become a row."""

    name: str  # path relative to the photos' folder, surrogateescape where it is not UTF-8
    entry: Entry
    pooled: Float32  # (2, C) float16-rounded
    code: Float32  # (D,)
    features: LocalFeatures


@contextmanager
def connected(folder: Path, *, create: bool = False) -> Iterator[sqlite3.Connection]:
    """The manifest, open; whatever SQLite finds wrong with it meanwhile is a GalleryError."""
    manifest = folder / "manifest.sqlite"
    if not create and not manifest.is_file():
        raise GalleryError(
            f"gallery {folder}: expected a folder with manifest.sqlite, got none; run"
            f" {index_command('PHOTOS', folder)}"
        )
    try:
        with closing(sqlite3.connect(manifest, isolation_level=None, timeout=30)) as connection:
            _prepare(connection, folder, create)
            yield connection
    except sqlite3.ProgrammingError:
        raise
    # sqlite3 decodes even the names it complains of
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in NOT_ITS_FAULT:
            raise GalleryError(
                f"gallery {manifest}: expected a manifest that can be used, got {error}; see to"
                " that and run again"
            ) from None
        raise _damaged(folder, str(error)) from None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        if connection.in_transaction:  # a full disk has rolled back already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _prepare(connection: sqlite3.Connection, folder: Path, create: bool) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, 1):
        raise GalleryError(
            f"gallery {folder}: expected manifest version 1, got {version}: made by a newer"
            " release; upgrade, or index into a new folder"
        )
    if version == 0 and not create:
        raise _empty(folder)
    if version == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
    # 60 ms for 100,000 photos
    if (found := connection.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
        raise _damaged(folder, found)


def _damaged(folder: Path, got: str) -> GalleryError:
    got, mend = " ".join(got.split()), index_command("PHOTOS", folder)
    return GalleryError(
        f"gallery {folder / 'manifest.sqlite'}: expected a SQLite manifest, got {got}; move the"
        f" folder away and run {mend}"
    )


def _empty(folder: Path) -> GalleryError:
    return GalleryError(
        f"gallery {folder}: expected an indexed gallery, got an empty one; run"
        f" {index_command('PHOTOS', folder)}"
    )


def index_command(photos: str, folder: Path) -> str:
    """The command that makes or mends a gallery."""
    return f"`python -m pipeline.index {shlex.quote(photos)} --gallery {shlex.quote(str(folder))}`"


def read_binding(folder: Path) -> Binding:
    """By what a gallery was made. Raises GalleryError when there is none."""
    with connected(folder) as connection:
        return _binding(connection, folder)


def read_meta(connection: sqlite3.Connection) -> dict[str, str]:
    return {
        key: os.fsdecode(value) for key, value in connection.execute("SELECT key, value FROM meta")
    }


def _binding(connection: sqlite3.Connection, folder: Path) -> Binding:
    try:
        return binding_of(read_meta(connection))
    except KeyError:
        raise _empty(folder) from None


@dataclass(frozen=True, eq=False)
class ShardRows:
    """Rows of arrays in several shards, read when one is asked for."""

    shards: tuple[np.ndarray, ...]
    shard: Int32  # (N,)
    row: Int64  # (N,) in that shard

    def __len__(self) -> int:
        return len(self.row)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, place: int) -> np.ndarray:
        found: np.ndarray = self.shards[self.shard[place]][self.row[place]]
        return found


@dataclass(frozen=True, eq=False)
class Reading:
    """One consistent version of a gallery, whatever a writer does meanwhile."""

    names: tuple[str, ...]  # (N,) ascending
    pooled: ShardRows  # (N,) of (2, C) float16
    codes: Float32  # (N, D) as stored: the PCA codes
    features: PackedFeatures  # (N,)
    contents: tuple[str, ...]  # (N,) sha256 of each photo's bytes
    null: str  # what pipeline/gallery/chance.py wrote, or nothing
    binding: Binding
    # the index of parts, where it was asked for and all of it is by one codebook
    parts: PartsReading | None = None

    def gallery(
        self,
        codes: Float32,
        null: Null | None = None,
        index: Callable[[Float32], CodeIndex] | None = None,
        parts: Callable[[Int64], PartsVotes] | None = None,
    ) -> Gallery:
        return Gallery.from_arrays(self.names, codes, self.features, null, index, parts)


def read_gallery(folder: Path, *, parts: bool = False) -> Reading:
    """Open for answering; parts: with the index of parts. Raises GalleryError, also when a single
    byte of a shard differs from what was written.
    """
    for attempt in range(5):
        with connected(folder) as connection:
            connection.execute("BEGIN")
            binding = _binding(connection, folder)
            shards = dict(connection.execute("SELECT id, file FROM shards"))
            digests = dict(connection.execute("SELECT id, sha256 FROM shards"))
            rows = connection.execute(
                "SELECT path, shard, row, sha256 FROM photos ORDER BY path"
            ).fetchall()
            null = read_meta(connection).get("null", "")
            segments = _segments(connection) if parts else []
            connection.execute("COMMIT")
        try:
            maps = [
                map_shard(
                    _checked(
                        folder / "shards" / shards[shard],
                        digests[shard],
                        "shard",
                        index_command(binding.photos, folder),
                    )
                )
                for shard in sorted(shards)
            ]
            index = _read_parts(folder, segments)
        except FileNotFoundError as error:
            if attempt < 4:
                continue  # a writer merged shards between our two looks: read its newer version
            of_parts = Path(str(error.filename)).parent.name == PARTS
            what = "index of parts" if of_parts else "shards"
            mend = _mend_parts(folder) if of_parts else index_command(binding.photos, folder)
            raise GalleryError(
                f"gallery {folder}: expected its {what}, got none: files were removed; run {mend}"
            ) from None
        break
    try:
        if len({(shard, row) for _, shard, row, _ in rows}) < len(rows):
            raise ValueError("two photos in one place")
        whole = _assemble(rows, sorted(shards), maps, null, binding)
        return replace(whole, parts=index)
    # rows that point nowhere
    except (IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise _damaged(folder, str(error)) from None


def _segments(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """(file, sha256, codebook) of each segment of parts; none in a gallery from before there were
    any.
    """
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'parts'").fetchone()
    found = "SELECT file, sha256, codebook FROM parts ORDER BY id"
    return connection.execute(found).fetchall() if known else []


def _read_parts(folder: Path, segments: Sequence[tuple[str, str, str]]) -> PartsReading | None:
    """None where there are no segments, or they are not all by one codebook."""
    if len({codebook for *_, codebook in segments}) != 1:
        return None
    mend = _mend_parts(folder)
    try:
        stored = tuple(
            map_segment(_checked(folder / PARTS / file, digest, "index of parts", mend))
            for file, digest, _ in segments
        )
    except (ValueError, LookupError) as error:  # the manifest vouches for what is no segment
        raise GalleryError(
            f"gallery {folder}: expected an index of parts, got {error}; run {mend}"
        ) from None
    return PartsReading(segments[0][2], stored)


def _mend_parts(folder: Path) -> str:
    return f"`{MEND_PARTS} {shlex.quote(str(folder))}`"


def _checked(path: Path, digest: str, what: str, mend: str) -> Path:
    """The file, when it holds what was written. Raises GalleryError, and FileNotFoundError."""
    try:
        got = file_sha256(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise GalleryError(
            f"gallery {what} {path}: expected a readable file, got {error.strerror}; run {mend}"
        ) from None
    if got != digest:
        raise GalleryError(
            f"gallery {what} {path}: expected sha256 {digest[:12]}, got {got[:12]}: the file is"
            f" damaged; run {mend}"
        )
    return path


def _assemble(
    rows: list[tuple[bytes, int, int, str]],
    shards: list[int],
    maps: list[dict[str, np.ndarray]],
    null: str,
    binding: Binding,
) -> Reading:
    place = {shard: i for i, shard in enumerate(shards)}
    block = np.array([place[shard] for _, shard, _, _ in rows], np.int32)
    row = np.array([r for _, _, r, _ in rows], np.int64)
    gathered: dict[str, np.ndarray] = {}
    for name, dtype in (
        ("code", np.float32),
        ("size", np.int32),
        ("start", np.int64),
        ("stop", np.int64),
    ):
        tail = (
            maps[0]["start" if name == "stop" else name].shape[1:]
            if maps
            else {"code": (0,), "size": (2,)}.get(name, ())
        )
        gathered[name] = np.empty((len(rows), *tail), dtype)
        for i, arrays in enumerate(maps):
            mine = block == i
            gathered[name][mine] = (
                arrays["start"][row[mine] + 1] if name == "stop" else arrays[name][row[mine]]
            )
    features = PackedFeatures(
        tuple((m["xy"], m["descriptor"], m["score"]) for m in maps),
        block,
        gathered["start"],
        gathered["stop"] - gathered["start"],
        gathered["size"],
    )
    names, contents = (
        tuple(os.fsdecode(path) for path, *_ in rows),
        tuple(content for *_, content in rows),
    )
    pooled = ShardRows(tuple(m["pooled"] for m in maps), block, row)
    return Reading(names, pooled, gathered["code"], features, contents, null, binding)
