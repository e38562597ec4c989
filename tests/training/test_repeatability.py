"""Learning which cells are found again: what counts as found, against loops and OpenCV, and that
training finds more of them.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pictures import picture, write_picture
from planted_classes import run, trained, write_classes
from torch import nn

from pipeline.model.weights import open_model
from pipeline.training import repeatability
from pipeline.training.data import Photos
from pipeline.training.delf import fold
from pipeline.training.embedding import read_start
from pipeline.training.loop import Plan
from pipeline.training.repeatability import matched, matches, moved

SMALL = ("--px", 84, "--batch", 8, "--rate", 2e-3, "--matches")


@pytest.fixture(scope="module")
def trunk(classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(
        "embedding",
        classes,
        tmp_path_factory.mktemp("runs") / "trunk",
        "--weights-only",
        "--epochs",
        1,
    )


def write_photos(folder: Path, count: int) -> Path:
    for i in range(count):
        write_picture(folder / f"{i}.png", picture(i, 110, 90))
    return folder


def test_a_cell_is_matched_when_both_are_nearest_and_in_place() -> None:
    """Loop by loop, over random cells of which some lie where they should."""
    rng = np.random.default_rng(0)
    unit, others = (
        nn.functional.normalize(
            torch.from_numpy(rng.normal(0, 1, (6, 50)).astype(np.float32)), dim=0
        )
        for _ in range(2)
    )
    others[:, :30] = nn.functional.normalize(unit[:, 20:] + 0.1 * others[:, :30], dim=0)
    there, xy = rng.uniform(0, 100, (2, 50, 2)).astype(np.float32)
    xy[:20] = there[20:40] + 1
    chosen, others_chosen = (torch.from_numpy(rng.permutation(50)[:25]) for _ in range(2))
    wanted = []
    for i in range(50):
        alike = [float(unit[:, i] @ others[:, j]) for j in others_chosen]
        j = others_chosen[int(np.argmax(alike))]
        rivals = [float(unit[:, k] @ others[:, j]) for k in chosen]
        wanted.append(max(alike) >= max(rivals) - 1e-6 and np.hypot(*(there[i] - xy[j])) < 2)
    assert 5 < sum(wanted) < 45
    assert matched(unit, chosen, there, others, others_chosen, xy, 2.0).tolist() == wanted


def test_points_move_as_opencv_moves_them() -> None:
    rng = np.random.default_rng(0)
    xy, went = (
        rng.uniform(0, 300, (40, 2)).astype(np.float32),
        np.array([[1.1, 0.2, 5], [-0.1, 0.9, 3], [1e-4, 2e-4, 1]], np.float32),
    )
    np.testing.assert_allclose(
        moved(xy, went), cv2.perspectiveTransform(xy[None], went)[0], rtol=1e-5
    )


def test_one_folder_of_photos_makes_a_model(trunk: Path, tmp_path: Path) -> None:
    """Classes are not asked for."""
    out = trained(
        "delf",
        write_photos(tmp_path / "photos", 80),
        tmp_path / "out",
        "--start",
        trunk,
        *SMALL,
        "--epochs",
        1,
    )
    opened, (line,) = open_model(out), (out / "log.jsonl").read_text().splitlines()
    assert opened.card["attention"] == "trained"
    assert opened.card["validation"] == json.loads(line)["validation"] > 0
    assert opened.arrays["attention.hidden"].shape == (512, 256)


def test_the_score_learns_what_is_matched(trunk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted rule, cells whose first number is above the median, on photos that it did not learn
    from.
    """
    monkeypatch.setattr(repeatability, "JUDGED", 20)
    monkeypatch.setattr(
        repeatability, "matched", lambda unit, *_: (unit[0] > unit[0].median()).float()
    )
    task = matches(
        Plan((84,), 1, 4, 2e-3, 0.5, 0, adam=True), read_start("--start", trunk), False, "cpu"
    )
    held = Photos(
        [picture(i, 110, 90) for i in range(100, 108)],
        np.zeros(8, np.int64),
        np.arange(8, dtype=np.uint64),
        ("photos",),
        "",
    )
    before = task.validate(held)
    for step in range(24):
        task.optimizer.zero_grad()
        task.loss(
            np.stack([picture(4 * step + i, 84, 84) for i in range(4)]), np.zeros(4, np.int64), step
        ).backward()  # type: ignore[no-untyped-call]
        task.optimizer.step()
    after = task.validate(held)
    assert after > max(before + 0.3, 0.7), (before, after)


def test_a_step_depends_on_its_number_alone(trunk: Path) -> None:
    images, start = np.stack([picture(i, 84, 84) for i in range(4)]), read_start("--start", trunk)
    losses = []
    for order in ((0, 1), (1, 0)):
        task = matches(Plan((84,), 1, 4, 0.1, 0.5, 3, adam=True), start, False, "cpu")
        found = {
            step: float(task.loss(images, np.zeros(4, np.int64), step).detach()) for step in order
        }
        losses.append([found[0], found[1]])
    assert losses[0] == losses[1]
    assert losses[0][0] != losses[0][1]


def test_the_folded_score_ranks_cells_as_the_trained_one(trunk: Path) -> None:
    task = matches(
        Plan((84,), 1, 4, 0.1, 0.5, 0, adam=True), read_start("--start", trunk), False, "cpu"
    )
    task.loss(np.stack([picture(i, 84, 84) for i in range(4)]), np.zeros(4, np.int64), 0)
    cells = np.random.default_rng(0).normal(1, 1, (50, 256)).astype(np.float32)
    with torch.no_grad():
        wanted = (
            task.model.eval()
            .get_submodule("score")(torch.from_numpy(cells)[:, :, None, None])
            .flatten()
            .numpy()
        )
    np.testing.assert_allclose(fold(task.model)(cells), wanted, rtol=1e-4)


def test_matches_are_for_delf(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("embedding", write_classes(tmp_path / "classes"), tmp_path / "out", "--matches") == 2
    assert "--matches: expected it with `delf`, got `embedding`" in capsys.readouterr().err
    assert (
        run("delf", tmp_path, tmp_path / "out", "--matches", "--start", tmp_path, "--test-px", 96)
        == 2
    )
    assert (
        "--test-px 96: expected none with --matches, which sees all photos at one side; run"
        " without it" in capsys.readouterr().err
    )
    assert run("delf", write_photos(tmp_path / "photos", 4), tmp_path / "out") == 2
    assert "expected folders of classes, got 4 photos in none" in capsys.readouterr().err
