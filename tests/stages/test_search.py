"""The first look's search against brute force: nearest first, equal distances by path, whatever the
tree met first.
"""

import os
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_features import pack, unrelated

from stages.gallery import Gallery
from stages.records import Float32
from stages.search import search

NOTHING = unrelated(np.random.default_rng(0), 0)


def gallery(names: list[str], codes: Float32) -> Gallery:
    return Gallery.from_arrays(names, codes, pack([NOTHING] * len(names)))


def brute(names: list[str], codes: Float32, code: Float32) -> list[str]:
    """All names by exact squared distance (of integers), then path."""
    squares = np.square(codes.astype(np.int64) - code.astype(np.int64)).sum(1).tolist()
    return [
        name
        for _, _, name in sorted(
            (s, os.fsencode(n), n) for s, n in zip(squares, names, strict=True)
        )
    ]


@st.composite
def collections(draw: st.DrawFn) -> tuple[list[str], Float32, Float32]:
    """Names of any bytes in any order and integer codes, few enough that many distances are equal;
    and a query's code.
    """
    names = [
        os.fsdecode(b)
        for b in draw(st.lists(st.binary(min_size=1, max_size=3), unique=True, max_size=60))
    ]
    dimensions, largest = draw(st.integers(1, 4)), draw(st.sampled_from([0, 1, 2, 1000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    codes = rng.integers(-largest, largest + 1, (len(names) + 1, dimensions)).astype(np.float32)
    return names, codes[:-1], codes[-1]


@settings(max_examples=120, deadline=None)
@given(collections(), st.integers(1, 70))
def test_search_is_brute_force_with_ties_by_path(
    collection: tuple[list[str], Float32, Float32], count: int
) -> None:
    names, codes, code = collection
    made = gallery(names, codes)
    found = search(code, count, made)
    assert [made.names[row] for row in found.rows[0]] == brute(names, codes, code)[:count]
    exact = np.linalg.norm(
        codes.astype(np.float64)[[names.index(made.names[row]) for row in found.rows[0]]] - code,
        axis=1,
    )
    np.testing.assert_allclose(found.distance[0], exact, rtol=1e-6)

    further = search(code, 2 * count, made)  # a longer list begins with the shorter one
    np.testing.assert_array_equal(further.rows[:, : found.rows.shape[1]], found.rows)
    np.testing.assert_array_equal(further.distance[:, : found.rows.shape[1]], found.distance)

    # nor does it matter in which order photos arrived
    order = np.random.default_rng(count).permutation(len(names))
    other = search(code, count, gallery([names[i] for i in order], codes[order]))
    np.testing.assert_array_equal(other.rows, found.rows)
    np.testing.assert_array_equal(other.distance, found.distance)


def test_a_cut_through_thousands_of_equal_distances_takes_the_first_paths() -> None:
    rng = np.random.default_rng(1)
    # every one equally far from the middle
    corners = rng.integers(0, 2, (3000, 32)).astype(np.float32) - 0.5
    names = [f"{i:04d}" for i in rng.permutation(3000)]
    made = gallery(names, corners)
    for count in (1, 40, 2999, 3000):
        assert search(np.zeros(32, np.float32), count, made).rows[0].tolist() == list(range(count))


def test_real_numbers_are_ranked_as_in_double_precision() -> None:
    rng = np.random.default_rng(2)
    codes = rng.normal(size=(500, 32)).astype(np.float32)
    made = gallery([f"{i:03d}" for i in range(500)], codes)
    for code in rng.normal(size=(20, 32)).astype(np.float32):
        assert (
            search(code, 100, made).rows[0].tolist()
            == np.linalg.norm(codes.astype(np.float64) - code, axis=1).argsort()[:100].tolist()
        )


def test_more_than_there_is_gives_all_and_an_empty_gallery_nothing() -> None:
    assert search(
        np.zeros(2, np.float32), 10, gallery(["b", "a", "c"], np.eye(3, 2, dtype=np.float32))
    ).rows.tolist() == [[2, 0, 1]]
    # a folder without photos: codes of no width
    found = search(np.zeros(2, np.float32), 10, gallery([], np.empty((0, 0), np.float32)))
    assert (found.rows.shape, found.distance.shape) == ((1, 0), (1, 0))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            np.array([0, np.nan], np.float32),
            "search.code: expected finite numbers, got NaN or infinity",
        ),
        (
            np.array([np.inf, 0], np.float32),
            "search.code: expected finite numbers, got NaN or infinity",
        ),
        (np.zeros(3, np.float32), "search.code: expected float32 (2), got float32 (3,)"),
        (np.zeros(2), "search.code: expected float32 (2), got float64 (2,)"),
    ],
)
def test_a_code_that_is_none_is_refused(code: Float32, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        search(code, 1, gallery(["a"], np.zeros((1, 2), np.float32)))
