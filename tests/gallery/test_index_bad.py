"""Indexing what should not be there: every bad file is listed with its reason, every mistake is one
line, and good rows stay as they are.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import write_corpus
from planted import H, W
from small import NAMES, complaint, counted, errors, indexed, rows, shrink

from pipeline import index
from pipeline.base import folders
from pipeline.gallery import relocate
from pipeline.gallery.store import read_gallery
from pipeline.gallery.writer import writing
from pipeline.model.weights import open_model, write_model
from pipeline.recipes import encode
from stages.records import Image


def test_bad_neighbours_are_listed_and_change_nothing(
    here: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Path("photos/a.png").read_bytes()
    bad = {
        "0.jpg": b"",
        "a.jpg": b"no photo",
        "caf\udce9/cut.png": whole[:-30],
        "d/flipped.png": whole[:99] + b"\0" + whole[100:],
    }
    for name, data in bad.items():
        Path("photos", name).write_bytes(data)
    Path("photos/gone.jpg").symlink_to("nowhere")
    before = rows()
    shutil.rmtree("gallery")
    assert (
        counted(capsys, "--model", small_model)
        == "gallery: 6 photos; 6 indexed, 0 unchanged, 0 removed, 5 not readable (listed in"
        " gallery/errors.jsonl)\n"
    )
    assert rows() == before
    assert errors().keys() == {*bad, "gone.jpg"}
    assert all(reason.startswith("expected ") for reason in errors().values())
    for name in bad:
        Path("photos", name).unlink()
    assert "1 not readable" in counted(capsys)
    assert errors().keys() == {"gone.jpg"}


def test_a_photo_that_turned_bad_is_listed_and_the_others_stand(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows()
    Path("photos/b.png").write_bytes(b"")
    assert "0 indexed, 5 unchanged, 0 removed, 1 not readable" in counted(capsys)
    assert errors().keys() == {"b.png"}
    assert {name: row for name, row in rows().items() if name != "b.png"} == {
        name: row for name, row in before.items() if name != "b.png"
    }


@pytest.mark.parametrize("moment", ["listed", "opened"])
def test_a_photo_that_vanishes_during_the_run_is_listed(
    here: Path,
    small_model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    module, name = {"listed": (folders, "find_photos"), "opened": (relocate, "read_photo")}[moment]
    real = getattr(module, name)

    def late(path: Path, *more: Any, **named: Any) -> Any:
        result = list(real(path, *more, **named)) if moment == "listed" else None
        Path("photos/b.png").unlink(missing_ok=True)
        return result or real(path, *more, **named)

    before = rows()
    shutil.rmtree("gallery")
    monkeypatch.setattr(module, name, late)
    assert "5 photos; 5 indexed, 0 unchanged, 0 removed, 1 not readable" in counted(
        capsys, "--model", small_model, "--jobs", 1
    )
    assert errors().keys() == {"b.png"}
    assert "No such file" in errors()["b.png"]
    assert rows() == {name: row for name, row in before.items() if name != "b.png"}


def test_the_hostile_corpus(
    tmp_path: Path,
    small_model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    model = shrink(small_model, Path("model"), describe_side=32)
    kinds = write_corpus(Path("photos"))
    good = {name for name, kind in kinds.items() if kind.found and kind.pixels is not None}
    bad = {name for name, kind in kinds.items() if kind.found and kind.pixels is None}
    out = counted(capsys, "--model", model)
    assert out.startswith(
        f"gallery: {len(good)} photos; {len(good)} indexed, 0 unchanged, 0 removed, {len(bad)} not"
        " readable"
    )
    assert errors().keys() == bad
    assert {name for name, reason in errors().items() if kinds[name].reason not in reason} == set()
    reading = read_gallery(Path("gallery"))
    assert set(reading.names) == good
    assert len(reading.gallery(reading.codes)) > 80
    table = encode(open_model(model), "cpu")
    exact = [name for name in reading.names if kinds[name].tolerance == 0]
    assert len(exact) > 40
    for name in exact:
        pixels = kinds[name].pixels
        assert pixels is not None
        features = reading.features[reading.names.index(name)]
        assert features.size == pixels.shape[1::-1]
        # one size is enough to see that the planted pixels were encoded
        if pixels.shape == (H, W, 3):
            assert np.array_equal(
                features.descriptor,
                table({"image": Image(np.ascontiguousarray(pixels))}, "features").descriptor,
            ), name
    assert counted(capsys).startswith(
        f"gallery: {len(good)} photos; 0 indexed, {len(good)} unchanged, 0 removed, {len(bad)} not"
        " readable"
    )


def without(model: Path, folder: Path, name: str) -> Path:
    """The model with one array fewer."""
    whole = open_model(model)
    arrays = {key: value for key, value in whole.arrays.items() if key != name}
    write_model(folder, arrays, whole.settings, {"accept": {"inliers": 12}}, "make")
    return folder


def test_mistakes_are_one_line_and_exit_2(
    here: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_bytes(b"")
    other = shrink(small_model, tmp_path / "other", keep=30)
    torn = shutil.copytree(small_model, tmp_path / "torn")
    weights = torn / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    mistakes: list[tuple[list[object], str]] = [
        (["missing"], "missing: expected a folder of photos, got nothing there"),
        (["photos/a.png"], "photos/a.png: expected a folder of photos, got a file"),
        (
            ["photos", "--gallery", "file", "--model", small_model],
            "gallery file: expected a folder",
        ),
        (
            ["photos", "--gallery", "file/below", "--model", small_model],
            "gallery file/below: expected a folder",
        ),
        (
            ["photos", "--model", "nobody"],
            "model nobody: expected a folder with card.json, got none; shipped here: ",
        ),
        (["photos", "--model", "photos"], "model photos: expected a folder with card.json"),
        (["photos", "--model", other], "gallery gallery: expected model small ("),
        (["photos", "--gallery", "new1", "--model", torn], "the file is damaged; run `make`"),
        (
            [
                "photos",
                "--gallery",
                "new2",
                "--model",
                without(small_model, tmp_path / "w1", "delf.mean"),
            ],
            "model w1: expected an array delf.mean, got none",
        ),
        (
            [
                "photos",
                "--gallery",
                "new3",
                "--model",
                without(small_model, tmp_path / "w2", "trunk.conv1.weight"),
            ],
            "a tensor conv1.weight, got none",
        ),
        (
            [
                "photos",
                "--gallery",
                "new4",
                "--model",
                without(small_model, tmp_path / "w3", "trunk.fc.bias"),
            ],
            "fc.bias, got none",
        ),
        (
            ["photos", "--gallery", "new5", "--model", small_model, "--device", "cuda"],
            "--device cuda: expected a CUDA GPU, got none",
        ),
    ]
    before = rows()
    for arguments, told in mistakes:
        capsys.readouterr()
        assert index.main([*map(str, arguments)]) == 2, arguments
        line = complaint(capsys)
        assert line.startswith("index: "), arguments
        assert told in line, arguments
    assert rows() == before


def test_a_folder_that_cannot_be_listed_is_a_mistake(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", forbid)
        assert indexed(Path("photos"), Path("gallery"), "--prune") == 2
    assert complaint(capsys) == (
        f"index: {here / 'photos'}: expected a readable folder, got: Permission denied"
    )
    assert len(rows()) == 6


def test_photos_of_an_unreadable_folder_are_not_pruned(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def forbid(path: str | Path) -> Any:
        if Path(path).name == "d":
            raise PermissionError(13, "Permission denied")
        return real(path)

    Path("photos/a.png").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", forbid)
        assert "5 photos; 0 indexed, 4 unchanged, 1 removed, 1 not readable" in counted(
            capsys, "--prune"
        )
    assert errors() == {"d/": "expected a readable folder, got: Permission denied"}
    assert set(rows()) == set(NAMES) - {"a.png"}


def test_another_writer_at_work_is_a_mistake(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(Path("gallery"), read_gallery(Path("gallery")).binding):
        assert indexed(Path("photos"), Path("gallery")) == 2
    assert "expected to be its only writer" in complaint(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["photos", "--jobs", "0"],
        ["photos", "--jobs", "x"],
        ["photos", "--device", "tpu"],
        ["photos", "--what"],
    ],
)
def test_wrong_flags_are_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        index.main(arguments)
    assert ended.value.code == 2
    assert complaint(capsys)
