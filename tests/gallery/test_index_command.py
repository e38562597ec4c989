"""Indexing a folder: what is new or changed goes in, what is bad is listed, and no row depends on
anything but its own photo.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filled import rows_of
from pictures import picture, write_picture
from small import NAMES, counted, indexed, rows

from pipeline.base.images import load_image
from pipeline.gallery import update as gallery_update
from pipeline.gallery.store import read_gallery
from pipeline.model.weights import open_model
from pipeline.recipes import encode


def test_a_row_is_what_the_recipe_makes_of_its_photo(
    indexed_photos: Path, small_model: Path
) -> None:
    reading = read_gallery(indexed_photos / "gallery")
    assert reading.names == tuple(sorted(NAMES, key=os.fsencode))
    table = encode(open_model(small_model), "cpu")
    for i, name in enumerate(reading.names):
        pooled, code, features = table(
            {"image": load_image(indexed_photos / "photos" / name)}, "pooled", "pca", "features"
        )
        stored = reading.features[i]
        assert np.array_equal(reading.pooled[i], pooled)
        assert np.array_equal(reading.codes[i], code)
        assert np.array_equal(stored.xy, features.xy)
        assert np.array_equal(stored.descriptor, features.descriptor)
        assert stored.size == (60 + NAMES.index(name), 40)
    assert (indexed_photos / "gallery/errors.jsonl").read_bytes() == b""


def test_new_and_changed_photos_go_in_and_the_rest_is_left_alone(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows()
    write_picture(Path("photos/new.png"), picture(50, 40, 40))
    write_picture(Path("photos/b.png"), picture(51, 33, 40))
    os.utime("photos/z.png", ns=(1, 1))  # another time, the same bytes
    Path("photos/notes.txt").write_text("not a photo, and nobody asked")
    assert (
        counted(capsys) == "gallery: 7 photos; 2 indexed, 5 unchanged, 0 removed, 0 not readable\n"
    )
    after = rows()
    assert after.keys() == {*NAMES, "new.png"}
    assert {name for name in NAMES if after[name] != before[name]} == {"b.png"}
    assert read_gallery(Path("gallery")).features[1].size == (33, 40)
    assert (
        counted(capsys) == "gallery: 7 photos; 0 indexed, 7 unchanged, 0 removed, 0 not readable\n"
    )


def test_a_second_run_on_an_unchanged_folder_loads_no_network(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.utime("photos/z.png", ns=(1, 1))
    counted(capsys)  # z.png is not looked into again either
    program = (
        "import sys; from pipeline import index\n"
        "assert index.main(['photos', '--gallery', 'gallery']) == 0\n"
        "sys.exit(', '.join(sys.modules.keys() & {'torch', 'torchvision', 'sklearn'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr.strip()) == (
        "gallery: 6 photos; 0 indexed, 6 unchanged, 0 removed, 0 not readable\n",
        "",
    )


def test_vanished_photos_stay_until_they_are_pruned(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows()
    Path("photos/a.png").unlink()
    shutil.rmtree("photos/d")
    assert (
        counted(capsys) == "gallery: 6 photos; 0 indexed, 4 unchanged, 2 no longer there (drop them"
        " with --prune), 0 removed, 0 not readable\n"
    )
    assert rows() == before
    assert (
        counted(capsys, "--prune")
        == "gallery: 4 photos; 0 indexed, 4 unchanged, 2 removed, 0 not readable\n"
    )
    assert rows() == {
        name: row for name, row in before.items() if name not in ("a.png", "d/e/f.png")
    }
    write_picture(Path("photos/a.png"), picture(0, 60, 40))
    assert "1 indexed" in counted(capsys)
    assert rows()["a.png"] == before["a.png"]


def test_threads_change_nothing(here: Path, small_model: Path) -> None:
    before = rows()
    for jobs in (1, 4):
        assert (
            indexed(Path("photos"), Path(f"gallery{jobs}"), "--model", small_model, "--jobs", jobs)
            == 0
        )
        assert rows(Path(f"gallery{jobs}")) == before


def test_the_bar_counts_only_what_is_committed(
    here: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tqdm

    counts: list[tuple[float, int]] = []
    real = tqdm.tqdm.update

    def update(bar: Any, n: int = 1) -> Any:
        shown = real(bar, n)
        manifest = sqlite3.connect("gallery/manifest.sqlite")
        counts.append((bar.n, manifest.execute("SELECT count(*) FROM photos").fetchone()[0]))
        manifest.close()
        return shown

    shutil.rmtree("gallery")
    monkeypatch.setattr(tqdm.tqdm, "update", update)
    monkeypatch.setattr(gallery_update, "COMMIT_PHOTOS", 2)
    assert indexed(Path("photos"), Path("gallery"), "--model", small_model) == 0
    assert sorted({n for n, _ in counts}) == [2, 4, 6]
    assert all(committed >= n for n, committed in counts)


def test_an_interrupt_keeps_what_was_committed(
    here: Path,
    small_model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = rows()
    real = gallery_update.encode_file

    def interrupted(found: Any, *more: Any) -> Any:
        if found.name == "z.png":
            raise KeyboardInterrupt
        return real(found, *more)

    shutil.rmtree("gallery")
    with monkeypatch.context() as patch:
        patch.setattr(gallery_update, "encode_file", interrupted)
        patch.setattr(gallery_update, "COMMIT_PHOTOS", 2)
        assert indexed(Path("photos"), Path("gallery"), "--model", small_model, "--jobs", 1) == 130
    assert (
        capsys.readouterr().err.splitlines()[-1]
        == "index: stopped; what was saved stays, run the same command again to go on"
    )
    saved = rows()
    assert set(saved) == {"a.png", "b.png", "caf\udce9/c.png", "d/e/f.png"}
    assert "2 indexed, 4 unchanged" in counted(capsys)
    assert rows() == before


def test_many_small_commits_are_merged(
    here: Path,
    small_model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gallery_update, "COMMIT_PHOTOS", 1)
    before = rows()
    shutil.rmtree("gallery")
    for i in range(4):
        shutil.copy("photos/a.png", f"photos/copy{i}.png")
    assert "10 photos; 10 indexed" in counted(capsys, "--model", small_model)
    assert [rows_of(path) for path in Path("gallery/shards").iterdir()] == [10]
    assert rows() == {**before, **{f"copy{i}.png": before["a.png"] for i in range(4)}}


def test_an_empty_folder_is_an_empty_gallery(
    here: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("photos", "gallery"):
        shutil.rmtree(folder)
    Path("photos").mkdir()
    assert (
        counted(capsys, "--model", small_model)
        == "gallery: 0 photos; 0 indexed, 0 unchanged, 0 removed, 0 not readable\n"
    )
    assert rows() == {}


def test_folders_may_have_any_name(
    here: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, gallery = (
        Path(shutil.move(name, f"my {name}\udce9")) for name in ("photos", "gallery")
    )
    assert indexed(photos, gallery, "--moved-from", here / "photos") == 0
    assert "6 photos; 0 indexed, 6 unchanged" in capsys.readouterr().out
    assert read_gallery(gallery).binding.photos.each[0].path == str(photos.resolve())
