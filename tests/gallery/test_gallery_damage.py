"""A damaged gallery is refused in one line that names the file and the command that mends it; it
never answers with other rows.
"""

import json
import logging
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filled import BINDING, as_read, as_written, encoded, fill, rows_of

from pipeline.base.errors import GalleryError
from pipeline.gallery.roots import Roots
from pipeline.gallery.store import read_binding, read_gallery
from pipeline.gallery.writer import writing


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # a command that names it must quote it
    folder = tmp_path_factory.mktemp("a gallery") / "of mine"
    return fill(
        folder,
        *([encoded(f"{s}{i}.jpg", 10 * s + i) for i in range(3)] for s in range(3)),
        binding=replace(BINDING, photos=Roots.of("/my photos")),
    )


def refusal(folder: Path) -> str:
    with pytest.raises(GalleryError) as refused:
        read_gallery(folder)
    line = str(refused.value)
    assert "\n" not in line
    return line


def places(shard: Path) -> Iterator[int]:
    """Bytes of every kind in a shard: its header's length, its header, and both ends and the middle
    of every array.
    """
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
            assert line.startswith(f"gallery shard {shard}: expected sha256 ")
            assert shlex.split(line.split("`")[1]) == [
                "python",
                "-m",
                "pipeline.index",
                "/my photos",
                "--gallery",
                str(whole),
            ]
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
def test_a_writer_forgets_what_is_damaged_and_keeps_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    caplog.set_level(logging.INFO)
    photos = [encoded(f"{i}.jpg", i) for i in range(6)]
    fill(tmp_path, photos[:2], photos[2:5], photos[5:])
    shard = next(path for path in (tmp_path / "shards").iterdir() if rows_of(path) == 3)
    data = shard.read_bytes()
    shard.unlink()
    if damage == "flipped":
        shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with writing(tmp_path, BINDING) as writer:
        assert caplog.messages == [
            f"gallery {tmp_path}: 3 photos lay in damaged or missing shards and are encoded again"
        ]
        assert writer.known().keys() == {"0.jpg", "1.jpg", "5.jpg"}
        assert as_read(read_gallery(tmp_path)) == as_written(*photos[:2], photos[5])
        writer.add(photos[2:5])
    assert as_read(read_gallery(tmp_path)) == as_written(*photos)


@pytest.mark.parametrize(
    "content", [b"not a database" * 100, b"\0" * 5000, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.sqlite").write_bytes(content)
    for look in (lambda: read_gallery(tmp_path), lambda: fill(tmp_path)):
        with pytest.raises(
            GalleryError,
            match=(
                r"^gallery .*manifest\.sqlite: expected a SQLite manifest, got .*; move the folder"
                r" away and run `python"
            ),
        ):
            look()


def test_a_damaged_manifest_is_refused_or_reads_the_same(whole: Path, tmp_path: Path) -> None:
    """SQLite keeps no checksums; what a flipped or missing byte may not do is end in a traceback or
    in other rows.
    """
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    manifest = folder / "manifest.sqlite"
    data, rows = manifest.read_bytes(), as_read(read_gallery(whole))
    rng = np.random.default_rng(0)
    used = rng.choice(np.flatnonzero(np.frombuffer(data, np.uint8)), 300, replace=False).tolist()
    flipped = [
        data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :] for at in used
    ]
    cut = [
        data[:size]
        for size in (
            0,
            1,
            50,
            99,
            100,
            600,
            4095,
            4096,
            8192,
            len(data) // 2,
            len(data) - 4096,
            len(data) - 1,
        )
    ]
    refused: list[str] = []
    for damaged in flipped + cut:
        manifest.write_bytes(damaged)
        try:
            read = as_read(read_gallery(folder))
        except GalleryError as error:
            refused.append(str(error))
        else:  # a photo's name is all that can change unseen
            assert sorted(read.values()) == sorted(rows.values())
    assert len(refused) > 50
    assert all(
        "\n" not in line and str(folder) in line and "run `python" in line for line in refused
    )


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, [encoded("a.jpg", 1)])
    connection = sqlite3.connect(tmp_path / "manifest.sqlite")
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    for look in (
        lambda: read_gallery(tmp_path),
        lambda: read_binding(tmp_path),
        lambda: fill(tmp_path, [encoded("b.jpg", 1)]),
    ):
        with pytest.raises(
            GalleryError,
            match=(
                r"expected manifest version 2 or less, got 3: made by a newer release; upgrade, or"
                r" index into a new folder$"
            ),
        ):
            look()


def test_where_there_is_no_gallery(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name in ("missing", "file", "folder"):
        for look in (read_gallery, read_binding):
            with pytest.raises(
                GalleryError,
                match=(
                    rf"{name}: expected a folder with manifest\.sqlite, got none; run `python -m"
                    r" pipeline\.index PHOTOS "
                ),
            ):
                look(tmp_path / name)
    assert not (tmp_path / "missing").exists()
    with pytest.raises(GalleryError):
        fill(tmp_path / "file")
    with pytest.raises(GalleryError):
        fill(tmp_path / "file/below")
