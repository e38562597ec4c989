"""What a photo and a command cost, on photos small enough for a test."""

import json
from pathlib import Path

import pytest
from pictures import picture, write_picture
from small import complaint

from pipeline.bench import photo, start
from pipeline.commands import bench
from pipeline.results import photo as tables


def test_photos_are_enlarged_and_encoded_in_turn(
    small_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(photo, "SIZES", {"12 megapixels": (400, 300), "48 megapixels": (800, 600)})
    for seed, size in enumerate([(160, 120), (90, 120)]):
        write_picture(tmp_path / f"photos/{seed}.png", picture(seed, *size))
    out = tmp_path / "photo.json"
    given = ["photo", "--photos", str(tmp_path / "photos"), "--model", str(small_model)]
    assert bench.main([*given, "--jobs", "2", "--json", "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["photos"] == 2
    for spent in found["milliseconds"].values():
        assert set(spent) == {"sift", "float32"}  # the model has no other precision
        assert min(spent.values()) > 0
    phones = found["milliseconds"]["12 megapixels"]
    assert found["ratio"] == pytest.approx(phones["float32"] / phones["sift"])
    (row,) = json.loads(out.read_text("utf-8"))["rows"]
    assert row["label"] == "photo"
    for spent in row["milliseconds"].values():
        spent["int8"] = spent["sift"] / 2
    assert any(", 0.50 x |" in line for line in tables.photo([row]))
    for place, pixels in ((tmp_path / "1.jpg", picture(0, 90, 120)),):
        write_picture(tmp_path / "upright.png", pixels)
        made = photo.enlarged(tmp_path / "upright.png", place, 400, 300)
        assert photo.load_image(made).size == (300, 400)


def test_whole_commands_are_timed(
    indexed_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(start, "TIMES", 0)
    given = ["start", "--gallery", str(indexed_photos / "gallery")]
    given += ["--queries", str(indexed_photos / "photos"), "--json", "--out"]
    assert bench.main([*given, str(tmp_path / "start.json")]) == 0
    found = json.loads(capsys.readouterr().out)
    for name in tables.COMMANDS:
        assert 0 < found[name]["cpu"] < 60
    assert found["run"]["cpu"] > found["--help"]["cpu"] > found["python"]["cpu"]
    (row,) = json.loads((tmp_path / "start.json").read_text("utf-8"))["rows"]
    assert len(tables.start([row])) > len(tables.COMMANDS)
    # a command that fails is no measurement
    given[2] = str(tmp_path / "nowhere")
    assert bench.main(given[:-1]) == 2
    assert "expected a folder with manifest.sqlite" in complaint(capsys)


def test_other_benches_keep_no_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["query", "--out", str(tmp_path / "a.json")]) == 2
    assert "expected it with photo, start, parts, groups, got query" in complaint(capsys)


def test_a_photo_of_so_many_megapixels_beside_the_whole_job(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        write_picture(tmp_path / f"photos/{seed}.png", picture(seed, 90, 120))
    given = ["index", "--photos", str(tmp_path / "photos"), "--model", str(small_model)]
    assert bench.main([*given, "--megapixels", "0.1", "--jobs", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    ours, sift = found["seconds_per_photo"], found["opencv_sift_seconds_per_photo"]
    assert found["ratio"] == pytest.approx(ours / sift)
    assert (found["photos"], found["megapixels"]) == (3, 0.1)
    assert found["photos_per_second"] > 0


def test_seconds_a_pair_of_a_gallery(
    indexed_photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["verify", "--gallery", str(indexed_photos / "gallery"), "--candidates", "4", "--json"]
    assert bench.main(given) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["queries"], found["pairs"]) == (6, 24)
    assert found["seconds_per_pair"] == pytest.approx(found["seconds_per_query"] / 4)
    assert found["inliers"] >= 6 * 14  # each photo finds itself
