"""The records refuse what is not theirs, by name, and a gallery has one order: that of its paths'
bytes.
"""

import os
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from planted_features import SIZE, pack, unrelated

from stages.gallery import Gallery
from stages.records import Candidates, Image, LocalFeatures, Matches, PackedFeatures, Ranking
from stages.tree_index import TreeIndex

f4, i1, i4, i8, b1 = np.float32, np.int8, np.int32, np.int64, np.bool_
EMPTY = PackedFeatures(
    (), *(np.zeros(shape, dtype) for shape, dtype in [(0, i4), (0, i8), (0, i8), ((0, 2), i4)])
)
BLOCK = (np.zeros((5, 2), f4), np.zeros((5, 40), i1), np.zeros(5, f4))

# a right one of each, by field
RIGHT: dict[type, dict[str, Any]] = {
    Image: {
        "pixels": np.zeros((3, 4, 3), np.uint8),
        "each": 2,
        "whole": (7, 6),
        "left_top": (-1, 0),
    },
    LocalFeatures: {
        "xy": np.zeros((5, 2), f4),
        "descriptor": np.zeros((5, 40), i1),
        "score": np.zeros(5, f4),
        "size": SIZE,
    },
    PackedFeatures: {
        "blocks": (BLOCK, BLOCK),
        "block": np.array([0, 1, 1], i4),
        "start": np.array([2, 0, 5], i8),
        "count": np.array([3, 5, 0], i8),
        "size": np.ones((3, 2), i4),
    },
    Gallery: {
        "names": ("a", "b"),
        "codes": np.zeros((2, 3), f4),
        "features": pack([unrelated(np.random.default_rng(0), 2)] * 2),
        "index": TreeIndex.build(np.zeros((2, 3), f4)),
        "null": None,
        "parts": None,
    },
    Candidates: {
        "rows": np.array([[4, 2]], i8),
        "distance": np.array([[0, 1]], f4),
        "places": np.array([[[1, 0], [2, 1]]], i4),
        "near": np.array([[1, 2]], i4),
        "share": np.array([[0.5, 1.0]]),
    },
    Matches: {
        "matches": np.zeros((1, 2), i4),
        "inliers": np.zeros((1, 2), i4),
        "affine": np.zeros((1, 2, 2, 3), f4),
    },
    Ranking: {
        "order": np.array([[1, 0]], i8),
        "accepted": np.zeros((1, 2), b1),
        "evidence": np.zeros((1, 2)),
        "false_alarms": np.zeros((1, 2)),
    },
}

WRONG: list[tuple[type, str, Any, str]] = [
    (Image, "pixels", np.zeros((3, 4), np.uint8), "expected uint8 (*, *, 3), got uint8 (3, 4)"),
    (Image, "pixels", np.zeros((3, 4, 3), f4), "expected uint8 (*, *, 3), got float32 (3, 4, 3)"),
    (
        Image,
        "pixels",
        np.zeros((3, 4, 4), np.uint8),
        "expected uint8 (*, *, 3), got uint8 (3, 4, 4)",
    ),
    (Image, "whole", (9, 6), "expected a photo that 2 x 2 px a pixel cover, got 9 x 6 for (3, 4)"),
    (Image, "whole", (7, 4), "expected a photo that 2 x 2 px a pixel cover, got 7 x 4 for (3, 4)"),
    (Image, "pixels", np.zeros((0, 4, 3), np.uint8), "expected at least one pixel, got (0, 4, 3)"),
    (Image, "pixels", [[1, 2, 3]], "expected uint8 (*, *, 3), got list"),
    (LocalFeatures, "xy", np.zeros((4, 2), f4), "expected float32 (5, 2), got float32 (4, 2)"),
    (LocalFeatures, "xy", np.zeros((5, 2)), "expected float32 (5, 2), got float64 (5, 2)"),
    (
        LocalFeatures,
        "descriptor",
        np.zeros((5, 40), f4),
        "expected int8 (*, *), got float32 (5, 40)",
    ),
    (LocalFeatures, "score", np.zeros((5, 1), f4), "expected float32 (5), got float32 (5, 1)"),
    (PackedFeatures, "block", np.zeros(3, i8), "expected int32 (*), got int64 (3,)"),
    (PackedFeatures, "block", np.array([0, 1, 2], i4), "expected blocks 0 to 1, got 0 to 2"),
    (PackedFeatures, "block", np.array([0, 1, -1], i4), "expected blocks 0 to 1, got -1 to 1"),
    (PackedFeatures, "start", np.zeros(2, i8), "expected int64 (3), got int64 (2,)"),
    (
        PackedFeatures,
        "start",
        np.array([3, 0, 5], i8),
        "expected rows inside their block, got rows beyond it",
    ),
    (
        PackedFeatures,
        "start",
        np.array([-1, 0, 5], i8),
        "expected rows inside their block, got rows beyond it",
    ),
    (PackedFeatures, "count", np.zeros(3, i4), "expected int64 (3), got int32 (3,)"),
    (PackedFeatures, "size", np.ones((3, 3), i4), "expected int32 (3, 2), got int32 (3, 3)"),
    (Gallery, "codes", np.zeros((3, 3), f4), "expected float32 (2, *), got float32 (3, 3)"),
    (Gallery, "codes", np.zeros((2, 3)), "expected float32 (2, *), got float64 (2, 3)"),
    (Gallery, "features", EMPTY, "expected 2 photos, got 0"),
    (Gallery, "names", ("b", "a"), "expected ascending paths, each once"),
    (Gallery, "names", ("a", "a"), "expected ascending paths, each once"),
    (Gallery, "index", None, "expected an index over the codes, got None"),
    (Candidates, "rows", np.array([4, 2], i8), "expected int64 (*, *), got int64 (2,)"),
    (
        Candidates,
        "distance",
        np.array([[0, 1, 2]], f4),
        "expected float32 (1, 2), got float32 (1, 3)",
    ),
    (Candidates, "distance", np.array([[1, 0]], f4), "expected ascending, got a descent"),
    (
        Candidates,
        "places",
        np.zeros((1, 2), i4),
        "expected int32 (1, 2, 2), got int32 (1, 2)",
    ),
    (Candidates, "near", np.zeros((1, 3), i4), "expected int32 (1, 2), got int32 (1, 3)"),
    (Candidates, "share", np.zeros((1, 2), f4), "expected float64 (1, 2), got float32 (1, 2)"),
    (Matches, "matches", np.zeros((1, 2), i8), "expected int32 (*, *), got int64 (1, 2)"),
    (Matches, "inliers", np.zeros((1, 3), i4), "expected int32 (1, 2), got int32 (1, 3)"),
    (
        Matches,
        "affine",
        np.zeros((1, 2, 3, 2), f4),
        "expected float32 (1, 2, 2, 3), got float32 (1, 2, 3, 2)",
    ),
    (
        Ranking,
        "order",
        np.array([[1, 1]], i8),
        "expected a permutation of the shortlist, got something else",
    ),
    (
        Ranking,
        "order",
        np.array([[1, 2]], i8),
        "expected a permutation of the shortlist, got something else",
    ),
    (Ranking, "accepted", np.zeros((1, 2), np.uint8), "expected bool (1, 2), got uint8 (1, 2)"),
    (Ranking, "evidence", np.zeros((1, 3)), "expected float64 (1, 2), got float64 (1, 3)"),
    (Ranking, "false_alarms", np.zeros((1, 2), f4), "expected float64 (1, 2), got float32 (1, 2)"),
    (Ranking, "false_alarms", np.zeros((1, 3)), "expected float64 (1, 2), got float64 (1, 3)"),
]


def test_every_array_of_every_record_has_its_wrong_ones() -> None:
    for record, right in RIGHT.items():
        record(**right)
        assert set(right) == {f.name for f in fields(record)}
    arrays = {
        (record, name)
        for record, right in RIGHT.items()
        for name, value in right.items()
        if isinstance(value, np.ndarray)
    }
    assert arrays <= {(record, name) for record, name, _, _ in WRONG}


@pytest.mark.parametrize(("record", "name", "value", "message"), WRONG)
def test_a_wrong_field_is_refused_by_name(
    record: Callable[..., object], name: str, value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{record.__name__}.{name}: {re.escape(message)}"):
        record(**{**RIGHT[record], name: value})


def test_an_images_size_is_width_by_height() -> None:
    assert Image(np.zeros((3, 4, 3), np.uint8)).size == (4, 3)


@pytest.mark.parametrize("blocks", [1, 2, 3, 5])
def test_packed_photos_come_back_whole(blocks: int) -> None:
    rng = np.random.default_rng(1)
    photos = [unrelated(rng, count) for count in (4, 0, 7, 1, 3, 12, 2)]
    packed = pack(photos, blocks)
    assert len(packed) == len(photos)
    for i, photo in enumerate(photos):
        for name in ("xy", "descriptor", "score"):
            np.testing.assert_array_equal(getattr(packed[i], name), getattr(photo, name))
        assert packed[i].size == photo.size


# the surrogates: bytes that are no UTF-8
NAMES = ["b", "a/z", "a", "a.jpg", "a/b", "Z", "é", "a\udcff", "\udc80", "a\U0001f600", "a￿"]


def gallery(names: list[str]) -> Gallery:
    """Photo i has code (i, i) and i features."""
    rng = np.random.default_rng(2)
    codes = np.repeat(np.arange(len(names), dtype=np.float32)[:, None], 2, 1)
    return Gallery.from_arrays(
        names, codes, pack([unrelated(rng, i) for i in range(len(names))], 2)
    )


def test_a_gallery_is_sorted_by_its_paths_bytes() -> None:
    made = gallery(NAMES)
    assert [os.fsencode(n) for n in made.names] == sorted(os.fsencode(n) for n in NAMES)
    assert list(made.names) != sorted(NAMES)  # the order of code points would be another one
    for i, name in enumerate(NAMES):
        row = made.row(name)
        assert made.names[row] == name
        assert made.codes[row].tolist() == [i, i]
        assert len(made.features[row]) == i
    assert made.index is not None
    nearest = made.index.nearest(np.array([3, 3], f4), 1)
    assert (nearest.distance[0, 0], made.names[nearest.rows[0, 0]]) == (0, NAMES[3])


def test_a_path_that_is_not_there_is_a_key_error() -> None:
    for names in ([], NAMES):
        for absent in ("", "aa", "zzz", "a/", "\udcff\udcff"):
            with pytest.raises(KeyError):
                gallery(names).row(absent)


def test_a_path_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Gallery\.names: expected ascending paths, each once"):
        gallery(["b", "a", "b"])


@pytest.mark.parametrize(
    ("codes", "photos", "message"),
    [
        (np.zeros((3, 2), f4), 2, "Gallery.codes: expected float32 (2, *), got float32 (3, 2)"),
        (np.zeros((1, 2), f4), 2, "Gallery.codes: expected float32 (2, *), got float32 (1, 2)"),
        (np.zeros(2, f4), 2, "Gallery.codes: expected float32 (2, *), got float32 (2,)"),
        (np.zeros((2, 2)), 2, "Gallery.codes: expected float32 (2, *), got float64 (2, 2)"),
        (
            np.array([[0, np.nan], [0, 0]], f4),
            2,
            "Gallery.codes: expected finite numbers, got NaN or infinity",
        ),
        (np.zeros((2, 2), f4), 3, "Gallery.features: expected 2 photos, got 3"),
    ],
)
def test_from_arrays_wants_one_of_each_for_every_name(
    codes: Any, photos: int, message: str
) -> None:
    features = pack([unrelated(np.random.default_rng(3), 2)] * photos)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Gallery.from_arrays(["b", "a"], codes, features)
