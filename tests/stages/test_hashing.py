"""Search by bits: against brute force, whatever the length and however the codes lie; and the
second look's order.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_features import pack as pack_features
from planted_features import unrelated

from stages.gallery import Gallery
from stages.hashing import HammingIndex, euclidean, nearest_words, pack
from stages.hashing_kernels import BLOCK
from stages.records import Candidates, Float32
from stages.search import search


def brute(codes: Float32, code: Float32, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and distances by a stable sort of what numpy counts."""
    distance = ((codes >= 0) != (code >= 0)).sum(1)
    rows = np.argsort(distance, kind="stable")[:count]
    return rows, distance[rows]


def gallery(codes: Float32) -> Gallery:
    features = pack_features([unrelated(np.random.default_rng(0), 1)] * len(codes))
    return Gallery.from_arrays(
        [f"{i:05d}.png" for i in range(len(codes))], codes, features, index=HammingIndex.build
    )


@given(st.integers(1, 70), st.integers(1, 300), st.integers(1, 400), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_nearest_are_those_of_brute_force(
    bits: int, photos: int, count: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # among them zeros: bits of 1
    codes = (rng.normal(size=(photos, bits)) * rng.integers(0, 2, (photos, 1))).astype(np.float32)
    code = rng.normal(size=bits).astype(np.float32)
    rows, distance = nearest_words(pack(code[None])[:, 0], count, pack(codes))
    wanted, far = brute(codes, code, count)
    np.testing.assert_array_equal(rows, wanted)
    np.testing.assert_array_equal(distance, far)


@pytest.mark.parametrize(
    "order", ["nearer and nearer", "farther and farther", "all alike", "random"]
)
@pytest.mark.parametrize("count", [1, 100, 5000])
def test_notes_are_struck_out_without_loss(order: str, count: int) -> None:
    """More codes than notes have room for, in the orders that fill them most and least."""
    rng = np.random.default_rng(0)
    ones = rng.integers(0, 17, 7 * BLOCK + 5)
    ones = {
        "nearer and nearer": np.sort(ones)[::-1],
        "farther and farther": np.sort(ones),
        "all alike": 0 * ones,
        "random": ones,
    }[order]
    codes = np.where(np.arange(16) < ones[:, None], np.float32(1), np.float32(-1))
    code = np.full(16, -1, np.float32)
    rows, distance = nearest_words(pack(code[None])[:, 0], count, pack(codes))
    wanted, far = brute(codes, code, count)
    np.testing.assert_array_equal(rows, wanted)
    np.testing.assert_array_equal(distance, far)


def test_words_are_as_long_as_the_code() -> None:
    for bits, words in ((1, 1), (12, 1), (16, 1), (17, 2), (24, 2), (48, 3)):
        assert pack(np.zeros((5, bits), np.float32)).shape == (words, 5)


def test_the_shortlist_and_its_second_look() -> None:
    rng = np.random.default_rng(3)
    codes, code = (
        rng.normal(size=(200, 24)).astype(np.float32),
        rng.normal(size=24).astype(np.float32),
    )
    photos = gallery(codes)
    found = search(code, 40, photos)
    wanted, far = brute(codes, code, 40)
    np.testing.assert_array_equal(found.rows[0], wanted)
    np.testing.assert_array_equal(found.distance[0], far.astype(np.float32))
    ranking = euclidean(code, found, photos)
    distance = np.linalg.norm(codes[wanted].astype(np.float64) - code, axis=1)
    np.testing.assert_array_equal(ranking.order[0], np.argsort(distance, kind="stable"))
    assert ranking.accepted.all()
    np.testing.assert_allclose(ranking.evidence[0], -(distance**2))


def test_nothing_is_found_in_an_empty_gallery() -> None:
    empty = Gallery.from_arrays(
        [],
        np.empty((0, 8), np.float32),
        pack_features([unrelated(np.random.default_rng(0), 1)]).part(np.empty(0, np.int64)),
        index=HammingIndex.build,
    )
    found = search(np.zeros(8, np.float32), 10, empty)
    assert found.rows.shape == (1, 0)
    assert euclidean(np.zeros(8, np.float32), found, empty).order.shape == (1, 0)


def test_wrong_codes_are_named() -> None:
    photos = gallery(np.ones((3, 8), np.float32))
    with pytest.raises(
        ValueError, match=r"search\.code: expected float32 \(8\), got float32 \(9,\)"
    ):
        search(np.zeros(9, np.float32), 1, photos)
    with pytest.raises(ValueError, match="expected finite numbers, got NaN"):
        search(np.full(8, np.nan, np.float32), 1, photos)
    with pytest.raises(
        ValueError, match=r"nearest_words\.words: expected uint16 \(2, \*\), got uint16 \(1, 3\)"
    ):
        nearest_words(np.zeros(2, np.uint16), 1, pack(np.ones((3, 8), np.float32)))
    with pytest.raises(
        ValueError, match=r"nearest_words\.words: expected uint16 \(1, \*\), got int32 \(1, 2\)"
    ):
        HammingIndex(np.zeros((1, 2), np.int32)).nearest(np.zeros(8, np.float32), 1)


def test_equal_real_codes_keep_the_first_looks_order() -> None:
    photos = gallery(np.ones((4, 8), np.float32))
    ranking = euclidean(
        np.ones(8, np.float32),
        Candidates(np.array([[2, 0, 3]]), np.zeros((1, 3), np.float32)),
        photos,
    )
    assert ranking.order.tolist() == [[0, 1, 2]]
