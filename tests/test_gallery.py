"""The gallery on disk gives back what was put in, to the byte, whatever was replaced, merged, removed or left half done before."""

import shlex
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import gallery as gallery_module
from pipeline import gallery_writer
from pipeline.gallery import Binding, Encoded, Entry, GalleryError, Reading, read_binding, read_gallery
from pipeline.gallery_writer import GalleryWriter, writing
from stages.records import LocalFeatures

BINDING = Binding("tiny", "a" * 64, "tiny", "/photos")
ODD = ("caf\udce9.jpg", "日本/é.jpg", "two\nlines.jpg", "a.jpg", "a/b.jpg", "A.jpg", "a b.jpg")  # every name a folder can hold


def encoded(name: str, seed: int, features: int = 5) -> Encoded:
    """A photo of random numbers, all drawn from the seed."""
    rng = np.random.default_rng(seed)
    local = LocalFeatures(
        rng.uniform(0, 90, (features, 2)).astype(np.float32),
        rng.integers(-127, 128, (features, 6)).astype(np.int8),
        np.sort(rng.uniform(0, 9, features).astype(np.float32))[::-1].copy(),
        (int(rng.integers(1, 9999)), int(rng.integers(1, 9999))),
    )
    pooled = rng.normal(size=(2, 8)).astype(np.float16).astype(np.float32)
    return Encoded(name, Entry(f"{seed:064x}", seed, seed * 10**9), pooled, rng.normal(size=4).astype(np.float32), local)


def fill(folder: Path, *shards: list[Encoded], binding: Binding = BINDING) -> Path:
    with writing(folder, binding) as writer:
        for photos in shards:
            writer.add(photos)
    return folder


def as_read(reading: Reading) -> dict[str, tuple[bytes, ...]]:
    """By name, every number of a row as bytes."""
    rows = {}
    for i, name in enumerate(reading.names):
        features = reading.features[i]
        arrays = (reading.pooled[i], reading.codes[i], features.xy, features.descriptor, features.score, np.array(features.size, np.int32))
        rows[name] = tuple(array.tobytes() for array in arrays)
    return rows


def as_written(*photos: Encoded) -> dict[str, tuple[bytes, ...]]:
    rows = {}
    for p in photos:
        arrays = (p.pooled.astype(np.float16), p.code, p.features.xy, p.features.descriptor, p.features.score, np.array(p.features.size, np.int32))
        rows[p.name] = tuple(array.tobytes() for array in arrays)
    return rows


def files(folder: Path) -> set[str]:
    return {path.name for path in (folder / "shards").iterdir()}


def refusal(folder: Path) -> str:
    with pytest.raises(GalleryError) as refused:
        read_gallery(folder)
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    photos = [encoded(name, seed, features=seed % 4) for seed, name in enumerate(ODD)]  # some without a single feature
    reading = read_gallery(fill(tmp_path, photos[4:], photos[:1], [], photos[1:4]))
    assert list(reading.names) == ["A.jpg", "a b.jpg", "a.jpg", "a/b.jpg", "caf\udce9.jpg", "two\nlines.jpg", "日本/é.jpg"]  # by their bytes
    assert as_read(reading) == as_written(*photos)
    assert (reading.binding, reading.pooled.dtype, reading.codes.dtype) == (BINDING, np.float16, np.float32)
    gallery = reading.gallery(reading.codes)
    assert gallery.names == reading.names
    assert [gallery.row(name) for name in gallery.names] == list(range(len(ODD)))


def test_one_photo_without_features_is_a_gallery(tmp_path: Path) -> None:
    photo = encoded("a.jpg", 1, features=0)
    assert as_read(read_gallery(fill(tmp_path, [photo]))) == as_written(photo)


def test_a_photo_is_replaced_touched_and_removed(tmp_path: Path) -> None:
    old, new, kept, gone = encoded("a.jpg", 1), encoded("a.jpg", 2, features=9), encoded("b.jpg", 3), encoded("c.jpg", 4)
    later = replace(kept.entry, mtime_ns=77)
    with writing(fill(tmp_path, [old, kept, gone]), BINDING) as writer:
        writer.add([new])
        writer.touch("b.jpg", later)
        writer.remove(["c.jpg", "never.jpg"])
        assert writer.known() == {"a.jpg": new.entry, "b.jpg": later}
    assert as_read(read_gallery(tmp_path)) == as_written(new, kept)


def scattered(folder: Path, shards: int = 12) -> dict[str, tuple[bytes, ...]]:
    """A gallery of many small shards with dead rows in them, and what it holds."""
    photos = [[encoded(f"{s:02d}/{i}.jpg", 100 * s + i, features=i * 2) for i in range(3)] for s in range(shards)]
    with writing(fill(folder, *photos), BINDING) as writer:
        writer.add([encoded("03/1.jpg", 9001), encoded("05/0.jpg", 9002)])
        writer.remove(["07/2.jpg", *(f"09/{i}.jpg" for i in range(3))])
    return as_read(read_gallery(folder))


@pytest.mark.parametrize("small", [1, 4, 7, 1024])
def test_compaction_changes_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    monkeypatch.setattr(gallery_writer, "SMALL", small)
    rows = scattered(tmp_path)
    before = files(tmp_path)
    with writing(tmp_path, BINDING) as writer:
        known = writer.known()
        writer.compact()
        assert writer.known() == known
    assert len(rows) == 32
    assert as_read(read_gallery(tmp_path)) == rows
    assert files(tmp_path) < before if small == 1 else len(files(tmp_path)) < 12  # with `small` 1 only the dead shard goes
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
    assert sum(len(np.load(path, allow_pickle=False)) if path.suffix == ".npy" else rows_of(path) for path in (tmp_path / "shards").iterdir()) == live


def rows_of(shard: Path) -> int:
    from safetensors.numpy import load_file

    return len(load_file(shard)["code"])


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
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
            patch.setattr(gallery_writer, "write_shard", disk_full)
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


def test_shards_merged_between_two_looks_are_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = scattered(tmp_path)
    look = gallery_module.file_sha256
    merged: list[Path] = []

    def look_late(path: Path) -> str:
        if not merged:
            merged.append(path)
            with writing(tmp_path, BINDING) as writer:
                writer.compact()
            assert not path.exists()
        return look(path)

    monkeypatch.setattr(gallery_module, "file_sha256", look_late)
    assert as_read(read_gallery(tmp_path)) == rows
    assert merged


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with writing(tmp_path, BINDING) as first:
        with pytest.raises(GalleryError, match=r"^gallery [^\n]*: want to be its only writer, got another one at work; run again when it has ended$"):
            fill(tmp_path, [encoded("a.jpg", 1)])
        first.add([encoded("b.jpg", 2)])
    assert as_read(read_gallery(fill(tmp_path))) == as_written(encoded("b.jpg", 2))  # and the lock is gone


def test_another_model_is_refused_with_both_names(tmp_path: Path) -> None:
    fill(tmp_path, [encoded("a.jpg", 1)])
    other = Binding("large", "b" * 64, "/models/large", "/photos")
    with pytest.raises(GalleryError, match=r"want model tiny \(a{12}\), got large \(b{12}\); run with `--model tiny`, or index into another"):
        fill(tmp_path, [encoded("a.jpg", 2)], binding=other)
    assert as_read(read_gallery(tmp_path)) == as_written(encoded("a.jpg", 1))
    moved = replace(BINDING, where="/elsewhere/tiny", photos="/moved")  # the same numbers, from another place
    assert read_binding(fill(tmp_path, binding=moved)) == moved


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a gallery") / "of mine"  # a command that names it must quote it
    return fill(folder, *([encoded(f"{s}{i}.jpg", 10 * s + i) for i in range(3)] for s in range(3)), binding=replace(BINDING, photos="/my photos"))


def places(shard: Path) -> Iterator[int]:
    """Bytes of every kind in a shard: its header's length, its header, and both ends and the middle of every array."""
    import json

    data = shard.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    yield from (0, 7, 8, start // 2, start - 1)
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            yield from (start + begin, start + (begin + end) // 2, start + end - 1)


def test_a_flipped_byte_in_any_place_of_any_shard_is_refused(whole: Path) -> None:
    shards = sorted((whole / "shards").iterdir())
    assert len(shards) == 3
    for shard in shards:
        data = shard.read_bytes()
        for n, at in enumerate(places(shard)):
            shard.write_bytes(data[:at] + bytes([data[at] ^ 1 << n % 8]) + data[at + 1 :])
            line = refusal(whole)
            assert line.startswith(f"gallery shard {shard}: want sha256 ")
            assert shlex.split(line.split("`")[1]) == ["python", "-m", "pipeline.index", "/my photos", "--gallery", str(whole)]
        for other in (b"", data[:-1], data + b"\0", data[: len(data) // 2]):
            shard.write_bytes(other)
            assert str(shard) in refusal(whole)
        shard.write_bytes(data)
    assert len(read_gallery(whole).names) == 9


def test_a_missing_shard_is_refused(whole: Path) -> None:
    shard = next((whole / "shards").iterdir())
    aside = shard.rename(whole / "aside")
    line = refusal(whole)
    aside.rename(shard)
    assert str(whole) in line
    assert shlex.split(line.split("`")[1])[-1] == str(whole)


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_writer_forgets_what_is_damaged_and_keeps_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    photos = [encoded(f"{i}.jpg", i) for i in range(6)]
    fill(tmp_path, photos[:2], photos[2:5], photos[5:])
    shard = next(path for path in (tmp_path / "shards").iterdir() if rows_of(path) == 3)
    data = shard.read_bytes()
    shard.unlink()
    if damage == "flipped":
        shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with writing(tmp_path, BINDING) as writer:
        assert capsys.readouterr().err == f"gallery {tmp_path}: 3 photos lay in damaged or missing shards and are encoded again\n"
        assert writer.known().keys() == {"0.jpg", "1.jpg", "5.jpg"}
        assert as_read(read_gallery(tmp_path)) == as_written(*photos[:2], photos[5])
        writer.add(photos[2:5])
    assert as_read(read_gallery(tmp_path)) == as_written(*photos)


@pytest.mark.parametrize("content", [b"not a database" * 100, b"\0" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.sqlite").write_bytes(content)
    for look in (lambda: read_gallery(tmp_path), lambda: fill(tmp_path)):
        with pytest.raises(GalleryError, match=r"^gallery [^\n]*manifest\.sqlite: want a SQLite manifest, got [^\n]*; move the folder away and run `python"):
            look()


def test_a_manifest_damaged_anywhere_is_refused_or_reads_the_same(whole: Path, tmp_path: Path) -> None:
    """SQLite keeps no checksums; what a flipped byte may not do is end in a traceback or in other rows."""
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    manifest = folder / "manifest.sqlite"
    data, rows = manifest.read_bytes(), as_read(read_gallery(folder))
    rng = np.random.default_rng(0)
    used = np.flatnonzero(np.frombuffer(data, np.uint8))
    for at in rng.choice(used, 300, replace=False).tolist():
        manifest.write_bytes(data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :])
        try:
            got = as_read(read_gallery(folder))
        except GalleryError as error:
            assert "\n" not in str(error)
        else:
            # a name is all that a flipped bit can change unseen
            assert sorted(got.values()) == sorted(rows.values()), at


def test_a_manifest_cut_anywhere_is_refused(whole: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    manifest = folder / "manifest.sqlite"
    data = manifest.read_bytes()
    for size in (0, 1, 50, 99, 100, 600, 4095, 4096, 8192, len(data) // 2, len(data) - 4096, len(data) - 1):
        manifest.write_bytes(data[:size])
        assert str(folder) in refusal(folder), size


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, [encoded("a.jpg", 1)])
    connection = sqlite3.connect(tmp_path / "manifest.sqlite")
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    for look in (lambda: read_gallery(tmp_path), lambda: read_binding(tmp_path), lambda: fill(tmp_path, [encoded("b.jpg", 1)])):
        with pytest.raises(GalleryError, match=r"want manifest version 1, got 2: made by a newer release; upgrade, or index into a new folder$"):
            look()


def test_where_there_is_no_gallery(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name in ("missing", "file", "folder"):
        for look in (read_gallery, read_binding):
            with pytest.raises(GalleryError, match=rf"{name}: want a folder with manifest\.sqlite, got none; run `python -m pipeline\.index PHOTOS "):
                look(tmp_path / name)
    assert not (tmp_path / "missing").exists()
    with pytest.raises(GalleryError):
        fill(tmp_path / "file")
    with pytest.raises(GalleryError):
        fill(tmp_path / "file/below")


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


def test_a_writer_is_a_gallery_writer(tmp_path: Path) -> None:
    with writing(tmp_path, BINDING) as writer:
        assert isinstance(writer, GalleryWriter)
