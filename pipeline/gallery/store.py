"""The gallery on disk: a SQLite manifest that says which photos there are, and immutable shards
that hold what they became.

A photo is in the gallery exactly when its manifest row is committed, and that happens only after
its shard is safe on the disk; a kill at any instant leaves at most files that nothing points to,
which the next writer sweeps away.
"""

import os
import shlex
import sqlite3
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import GalleryError
from pipeline.gallery.binding import Binding, binding_of
from pipeline.gallery.contents import Contents
from pipeline.gallery.parts import FOLDER as PARTS
from pipeline.gallery.parts import MEND as MEND_PARTS
from pipeline.gallery.parts import PartsReading, stored_in
from pipeline.gallery.roots import Roots, read_roots
from pipeline.gallery.shards import Blocks, Shard
from pipeline.gallery.snapshot import MANIFEST, read_version
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
# a column that earlier versions neither read nor miss
CTIME = "ALTER TABLE photos ADD COLUMN ctime_ns INTEGER NOT NULL DEFAULT 0"
SEVERAL_ROOTS = 2  # version of a manifest whose names begin with labels, which version 1 lacks
# a table of its own, as that of parts: earlier versions go on reading the manifest
HEADS = "CREATE TABLE IF NOT EXISTS heads (shard INTEGER PRIMARY KEY, sha256 TEXT NOT NULL)"
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
    # the file system's own time of change, which no program sets; 0: not known, by an earlier
    # version
    ctime_ns: int = 0


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
    """The manifest, open: for its writer, or, without `create`, one version of it to read, of which
    nothing is written. Whatever SQLite finds wrong with it meanwhile is a GalleryError.
    """
    manifest = folder / MANIFEST
    if not create and not manifest.is_file():
        raise GalleryError(
            f"gallery {folder}: expected a folder with {MANIFEST}, got none; run"
            f" {index_command('PHOTOS', folder)}"
        )
    try:
        with closing(_opened(manifest) if create else read_version(manifest)) as connection:
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


def _opened(manifest: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(manifest, isolation_level=None, timeout=30)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _prepare(connection: sqlite3.Connection, folder: Path, create: bool) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SEVERAL_ROOTS:
        raise GalleryError(
            f"gallery {folder}: expected manifest version {SEVERAL_ROOTS} or less, got {version}:"
            " made by a newer release; upgrade, or index into a new folder"
        )
    if version == 0 and not create:
        raise _empty(folder)
    if version == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
    if create and not _has_column(connection, "ctime_ns"):
        connection.execute(CTIME)
    # 60 ms for 100,000 photos
    if (found := connection.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
        raise _damaged(folder, found)


def _damaged(folder: Path, got: str) -> GalleryError:
    got, mend = " ".join(got.split()), index_command("PHOTOS", folder)
    return GalleryError(
        f"gallery {folder / MANIFEST}: expected a SQLite manifest, got {got}; move the"
        f" folder away and run {mend}"
    )


def _empty(folder: Path) -> GalleryError:
    return GalleryError(
        f"gallery {folder}: expected an indexed gallery, got an empty one; run"
        f" {index_command('PHOTOS', folder)}"
    )


def index_command(photos: str | Roots, folder: Path) -> str:
    """The command that makes or mends a gallery. photos: as the command takes it."""
    return f"`python -m pipeline.index {photos} --gallery {shlex.quote(str(folder))}`"


def read_binding(folder: Path) -> Binding:
    """By what a gallery was made. Raises GalleryError when there is none."""
    with connected(folder) as connection:
        return binding_in(connection, folder)


def read_meta(connection: sqlite3.Connection) -> dict[str, str]:
    return {
        key: os.fsdecode(value) for key, value in connection.execute("SELECT key, value FROM meta")
    }


def binding_in(connection: sqlite3.Connection, folder: Path) -> Binding:
    """By what the gallery was made, of which this is the manifest. Raises GalleryError."""
    meta = read_meta(connection)
    try:
        first = meta["photos"]
        return binding_of(meta, read_roots(connection, first))
    except KeyError:
        raise _empty(folder) from None
    except (ValueError, TypeError) as error:  # the folders, as no version writes them
        raise _damaged(folder, str(error)) from None


def _has_column(connection: sqlite3.Connection, name: str) -> bool:
    return name in {column for _, column, *_ in connection.execute("PRAGMA table_info(photos)")}


@dataclass(frozen=True, eq=False)
class ShardRows:
    """Rows of an array in several shards, read when one is asked for."""

    shards: Sequence[tuple[np.ndarray, ...]]  # of that array alone
    shard: Int32  # (N,)
    row: Int64  # (N,) in that shard

    def __len__(self) -> int:
        return len(self.row)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, place: int) -> np.ndarray:
        (array,) = self.shards[self.shard[place]]
        found: np.ndarray = array[self.row[place]]
        return found


@dataclass(frozen=True, eq=False)
class Reading:
    """One consistent version of a gallery, whatever a writer does meanwhile."""

    names: tuple[str, ...]  # (N,) ascending
    pooled: ShardRows  # (N,) of (2, C) float16
    codes: Float32  # (N, D) as stored: the PCA codes
    features: PackedFeatures  # (N,)
    contents: Contents  # (N,) sha256 of each photo's bytes
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


def read_gallery(folder: Path, *, parts: bool = False, late: bool = False) -> Reading:
    """Open for answering; parts: with the index of parts. Raises GalleryError, also when a single
    byte of a shard differs from what was written; late: for what is not read now, when it is.
    """
    for attempt in range(5):
        with connected(folder) as connection:
            connection.execute("BEGIN")
            binding = binding_in(connection, folder)
            mend = index_command(binding.photos, folder)
            heads = _table(connection, "heads", "SELECT shard, sha256 FROM heads")
            shards = {
                number: Shard(
                    folder / "shards" / file, sha256, dict(heads).get(number, ""), "shard", mend
                )
                for number, file, sha256 in connection.execute(
                    "SELECT id, file, sha256 FROM shards ORDER BY id"
                )
            }
            listed = _listed(connection, folder)
            null = read_meta(connection).get("null", "")
            # none in a gallery from before there were any
            segments = _table(
                connection, "parts", "SELECT file, sha256, codebook FROM parts ORDER BY id"
            )
            connection.execute("COMMIT")
        try:
            for shard in shards.values():
                if late:
                    shard.check_head()
                else:
                    shard.check()
            index = _read_parts(folder, segments, late) if parts else None
        except FileNotFoundError as error:
            if attempt < 4:
                continue  # a writer merged shards between our two looks: read its newer version
            of_parts = Path(str(error.filename)).parent.name == PARTS
            what = "index of parts" if of_parts else "shards"
            raise GalleryError(
                f"gallery {folder}: expected its {what}, got none: files were removed; run"
                f" {_mend_parts(folder) if of_parts else mend}"
            ) from None
        break
    try:
        whole = _assemble(listed, shards, null, binding)
        return replace(whole, parts=index)
    # rows that point nowhere
    except (IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise _damaged(folder, str(error)) from None


def _table(connection: sqlite3.Connection, name: str, query: str) -> list[tuple[Any, ...]]:
    """Of a table that galleries of earlier versions lack: nothing of them."""
    there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    return connection.execute(query).fetchall() if there else []


@dataclass(frozen=True, eq=False)
class _Listed:
    """The manifest's photos, by path."""

    names: tuple[str, ...]
    contents: Contents
    shard: Int64  # (N,) its number
    row: Int64  # (N,) in the shard


def _listed(connection: sqlite3.Connection, folder: Path) -> _Listed:
    """Row by row: 100,000 photos at once as Python has them take 60 MB. Raises GalleryError."""
    names: list[str] = []
    shard, row = array("q"), array("q")

    def contents() -> Iterator[str]:
        for path, number, place, content in connection.execute(
            "SELECT path, shard, row, sha256 FROM photos ORDER BY path"
        ):
            names.append(os.fsdecode(path))
            shard.append(number)
            row.append(place)
            yield content

    try:
        digests = Contents.of(contents())
    except (TypeError, ValueError, OverflowError) as error:
        raise _damaged(folder, str(error)) from None
    return _Listed(tuple(names), digests, *(np.array(each, np.int64) for each in (shard, row)))


def _read_parts(
    folder: Path, segments: Sequence[tuple[str, str, str]], late: bool
) -> PartsReading | None:
    """None where there are no segments, or they are not all by one codebook."""
    if len({codebook for *_, codebook in segments}) != 1:
        return None
    mend = _mend_parts(folder)
    shards = [
        Shard(folder / PARTS / file, digest, "", "index of parts", mend)
        for file, digest, _ in segments
    ]
    try:
        for shard in shards:
            if not late:
                shard.check()
        return PartsReading(segments[0][2], tuple(map(stored_in, shards)))
    except (ValueError, LookupError) as error:  # the manifest vouches for what is no segment
        raise GalleryError(
            f"gallery {folder}: expected an index of parts, got {error}; run {mend}"
        ) from None


def _mend_parts(folder: Path) -> str:
    return f"`{MEND_PARTS} {shlex.quote(str(folder))}`"


def _assemble(listed: _Listed, shards: Mapping[int, Shard], null: str, binding: Binding) -> Reading:
    numbers = np.array(list(shards), np.int64)  # ascending
    block = np.searchsorted(numbers, listed.shard).astype(np.int32)
    if len(listed.names) and not np.isin(listed.shard, numbers).all():
        raise ValueError("a photo in a shard that is not there")
    if len(np.unique(np.stack([listed.shard, listed.row]), axis=1).T) < len(listed.names):
        raise ValueError("two photos in one place")
    heads = [shard.arrays for shard in shards.values()]
    gathered: dict[str, np.ndarray] = {}
    for name, dtype in (
        ("code", np.float32),
        ("size", np.int32),
        ("start", np.int64),
        ("stop", np.int64),
    ):
        tail = (
            heads[0]["start" if name == "stop" else name].shape[1:]
            if heads
            else {"code": (0,), "size": (2,)}.get(name, ())
        )
        gathered[name] = np.empty((len(listed.names), *tail), dtype)
        for i, arrays in enumerate(heads):
            mine = block == i
            row = listed.row[mine]
            gathered[name][mine] = arrays["start"][row + 1] if name == "stop" else arrays[name][row]
    whole = tuple(shards.values())
    features = PackedFeatures(
        Blocks(whole, ("xy", "descriptor", "score")),  # type: ignore[arg-type]
        block,
        gathered["start"],
        gathered["stop"] - gathered["start"],
        gathered["size"],
    )
    pooled = ShardRows(Blocks(whole, ("pooled",)), block, listed.row)
    return Reading(listed.names, pooled, gathered["code"], features, listed.contents, null, binding)
