"""The verdict: strong evidence first, by evidence; everything else as the first look had it."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_features import pack, unrelated
from planted_null import even

from stages.gallery import Gallery
from stages.null import AS_OTHERS, Ease
from stages.order import both_ties
from stages.rank import Calibrated, FixedCount, weights
from stages.records import Bool, Candidates, Float64, Int32, Int64, Matches, Ranking


def shortlist(inliers: npt.ArrayLike) -> tuple[Candidates, Matches]:
    counts = np.atleast_2d(np.array(inliers, np.int32))
    rows = np.tile(np.arange(counts.shape[1]), (len(counts), 1))
    return Candidates(rows, rows.astype(np.float32)), Matches(
        counts + 5, counts, np.zeros((*counts.shape, 2, 3), np.float32)
    )


def fixed(least: int, inliers: npt.ArrayLike) -> Ranking:
    """Accepted by the count alone: neither features nor gallery are read."""
    return FixedCount(least)(FEATURES, *shortlist(inliers), gallery([]))


def test_the_worked_example() -> None:
    ranking = fixed(20, [3, 25, 0, 40])
    assert ["abcd"[place] for place in ranking.order[0]] == list("dbac")
    assert ranking.accepted.tolist() == [[False, True, False, True]]
    assert np.isnan(ranking.false_alarms).all()


@given(st.lists(st.integers(0, 60), max_size=40), st.integers(1, 70))
def test_accepted_come_first_by_evidence_and_the_rest_keep_their_places(
    inliers: list[int], least: int
) -> None:
    ranking = fixed(least, inliers)
    accepted = [i for i, n in enumerate(inliers) if n >= least]
    others = [i for i, n in enumerate(inliers) if n < least]
    assert ranking.order.tolist() == [sorted(accepted, key=lambda i: (-inliers[i], i)) + others]
    assert np.flatnonzero(ranking.accepted[0]).tolist() == accepted


@given(st.lists(st.integers(0, 19), max_size=40))
def test_without_evidence_the_first_looks_order_stays(inliers: list[int]) -> None:
    for ranking in (fixed(20, inliers), calibrated(inliers, rate=1e-9)):
        assert ranking.order.tolist() == [list(range(len(inliers)))]
        assert not ranking.accepted.any()


def test_the_nearer_by_the_first_look_the_less_is_enough() -> None:
    """Chances of a to h: 1, e^-4, 1, 1, e^-4, e^-5, 1, 1, and 1 of 72 more. The second, b, stands
    for 2 (1 + 1/2 + ... + 1/80) candidates, 9.93: .18 as good are expected, and .20 as good as the
    sixth, f. At a rate of .21 both are accepted; the fifth is not, for .45 are.
    """
    inliers = [0, 4, 0, 0, 4, 5, 0, 0, *[0] * 72]
    ranking = calibrated(inliers, 0.21, models=KNOWING)
    np.testing.assert_allclose(
        ranking.false_alarms[0, [1, 4, 5]], [0.18189, 0.45473, 0.20074], 1e-4
    )
    assert ["abcdefgh"[place] for place in ranking.order[0, :8]] == list("bfacdegh")
    assert ranking.accepted.sum() == 2
    # a null that does not know nearness lets each stand for all
    assert calibrated(inliers, 0.21).accepted.sum() == 0
    assert (1 / weights(np.arange(1, 81))).sum() == pytest.approx(1)


def test_what_votes_have_chosen_counts_among_all_photos() -> None:
    """Two of eight photos, e^-9 and e^-4: 2 or 8 times that many are expected to look as good. A
    null that knows nearness expects what it does of the two.
    """
    looked, matches = shortlist([9, 4])
    voted = replace(looked, places=np.ones((1, 2, 2), np.int32))
    rankings = [
        Calibrated(0.05, Stub())(FEATURES, candidates, matches, gallery([0] * 8))  # type: ignore[arg-type]
        for candidates in (looked, voted)
    ]
    for ranking, among in zip(rankings, (2, 8), strict=True):
        np.testing.assert_allclose(ranking.false_alarms, [[among * np.exp(-9), among * np.exp(-4)]])
    assert [ranking.accepted.tolist() for ranking in rankings] == [[[True, True]], [[True, False]]]
    ranking = Calibrated(0.05, KNOWING)(FEATURES, voted, matches, gallery([0] * 8))  # type: ignore[arg-type]
    np.testing.assert_allclose(ranking.false_alarms, [[1.5 * np.exp(-9), 3 * np.exp(-4)]])


def test_what_near_photos_have_in_common_weighs_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve inliers of the nearest of a hundred photos and of the last; the order is by both
    looks.
    """
    monkeypatch.setattr("stages.null.DIFFER", 1e-9)  # one query's candidates are like another's
    aware = replace(even(0, -0.5), near=np.array([0.0, 0.3, 0.0]), nearest=0.01)
    inliers = [12] + [0] * 98 + [12]
    ranking = calibrated(inliers, 1e9, [100] * 100, models=aware)
    near, far = ranking.false_alarms[0, [0, 99]] / weights(np.arange(1, 101))[[0, 99]]
    assert near > 2 * far
    assert ranking.order[0, :2].tolist() == [0, 99]
    # as it is told, where the order is another engine's
    looked, matches = shortlist([12, 12])
    told = replace(looked, share=np.array([[1.0, 0.01]]))
    ranking = Calibrated(1e9, aware)(FEATURES, told, matches, gallery([100] * 2))
    np.testing.assert_allclose(ranking.false_alarms[0], [1.5 * far, 3 * near])


def test_equally_near_photos_are_accepted_alike() -> None:
    """Whatever their paths: both stand for two, and are tied."""
    looked, matches = shortlist([4, 4] + [0] * 28)
    alike = Candidates(looked.rows, np.array([[1, 1] + [2] * 28], np.float32))
    ranking = Calibrated(0.2, KNOWING)(FEATURES, alike, matches, gallery([0] * 30))  # type: ignore[arg-type]
    assert ranking.accepted.tolist() == [[True, True] + [False] * 28]
    assert both_ties(ranking, alike, alike)[1].tolist() == [0, 0] + [1] * 28


def test_queries_of_a_batch_are_ranked_one_by_one() -> None:
    together = [[3, 25, 0], [21, 20, 60], [0, 0, 0]]
    assert fixed(20, together).order.tolist() == [
        fixed(20, one).order[0].tolist() for one in together
    ]


@dataclass(frozen=True)
class StubOdds:
    """Of queries that are all alike."""

    null: Any
    query: int
    candidate: Int64
    share: Float64 | None

    def log_chance(self, inliers: Int32, ease: Ease = AS_OTHERS) -> Float64:
        told: Float64 = self.null.log_chance(self.query, self.candidate, inliers, self.share)
        return told

    def ease(self, inliers: Int32, among: Bool) -> Ease:
        return AS_OTHERS


@dataclass(frozen=True)
class Stub:
    """Of photos with n features, so many inliers or more have chance e^-(inliers - n / 10); from
    `least` on.
    """

    least: int = 4
    near: Float64 = field(default_factory=lambda: np.zeros(3))
    nearest: float = 1.0

    def log_chance(
        self, query: int, candidate: Int64, inliers: Int32, share: Float64 | None = None
    ) -> Float64:
        assert query == 50
        return -np.maximum(0, inliers - candidate / 10)

    def odds(self, query: int, candidate: Int64, share: Float64 | None = None) -> StubOdds:
        return StubOdds(self, query, candidate, share)


KNOWING = Stub(near=np.array([0.0, 0.0, 1e-9]))
FEATURES = unrelated(np.random.default_rng(0), 50)


def gallery(counts: list[int], null: Any = None) -> Gallery:
    """Photos with so many features."""
    rng = np.random.default_rng(1)
    names = [f"{i:04d}" for i in range(len(counts))]
    photos = pack([unrelated(rng, count) for count in counts], 2)
    return Gallery.from_arrays(names, np.zeros((len(names), 2), np.float32), photos, null)


def calibrated(
    inliers: list[int],
    rate: float,
    features: list[int] | None = None,
    own: Any = None,
    models: Any = None,
) -> Ranking:
    looked, matches = shortlist(inliers)
    return Calibrated(rate, models or Stub())(
        FEATURES, looked, matches, gallery(features or [0] * len(inliers), own)
    )  # type: ignore[arg-type]


def test_the_worked_example_with_chances() -> None:
    """Four were looked at: of a, b, c, d the chances are e^-6, e^-9, 1 and e^-5, four times that
    many are expected to look as good.
    """
    ranking = calibrated([6, 12, 0, 9], rate=0.01, features=[0, 30, 10, 40])
    np.testing.assert_allclose(
        ranking.false_alarms, [[4 * np.exp(-6), 4 * np.exp(-9), 4, 4 * np.exp(-5)]]
    )
    # d has more inliers than a, and less evidence
    assert ranking.accepted.tolist() == [[True, True, False, False]]
    assert ["abcd"[place] for place in ranking.order[0]] == list("bacd")
    everybody = calibrated([6, 12, 0, 9], rate=100, features=[0, 30, 10, 40])
    # by evidence, not by inliers; c has no map
    assert ["abcd"[place] for place in everybody.order[0]] == list("badc")
    assert [
        calibrated([6, 12, 0, 9], rate, [0, 30, 10, 40]).accepted.sum()
        for rate in (1e-4, 5e-4, 0.0099, 0.01, 0.1, 100)
    ] == [0, 1, 1, 2, 3, 3]


def test_a_photo_without_a_map_is_never_accepted() -> None:
    """However many false alarms are allowed."""
    ranking = calibrated([0, 3, 4, 0], rate=1e9)
    assert ranking.accepted.tolist() == [[False, False, True, False]]
    assert ranking.order.tolist() == [[2, 0, 1, 3]]


def test_the_features_are_those_of_the_candidates_rows() -> None:
    counts = [10, 20, 30, 40, 50, 60]
    rows = np.array([[5, 0, 3]])
    looked = Candidates(rows, np.zeros(rows.shape, np.float32))
    alarms = Calibrated(0.1, Stub())(
        FEATURES, looked, shortlist([9, 9, 9])[1], gallery(counts)
    ).false_alarms  # type: ignore[arg-type]
    np.testing.assert_allclose(alarms, [3 * np.exp([-(9 - 6), -(9 - 1), -(9 - 4)])])


@pytest.mark.parametrize(
    ("others", "enough"), [(0, True), (999, True), (1999, True), (2299, False), (9999, False)]
)
def test_more_candidates_want_more_evidence(others: int, enough: bool) -> None:
    """Ten inliers have chance 0.000045: enough among a thousand at a rate of 0.1, not among ten
    thousand.
    """
    looked, matches = shortlist([10] + [0] * others)
    the_same = Candidates(np.zeros_like(looked.rows), looked.distance)
    ranking = Calibrated(0.1, Stub())(FEATURES, the_same, matches, gallery([0]))  # type: ignore[arg-type]
    assert ranking.false_alarms[0, 0] == pytest.approx(np.exp(-10) * (1 + others))
    assert ranking.accepted[0].tolist() == [enough] + [False] * others


def test_the_gallerys_own_null_goes_before_the_models() -> None:
    generous, strict = even(0, 9), even(0, -9)  # nearly all stop at the smallest map, or hardly any
    assert calibrated([12], 0.1, [100], None, strict).accepted.sum() == 0
    assert calibrated([12], 0.1, [100], generous, strict).accepted.sum() == 1
    assert calibrated([12], 0.1, [100], strict, generous).accepted.sum() == 0


def test_equal_evidence_keeps_the_first_looks_order() -> None:
    assert calibrated([20, 30, 20, 30, 0, 20], 0.1).order.tolist() == [[1, 3, 0, 2, 5, 4]]
    # also where the chance is no float64 any more
    assert calibrated([8000, 9000], 0.1).order.tolist() == [[1, 0]]
    assert calibrated([8000, 9000], 0.1).false_alarms.tolist() == [[0, 0]]


looks = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 90)), max_size=25)


@given(looks, st.floats(1e-6, 50), st.floats(1, 1e4))
def test_a_larger_rate_never_accepts_fewer(
    photos: list[tuple[int, int]], rate: float, more: float
) -> None:
    inliers, features = [n for n, _ in photos], [count for _, count in photos]
    few, many = (
        calibrated(inliers, rate, features, even()),
        calibrated(inliers, rate * more, features, even()),
    )
    assert (few.accepted <= many.accepted).all()
    np.testing.assert_array_equal(few.false_alarms, many.false_alarms)
    for ranking in (few, many):
        assert (np.sort(ranking.order) == np.arange(len(photos))).all()
        accepted = ranking.accepted[0, ranking.order[0]]
        assert (np.diff(accepted.astype(int)) <= 0).all()  # every accepted one above every other
        assert (np.diff(ranking.evidence[0, ranking.order[0]][accepted]) <= 0).all()
        assert (np.diff(ranking.order[0][~accepted]) > 0).all()


def test_evidence_for_another_number_of_candidates_is_refused() -> None:
    looked, matches = shortlist([1, 2, 3])[0], shortlist([1, 2])[1]
    for judge in (
        lambda: FixedCount(20)(FEATURES, looked, matches, gallery([1, 2, 3])),
        lambda: Calibrated(0.1, even())(FEATURES, looked, matches, gallery([1, 2, 3])),
    ):
        with pytest.raises(
            ValueError, match=r"^rank\.matches: expected one per candidate \(1, 3\), got \(1, 2\)$"
        ):
            judge()
