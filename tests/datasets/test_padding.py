"""Padding: views of photos become files of features, whole, the same again, and gone on with."""

from pathlib import Path

import numpy as np
import pytest
from pictures import picture, write_picture
from small import complaint

from pipeline.bench.parts_photos import Padding
from pipeline.commands import padding


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for seed in range(3):
        write_picture(tmp_path / f"photos/{seed}.png", picture(seed, 90, 60))
    return tmp_path / "photos"


def test_views_become_files(
    photos: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("EACH", 2), ("PX", 64), ("KEEP", 20), ("SCENES", 2)):
        monkeypatch.setattr(padding, name, value)

    def made(out: str, count: int) -> list[list[np.ndarray]]:
        given = [photos, "--out", tmp_path / out, "--count", count, "--model", small_model, "-q"]
        assert padding.main(list(map(str, given))) == 0
        return [
            [arrays[name] for name in ("n", "d")]
            for path in sorted((tmp_path / out).iterdir())
            for arrays in [np.load(path, allow_pickle=False)]
        ]

    first = made("a", 3)
    assert [len(count) for count, _ in first] == [2, 1]
    for count, descriptor in first:
        assert (count.dtype, descriptor.dtype) == (np.uint16, np.int8)
        assert count.max() <= 20
        assert descriptor.shape[0] == count.sum()
    (tmp_path / "a/0000.npz").unlink()
    # the last file was of fewer views, the first is gone; the same command makes both
    again, other = made("a", 4), made("b", 4)
    assert [len(count) for count, _ in again] == [2, 2]
    for mine, theirs in zip(again, other, strict=True):
        assert all(map(np.array_equal, mine, theirs))
    assert np.array_equal(again[0][1], first[0][1])
    assert len(Padding.open(tmp_path / "a")) == 4


def test_too_few_photos_are_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(photos.iterdir())[1:]:
        path.unlink()
    assert padding.main([str(photos), "--out", str(tmp_path / "o")]) == 2
    assert complaint(capsys) == (
        "padding: PHOTOS: expected at least two photos, one to show and one to stand behind, got 1"
    )
