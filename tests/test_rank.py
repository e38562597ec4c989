"""The verdict: strong evidence first, by evidence; everything else as the first look had it."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.rank import Rank
from stages.records import Candidates, Matches


def shortlist(inliers: npt.ArrayLike) -> tuple[Candidates, Matches]:
    counts = np.atleast_2d(np.array(inliers, np.int32))
    rows = np.tile(np.arange(counts.shape[1]), (len(counts), 1))
    return Candidates(rows, rows.astype(np.float32)), Matches(counts + 5, counts, np.zeros((*counts.shape, 2, 3), np.float32))


def test_the_worked_example() -> None:
    ranking = Rank(20)(*shortlist([3, 25, 0, 40]))
    assert ["abcd"[place] for place in ranking.order[0]] == list("dbac")
    assert ranking.accepted.tolist() == [[False, True, False, True]]


@given(st.lists(st.integers(0, 60), max_size=40), st.integers(1, 70))
def test_accepted_come_first_by_evidence_and_the_rest_keep_their_places(inliers: list[int], least: int) -> None:
    ranking = Rank(least)(*shortlist(inliers))
    accepted = [i for i, n in enumerate(inliers) if n >= least]
    others = [i for i, n in enumerate(inliers) if n < least]
    assert ranking.order.tolist() == [sorted(accepted, key=lambda i: (-inliers[i], i)) + others]
    assert np.flatnonzero(ranking.accepted[0]).tolist() == accepted


@given(st.lists(st.integers(0, 19), max_size=40))
def test_without_evidence_the_first_looks_order_stays(inliers: list[int]) -> None:
    ranking = Rank(20)(*shortlist(inliers))
    assert ranking.order.tolist() == [list(range(len(inliers)))]
    assert not ranking.accepted.any()


def test_queries_of_a_batch_are_ranked_one_by_one() -> None:
    together = [[3, 25, 0], [21, 20, 60], [0, 0, 0]]
    assert Rank(20)(*shortlist(together)).order.tolist() == [Rank(20)(*shortlist(one)).order[0].tolist() for one in together]


def test_evidence_for_another_number_of_candidates_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Rank\.matches: want one per candidate \(1, 3\), got \(1, 2\)$"):
        Rank(20)(shortlist([1, 2, 3])[0], shortlist([1, 2])[1])
