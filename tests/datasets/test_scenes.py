"""Photographs of photographs: what the truth says is shown is shown, the same every time."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.datasets import scenes


def test_each_scene_shows_the_photo_that_the_truth_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Photos of one colour each; the middle of a scene is of its photo's hue."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    (photos / "inner").mkdir(parents=True)
    colours = {"a.png": (0, 0, 255), "inner/b.png": (0, 255, 0), "c.png": (255, 0, 0)}  # BGR
    for name, colour in colours.items():
        cv2.imwrite(str(photos / name), np.full((60, 80, 3), colour, np.uint8))
    (photos / "broken.jpg").write_bytes(b"no photo")
    assert (
        scenes.main(["--photos", str(photos), "--out", str(out), "--count", "9", "--px", "96"]) == 0
    )
    said = capsys.readouterr()
    assert said.out == f"{out}/truth.csv: 3 scenes of 4 photos\n"
    assert said.err.startswith("broken.jpg: expected a photo (JPEG")
    rows = list(csv.DictReader((out / "truth.csv").read_text().splitlines()))
    assert {row["relevant"] for row in rows} == set(colours)
    for row in rows:
        seen = cv2.imread(str(out / row["query"])).astype(int)
        own = int(np.argmax(colours[row["relevant"]]))
        share = (seen.argmax(2) == own).mean()
        assert share > 0.15  # the photo takes at least .45 of a side
    first = (out / rows[0]["query"]).read_bytes()
    assert (
        scenes.main(
            [
                "--photos",
                str(photos),
                "--out",
                str(tmp_path / "again"),
                "--count",
                "9",
                "--px",
                "96",
            ]
        )
        == 0
    )
    assert (tmp_path / "again" / rows[0]["query"]).read_bytes() == first


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scenes.main(["--photos", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "one").mkdir()
    cv2.imwrite(str(tmp_path / "one" / "a.png"), np.zeros((9, 9, 3), np.uint8))
    assert scenes.main(["--photos", str(tmp_path / "one"), "--out", str(tmp_path / "out")]) == 2
    assert (
        "expected at least two photos, one to show and one to stand behind, got 1"
        in capsys.readouterr().err
    )
