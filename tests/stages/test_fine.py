"""The fine features: whatever the photo's shape, points lie in it and follow what they show."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from pictures import picture
from planted_fine import SAME, planted_network

from stages.fine import DescribeFine, padded, seen_at
from stages.fine_network import FineNetwork, load_fine
from stages.fine_quantised import STRIDE
from stages.records import Image


@pytest.fixture(scope="module")
def describe() -> DescribeFine:
    return DescribeFine(planted_network(), SAME, side=160, keep=60)


@pytest.mark.parametrize(("width", "height"), [(160, 120), (121, 77), (1000, 30), (9, 9), (1, 1)])
def test_points_lie_in_the_photo(describe: DescribeFine, width: int, height: int) -> None:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    features = describe(Image(pixels))
    assert len(features) <= 60
    assert features.size == (width, height)
    assert (features.xy >= -0.5).all()
    assert (features.xy <= np.array([width, height]) - 0.5).all()
    assert (np.diff(features.score) <= 0).all()
    if len(features):
        lengths = np.linalg.norm(features.descriptor.astype(np.float64), axis=1)
        assert np.abs(lengths - 127).max() < 5


def test_the_same_photo_gives_the_same_rows(describe: DescribeFine) -> None:
    image = Image(picture(3))
    one, other = describe(image), describe(image)
    np.testing.assert_array_equal(one.descriptor, other.descriptor)
    np.testing.assert_array_equal(one.xy, other.xy)
    assert len(one)


@pytest.mark.parametrize("change", [lambda x: x // 3, lambda x: x // 2 + 100])
def test_darker_or_paler_is_the_same_photo(change: Callable[[np.ndarray], np.ndarray]) -> None:
    """What is seen are differences, as shares of the photo's own spread."""
    describe = DescribeFine(planted_network(), SAME, side=160, keep=40)
    pixels = picture(5)
    one, other = describe(Image(pixels)), describe(Image(change(pixels).astype(np.uint8)))
    common = {tuple(p) for p in one.xy} & {tuple(p) for p in other.xy}
    assert len(common) > 0.6 * len(one)


def test_a_column_is_what_the_maps_say_there() -> None:
    """At the middle of a value of a map, its column is that value."""
    network = planted_network()
    photo = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        maps = network.maps(photo)
        x, y = torch.meshgrid(torch.arange(6.0), torch.arange(4.0), indexing="xy")
        middles = (torch.stack([x, y], 2).view(1, -1, 2) + 0.5) * STRIDE - 0.5
        columns = network.columns(maps, middles)
    assert [each.shape[-2:] for each in maps] == [(32, 48), (16, 24), (8, 12), (4, 6)]
    coarsest = maps[-1][0].flatten(1).T
    torch.testing.assert_close(columns[0, :, -coarsest.shape[1] :], coarsest)


def test_the_logits_of_a_cell_are_its_own_pixels() -> None:
    network = planted_network()
    photo = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        maps = network.maps(photo)
        cells = network.detection(maps)
        votes = sum(
            torch.nn.functional.interpolate(vote(each), size=(16, 24), mode="bilinear")
            for vote, each in zip(network.votes, maps, strict=True)
        )
        pixels = network.detect(torch.relu(votes))[0, 0]
    assert cells.shape == (1, 4, 6, 65)
    torch.testing.assert_close(cells[0, 1, 2, :64].view(8, 8), pixels[8:16, 16:24])
    assert not cells[..., 64].any()


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((4000, 3000), [(480, 640)]),
        ((640, 480), [(480, 640)]),
        ((500, 400), [(400, 500)]),  # enlarged by 1.28: the same features again
        ((400, 400), [(400, 400), (640, 640)]),
        ((200, 100), [(100, 200), (200, 400)]),
        ((1, 1), [(1, 1), (2, 2)]),
    ],
)
def test_small_photos_are_seen_enlarged_too(
    size: tuple[int, int], seen: list[tuple[int, int]]
) -> None:
    image = Image(np.zeros((size[1], size[0], 3), np.uint8))
    assert [pixels.shape[:2] for pixels in seen_at(image, 640)] == seen


def test_keypoints_of_both_sizes_are_places_of_the_photo() -> None:
    describe, pixels = DescribeFine(planted_network(), SAME, side=160), picture(4, 80, 60)
    xy, likely, attention, raw = describe.keypoints(Image(pixels))
    assert len(xy) == len(likely) == len(attention) == len(raw)
    own = replace(describe, side=80).keypoints(Image(pixels))[0]
    np.testing.assert_array_equal(xy[: len(own)], own)
    assert len(xy) > len(own)
    large = cv2.resize(pixels, (160, 120), interpolation=cv2.INTER_LINEAR)
    twice = describe.keypoints(Image(large))[0]
    there = (twice + 0.5) / 2 - 0.5
    far = np.linalg.norm(xy[len(own) :, None] - there, axis=2).min(1)
    assert (far < 1).mean() > 0.9


def test_padding_repeats_the_border() -> None:
    pixels = picture(1, 33, 20)
    whole = padded(pixels)
    np.testing.assert_array_equal(whole[:20, :33], pixels)
    np.testing.assert_array_equal(whole[20:, :33], np.repeat(pixels[-1:], 12, 0))


def test_weights_that_lack_something_are_named() -> None:
    weights = {name: array.numpy() for name, array in FineNetwork().state_dict().items()}
    del weights["attend.2.bias"]
    with pytest.raises(ValueError, match=r"attend\.2\.bias"):
        load_fine(weights)
