"""RootSIFT is SIFT by its formula, at the right places, strongest first, and goes through the
second look as DELF does.
"""

import cv2
import numpy as np
import pytest
from pictures import picture
from planted_features import TURN, map_error

from pipeline.recipes import second_look
from stages.records import Image, LocalFeatures, PackedFeatures, UInt8
from stages.rootsift import RootSift


def blob(width: int, height: int, x: float, y: float, sigma: float) -> Image:
    """Dark, with one smooth bright spot."""
    rows, columns = np.mgrid[:height, :width]
    grey = 40 + 180 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return Image(np.repeat(np.rint(grey).astype(np.uint8)[:, :, None], 3, 2))


@pytest.mark.parametrize("at", [(60.0, 50.0), (61.5, 47.25), (40.3, 70.8)])
@pytest.mark.parametrize("times", [1, 4])
def test_a_planted_spot_lies_where_it_lies(at: tuple[float, float], times: int) -> None:
    """In pixels of the photo, centres at integers, whether or not it is shrunk to be looked at."""
    x, y = ((c + 0.5) * times - 0.5 for c in at)
    features = RootSift(side=130)(blob(130 * times, 120 * times, x, y, 3.0 * times))
    assert np.abs(features.xy[0] - (x, y)).max() < 0.1 * times


def test_descriptors_are_the_roots_of_sifts_shares() -> None:
    """Their products are Hellinger's kernel of SIFT's own histograms."""
    image = Image(picture(0, 320, 240))
    points, sift = cv2.SIFT.create(enable_precise_upscale=True).detectAndCompute(  # all there are
        cv2.cvtColor(image.pixels, cv2.COLOR_RGB2GRAY), None
    )
    features = RootSift(keep=10_000)(image)
    assert len(features) == len(points) > 50
    share = sift.astype(np.float64) / sift.sum(1, keepdims=True)
    ours = {
        (*xy.tolist(), *row.tolist())
        for xy, row in zip(features.xy, features.descriptor, strict=True)
    }
    wanted = np.rint(127 * np.sqrt(share)).astype(np.int8)
    assert ours == {
        (*np.float32(p.pt).tolist(), *row.tolist()) for p, row in zip(points, wanted, strict=True)
    }
    assert np.abs(
        np.linalg.norm(features.descriptor.astype(float), axis=1) - 127
    ).max() < 0.5 * np.sqrt(128)
    # a place with several orientations stays several features
    assert len(np.unique(features.xy, axis=0)) < len(features)


def test_the_strongest_are_kept_and_equals_go_from_top_to_bottom() -> None:
    image = Image(np.tile(picture(3, 64, 64), (4, 4, 1)))  # what repeats responds alike
    every = RootSift(keep=10_000)(image)
    assert (np.diff(every.score) <= 0).all()
    alike = np.diff(every.score) == 0
    assert alike.sum() > 20
    assert (np.diff(every.xy[:, 1])[alike] >= 0).all()
    for few in (RootSift(keep=37)(image), RootSift(keep=37)(Image(image.pixels.copy()))):
        for name in ("xy", "descriptor", "score"):
            np.testing.assert_array_equal(getattr(few, name), getattr(every, name)[:37])


def test_a_photo_is_shrunk_to_its_side_and_never_enlarged() -> None:
    image = Image(picture(0, 320, 240))
    whole, large = RootSift(side=320)(image), RootSift(side=5000)(image)
    np.testing.assert_array_equal(whole.xy, large.xy)
    small = RootSift(side=80)(image)
    assert 0 < len(small) < len(whole)
    assert small.size == image.size
    assert ((small.xy > -1) & (small.xy < image.size)).all()
    assert small.xy.max(0).min() > 160  # px of the photo, not of what was looked at


@pytest.mark.parametrize("size", [(1, 1), (20000, 1), (1, 20000), (3, 2), (120, 90)])
def test_a_photo_of_one_colour_has_no_features(size: tuple[int, int]) -> None:
    none = RootSift()(Image(np.full((size[1], size[0], 3), 77, np.uint8)))
    assert (len(none), none.descriptor.shape, none.size) == (0, (0, 128), size)


def textured(seed: int) -> UInt8:
    """(480, 640, 3): blotches of a few pixels, no two alike."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(480, 640)), (0, 0), 4)
    return np.repeat(
        np.clip(128 + 40 * noise / noise.std(), 0, 255).astype(np.uint8)[:, :, None], 3, 2
    )


@pytest.fixture(scope="module")
def pair() -> tuple[LocalFeatures, LocalFeatures]:
    """A photo, and the same moved by `TURN`."""
    pixels = textured(1)
    return RootSift()(Image(pixels)), RootSift()(Image(cv2.warpAffine(pixels, TURN, (640, 480))))


def test_a_planted_map_is_found(pair: tuple[LocalFeatures, LocalFeatures]) -> None:
    pairs, affine, inliers = second_look(threads=1).pair(*pair)
    assert inliers.sum() > 30
    assert inliers.sum() > 0.5 * len(pairs)
    assert map_error(affine) < 3


def test_the_second_look_takes_photos_with_and_without_features(
    pair: tuple[LocalFeatures, LocalFeatures],
) -> None:
    blank, other = (
        RootSift()(Image(np.zeros((90, 120, 3), np.uint8))),
        RootSift()(Image(textured(7))),
    )
    photos = [blank, pair[1], blank, other, blank]
    verify = second_look(threads=1)
    _, inliers, affine = verify.many(pair[0], PackedFeatures.of(photos), np.arange(5))
    assert inliers.argmax() == 1
    assert inliers[1] > 3 * inliers[3]
    assert not inliers[::2].any()
    assert np.isnan(affine[::2]).all()
    assert not verify.many(blank, PackedFeatures.of(photos), np.arange(5))[1].any()
