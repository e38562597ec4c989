"""Shortlists of two lists, worked by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_features import described, pack

from stages import shortlist as module
from stages.gallery import Gallery
from stages.records import Candidates, Int32, LocalFeatures
from stages.search import most_voted, search_parts
from stages.shortlist import DEPTH, ByOdds, shortlist


def listed(rows: list[int], distance: list[float]) -> Candidates:
    return Candidates(np.array([rows], np.int64), np.array([distance], np.float32))


def rows(found: Candidates) -> list[int]:
    listed: list[int] = found.rows[0].tolist()
    return listed


def test_one_list_is_cut() -> None:
    assert rows(shortlist(listed([4, 2, 9], [0, 1, 1]), 2)) == [4, 2]
    assert rows(shortlist(listed([4, 2, 9], [0, 1, 1]), 9)) == [4, 2, 9]


def test_the_worked_example() -> None:
    """With both exponents one, the odds are one by the product of two places: 5 stands first and
    fourth, 7 second and second, 3 third and nowhere, where places end behind the third vote; 8 is
    first by votes and beyond the list by codes, place 4,001.
    """
    coarse = listed([5, 7, 3], [0, 1, 2])
    parts = listed([8, 7, 5, 3], [0.2, 0.5, 0.8, 1])
    found = ByOdds(codes=1, votes=1)(coarse, parts, 9)
    assert rows(found) == [5, 7, 3, 8]
    np.testing.assert_allclose(found.distance[0], np.log([3, 4, 12, 4001]), rtol=1e-6)
    assert found.places is not None
    assert found.places[0].tolist() == [[1, 3], [2, 2], [3, 0], [0, 1]]
    # votes that say much turn the first two round
    assert rows(ByOdds(codes=1, votes=3)(coarse, parts, 9)) == [7, 5, 3, 8]
    assert rows(ByOdds(codes=0.1, votes=3)(coarse, parts, 2)) == [8, 7]


def test_photos_at_one_distance_share_the_first_of_their_places() -> None:
    """2 and 4 by codes are both second, 4 and 9 both first by votes: 4 is before 2, for it has a
    vote, and 2 before 6, which codes put last.
    """
    coarse, parts = listed([1, 2, 4, 6], [0, 1, 1, 3]), listed([4, 9], [0.5, 0.5])
    found = ByOdds(codes=1, votes=1)(coarse, parts, 9)
    assert rows(found) == [4, 1, 2, 6, 9]
    np.testing.assert_allclose(np.exp(found.distance[0]), [2, 3, 6, 12, 4001], rtol=1e-5)


def test_equal_odds_stand_as_codes_have_them_then_by_path() -> None:
    """First and second, second and first; two without a place by codes and with equal votes."""
    coarse, parts = listed([9, 3], [0, 1]), listed([3, 9, 6, 5], [0.1, 0.2, 0.4, 0.4])
    assert rows(ByOdds(codes=1, votes=1)(coarse, parts, 9)) == [9, 3, 5, 6]


def test_without_votes_the_order_of_codes_stays() -> None:
    coarse, parts = listed([4, 1, 7, 2], [0, 2, 2, 5]), listed([1, 2, 4, 7], [1, 1, 1, 1])
    found = ByOdds()(coarse, parts, 4)
    assert rows(found) == [4, 1, 7, 2]
    assert found.places is not None
    assert found.places[0].tolist() == [[1, 0], [2, 0], [3, 0], [4, 0]]


def test_nothing_of_nothing() -> None:
    found = ByOdds()(listed([], []), listed([], []), 5)
    assert (rows(found), found.places is not None and found.places.shape) == ([], (1, 0, 2))


@given(
    st.permutations(range(30)),
    st.permutations(range(30)),
    st.lists(st.integers(0, 4), min_size=30, max_size=30),
    st.lists(st.integers(1, 5), min_size=30, max_size=30),
    st.integers(0, 30),
    st.integers(1, 30),
    st.integers(1, 30),
)
def test_a_shorter_shortlist_is_the_beginning_of_a_longer_one(
    by_codes: list[int],
    by_votes: list[int],
    codes: list[int],
    votes: list[int],
    voted: int,
    count: int,
    longer: int,
) -> None:
    """Whoever asks for more than DEPTH has longer lists, too, and the same beginning; ties lie
    across every cut.
    """
    count, longer = sorted((count, longer))
    distance, share = np.sort(codes), np.sort(np.where(np.arange(30) < voted, votes, 10)) / 10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DEPTH", 8)
        coarse = listed(list(by_codes), distance.tolist())
        parts = listed(list(by_votes), share.tolist())
        short = ByOdds()(*(each.part(0, max(count, 8)) for each in (coarse, parts)), count)
        long = ByOdds()(*(each.part(0, max(longer, 8)) for each in (coarse, parts)), longer)
    assert rows(short) == rows(long)[:count]
    np.testing.assert_array_equal(short.distance, long.distance[:, :count])


def test_photos_beyond_the_depth_are_not_told_apart_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two places of codes and votes count. 3 and 2, third and fourth by codes, share the place
    behind them, and 2 has a vote; of votes the third says nothing.
    """
    monkeypatch.setattr(module, "DEPTH", 2)
    coarse, parts = listed([0, 1, 3, 2], [0, 1, 2, 3]), listed([2, 5, 1], [0.1, 0.2, 0.3])
    found = ByOdds(codes=1, votes=1)(coarse, parts, 9)
    np.testing.assert_allclose(np.exp(found.distance[0]), [3, 3, 6, 6, 9], rtol=1e-5)
    assert rows(found) == [0, 2, 1, 5, 3]
    assert found.places is not None
    assert found.places[0].tolist() == [[1, 0], [4, 1], [2, 0], [0, 2], [3, 0]]


class Votes:
    """What an index of parts counted."""

    def __init__(self, *votes: int) -> None:
        self.counted = np.array(votes, np.int32)

    def votes(self, features: LocalFeatures) -> Int32:
        return self.counted


def test_the_most_voted_come_first_and_equal_ones_by_path() -> None:
    nothing = described(np.empty((0, 2)), np.empty((0, 40), np.int8))
    bare = Gallery.from_arrays("abcde", np.zeros((5, 2), np.float32), pack([nothing] * 5))
    with pytest.raises(ValueError, match=r"^search_parts.gallery: expected an index of parts"):
        search_parts(nothing, 3, bare)
    found = search_parts(nothing, 4, replace(bare, parts=Votes(1, 0, 3, 1, 3)))
    assert rows(found) == [2, 4, 0, 3]
    np.testing.assert_allclose(found.distance[0], [0, 0, 2 / 3, 2 / 3], rtol=1e-6)
    none = search_parts(nothing, 9, replace(bare, parts=Votes(0, 0, 0, 0, 0)))
    assert (rows(none), set(none.distance[0].tolist())) == ([0, 1, 2, 3, 4], {1.0})
    votes = np.random.default_rng(0).integers(0, 9, 500).astype(np.int32)
    for count in (0, 1, 77, 499, 500, 501):
        expected = np.argsort(-votes, kind="stable")[:count]
        assert np.array_equal(most_voted(votes, count), expected)
    empty = Gallery.from_arrays((), np.zeros((0, 2), np.float32), pack([]))
    assert search_parts(nothing, 9, empty).rows.shape == (1, 0)


def test_how_many_are_as_near_is_said_of_the_codes() -> None:
    """Equally near photos alike, whatever found them; one beyond the list is last."""
    coarse = Candidates(np.array([[4, 2, 7]]), np.array([[1, 1, 3]], np.float32))
    parts = Candidates(np.array([[9, 7]]), np.array([[0, 0.5]], np.float32))
    found = ByOdds()(coarse, parts, 4)
    assert found.near is not None
    said = dict(zip(found.rows[0].tolist(), found.near[0].tolist(), strict=True))
    assert said == {4: 2, 2: 2, 7: 3, 9: DEPTH + 1}
