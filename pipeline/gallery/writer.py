"""The one writer of a gallery: add, remove, mend and merge, each change on the disk before it is
acknowledged.

A shard is safe on the disk before the manifest points to it; a kill at any instant leaves at most
files that nothing points to, which the next writer sweeps away.
"""

import fcntl
import logging
import os
import shlex
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipeline.base.errors import GalleryError
from pipeline.base.files import file_sha256
from pipeline.gallery.binding import Binding, binding_of
from pipeline.gallery.parts import FOLDER, SCHEMA
from pipeline.gallery.parts_writer import PartsWriter, Written
from pipeline.gallery.roots import Roots, read_roots, write_roots
from pipeline.gallery.shards import head_sha256, map_shard, write_new, write_shard, written_here
from pipeline.gallery.store import (
    HEADS,
    SEVERAL_ROOTS,
    Encoded,
    Entry,
    binding_in,
    connected,
    read_meta,
    transaction,
)
from pipeline.model.codebook import ModelCodebook
from stages.records import Float32, LocalFeatures

LOG = logging.getLogger(__name__)
SMALL = 1024  # photos: a shard below this is worth merging with others
SEGMENTS = 64  # of parts; where there are more, they are merged before the run has ended


class GalleryWriter:
    """The one writer of a gallery. Use `writing(...)`, which locks, sweeps and closes."""

    def __init__(
        self,
        folder: Path,
        connection: sqlite3.Connection,
        codebook: ModelCodebook | None = None,
    ) -> None:
        """codebook: by which the photos' parts are indexed; None: they are not."""
        self.folder = folder
        self.connection = connection
        self.parts = None if codebook is None else PartsWriter(folder, connection, codebook)

    def known(self) -> dict[str, Entry]:
        rows = self.connection.execute("SELECT path, sha256, size, mtime_ns, ctime_ns FROM photos")
        return {os.fsdecode(path): Entry(*entry) for path, *entry in rows}

    @property
    def binding(self) -> Binding:
        """By what it is made, and the folders of its photos, as they are remembered."""
        return binding_in(self.connection, self.folder)

    def remember(self, roots: Roots) -> None:
        """These are the gallery's folders from now on. Where they become several, or are so no
        longer, all photos are called anew.
        """
        before = self.binding.photos
        with transaction(self.connection) as sql:
            _write_roots(sql, before, roots)

    def places(self) -> dict[str, tuple[str, int]]:
        """By the sha256 of a photo's bytes, the shard and the row that hold what they became."""
        rows = self.connection.execute(
            "SELECT photos.sha256, file, row FROM photos JOIN shards ON id = shard"
        )
        return {sha256: (file, row) for sha256, file, row in rows}

    def stored(self, file: str, row: int) -> tuple[Float32, Float32, LocalFeatures]:
        """What a photo became: pooled vectors, code and local features."""
        arrays = map_shard(self.folder / "shards" / file)
        begin, end = arrays["start"][row : row + 2]
        width, height = arrays["size"][row].tolist()
        xy, descriptor, score = (
            np.array(arrays[each][begin:end]) for each in ("xy", "descriptor", "score")
        )
        pooled = arrays["pooled"][row].astype(np.float32)
        return (
            pooled,
            np.array(arrays["code"][row]),
            LocalFeatures(xy, descriptor, score, (width, height)),
        )

    def add(self, photos: Sequence[Encoded]) -> None:
        """Write one shard and commit its photos; on return they are acknowledged. Photos known
        before are replaced.
        """
        if not photos:
            return
        starts = np.cumsum([0, *(len(p.features) for p in photos)], dtype=np.int64)
        arrays: dict[str, np.ndarray] = {
            "pooled": np.stack([p.pooled for p in photos]).astype(np.float16),
            "code": np.stack([p.code for p in photos]),
            "start": starts,
            "size": np.array([p.features.size for p in photos], np.int32),
            "xy": np.concatenate([p.features.xy for p in photos]),
            "descriptor": np.concatenate([p.features.descriptor for p in photos]),
            "score": np.concatenate([p.features.score for p in photos]),
        }
        named = [(os.fsencode(p.name), p.entry) for p in photos]
        segment = None
        if self.parts is not None:
            segment = self.parts.write_new([(p.entry.sha256, p.features) for p in photos])
        self._commit(arrays, named, replaces=[], segment=segment)
        if self.parts is not None and segment is not None:
            self.parts.committed(segment)
            if self.parts.count() > SEGMENTS:
                self.parts.merge()

    def _commit(
        self,
        arrays: dict[str, np.ndarray],
        photos: list[tuple[bytes, Entry]],
        replaces: list[int],
        segment: Written | None = None,
    ) -> None:
        file, digest = write_new(self.folder, "shards", lambda path: write_shard(path, arrays))
        head = head_sha256(np.memmap(self.folder / "shards" / file, np.uint8, "r"))
        with transaction(self.connection) as sql:
            if segment is not None and self.parts is not None:
                self.parts.insert(sql, segment)
            shard = sql.execute(
                "INSERT INTO shards (file, sha256, photos) VALUES (?, ?, ?)",
                (file, digest, len(photos)),
            ).lastrowid
            sql.execute("INSERT INTO heads VALUES (?, ?)", (shard, head))
            sql.executemany(
                "INSERT OR REPLACE INTO photos (path, sha256, size, mtime_ns, ctime_ns, shard, row)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (path, e.sha256, e.size, e.mtime_ns, e.ctime_ns, shard, row)
                    for row, (path, e) in enumerate(photos)
                ],
            )
            sql.executemany("DELETE FROM shards WHERE id = ?", [(old,) for old in replaces])

    def rename(self, photos: Iterable[tuple[str, str, Entry]]) -> None:
        """(name before, name now, its file) of photos whose bytes are the same: their files are
        elsewhere, or of another time. What was called so before is replaced.
        """
        with transaction(self.connection) as sql:
            sql.executemany(
                "UPDATE OR REPLACE photos SET path = ?, size = ?, mtime_ns = ?, ctime_ns = ?"
                " WHERE path = ?",
                [
                    (os.fsencode(new), file.size, file.mtime_ns, file.ctime_ns, os.fsencode(old))
                    for old, new, file in photos
                ],
            )

    def remove(self, names: Iterable[str]) -> None:
        with transaction(self.connection) as sql:
            sql.executemany(
                "DELETE FROM photos WHERE path = ?", [(os.fsencode(name),) for name in names]
            )

    def write_null(self, text: str) -> None:
        """What chance does among the photos; its text says among which."""
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES ('null', ?)", (text,))

    def drop_damaged(self) -> list[str]:
        """Forget the photos of shards whose bytes are not the ones written, so that this run
        encodes them again.
        """
        lost: list[str] = []
        heads = {shard for (shard,) in self.connection.execute("SELECT shard FROM heads")}
        for shard, file, digest in self.connection.execute(
            "SELECT id, file, sha256 FROM shards"
        ).fetchall():
            path = self.folder / "shards" / file
            if not path.is_file() or file_sha256(path) != digest:
                lost += [
                    os.fsdecode(p)
                    for (p,) in self.connection.execute(
                        "SELECT path FROM photos WHERE shard = ?", (shard,)
                    )
                ]
                with transaction(self.connection) as sql:
                    sql.execute("DELETE FROM photos WHERE shard = ?", (shard,))
                    sql.execute("DELETE FROM shards WHERE id = ?", (shard,))
            elif shard not in heads:  # an earlier version wrote it
                head = head_sha256(np.memmap(path, np.uint8, "r"))
                self.connection.execute("INSERT INTO heads VALUES (?, ?)", (shard, head))
        return lost

    def compact(self) -> None:
        """Merge small shards, up to `SMALL` photos at a time, and leave out rows that no photo
        points to any more.
        """
        shards = self.connection.execute(
            "SELECT s.id, s.file, s.photos, count(p.path) FROM shards s LEFT JOIN photos p ON"
            " p.shard = s.id GROUP BY s.id"
        ).fetchall()
        self.connection.executemany(
            "DELETE FROM shards WHERE id = ?",
            [(shard,) for shard, _, _, live in shards if live == 0],
        )
        worth = [
            (shard, file, live)
            for shard, file, written, live in shards
            if live > 0 and (live < SMALL or live < written // 2)
        ]
        group: list[tuple[int, str, int]] = []
        for item in worth:
            group.append(item)
            if sum(live for _, _, live in group) >= SMALL:
                self._merge(group)
                group = []
        if len(group) > 8:
            self._merge(group)
        if self.parts is not None:
            self.parts.merge()
        self.sweep()

    def _merge(self, group: list[tuple[int, str, int]]) -> None:
        parts: dict[str, list[np.ndarray]] = {
            name: [] for name in ("pooled", "code", "size", "xy", "descriptor", "score")
        }
        counts, photos = [0], []
        for shard, file, _ in group:
            arrays = map_shard(self.folder / "shards" / file)
            rows = self.connection.execute(
                "SELECT path, sha256, size, mtime_ns, ctime_ns, row FROM photos WHERE shard = ?"
                " ORDER BY row",
                (shard,),
            ).fetchall()
            live = [row for *_, row in rows]
            photos += [(path, Entry(*entry)) for path, *entry, _ in rows]
            begin, end = arrays["start"][live], arrays["start"][np.add(live, 1)]
            counts += (end - begin).tolist()
            local = np.concatenate([np.arange(b, e) for b, e in zip(begin, end, strict=True)])
            for name in parts:
                parts[name].append(
                    arrays[name][live if name in ("pooled", "code", "size") else local]
                )
        whole = {name: np.concatenate(arrays) for name, arrays in parts.items()}
        self._commit(
            {**whole, "start": np.cumsum(counts, dtype=np.int64)},
            photos,
            [shard for shard, _, _ in group],
        )

    def sweep(self) -> None:
        """Remove the files that nothing points to: what a kill left behind, and shards that were
        merged away.
        """
        self.connection.execute("DELETE FROM heads WHERE shard NOT IN (SELECT id FROM shards)")
        for folder, files in (
            ("shards", "SELECT file FROM shards"),
            (FOLDER, "SELECT file FROM parts"),
        ):
            wanted = {file for (file,) in self.connection.execute(files)}
            for path in (self.folder / folder).iterdir():
                # photos may lie in a folder of that name
                if path.name not in wanted and written_here(path.name):
                    path.unlink()


def _write_roots(sql: sqlite3.Connection, before: Roots, after: Roots) -> None:
    """Inside a transaction: photos are called as they are in galleries of so many folders."""
    if before == after:
        return
    write_roots(sql, after)
    sql.execute(f"PRAGMA user_version = {SEVERAL_ROOTS if len(after.each) > 1 else 1}")
    if len(before.each) == 1 and len(after.each) > 1:
        (only,) = before.each
        now = next(root for root in after.each if root.label == only.label)
        _call(sql, "? || path", os.fsencode(after.prefix(now)))
    elif len(before.each) > 1 and len(after.each) == 1:
        _call(sql, "substr(path, ?)", len(os.fsencode(before.prefix(after.each[0]))) + 1)


def _call(sql: sqlite3.Connection, name: str, given: bytes | int) -> None:
    """Call all photos anew. On the way each has a name that no file has, so that no new name meets
    an old one.
    """
    sql.execute(f"UPDATE photos SET path = CAST(x'00' || {name} AS BLOB)", (given,))
    sql.execute("UPDATE photos SET path = CAST(substr(path, 2) AS BLOB)")


@contextmanager
def writing(
    folder: Path, binding: Binding, codebook: ModelCodebook | None = None
) -> Iterator[GalleryWriter]:
    """Lock a gallery for writing, making it where there is none; folders of photos that it does not
    know are added. codebook: as GalleryWriter takes it. Raises GalleryError when another writer
    holds it or when its numbers were made by another model, UsageError where a folder lies in
    another.
    """
    try:
        (folder / "shards").mkdir(parents=True, exist_ok=True)
        (folder / FOLDER).mkdir(exist_ok=True)
        lock = open(folder / "lock", "w")  # noqa: SIM115
    except OSError as error:
        raise GalleryError(
            f"gallery {folder}: expected a folder that can be written, got {error.strerror}; run"
            " with another `--gallery`"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise GalleryError(
                f"gallery {folder}: expected to be its only writer, got another one at work; run"
                " again when it has ended"
            ) from None
        with connected(folder, create=True) as connection:
            meta = read_meta(connection)
            if meta.get("identity", binding.identity) != binding.identity:
                old, new = meta.get("recipe", Binding.recipe), binding.recipe
                known = binding_of(meta, read_roots(connection, meta["photos"]))
                same = known.precision == binding.precision
                precision = "" if same else f" --precision {known.precision}"
                wanted, got = (
                    (f"recipe {old}, model ", f"recipe {new}, model ")
                    if old != new
                    else ("model ", "")
                )
                raise GalleryError(
                    f"gallery {folder}: expected {wanted}{known.made_by}, got"
                    f" {got}{binding.made_by}; run with `--model {shlex.quote(meta['where'])}"
                    f"{precision}`, or index into another `--gallery`"
                )
            before = read_roots(connection, meta["photos"]) if "photos" in meta else Roots()
            after = before.adding(binding.photos.each)
            made_by = {key: value for key, value in vars(binding).items() if key != "photos"}
            with transaction(connection) as sql:
                sql.execute(SCHEMA)
                sql.execute(HEADS)
                sql.executemany(
                    "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                    [(key, os.fsencode(value)) for key, value in made_by.items()],
                )
                _write_roots(sql, before, after)
            writer = GalleryWriter(folder, connection, codebook)
            if writer.parts is not None and (dropped := writer.parts.drop_unusable()):
                LOG.info(
                    f"gallery {folder}: {dropped} segments of the index of parts were damaged or"
                    " of another codebook and are made again"
                )
            writer.sweep()
            if lost := writer.drop_damaged():
                LOG.info(
                    f"gallery {folder}: {len(lost)} photos lay in damaged or missing shards and are"
                    " encoded again"
                )
            yield writer
