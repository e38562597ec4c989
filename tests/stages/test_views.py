"""Two views of a photo: each shows what it should, and points move as pixels do."""

import numpy as np
import pytest
from pictures import picture

from stages import views
from stages.records import UInt8
from stages.views import harmed, moved, two_views

PX = 96


def dotted(width: int, height: int, x: int, y: int) -> UInt8:
    """Grey, and a bright square of 9 px around one point."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    pixels[y - 4 : y + 5, x - 4 : x + 5] = 255
    return pixels


def test_both_views_show_a_point_where_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing but place changes, the middle of a bright square lies where it went."""
    monkeypatch.setattr(views, "harmed", lambda pixels, harm, rng: pixels)
    shown = 0
    for seed in range(60):
        x, y = 60 + seed % 30, 50 + seed % 20
        for view in two_views(dotted(160, 120, x, y), PX, np.random.default_rng(seed)):
            there = moved(np.array([[x, y]], np.float64), view.went)[0]
            if ((there > 18) & (there < PX - 18)).all():
                row, column = np.rint(there[::-1]).astype(int)
                # beyond its border a photo is mirrored: the square may be seen once more
                around = view.pixels[row - 12 : row + 13, column - 12 : column + 13, 0]
                rows, columns = np.nonzero(around > 170)
                assert (
                    np.hypot(
                        columns.mean() + column - 12 - there[0], rows.mean() + row - 12 - there[1]
                    )
                    < 1
                )
                shown += 1
    assert shown > 60


def test_views_overlap_and_differ() -> None:
    """What the first shows in its middle, the second mostly shows, too, elsewhere."""
    seen, apart = [], []
    for seed in range(60):
        first, second = two_views(picture(seed, 200, 160), PX, np.random.default_rng(seed))
        assert first.pixels.shape == second.pixels.shape == (PX, PX, 3)
        assert first.pixels.dtype == second.pixels.dtype == np.uint8
        middle = moved(np.array([[PX / 2, PX / 2]]), np.linalg.inv(first.went))
        x, y = moved(middle, second.went)[0]
        seen.append(0 < x < PX and 0 < y < PX)
        apart.append(np.hypot(x - PX / 2, y - PX / 2))
    assert np.mean(seen) > 0.9
    assert np.mean(apart) > 3


def test_the_same_draws_give_the_same_views() -> None:
    one, other = (two_views(picture(1, 90, 140), PX, np.random.default_rng(4)) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        np.testing.assert_array_equal(a.went, b.went)


@pytest.mark.parametrize("size", [(70, 300), (640, 480), (97, 96)])
def test_photos_of_any_shape(size: tuple[int, int]) -> None:
    for seed in range(5):
        for view in two_views(picture(seed, *size), PX, np.random.default_rng(seed)):
            assert np.isfinite(view.went).all()
            assert abs(np.linalg.det(view.went[:2, :2])) > 1e-3


def test_harm_is_of_light_and_not_of_place() -> None:
    """Edges stay where they are: gradients of the harmed photo agree with the photo's."""
    pixels = picture(2, 120, 100)
    kept = []
    for seed in range(20):
        shown = harmed(pixels, 0.5, np.random.default_rng(seed))
        assert shown.shape == pixels.shape
        assert shown.dtype == np.uint8
        a, b = (np.abs(np.diff(p.astype(float).mean(2), axis=1)).ravel() for p in (pixels, shown))
        kept.append(np.corrcoef(a, b)[0, 1])
    assert np.median(kept) > 0.6
    quiet = harmed(pixels, 0, np.random.default_rng(3)).astype(float)
    assert np.abs(quiet.mean(2) - pixels.mean(2)).mean() < 6
