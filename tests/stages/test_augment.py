"""Scenes: the photo is in them, in perspective and before something else; and what training on
pairs of crop and scene does.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import picture
from planted_classes import run, trained, write_classes

from pipeline.training.data import batches, crop, read_data
from pipeline.training.embedding import TEMPERATURE, same_photo
from pipeline.training.loop import Plan
from stages.augment import SMALLEST, again, relit, scene
from stages.records import UInt8

PX = 96


def plain(colour: tuple[int, int, int], h: int = 60, w: int = 80) -> UInt8:
    return np.full((h, w, 3), colour, np.uint8)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), tall=st.integers(1, 300), wide=st.integers(1, 300))
def test_a_photo_of_any_shape_lies_in_its_scene(seed: int, tall: int, wide: int) -> None:
    seen = scene(
        plain((255, 0, 0), tall, wide), plain((0, 255, 0), 5, 7), PX, np.random.default_rng(seed)
    )
    assert seen.shape == (PX, PX, 3)
    assert seen.dtype == np.uint8
    if min(tall, wide) > max(tall, wide) / 8:
        assert (seen.argmax(-1) == 0).sum() > 0.5 * (SMALLEST * PX) ** 2 * min(tall, wide) / max(
            tall, wide
        )


def test_the_photo_is_as_large_as_said_and_the_rest_is_not_it() -> None:
    """A red square before black: from .45 to .95 of the side, in perspective, and never cut off
    altogether.
    """
    shares = []
    for seed in range(200):
        seen = scene(
            plain((255, 0, 0), 90, 90), plain((0, 0, 0)), PX, np.random.default_rng(seed)
        ).astype(int)
        # a frame or a wall may be red too
        red = (seen[..., 0] > 150) & (seen[..., 1:].max(-1) < 40)
        shares.append(red.mean())
    assert np.quantile(shares, 0.02) > SMALLEST**2 * 0.7
    assert 0.3 < np.median(shares) < 0.65
    assert np.quantile(shares, 0.9) < 1


def test_a_scene_depends_on_its_draws_alone() -> None:
    photo, behind = (
        np.random.default_rng(s).integers(0, 256, (50, 70, 3), np.uint8) for s in (1, 2)
    )
    one, same, other = (scene(photo, behind, PX, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert photo.flags.writeable
    assert np.array_equal(photo, np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8))


@pytest.mark.parametrize("seed", range(12))
def test_what_comes_back_says_where_each_pixel_went(seed: int) -> None:
    """OpenCV's warp by the map alone looks like the view itself, wherever the photo is; three px
    off it looks less so.
    """
    photo, behind = (cv2.GaussianBlur(picture(s, 200, 150), (0, 0), 2) for s in (seed, 50))
    view, went = again(photo, behind, PX, np.random.default_rng(seed))
    there = (
        cv2.erode(
            cv2.warpPerspective(np.full(photo.shape[:2], 255, np.uint8), went, (PX, PX)),
            np.ones((5, 5), np.uint8),
        )
        == 255
    )
    assert view.shape == (PX, PX, 3)
    assert there.mean() > 0.1

    def likeness(shift: float) -> float:
        moved = np.array([[1, 0, shift], [0, 1, shift], [0, 0, 1]]) @ went
        warped = cv2.warpPerspective(photo, moved, (PX, PX), flags=cv2.INTER_AREA)
        return min(float(np.corrcoef(view[there, c], warped[there, c])[0, 1]) for c in range(3))

    assert likeness(0) > 0.9
    assert likeness(0) > max(likeness(3), likeness(-3)) + 0.01


def test_a_photo_comes_back_as_scene_and_as_crop() -> None:
    wents = [
        again(picture(0), picture(1), PX, np.random.default_rng(seed))[1] for seed in range(100)
    ]
    cut = [not went[2, :2].any() and not went[0, 1] for went in wents]  # no perspective, no turn
    assert 30 < sum(cut) < 70
    shares = [
        (PX / went[0, 0]) * (PX / went[1, 1]) / (160 * 120)
        for went, is_cut in zip(wents, cut, strict=True)
        if is_cut
    ]
    assert 0.28 < min(shares) < 0.45
    assert 0.9 < max(shares) < 1.01


def test_light_is_one_gain_a_channel() -> None:
    lit = relit(plain((100, 100, 100), 4, 4), np.random.default_rng(0))
    assert (lit == lit[0, 0]).all()
    assert 60 <= lit.min() <= lit.max() <= 143


def test_telling_photos_apart_is_the_published_loss() -> None:
    """NT-Xent written out, sum by sum."""
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)).abs()
    unit, total = x / x.norm(dim=1, keepdim=True), 0.0
    for i in range(8):
        alike = [float(unit[i] @ unit[j]) / TEMPERATURE for j in range(8)]
        total -= alike[(i + 4) % 8] - float(
            np.log(sum(np.exp(a) for j, a in enumerate(alike) if j != i))
        )
    assert float(same_photo(x)) == pytest.approx(total / 8, rel=1e-4)
    assert float(same_photo(torch.eye(4).repeat(2, 1))) < 1e-6 < float(same_photo(torch.eye(8)))


def test_pairs_come_as_crops_then_scenes(tmp_path: Path) -> None:
    data = read_data([write_classes(tmp_path / "classes")], None, None, 40, 40)
    single = next(batches(data.train, 8, 32, 0, 0, 0, 0.5))
    images, labels = next(batches(data.train, 16, 32, 0, 0, 0, 0.5, pairs=True))
    assert images.shape == (16, 32, 32, 3)
    assert np.array_equal(images[:8], single[0])
    assert np.array_equal(labels, np.tile(single[1], 2))
    assert all(not np.array_equal(images[i], images[8 + i]) for i in range(8))
    photos = len(data.train.labels)
    assert len(list(batches(data.train, 16, 32, 0, 0, 0, 0.5, pairs=True))) == photos // 8
    assert (
        Plan((32,), 1, 16, 0.1, 0.5, 0, 0.5).steps(photos),
        Plan((32,), 1, 16, 0.1, 0.5, 0).steps(photos),
    ) == (photos // 8, photos // 16)
    assert crop(data.train.pixels[0], 32, None, 1).shape == (32, 32, 3)


def test_training_on_pairs_learns(tmp_path: Path) -> None:
    out = trained(
        "embedding",
        write_classes(tmp_path / "classes", 60),
        tmp_path / "out",
        "--instance",
        "0.5",
        "--bf16",
        "--weights-only",
    )
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_a_pair_is_two_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes = write_classes(tmp_path / "classes")
    assert run("embedding", classes, tmp_path / "out", "--instance", "0.5", "--batch", "15") == 2
    assert "--batch 15: expected an even number with --instance" in capsys.readouterr().err
    assert run("delf", classes, tmp_path / "out", "--instance", "0.5") == 2
    assert "--instance: expected it with `embedding`" in capsys.readouterr().err
