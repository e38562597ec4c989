"""Near-duplicates by geometry, what is in the middle of the tolerance, and sharpness."""

import cv2
import numpy as np
import pytest
from pictures import picture

from stages.overlap import in_the_middle, near_duplicates, overlaps
from stages.records import Image
from stages.sharpness import sharpness

SIZE = np.array([[400, 300]], np.int32)
HALF = np.array([[[0.5, 0, -0.25], [0, 0.5, -0.25]]], np.float32)
TURNED = np.array([[[0, -1, 299], [1, 0, 0]]], np.float32)  # by a quarter
RIGHT = np.array([[[1, 0, -200], [0, 1, 0]]], np.float32)  # the right half


def near(affine: np.ndarray, other: list[int], matches: int = 100, inliers: int = 80) -> bool:
    counts = np.array([matches], np.int32), np.array([inliers], np.int32)
    return bool(near_duplicates(affine, SIZE, np.array([other], np.int32), *counts)[0])


def test_how_much_of_each_photo_the_other_shows() -> None:
    assert overlaps(HALF, SIZE, SIZE // 2) == pytest.approx(np.ones((1, 2)), abs=0.01)
    assert overlaps(TURNED, SIZE, SIZE[:, ::-1]) == pytest.approx(np.ones((1, 2)), abs=0.01)
    assert overlaps(RIGHT, SIZE, SIZE) == pytest.approx(np.full((1, 2), 0.5), abs=0.01)
    assert overlaps(RIGHT, SIZE, SIZE // [2, 1]) == pytest.approx(np.array([[0.5, 1]]), abs=0.01)
    nothing = np.full((1, 2, 3), np.nan, np.float32)
    assert overlaps(nothing, SIZE, SIZE).tolist() == [[0, 0]]
    assert overlaps(np.zeros((1, 2, 3), np.float32), SIZE, SIZE).tolist() == [[0, 0]]


def test_the_same_picture_and_another_photo_of_the_thing() -> None:
    assert near(HALF, [200, 150])
    assert near(TURNED, [300, 400])
    assert not near(RIGHT, [400, 300])  # half of it
    assert not near(HALF, [200, 150], inliers=40)
    aslant = np.array([[[1, 0.1, 0], [0, 0.85, 0]]], np.float32)
    assert not near(aslant, [400, 300])
    assert not near(np.full((1, 2, 3), np.nan, np.float32), [400, 300])


def test_inliers_in_the_middle_of_the_tolerance() -> None:
    xy = np.zeros((4, 2), np.float32)
    there = np.array([[5, 0], [8, 0], [5, 2.9], [5, 3.1]], np.float32)
    moved = np.array([[1, 0, 5], [0, 1, 0]], np.float32)
    assert in_the_middle(moved, xy, there, 9.0) == 3


def test_a_blurred_photo_is_less_sharp_at_any_size() -> None:
    for width, height in ((320, 240), (2400, 1800)):
        sharp = picture(3, width, height)
        blurred = cv2.GaussianBlur(sharp, (0, 0), width / 160)
        assert sharpness(Image(sharp)) > 2 * sharpness(Image(blurred))
    assert sharpness(Image(np.full((1, 1, 3), 9, np.uint8))) == 0
