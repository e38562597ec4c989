"""What people and other programs get to know of a gallery: info, list, check and export."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from small import NAMES, complaint, indexed

import pipeline
from pipeline.commands import app
from pipeline.gallery.store import read_gallery

BY_BYTES = sorted(NAMES, key=os.fsencode)


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert app.main([*words, "--gallery", "gallery"]) == code
    out, err = capsys.readouterr()
    return out, err


def test_info_says_what_a_gallery_is(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "photos/broken.jpg").write_bytes(b"none")
    assert indexed(Path("photos"), Path("gallery")) == 0
    found: dict[str, Any] = json.loads(told(capsys, "info", "--json")[0])
    assert (found["photos"], found["different"], found["errors"]) == (6, 6, 1)
    assert [each["path"] for each in found["roots"]] == [str(here / "photos")]
    assert (found["recipe"], found["precision"], found["chance"]) == (
        "two_stage",
        "float32",
        "model",
    )
    assert "300 are needed" in found["chance_reason"]
    on_disk = sum(each.stat().st_size for each in (here / "gallery/shards").iterdir())
    assert found["bytes"]["shards"] == on_disk
    assert found["bytes"]["total"] == sum(
        size for part, size in found["bytes"].items() if part != "total"
    )
    (here / "photos").rename(here / "moved")
    out, _ = told(capsys, "info")
    assert f"{here / 'photos'} (not there now)\n" in out
    assert "not readable    1, listed in" in out


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_folder_without_photos_is_said_and_has_no_groups(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "nothing").mkdir()
    assert app.main(["index", "nothing", "--gallery", "none"]) == 0
    assert "no photos were found" in capsys.readouterr().err
    assert app.main(["groups", "--gallery", "none"]) == 0
    assert capsys.readouterr().out.startswith("0 photos; 0 of them in 0 groups")


def test_a_message_begins_with_the_command_as_it_was_called(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (here / "gallery").is_dir()
    assert told(capsys, "search", "missing.jpg", code=2)[1].startswith("search: missing.jpg: ")


def test_list_says_the_names_or_all_of_each_photo(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(told(capsys, "list")[0].splitlines()) == 6
    fitting = told(capsys, "list", "[a-z].png", "d/*")[0].split()
    assert fitting == ["a.png", "b.png", "d/e/f.png", "z.png"]
    (line,) = told(capsys, "list", "b.png", "--json")[0].splitlines()
    out, err = told(capsys, "list", "a")
    assert (out, err.count("`two-look list '*a*'`")) == ("", 1)
    photo = here / "photos/b.png"
    reading = read_gallery(here / "gallery")
    assert json.loads(line) == {
        "image": "b.png",
        "sha256": reading.contents[1],
        "bytes": photo.stat().st_size,
        "width": 61,
        "height": 40,
        "features": int(reading.features.count[1]),
    }
    photo.unlink()
    out, err = told(capsys, "list", "[ab].png", "--absolute")
    assert out.split() == [str(here / "photos/a.png"), str(photo)]
    assert err == f"list: 1 photos are not where they were indexed, such as {photo}\n"


def test_check_reads_the_files_and_says_how_they_differ(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "photos/a.png").unlink()
    (here / "photos/b.png").write_bytes((here / "photos/z.png").read_bytes())
    found = json.loads(told(capsys, "check", "--files", "--json")[0])
    assert found["files"] == {"gone": ["a.png"], "changed": ["b.png"], "not readable": []}
    out, _ = told(capsys, "check", "--files")
    assert "gone: a.png\nchanged: b.png\nfiles: 4 as they were indexed, 1 gone, 1 changed" in out


def test_check_mends_and_names_what_is_to_be_encoded_again(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shard,) = (here / "gallery/shards").iterdir()
    whole = bytearray(shard.read_bytes())
    whole[-1] ^= 1
    shard.write_bytes(whole)
    capsys.readouterr()
    assert app.main(["check", "--gallery", "gallery"]) == 2
    assert complaint(capsys).endswith("or first `two-look check --mend --gallery gallery`")
    found = json.loads(told(capsys, "check", "--mend", "--json")[0])
    assert found["photos"] == 0
    assert [os.fsencode(name) for name in found["dropped"]] == sorted(map(os.fsencode, NAMES))
    assert told(capsys, "check", "--mend")[0].startswith("gallery: 0 photos")
    assert indexed(Path("photos"), Path("gallery")) == 0
    assert "6 photos" in told(capsys, "check")[0]


@pytest.fixture(scope="module")
def exported(indexed_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    for name in ("all.npz", "features.h5", "codes.npy", "photos.csv"):
        args = ["--gallery", str(indexed_photos / "gallery"), "--out", str(folder / name)]
        assert app.main(["export", *args]) == 0
    return folder


def test_an_export_holds_what_the_gallery_holds(indexed_photos: Path, exported: Path) -> None:
    reading = read_gallery(indexed_photos / "gallery")
    with np.load(exported / "all.npz", allow_pickle=False) as arrays:
        assert arrays["names"].tolist() == list(reading.names) == BY_BYTES
        assert arrays["sha256"].tolist() == list(reading.contents)
        np.testing.assert_array_equal(arrays["codes"], reading.codes)
        norms = np.linalg.norm(arrays["embeddings"], axis=1)
        np.testing.assert_allclose(norms, 1, atol=1e-5)
        for row, name in enumerate(BY_BYTES):
            rows = slice(*arrays["start"][row : row + 2])
            for array in ("xy", "descriptor", "score"):
                wanted = getattr(reading.features[row], array)
                np.testing.assert_array_equal(arrays[array][rows], wanted, name)
            assert tuple(arrays["size"][row]) == reading.features[row].size
    np.testing.assert_array_equal(
        np.load(exported / "codes.npy", allow_pickle=False), reading.codes
    )
    text = (exported / "photos.csv").read_text("utf-8", errors="surrogateescape")
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["image"] for row in rows] == BY_BYTES
    assert [row["sha256"] for row in rows] == list(reading.contents)
    with h5py.File(exported / "features.h5") as file:
        group = file["d"]["e"]["f.png"]
        features = reading.features[reading.names.index("d/e/f.png")]
        np.testing.assert_array_equal(group["keypoints"], features.xy)
        assert group["descriptors"].shape == features.descriptor.shape[::-1]
        assert group["image_size"][()].tolist() == list(features.size)
    assert sorted(each.name for each in exported.iterdir()) == [
        "all.npz",
        "codes.npy",
        "features.h5",
        "photos.csv",
    ]


def test_what_was_exported_is_indexed_again_as_it_was(
    indexed_photos: Path, exported: Path, tmp_path: Path
) -> None:
    given = {"codes": exported / "codes.npy"}
    assert pipeline.index_features(exported / "features.h5", tmp_path / "g", **given).photos == 6
    first, again = read_gallery(indexed_photos / "gallery"), read_gallery(tmp_path / "g")
    assert again.names == first.names
    np.testing.assert_array_equal(again.codes, first.codes)
    for row in range(6):
        ours, theirs = first.features[row], again.features[row]
        for name in ("xy", "descriptor", "score"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        assert ours.size == theirs.size


def test_an_export_that_cannot_be_is_refused_and_leaves_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for out, said in (
        ("a.txt", "export: --out a.txt: expected one of .h5, .hdf5, .npz, .npy, .csv, got '.txt'"),
        ("no/a.npz", "export: --out no/a.npz: expected a file in an existing folder, got none; "),
    ):
        assert app.main(["export", "--gallery", "gallery", "--out", out]) == 2
        assert complaint(capsys).startswith(said)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    Path("a.csv").write_text("old")
    monkeypatch.setattr("csv.writer", full)
    assert app.main(["export", "--gallery", "gallery", "--out", "a.csv"]) == 2
    assert "No space left on device" in complaint(capsys)
    assert Path("a.csv").read_text() == "old"
    assert not Path("a.csv.part").exists()
