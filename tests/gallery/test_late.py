"""A gallery opened late: what opening reads is checked then, the rest when it is first read, and
what is damaged is refused in the same words.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from filled import BINDING, as_read, as_written, encoded, fill
from safetensors.numpy import load_file

from pipeline.base.errors import GalleryError
from pipeline.commands import app
from pipeline.gallery.contents import Contents
from pipeline.gallery.shards import HEAD
from pipeline.gallery.store import read_gallery
from pipeline.gallery.writer import writing

PHOTOS = [[encoded(f"{s}{i}.jpg", 10 * s + i) for i in range(3)] for s in range(3)]


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    return fill(tmp_path / "g", *PHOTOS)


def refusal(folder: Path, late: bool) -> str:
    with pytest.raises(GalleryError) as refused:
        read_gallery(folder, late=late)
    return str(refused.value)


def first_shard(folder: Path) -> Path:
    with sqlite3.connect(folder / "manifest.sqlite") as sql:
        (file,) = sql.execute("SELECT file FROM shards ORDER BY id").fetchone()
    return folder / "shards" / str(file)


def flips(path: Path, head: bool) -> Iterator[bytes]:
    """The file with a byte of each array changed: of those that opening reads, or of the others."""
    data = path.read_bytes()
    for name, array in load_file(path).items():
        if (name in HEAD) == head:
            at = data.find(array.tobytes())
            yield data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    if head:
        yield data.replace(b"descriptor", b"descriptoR")
        yield data[:-4]
        yield b""


def test_what_is_whole_reads_the_same(gallery: Path) -> None:
    rows = as_written(*(photo for photos in PHOTOS for photo in photos))
    assert as_read(read_gallery(gallery, late=True)) == as_read(read_gallery(gallery)) == rows


def test_damage_of_what_opening_reads_is_refused_at_once(gallery: Path) -> None:
    shard = first_shard(gallery)
    damaged = list(flips(shard, head=True))
    assert len(damaged) == len(HEAD) + 3
    for data in damaged:
        shard.write_bytes(data)
        line = refusal(gallery, late=True)
        assert line == refusal(gallery, late=False)
        assert line.startswith(f"gallery shard {shard}: expected sha256 ")


def test_damage_of_the_rest_is_refused_when_it_is_read(gallery: Path) -> None:
    shard = first_shard(gallery)
    for data in list(flips(shard, head=False)):
        shard.write_bytes(data)
        reading = read_gallery(gallery, late=True)
        for _ in range(2):
            for read in (lambda r=reading: r.features[1], lambda r=reading: r.pooled[1]):
                with pytest.raises(GalleryError) as refused:
                    read()
                assert str(refused.value) == refusal(gallery, late=False)
        # what lies elsewhere is as good as before
        assert (len(reading.features[4]), len(reading.pooled[8])) == (5, 2)


def test_a_gallery_of_an_earlier_version_is_checked_whole_until_it_is_indexed_again(
    gallery: Path,
) -> None:
    shard = first_shard(gallery)
    with sqlite3.connect(gallery / "manifest.sqlite") as sql:
        sql.execute("DROP TABLE heads")
    whole, (damaged, *_) = shard.read_bytes(), flips(shard, head=False)
    shard.write_bytes(damaged)
    assert refusal(gallery, late=True) == refusal(gallery, late=False)
    shard.write_bytes(whole)
    with writing(gallery, BINDING):
        pass
    shard.write_bytes(damaged)
    assert len(read_gallery(gallery, late=True).names) == 9


def test_heads_go_with_their_shards(gallery: Path) -> None:
    with writing(gallery, BINDING) as writer:
        writer.remove([photo.name for photo in PHOTOS[0]])
        writer.compact()
    with sqlite3.connect(gallery / "manifest.sqlite") as sql:
        heads, shards = (
            sql.execute(f"SELECT {name} FROM {table} ORDER BY 1").fetchall()
            for name, table in (("shard", "heads"), ("id", "shards"))
        )
    assert heads == shards
    assert len(shards) == 2


def test_shards_that_were_merged_away_since_are_still_read(gallery: Path) -> None:
    rows = as_read(read_gallery(gallery))
    reading = read_gallery(gallery, late=True)
    for path in (gallery / "shards").iterdir():
        path.unlink()
    assert as_read(reading) == rows


def test_check_reads_all(gallery: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["check", "--gallery", str(gallery)]) == 0
    assert capsys.readouterr().out == f"{gallery}: 9 photos are as they were written\n"
    shard = first_shard(gallery)
    data, (damaged, *_) = shard.read_bytes(), flips(shard, head=False)
    shard.write_bytes(damaged)
    assert app.main(["check", "--gallery", str(gallery)]) != 0
    assert f"gallery shard {shard}: expected sha256 " in capsys.readouterr().err
    assert shard.read_bytes() == damaged != data


def test_contents_are_the_same_text_in_half_the_bytes() -> None:
    wanted = [f"{number:064x}" for number in (3, 2**255, 0)]
    contents = Contents.of(wanted)
    assert list(contents) == [contents[place] for place in range(3)] == wanted
    assert contents[-1] == wanted[-1]
    assert contents.digests.shape == (3, 32)
    assert list(contents[1:]) == wanted[1:]
    assert contents == Contents(np.array(contents.digests)) != contents[:2]
    assert list(Contents.of([])) == []
    for wrong in ("ab", "x" * 64, "0" * 62, "0" * 66):
        with pytest.raises(ValueError, match=r"hexadecimal|expected a sha256"):
            Contents.of([wanted[0], wrong])
