"""The gallery on disk gives back what was put in, to the byte, whatever was replaced, merged or
removed and whoever reads meanwhile.
"""

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filled import BINDING, as_read, as_written, encoded, files, fill, rows_of

from pipeline.base.errors import GalleryError
from pipeline.gallery import shards
from pipeline.gallery import writer as gallery_writer
from pipeline.gallery.binding import Binding
from pipeline.gallery.roots import Roots
from pipeline.gallery.store import Entry, read_binding, read_gallery
from pipeline.gallery.writer import writing

# every name a folder can hold
ODD = ("caf\udce9.jpg", "日本/é.jpg", "two\nlines.jpg", "a.jpg", "a/b.jpg", "A.jpg", "a b.jpg")


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    # some without a single feature
    photos = [encoded(name, seed, features=seed % 4) for seed, name in enumerate(ODD)]
    reading = read_gallery(fill(tmp_path, photos[4:], photos[:1], [], photos[1:4]))
    # by their bytes
    assert list(reading.names) == [
        "A.jpg",
        "a b.jpg",
        "a.jpg",
        "a/b.jpg",
        "caf\udce9.jpg",
        "two\nlines.jpg",
        "日本/é.jpg",
    ]
    assert as_read(reading) == as_written(*photos)
    assert (reading.binding, reading.pooled[0].dtype, reading.codes.dtype) == (
        BINDING,
        np.float16,
        np.float32,
    )
    gallery = reading.gallery(reading.codes)
    assert gallery.names == reading.names
    assert [gallery.row(name) for name in gallery.names] == list(range(len(ODD)))


def test_one_photo_without_features_is_a_gallery(tmp_path: Path) -> None:
    photo = encoded("a.jpg", 1, features=0)
    assert as_read(read_gallery(fill(tmp_path, [photo]))) == as_written(photo)


def test_a_photo_is_replaced_touched_and_removed(tmp_path: Path) -> None:
    old, new, kept, gone = (
        encoded("a.jpg", 1),
        encoded("a.jpg", 2, features=9),
        encoded("b.jpg", 3),
        encoded("c.jpg", 4),
    )
    later = replace(kept.entry, mtime_ns=77)
    with writing(fill(tmp_path, [old, kept, gone]), BINDING) as writer:
        writer.add([new])
        writer.rename([("b.jpg", "b.jpg", later)])
        writer.remove(["c.jpg", "never.jpg"])
        assert writer.known() == {"a.jpg": new.entry, "b.jpg": later}
    assert as_read(read_gallery(tmp_path)) == as_written(new, kept)


def scattered(folder: Path, shards: int = 12) -> dict[str, tuple[bytes, ...]]:
    """A gallery of many small shards with dead rows in them, and what it holds."""
    photos = [
        [encoded(f"{s:02d}/{i}.jpg", 100 * s + i, features=i * 2) for i in range(3)]
        for s in range(shards)
    ]
    with writing(fill(folder, *photos), BINDING) as writer:
        writer.add([encoded("03/1.jpg", 9001), encoded("05/0.jpg", 9002)])
        writer.remove(["07/2.jpg", *(f"09/{i}.jpg" for i in range(3))])
    return as_read(read_gallery(folder))


@pytest.mark.parametrize("small", [1, 4, 7, 1024])
def test_compaction_changes_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(gallery_writer, "SMALL", small)
    rows = scattered(tmp_path)
    before = files(tmp_path)
    with writing(tmp_path, BINDING) as writer:
        known = writer.known()
        writer.compact()
        assert writer.known() == known
    assert len(rows) == 32
    assert as_read(read_gallery(tmp_path)) == rows
    # with `small` 1 only the dead shard goes
    assert files(tmp_path) < before if small == 1 else len(files(tmp_path)) < 12
    once = files(tmp_path)
    with writing(tmp_path, BINDING) as writer:
        writer.compact()
    assert as_read(read_gallery(tmp_path)) == rows
    assert len(files(tmp_path)) <= len(once)


def test_dead_rows_leave_the_disk(tmp_path: Path) -> None:
    scattered(tmp_path)
    with writing(tmp_path, BINDING) as writer:
        writer.compact()
        live = len(writer.known())
    assert sum(rows_of(path) for path in (tmp_path / "shards").iterdir()) == live == 32


def test_leftovers_of_a_kill_are_swept(tmp_path: Path) -> None:
    rows = scattered(tmp_path, shards=2)
    kept = files(tmp_path)
    (tmp_path / "shards/0123456789abcdef.safetensors").write_bytes(b"written, never committed")
    (tmp_path / "shards/fedcba9876543210.safetensors.tmp").write_bytes(b"half")
    assert as_read(read_gallery(tmp_path)) == rows
    with writing(tmp_path, BINDING):
        assert files(tmp_path) == kept
    assert as_read(read_gallery(tmp_path)) == rows


def test_what_fails_halfway_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = scattered(tmp_path, shards=2)

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with writing(tmp_path, BINDING) as writer:
        known = writer.known()
        with monkeypatch.context() as patch:
            patch.setattr(gallery_writer, "write_shard", disk_full)
            with pytest.raises(
                GalleryError,
                match=(
                    "expected to write a shard, got No space left on device; see to that and run"
                    " again"
                ),
            ):
                writer.add([encoded("z.jpg", 1)])
        with pytest.raises(sqlite3.Error):
            writer.add([encoded("z.jpg", 1), replace(encoded("y.jpg", 2), entry=Entry(None, 1, 1))])  # type: ignore[arg-type]
        assert writer.known() == known
        writer.add([encoded("z.jpg", 1)])  # the writer still works
    assert as_read(read_gallery(tmp_path)) == {**rows, **as_written(encoded("z.jpg", 1))}


def test_an_open_version_outlives_the_writer(tmp_path: Path) -> None:
    rows = scattered(tmp_path)
    reading = read_gallery(tmp_path)
    with writing(tmp_path, BINDING) as writer:
        writer.add([encoded(name, 5000 + i) for i, name in enumerate(reading.names[:9])])
        writer.remove(reading.names[9:])
        writer.compact()
    assert as_read(reading) == rows
    assert len(read_gallery(tmp_path).names) == 9


def test_readers_see_whole_versions_while_a_writer_works(tmp_path: Path) -> None:
    """Each version gives all five photos the same numbers: a reader that mixed two would see it."""
    names = [f"{i}.jpg" for i in range(5)]
    versions = {seed: as_written(*(encoded(name, seed) for name in names)) for seed in range(60)}
    fill(tmp_path, [encoded(name, 0) for name in names])
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with writing(tmp_path, BINDING) as writer:
                for seed in range(1, 60):
                    writer.add([encoded(name, seed) for name in names])
                    if seed % 3 == 0:
                        writer.compact()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    seen: list[int] = []
    while thread.is_alive() or not seen:
        rows = as_read(read_gallery(tmp_path))
        seen += [seed for seed, version in versions.items() if version == rows] or [-1]
    thread.join()
    assert failed == []
    assert -1 not in seen
    assert seen == sorted(seen)
    assert as_read(read_gallery(tmp_path)) == versions[59]


def test_shards_merged_between_two_looks_are_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = scattered(tmp_path)
    look = shards.file_sha256
    merged: list[Path] = []

    def look_late(path: Path) -> str:
        if not merged:
            merged.append(path)
            with writing(tmp_path, BINDING) as writer:
                writer.compact()
            assert not path.exists()
        return look(path)

    monkeypatch.setattr(shards, "file_sha256", look_late)
    assert as_read(read_gallery(tmp_path)) == rows
    assert merged


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with writing(tmp_path, BINDING) as first:
        with pytest.raises(
            GalleryError,
            match=(
                r"^gallery [^\n]*: expected to be its only writer, got another one at work; run"
                r" again when it has ended$"
            ),
        ):
            fill(tmp_path, [encoded("a.jpg", 1)])
        first.add([encoded("b.jpg", 2)])
    # and the lock is gone
    assert as_read(read_gallery(fill(tmp_path))) == as_written(encoded("b.jpg", 2))


def test_another_model_is_refused_with_both_names(tmp_path: Path) -> None:
    fill(tmp_path, [encoded("a.jpg", 1)])
    other = Binding("large", "b" * 64, "/models/large", Roots.of("/photos"))
    with pytest.raises(
        GalleryError,
        match=(
            r"expected model tiny \(a{12}\), got large \(b{12}\); run with `--model tiny`, or index"
            r" into another"
        ),
    ):
        fill(tmp_path, [encoded("a.jpg", 2)], binding=other)
    assert as_read(read_gallery(tmp_path)) == as_written(encoded("a.jpg", 1))
    # the same numbers, from another place
    moved = replace(BINDING, where="/elsewhere/tiny")
    assert read_binding(fill(tmp_path, binding=moved)) == moved


def test_an_empty_gallery_is_one(tmp_path: Path) -> None:
    reading = read_gallery(fill(tmp_path))
    assert reading.names == ()
    assert len(reading.gallery(reading.codes)) == 0
    with writing(tmp_path, BINDING) as writer:
        writer.add([encoded("a.jpg", 1)])
        writer.remove(["a.jpg"])
        assert as_read(read_gallery(tmp_path)) == {}  # rows gone, their shard not yet
        writer.compact()
    assert files(tmp_path) == set()
    assert as_read(read_gallery(tmp_path)) == {}
