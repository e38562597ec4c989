"""The measures against worked examples, scikit-learn's, ranx's and every order that ties allow."""

import itertools
import json
import os
import subprocess
import sys
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score

from stages.metrics import (
    QUALITY,
    average_precision,
    compare,
    hit,
    interval,
    knee,
    one,
    precision,
    tied_average_precision,
)
from stages.order import both_ties, first_ties
from stages.records import Candidates, Ranking


def relevance(*places: int, depth: int = 10) -> np.ndarray:
    out = np.zeros(depth, np.bool_)
    out[np.array(places, int) - 1] = True
    return out


def test_worked_example() -> None:
    ranking = relevance(1, 3)
    assert average_precision(ranking, 2) == pytest.approx((1 / 1 + 2 / 3) / 2)
    # two were never found: the divisor counts them
    assert average_precision(ranking, 4) == pytest.approx((1 / 1 + 2 / 3) / 4)
    assert (precision(ranking, 1), precision(ranking, 10)) == (1.0, 0.2)
    assert (hit(relevance(2), 1), hit(relevance(2), 10)) == (0.0, 1.0)


def test_short_ranking_is_not_flattered() -> None:
    assert precision(relevance(1, depth=2), 10) == 0.1


@given(st.lists(st.booleans(), min_size=1, max_size=60).filter(any))
def test_average_precision_is_scikit_learns(places: list[bool]) -> None:
    ranking = np.array(places)
    assert average_precision(ranking, int(ranking.sum())) == pytest.approx(
        average_precision_score(ranking, -np.arange(len(ranking))), abs=1e-9
    )


@given(st.lists(st.booleans(), min_size=2, max_size=30).filter(any))
def test_a_better_order_is_never_worse(places: list[bool]) -> None:
    ranking, best = np.array(places), np.array(sorted(places, reverse=True))
    assert (
        average_precision(ranking, int(ranking.sum()))
        <= average_precision(best, int(best.sum()))
        == pytest.approx(1)
    )


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=7), st.integers(0, 3))
def test_tied_average_precision_is_the_mean_over_all_orders(
    places: list[tuple[bool, bool]], beyond: int
) -> None:
    """places: relevant, and whether a new tie begins; `beyond` relevant photos are not ranked at
    all.
    """
    relevant = np.array([right for right, _ in places])
    ties = np.cumsum([new for _, new in places])
    total = int(relevant.sum()) + beyond
    groups = [np.flatnonzero(ties == tie) for tie in np.unique(ties)]
    orders = itertools.product(*(itertools.permutations(group) for group in groups))
    wanted = np.mean(
        [average_precision(relevant[np.concatenate(order)], total) for order in orders]
    )
    assert tied_average_precision(relevant, ties, total) == pytest.approx(wanted, abs=1e-12)


@given(st.lists(st.booleans(), max_size=60))
def test_without_ties_it_is_the_plain_one_to_the_last_bit(places: list[bool]) -> None:
    relevant = np.array(places, np.bool_)
    assert tied_average_precision(
        relevant, np.arange(len(relevant)), int(relevant.sum())
    ) == average_precision(relevant, int(relevant.sum()))


RANXS = """if True:
    import json, sys
    from ranx import Qrels, Run, evaluate
    truth, run, names = json.load(sys.stdin)
    found = evaluate(Qrels(truth), Run(run), names, return_mean=False)
    print(json.dumps([found[name].tolist() for name in names]))
"""


def test_measures_are_ranxs() -> None:
    """In a process of its own, where what it compiles runs as the Python it is written in: seconds
    instead of a minute.
    """
    rng = np.random.default_rng(0)
    rankings = [rng.random(depth) < rng.random() for depth in rng.integers(1, 160, 60)]
    lost = rng.integers(0, 3, len(rankings))  # relevant photos that were never ranked
    lost[[not ranking.any() for ranking in rankings]] += 1
    truth, run = {}, {}
    for q, ranking in enumerate(rankings):
        truth[f"{q:02d}"] = dict.fromkeys(
            [
                *(f"{place}" for place in np.flatnonzero(ranking)),
                *(f"lost {i}" for i in range(lost[q])),
            ],
            1,
        )
        run[f"{q:02d}"] = {f"{place}": 1.0 - place / 100 for place in range(len(ranking))}
    names = ("map", "precision@1", "precision@10", "hit_rate@1", "hit_rate@10", "hit_rate@100")
    done = subprocess.run(
        [sys.executable, "-c", RANXS],
        input=json.dumps((truth, run, names)),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
    )
    ours = [
        astuple(one(r, np.arange(len(r)), int(r.sum() + n)))
        for r, n in zip(rankings, lost, strict=True)
    ]
    np.testing.assert_allclose(np.array(ours).T, json.loads(done.stdout), rtol=0, atol=1e-9)


def test_ties_are_equal_distances_and_equal_evidence() -> None:
    evidence, accepted = np.array([[7.0, 30, 7, 30]]), np.array([[False, True, False, True]])
    coarse = Candidates(np.arange(6)[None], np.array([[1, 1, 2, 2, 2, 3]], np.float32))
    np.testing.assert_array_equal(first_ties(coarse), [0, 0, 1, 1, 1, 2])
    order, ties = both_ties(
        Ranking(
            np.array([[1, 3, 0, 2]]),
            accepted,
            evidence,
            np.full((1, 4), np.nan),
        ),
        coarse.part(0, 4),
        coarse,
    )
    np.testing.assert_array_equal(order, [1, 3, 0, 2, 4, 5])
    # what was looked at in vain and what was not looked at: the distance decides
    np.testing.assert_array_equal(ties, [0, 0, 1, 2, 2, 3])


def test_evidence_ties_where_false_alarms_are_too_small_to_be_written() -> None:
    coarse = Candidates(np.arange(3)[None], np.array([[1, 2, 3]], np.float32))
    evidence, alarms = np.array([[1000.0, 999, 999]]), np.zeros((1, 3))
    np.testing.assert_array_equal(
        both_ties(
            Ranking(
                np.array([[0, 1, 2]]),
                np.ones((1, 3), np.bool_),
                evidence,
                alarms,
            ),
            coarse,
            coarse,
        )[1],
        [0, 1, 1],
    )


def test_candidates_from_elsewhere_keep_nobodys_place() -> None:
    """Six photos by code, 0 to 5; votes propose 4, 9, 1 and 0, and the second look accepts 9 and
    4 alike. 9 is not in the list by codes; 1 and 0, in vain, stay where that has them.
    """
    coarse = Candidates(np.arange(6)[None], np.array([[1, 1, 2, 2, 2, 3]], np.float32))
    voted = Candidates(np.array([[4, 9, 1, 0]]), np.array([[0, 0.2, 0.3, 0.4]], np.float32))
    ranking = Ranking(
        np.array([[0, 1, 2, 3]]),
        np.array([[True, True, False, False]]),
        np.array([[30.0, 30, 0, 3]]),
        np.full((1, 4), np.nan),
    )
    order, ties = both_ties(ranking, voted, coarse)
    np.testing.assert_array_equal(order, [4, 9, 0, 1, 2, 3, 5])
    np.testing.assert_array_equal(ties, [0, 0, 1, 1, 2, 2, 3])


def test_ties_of_nothing() -> None:
    coarse = Candidates(np.empty((1, 0), np.int64), np.empty((1, 0), np.float32))
    nothing = Ranking(
        np.empty((1, 0), np.int64),
        np.empty((1, 0), np.bool_),
        np.empty((1, 0)),
        np.empty((1, 0)),
    )
    assert [len(of) for of in (first_ties(coarse), *both_ties(nothing, coarse, coarse))] == [
        0,
        0,
        0,
    ]


def test_comparison_of_the_looks() -> None:
    # both looks and the first, one measure, four queries
    values = np.array([[[1.0, 0.0, 1.0, 1.0]], [[0.5, 0.0, 0.5, 1.0]]])
    compared = compare(values, ("mAP",), seed=0)
    assert (compared["mAP"], compared["coarse"]["mAP"], compared["gain"]["mAP"]) == (
        0.75,
        0.5,
        0.25,
    )
    low, high = interval(values[0] - values[1])
    assert compared["gain"]["interval"]["mAP"] == [low[0], high[0]]
    assert QUALITY == ("mAP", "precision@1", "precision@10", "hit@1", "hit@10", "hit@100")


def test_intervals_are_scipys() -> None:
    values = np.random.default_rng(1).beta(2, 1, (3, 200))
    low, high = interval(values)
    for row, ends in zip(values, zip(low, high, strict=True), strict=True):
        theirs = stats.bootstrap(
            (row,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(2)
        ).confidence_interval
        assert ends == pytest.approx(theirs, abs=0.1 * (theirs.high - theirs.low))


def test_intervals_of_hits_are_binomial() -> None:
    """The mean of n draws from hits and misses is binomial, of which the quantiles are known."""
    n = 400
    for hits in (40, 200, 390):
        ends = interval((np.arange(n) < hits).astype(float))
        assert ends == pytest.approx(stats.binom.ppf((0.025, 0.975), n, hits / n) / n, abs=3 / n)


def test_intervals_depend_on_the_seed_alone_and_are_paired() -> None:
    values = np.random.default_rng(1).random((2, 50))
    np.testing.assert_array_equal(interval(values, 3), interval(values, 3))
    assert not np.array_equal(interval(values, 3), interval(values, 4))
    # a constant gain is certain, however queries differ
    np.testing.assert_allclose(interval(values[0] + 0.25 - values[0]), [0.25, 0.25])
    # rows see the same draws
    np.testing.assert_allclose(interval(values)[0][1], interval(values[1])[0])
    np.testing.assert_array_equal(interval(np.ones(1)), [1, 1])


def curve(*means: float, noise: float = 0.0, n: int = 100) -> np.ndarray:
    """(S, Q) with these means, and noise that is not shared by the sizes."""
    spread = np.random.default_rng(0).normal(size=(len(means), n))
    return np.array(means)[:, None] + noise * (spread - spread.mean(1, keepdims=True))


@pytest.mark.parametrize(
    ("means", "noise", "wanted"),
    [
        ((0.6, 0.7, 0.8, 0.8), 0.0, 2),  # without noise, the smallest of the best
        ((0.6, 0.7, 0.8, 0.75), 0.0, 2),
        # .005 behind; one standard error is about .1 * sqrt(2) / 10 = .014
        ((0.6, 0.795, 0.8, 0.75), 0.1, 1),
        ((0.6, 0.77, 0.8, 0.75), 0.1, 2),  # .03 behind
        ((0.8, 0.3), 0.0, 0),
        ((0.5, 0.4), 0.0, None),  # no better than the first look
        ((0.4, 0.3), 0.0, None),
        ((0.49, 0.51), 0.5, 1),  # within one standard error, but below the first look
    ],
)
def test_knee_of_planted_curves(means: tuple[float, ...], noise: float, wanted: int | None) -> None:
    assert knee(np.full(100, 0.5), curve(*means, noise=noise)) == wanted


def test_knee_pairs_the_queries() -> None:
    """Queries differ a thousand times more than the sizes do, and alike at both: the size that is
    behind at all of them is not within.
    """
    difficulty = np.random.default_rng(0).random(50)
    gap = 0.001 * (1 + 0.1 * difficulty)
    assert knee(difficulty - 1, np.stack([difficulty - gap, difficulty])) == 1


@pytest.mark.parametrize("n", range(2, 60))
def test_one_query_of_difference_is_within_one_standard_error(n: int) -> None:
    """Exactly on the line by algebra, d / n both; rounding has no say."""
    best = np.random.default_rng(n).random(n)
    lacking = best.copy()
    lacking[0] -= 0.937
    assert knee(np.full(n, -1.0), np.stack([lacking, best])) == 0


def test_knee_of_one_query() -> None:
    assert knee(np.zeros(1), np.array([[0.5], [1.0], [1.0]])) == 1
