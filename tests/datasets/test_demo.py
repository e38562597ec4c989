"""The demo's photographs come from the installed packages, its queries from them, and its truth
says which from which.
"""

import csv
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import ROOT
from PIL import Image

from pipeline.datasets import demo as demo_photos
from pipeline.datasets.demo import PHOTOS, QUERIES, View


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    demo_photos.write(folder)
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_photograph_is_there_and_decodes(demo: Path) -> None:
    assert {path.name for path in (demo / "photos").iterdir()} == set(PHOTOS)
    assert len(PHOTOS) >= 20
    assert "motorcycle_right.png" not in PHOTOS
    for name in PHOTOS:
        with Image.open(demo / "photos" / name) as photo:
            assert min(photo.convert("RGB").size) >= 100


def test_no_query_is_a_gallery_photo(demo: Path) -> None:
    def thumbnail(path: Path) -> np.ndarray:
        with Image.open(path) as photo:
            return np.asarray(photo.convert("RGB").resize((32, 32)), np.float32)

    photos = [thumbnail(path) for path in (demo / "photos").iterdir()]
    for query in (demo / "queries").iterdir():
        # grey levels
        assert min(np.abs(thumbnail(query) - photo).mean() for photo in photos) > 4, query.name


def test_the_truth_names_files_that_exist(demo: Path) -> None:
    with (demo / "truth.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["query", "relevant"]
    assert {query for query, _ in rows[1:]} == {
        f"queries/{path.name}" for path in (demo / "queries").iterdir()
    }
    assert all((demo / "photos" / relevant).is_file() for _, relevant in rows[1:])
    assert ["queries/motorcycle_right.jpg", "motorcycle_left.png"] in rows


def test_a_second_run_writes_the_same_bytes(demo: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.prepare", "demo", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert digests(tmp_path) == digests(demo)
    assert done.stdout == ""


@pytest.mark.parametrize("name", [name for name, (_, view) in QUERIES.items() if not view.before])
def test_a_part_lies_inside_its_photograph(name: str, demo: Path) -> None:
    photo, view = QUERIES[name]
    with Image.open(demo / "photos" / photo) as opened:
        size = np.array(opened.size)
    corners = view.corners(*opened.size)
    assert (corners >= -0.5).all()
    assert (corners <= size - 0.5).all()


def test_a_view_shows_the_pixels_it_says() -> None:
    pixels = np.arange(40 * 60 * 3, dtype=np.uint32).reshape(40, 60, 3).astype(np.uint8)
    assert (View().take(pixels) == pixels).all()
    assert (View(part=0.5).take(pixels) == pixels[10:30, 15:45]).all()
    assert (View(turn=180).take(pixels) == pixels[::-1, ::-1]).all()
    # a camera turned clockwise has its top left corner where the top right was
    quarter = View(turn=90).corners(60, 40)
    assert np.allclose(quarter, [[49.5, -10.5], [49.5, 49.5], [9.5, 49.5], [9.5, -10.5]])
    behind = np.full_like(pixels, 200)
    print_ = View(part=2.0).take(pixels, behind)
    assert print_.shape == (80, 120, 3)
    assert (print_[21:59, 31:89] == pixels[1:-1, 1:-1]).all()
    assert (print_[:19] == 200).all()


def test_a_missing_photograph_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo_photos, "PHOTOS", {"no_such_photo.png": ("skimage", "data")})
    monkeypatch.setattr(sys, "argv", ["demo_photos.py", str(tmp_path / "demo")])
    assert demo_photos.main() == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no_such_photo.png: expected" in error
    assert "scikit-image`" in error
    assert not (tmp_path / "demo").exists()
