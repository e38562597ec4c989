"""Matching is exact and finds what was planted: both rules against int64 brute force, and seed
004's against a k-d tree.
"""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_features import directions, lengths_one, planted_pair, rounded, unrelated
from scipy.spatial import cKDTree

from stages.match import LONGEST, WHO, Nearest, match
from stages.records import Int8, Int32, Int64

RULES = [Nearest(), Nearest(mutual=False, distance=0.8)]
# around 4 query features, 16 and 32 candidate features at once
SIZES = [0, 1, 3, 4, 15, 16, 17, 31, 32, 33, 64, 200, 1000]
DIMENSIONS = [1, 3, 4, 40, 41, 128]  # around four bytes at once


def gaps(query: Int8, candidate: Int8) -> Int64:
    """(Mq, Mc) squared distances; every product of int8 is exact in float64, whatever BLAS does."""
    q, c = query.astype(float), candidate.astype(float)
    return ((q * q).sum(1)[:, None] + (c * c).sum(1) - 2 * (q @ c.T)).astype(np.int64)


def brute_force(query: Int8, candidate: Int8, mutual: bool, distance: float) -> Int32:
    """(n, 2) pairs by candidate feature; argmin takes the first of equals, which is the
    stronger."""
    if not len(query) or not len(candidate):
        return np.empty((0, 2), np.int32)
    gap, them = gaps(query, candidate), np.arange(len(candidate))
    nearest = gap.argmin(0)
    kept = gap[nearest, them] < (distance * 127) ** 2
    if mutual:
        kept &= gap.argmin(1)[nearest] == them
    return np.stack([nearest, them], 1)[kept].astype(np.int32)


def random_rows(rng: np.random.Generator, count: int, dimensions: int, largest: int) -> Int8:
    """Rows of numbers up to `largest` either way, made smaller where a descriptor would be too
    long.
    """
    rows = rng.integers(-largest, largest + 1, (count, dimensions)).astype(float)
    long = (rows * rows).sum(1) > LONGEST
    rows[long] = np.trunc(rows[long] * 181 / np.linalg.norm(rows[long], axis=1, keepdims=True))
    return rows.clip(-128, 127).astype(np.int8)


@st.composite
def pairs_of_photos(draw: st.DrawFn, dimensions: int = 3) -> tuple[Int8, Int8]:
    """Few different rows of few different numbers, so that many distances are equal."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    largest = draw(st.sampled_from([1, 2, 100]))
    query, candidate = (
        random_rows(rng, draw(st.integers(0, 40)), dimensions, largest) for _ in range(2)
    )
    return query, candidate


@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize("rows", SIZES)
def test_it_is_brute_force(rows: int, dimensions: int) -> None:
    """At every edge of a tile, on any machine, with numbers so small that ties are the rule and
    with the longest there are.
    """
    rng = np.random.default_rng([rows, dimensions])
    for columns in {rows, *rng.choice(SIZES, 3).tolist()}:
        largest = int(rng.choice([1, 3, 30, 128]))
        query, candidate = (
            random_rows(rng, rows, dimensions, largest),
            random_rows(rng, columns, dimensions, largest),
        )
        for mutual in (True, False):
            distance = float(rng.choice([0.05, 0.3, 0.8, math.sqrt(2), 10]))
            wanted = brute_force(query, candidate, mutual, distance)
            found = Nearest(mutual, distance)(query, candidate)
            assert found.dtype == np.int32
            np.testing.assert_array_equal(found, wanted)
            whole = np.zeros(1, np.int64), np.array([columns])
            limit = math.ceil((distance * 127) ** 2) - 1
            # without the instruction of its own
            anywhere = match(query, candidate, *whole, mutual, limit, fast=False)
            assert anywhere is not None
            np.testing.assert_array_equal(anywhere[1], wanted)


@settings(max_examples=150, deadline=None)
@given(pairs_of_photos(), st.booleans(), st.sampled_from([0.01, 0.02, 0.8, 1.2, 4.0]))
def test_it_is_brute_force_among_ties(
    pair: tuple[Int8, Int8], mutual: bool, distance: float
) -> None:
    np.testing.assert_array_equal(
        Nearest(mutual, distance)(*pair), brute_force(*pair, mutual, distance)
    )


@settings(max_examples=100, deadline=None)
@given(pairs_of_photos(9), st.booleans(), st.sampled_from([60, 89, 90, 91]), st.integers(0, 2**32))
def test_kinds_laid_apart_match_as_if_they_were_not(
    pair: tuple[Int8, Int8], mutual: bool, mark: int, seed: int
) -> None:
    """The last number keeps two kinds apart, of any sizes and in any order, or all but does."""
    rng = np.random.default_rng(seed)
    marked = [
        np.c_[rows // 2, mark * rng.choice([-1, 1], len(rows))].astype(np.int8) for rows in pair
    ]
    np.testing.assert_array_equal(
        Nearest(mutual)(*marked), brute_force(*marked, mutual, math.sqrt(2))
    )


@settings(max_examples=60, deadline=None)
@given(pairs_of_photos())
def test_mutual_matches_are_mutual(pair: tuple[Int8, Int8]) -> None:
    """They are the same seen from the candidate, use no feature twice, and are found one way,
    too."""
    mutual = Nearest(distance=9)(*pair)
    turned = Nearest(distance=9)(*pair[::-1])[:, ::-1]
    assert sorted(mutual.tolist()) == sorted(turned.tolist())
    assert all(len(set(side)) == len(mutual) for side in mutual.T.tolist())
    assert set(map(tuple, mutual.tolist())) <= set(map(tuple, Nearest(False, 9)(*pair).tolist()))


@settings(max_examples=60, deadline=None)
@given(pairs_of_photos(4), st.booleans(), st.sampled_from([0, 1]), st.integers(0, 40))
def test_a_feature_far_from_all_changes_nothing(
    pair: tuple[Int8, Int8], mutual: bool, side: int, place: int
) -> None:
    rule, near = Nearest(mutual, 0.8), [rows // 10 for rows in pair]
    before = rule(*near)
    place = min(place, len(near[side]))
    near[side] = np.insert(near[side], place, np.int8([0, 0, 0, 127]), axis=0)
    before[:, side] += before[:, side] >= place
    assert rule(*near).tolist() == before.tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(RULES))
def test_the_order_of_features_only_settles_ties(seed: int, rule: Nearest) -> None:
    rng = np.random.default_rng(seed)
    query, candidate, _ = planted_pair(rng, count=60)
    rows, columns = rng.permutation(60), rng.permutation(60)
    moved = rule(query.descriptor[rows], candidate.descriptor[columns])
    assert sorted(zip(rows[moved[:, 0]], columns[moved[:, 1]], strict=True)) == sorted(
        map(tuple, rule(query.descriptor, candidate.descriptor))
    )


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("mutual", [True, False])
def test_a_block_is_its_pairs(mutual: bool, fast: bool) -> None:
    """Wherever a candidate lies, whatever lies before and behind it, and in any order of
    candidates.
    """
    rng = np.random.default_rng(0)
    query, descriptor = random_rows(rng, 70, 41, 30), random_rows(rng, 900, 41, 30)
    count = np.array([0, 100, 1, 33, 100, 5, 0, 16, 100, 250])
    start = np.array([0, 0, 100, 101, 50, 895, 900, 7, 0, 650])  # some overlap, one is there twice
    found = match(query, descriptor, start, count, mutual, 20_000, fast)
    assert found is not None
    offset, pairs = found
    assert (offset.dtype, offset[0], offset[-1]) == (np.int64, 0, len(pairs))
    rule = Nearest(mutual, math.sqrt(20_000.5) / 127)
    for p in range(len(count)):
        alone = rule(query, descriptor[start[p] : start[p] + count[p]])
        np.testing.assert_array_equal(pairs[offset[p] : offset[p + 1]], alone)
    assert len(pairs) > 100
    order = rng.permutation(len(count))
    moved_offset, moved = rule.block(query, descriptor, start[order], count[order])
    for place, p in enumerate(order):
        np.testing.assert_array_equal(
            moved[moved_offset[place] : moved_offset[place + 1]], pairs[offset[p] : offset[p + 1]]
        )


@pytest.mark.parametrize("rule", RULES)
def test_any_memory_will_do(rule: Nearest, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    query, candidate, _ = planted_pair(rng)
    wanted = rule(query.descriptor, candidate.descriptor)
    assert len(wanted) > 50
    candidate.descriptor.tofile(tmp_path / "descriptors")
    mapped = np.memmap(tmp_path / "descriptors", np.int8, "r", shape=candidate.descriptor.shape)
    frozen = query.descriptor.copy()
    frozen.flags.writeable = False
    wide = np.zeros((len(frozen), 80), np.int8)
    wide[:, ::2] = frozen
    for mine in (query.descriptor, frozen, wide[:, ::2], np.asfortranarray(frozen)):
        for theirs in (candidate.descriptor, mapped):
            np.testing.assert_array_equal(rule(mine, theirs), wanted)
    assert not mapped.flags.writeable
    assert query.descriptor.flags.writeable  # what is given is left as it was


def test_ties_go_to_the_stronger_feature_on_both_sides() -> None:
    query, candidate = (
        np.int8([[0, 127], [127, 0], [127, 0]]),
        np.int8([[127, 0], [0, 127], [127, 0], [0, 127]]),
    )
    assert Nearest()(query, candidate).tolist() == [[1, 0], [0, 1]]
    assert Nearest(mutual=False)(query, candidate).tolist() == [[1, 0], [0, 1], [1, 2], [0, 3]]


@pytest.mark.parametrize("mutual", [True, False])
@pytest.mark.parametrize(
    ("distance", "at", "closer"),
    [(math.sqrt(2), [0, 127], [1, 126]), (2.0, [-127, 0], [-126, 16]), (1.0, [0, 0], [1, 0])],
)
def test_matches_are_closer_than_the_distance(
    mutual: bool, distance: float, at: list[int], closer: list[int]
) -> None:
    """Not at it: a right angle is no match of the default."""
    for candidate, wanted in ((at, []), (closer, [[0, 0]])):
        assert (
            Nearest(mutual, distance)(np.int8([[127, 0]]), np.int8([candidate])).tolist() == wanted
        )


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_mutual_nearest_finds_the_planted_pairs(share: float) -> None:
    query, candidate, planted = planted_pair(np.random.default_rng(0), count=200, share=share)
    found = Nearest(distance=0.6)(query.descriptor, candidate.descriptor)
    assert set(map(tuple, found.tolist())) == set(map(tuple, planted.tolist()))
    assert (np.diff(found[:, 1]) > 0).all()


# of near-duplicates, as a pyramid's overlapping scales make them
@pytest.mark.parametrize("noise", [0.05, 0.1, 0.15])
def test_one_way_is_seed_004s_rule(noise: float) -> None:
    """Its code asks a k-d tree of the query's descriptors for each candidate descriptor's nearest,
    closer than 0.8.
    """
    rng = np.random.default_rng(2)
    base, compared = directions(rng, 6), 0
    for _ in range(10):
        query, candidate = (
            rounded(lengths_one(base[rng.integers(0, 6, 60)] + noise * rng.normal(size=(60, 40))))
            for _ in range(2)
        )
        distances, nearest = cKDTree(query / 127).query(candidate / 127, k=2)
        found = {j: i for i, j in Nearest(False, 0.8)(query, candidate).tolist()}
        for j, ((first, second), (i, _)) in enumerate(zip(distances, nearest, strict=True)):
            # elsewhere the tree's own rounding decides
            if second - first > 1e-9 and abs(first - 0.8) > 1e-9:
                assert found.get(j) == (i if first < 0.8 else None)
                compared += 1
        assert 0 < len(found) <= 60
    assert compared > 500


@pytest.mark.parametrize("rule", RULES)
def test_no_features_no_matches(rule: Nearest) -> None:
    some, none = unrelated(np.random.default_rng(0), 4).descriptor, np.empty((0, 40), np.int8)
    for query, candidate in ((none, some), (some, none), (none, none)):
        pairs = rule(query, candidate)
        assert (pairs.shape, pairs.dtype) == ((0, 2), np.int32)
    offset, pairs = rule.block(some, none, np.empty(0, np.int64), np.empty(0, np.int64))
    assert (offset.tolist(), pairs.shape) == ([0], (0, 2))


def test_a_photo_may_have_so_many_features_and_no_more() -> None:
    most = 1 << WHO
    many, one = np.zeros((most, 4), np.int8), np.int8([[5, 5, 5, 5]])
    many[-1] = 6
    assert Nearest()(many, one).tolist() == [[most - 1, 0]]
    assert Nearest()(one, many).tolist() == [[0, most - 1]]
    assert Nearest(False)(many, np.zeros((1, 4), np.int8)).tolist() == [[0, 0]]
    more = np.zeros((most + 1, 4), np.int8)
    for query, candidate in ((more, one), (one, more)):
        with pytest.raises(
            ValueError, match="match: expected at most 16384 features a photo, got 16385"
        ):
            Nearest()(query, candidate)


def test_a_descriptor_may_be_so_long_and_no_longer() -> None:
    longest = np.int8([[-128, -128, 0], [-128, 127, 0], [0, -128, -128], [127, 127, 22], [0, 0, 0]])
    np.testing.assert_array_equal(
        Nearest(False, 9)(longest, longest), brute_force(longest, longest, False, 9)
    )
    np.testing.assert_array_equal(
        Nearest(True, 9)(longest[:1], longest[3:]), brute_force(longest[:1], longest[3:], True, 9)
    )
    longer = np.concatenate([longest, np.int8([[-128, -128, 1]])])
    for query, candidate in ((longer, longest), (longest, longer)):
        with pytest.raises(
            ValueError, match="expected descriptors of 127 x a unit vector, got one longer than 181"
        ):
            Nearest()(query, candidate)


def test_descriptors_of_two_lengths_do_not_meet() -> None:
    with pytest.raises(
        ValueError, match="match: expected descriptors of one length, got 40 and 32"
    ):
        Nearest()(np.zeros((3, 40), np.int8), np.zeros((3, 32), np.int8))
