"""Matching is exact and finds what was planted: both rules against loops over integers, and seed 004's against a k-d tree."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_features import directions, lengths_one, planted_pair, rounded
from scipy.spatial import cKDTree

from stages.match import MutualNearest, OneWay, similarities
from stages.records import Int8

RULES = [MutualNearest(), OneWay()]


@st.composite
def descriptors(draw: st.DrawFn) -> tuple[Int8, Int8]:
    """Few different rows of few different numbers, so that many products are equal."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    largest = draw(st.sampled_from([1, 2, 127]))
    query, candidate = (rng.integers(-largest, largest + 1, (draw(st.integers(0, 12)), 3), np.int8) for _ in range(2))
    return query, candidate


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 40, 128, 1000]))
def test_products_are_exact(seed: int, dimensions: int) -> None:
    rng = np.random.default_rng(seed)
    query, candidate = (rng.integers(-127, 128, (rng.integers(1, 9), dimensions)).astype(np.int8) for _ in range(2))
    query[0] = candidate[0] = 127  # the largest sum there is
    products = similarities(query, candidate)
    assert products.dtype == np.float32
    np.testing.assert_array_equal(products.astype(np.int64), query.astype(np.int64) @ candidate.astype(np.int64).T)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_mutual_nearest_finds_the_planted_pairs(share: float) -> None:
    query, candidate, planted = planted_pair(np.random.default_rng(0), count=200, share=share)
    found = set(map(tuple, MutualNearest(cosine=0.8)(query.descriptor, candidate.descriptor).tolist()))
    assert found == set(map(tuple, planted.tolist()))


@settings(max_examples=200, deadline=None)
@given(descriptors(), st.sampled_from([-1.0, 0.0, 1e-4, 0.5]))
def test_mutual_nearest_is_brute_force(pair: tuple[Int8, Int8], cosine: float) -> None:
    query, candidate = (d.astype(int).tolist() for d in pair)

    def product(i: int, j: int) -> int:
        return sum(a * b for a, b in zip(query[i], candidate[j], strict=True))

    wanted = []
    for i in range(len(query)):
        if candidate:
            j = max(range(len(candidate)), key=lambda j: (product(i, j), -j))  # of equals the first, which is the stronger
            back = max(range(len(query)), key=lambda i: (product(i, j), -i))
            if back == i and product(i, j) >= cosine * 127**2:
                wanted.append([i, j])
    assert MutualNearest(cosine)(*pair).tolist() == wanted


def test_the_cosine_bound_is_kept() -> None:
    rng = np.random.default_rng(1)
    base = directions(rng, 300)
    other = lengths_one(base + rng.random((300, 1)) * 0.3 * rng.normal(size=(300, 40)))
    query, candidate = rounded(base), rounded(other)
    every = MutualNearest(-1)(query, candidate)
    cosine = (query[every[:, 0]].astype(int) * candidate[every[:, 1]]).sum(1) / 127**2
    for bound in (0.55, 0.7, 0.9):
        kept = MutualNearest(bound)(query, candidate)
        assert 0 < len(kept) < len(every)
        np.testing.assert_array_equal(kept, every[cosine >= bound])


@settings(max_examples=200, deadline=None)
@given(descriptors(), st.sampled_from([0.01, 0.1, 0.8, 2.0]))
def test_one_way_is_brute_force(pair: tuple[Int8, Int8], distance: float) -> None:
    query, candidate = (d.astype(int).tolist() for d in pair)

    def gap(i: int, j: int) -> int:
        return sum((a - b) ** 2 for a, b in zip(query[i], candidate[j], strict=True))

    wanted = []
    for j in range(len(candidate)):
        if query:
            i = min(range(len(query)), key=lambda i: (gap(i, j), i))
            if gap(i, j) < (distance * 127) ** 2:
                wanted.append([i, j])
    assert OneWay(distance)(*pair).tolist() == wanted


@pytest.mark.parametrize("noise", [0.05, 0.1, 0.15])  # of near-duplicates, as a pyramid's overlapping scales make them
def test_one_way_is_seed_004s_rule(noise: float) -> None:
    """Its code asks a k-d tree of the query's descriptors for each candidate descriptor's nearest, closer than 0.8."""
    rng = np.random.default_rng(2)
    base, compared = directions(rng, 6), 0
    for _ in range(10):
        query, candidate = (rounded(lengths_one(base[rng.integers(0, 6, 60)] + noise * rng.normal(size=(60, 40)))) for _ in range(2))
        distances, nearest = cKDTree(query / 127).query(candidate / 127, k=2)
        found = {j: i for i, j in OneWay(0.8)(query, candidate).tolist()}
        for j, ((first, second), (i, _)) in enumerate(zip(distances, nearest, strict=True)):
            if second - first > 1e-9 and abs(first - 0.8) > 1e-9:  # elsewhere the tree's own rounding decides
                assert found.get(j) == (i if first < 0.8 else None)
                compared += 1
        assert 0 < len(found) <= 60
    assert compared > 500


def test_one_way_may_use_a_query_feature_twice_and_mutual_nearest_never() -> None:
    query, candidate = np.array([[127, 0]], np.int8), np.array([[126, 12], [127, 0], [0, 127]], np.int8)
    assert OneWay(0.8)(query, candidate).tolist() == [[0, 0], [0, 1]]
    assert MutualNearest()(query, candidate).tolist() == [[0, 1]]


def test_one_way_wants_closer_than_the_distance() -> None:
    query, candidate = np.array([[127, 0]], np.int8), np.array([[-127, 0]], np.int8)
    assert OneWay(2.0)(query, candidate).tolist() == []
    assert OneWay(2.001)(query, candidate).tolist() == [[0, 0]]


@pytest.mark.parametrize("rule", RULES)
def test_no_features_no_matches(rule: MutualNearest | OneWay) -> None:
    some, none = np.ones((4, 40), np.int8), np.empty((0, 40), np.int8)
    for query, candidate in ((none, some), (some, none), (none, none)):
        pairs = rule(query, candidate)
        assert (pairs.shape, pairs.dtype) == ((0, 2), np.int64)
