"""Keep a gallery's index of parts with its photos: what is added goes in with them, what has gone
is left out when segments are merged, and what is missing is made from the stored features.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.base.files import file_sha256
from pipeline.gallery.contents import rows_of
from pipeline.gallery.parts import (
    FOLDER,
    Stored,
    map_segment,
    merged,
    segment_of,
    worth_merging,
    write_segment,
)
from pipeline.gallery.shards import map_shard, write_new
from pipeline.gallery.store import transaction
from pipeline.model.codebook import ModelCodebook
from stages.records import LocalFeatures, UInt8

AT_ONCE = 1024  # photos a segment, where many are missing
Written = tuple[str, str, UInt8]  # a segment on the disk: file, sha256, contents (P, 32)


class PartsWriter:
    """The index of parts of a gallery that its one writer has locked."""

    def __init__(
        self, folder: Path, connection: sqlite3.Connection, codebook: ModelCodebook
    ) -> None:
        self.folder, self.connection, self.codebook = folder, connection, codebook
        self._held: set[bytes] | None = None

    def held(self) -> set[bytes]:
        """The contents, sha256 each, that lie in a segment."""
        if self._held is None:
            self._held = {
                digest
                for (file,) in self.connection.execute("SELECT file FROM parts")
                for digest in rows_of(map_segment(self.folder / FOLDER / file).contents)
            }
        return self._held

    def count(self) -> int:
        """Segments."""
        found: int = self.connection.execute("SELECT count(*) FROM parts").fetchone()[0]
        return found

    def write_new(self, photos: Sequence[tuple[str, LocalFeatures]]) -> Written | None:
        """A segment of those among photos, (contents, features) each, that lie in none, to be
        inserted with them; None for none.
        """
        held = self.held()
        new = {digest: seen for digest, seen in photos if bytes.fromhex(digest) not in held}
        if not new:
            return None
        return self._write(segment_of(self.codebook, list(new), list(new.values())))

    def _write(self, stored: Stored) -> Written:
        file, digest = write_new(
            self.folder, FOLDER, lambda path: write_segment(path, stored.contents, stored.segment)
        )
        return file, digest, stored.contents

    def insert(self, sql: sqlite3.Connection, written: Written) -> None:
        """Within a transaction; `committed` after it."""
        file, digest, contents = written
        sql.execute(
            "INSERT INTO parts (file, sha256, photos, codebook) VALUES (?, ?, ?, ?)",
            (file, digest, len(contents), self.codebook.sha256),
        )

    def committed(self, written: Written) -> None:
        """Know its photos from now on, without reading all segments again."""
        self.held().update(rows_of(written[2]))

    def complete(self, *, quiet: bool = False) -> int:
        """Index the photos that are not indexed yet, from the features that are stored, and return
        how many there were. Safe to kill and to run again.
        """
        from tqdm import tqdm

        todo: dict[int, list[tuple[int, str]]] = {}
        seen = set(self.held())
        for shard, row, digest in self.connection.execute(
            "SELECT shard, row, sha256 FROM photos ORDER BY shard, row"
        ):
            if (key := bytes.fromhex(digest)) not in seen:
                seen.add(key)
                todo.setdefault(shard, []).append((row, digest))
        total = sum(map(len, todo.values()))
        files = dict(self.connection.execute("SELECT id, file FROM shards"))
        batch: list[tuple[str, LocalFeatures]] = []
        with tqdm(
            total=total, desc="parts", unit="photo", disable=quiet or not total, mininterval=0.5
        ) as bar:
            for shard, rows in todo.items():
                arrays = map_shard(self.folder / "shards" / files[shard])
                for row, digest in rows:
                    batch.append((digest, _features(arrays, row)))
                    if len(batch) == AT_ONCE:
                        self._add(batch)
                        bar.update(len(batch))
                        batch = []
            self._add(batch)
            bar.update(len(batch))
        self.merge()
        return total

    def _add(self, photos: Sequence[tuple[str, LocalFeatures]]) -> None:
        if (written := self.write_new(photos)) is not None:
            with transaction(self.connection) as sql:
                self.insert(sql, written)
            self.committed(written)

    def merge(self) -> None:
        """Make few segments of many, without the photos that have gone."""
        live = {
            bytes.fromhex(digest)
            for (digest,) in self.connection.execute("SELECT sha256 FROM photos")
        }
        stored: dict[int, Stored] = {
            segment: map_segment(self.folder / FOLDER / file)
            for segment, file in self.connection.execute("SELECT id, file FROM parts ORDER BY id")
        }
        alive = {
            segment: sum(digest in live for digest in rows_of(each.contents))
            for segment, each in stored.items()
        }
        thinned = [
            segment for segment, each in stored.items() if 2 * alive[segment] < len(each.contents)
        ]
        replaced = sorted({*worth_merging(alive), *thinned})
        if not replaced:
            return
        words = len(self.codebook.codebook.words)
        written = [
            self._write(each)
            for each in merged([stored[segment] for segment in replaced], live, words)
        ]
        with transaction(self.connection) as sql:
            for each in written:
                self.insert(sql, each)
            sql.executemany("DELETE FROM parts WHERE id = ?", [(each,) for each in replaced])
        self._held = None  # those that have gone are held no more

    def drop_unusable(self) -> int:
        """Forget segments of another codebook, and those whose bytes are not the ones written, and
        return how many there were.
        """
        lost = []
        for segment, file, digest, codebook in self.connection.execute(
            "SELECT id, file, sha256, codebook FROM parts"
        ).fetchall():
            path = self.folder / FOLDER / file
            whole = codebook == self.codebook.sha256 and path.is_file()
            if not whole or file_sha256(path) != digest:
                lost.append((segment,))
        with transaction(self.connection) as sql:
            sql.executemany("DELETE FROM parts WHERE id = ?", lost)
        return len(lost)


def _features(arrays: dict[str, np.ndarray], row: int) -> LocalFeatures:
    """The features of one row of a shard."""
    mine = slice(int(arrays["start"][row]), int(arrays["start"][row + 1]))
    width, height = arrays["size"][row].tolist()
    return LocalFeatures(
        arrays["xy"][mine], arrays["descriptor"][mine], arrays["score"][mine], (width, height)
    )
