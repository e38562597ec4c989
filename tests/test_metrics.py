"""The measures against worked examples and scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score

from pipeline.metrics import average_precision, hit, interval, knee, measure, precision


def relevance(*places: int, depth: int = 10) -> np.ndarray:
    out = np.zeros(depth, np.bool_)
    out[np.array(places, int) - 1] = True
    return out


def test_worked_example() -> None:
    ranking = relevance(1, 3)
    assert average_precision(ranking, 2) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert average_precision(ranking, 4) == pytest.approx((1 / 1 + 2 / 3) / 4)  # two were never found: the divisor counts them
    assert (precision(ranking, 1), precision(ranking, 10)) == (1.0, 0.2)
    assert (hit(relevance(2), 1), hit(relevance(2), 10)) == (0.0, 1.0)


def test_short_ranking_is_not_flattered() -> None:
    assert precision(relevance(1, depth=2), 10) == 0.1


@given(st.lists(st.booleans(), min_size=1, max_size=60).filter(any))
def test_average_precision_is_scikit_learns(places: list[bool]) -> None:
    ranking = np.array(places)
    assert average_precision(ranking, int(ranking.sum())) == pytest.approx(average_precision_score(ranking, -np.arange(len(ranking))), abs=1e-9)


@given(st.lists(st.booleans(), min_size=2, max_size=30).filter(any))
def test_a_better_order_is_never_worse(places: list[bool]) -> None:
    ranking, best = np.array(places), np.array(sorted(places, reverse=True))
    assert average_precision(ranking, int(ranking.sum())) <= average_precision(best, int(best.sum())) == pytest.approx(1)


def test_means_and_names() -> None:
    quality = measure([relevance(1), relevance(4)], [1, 1]).to_json()
    assert quality == {"mAP": 0.625, "precision@1": 0.5, "precision@10": 0.1, "hit@1": 0.5, "hit@10": 1.0}


def test_intervals_are_scipys() -> None:
    values = np.random.default_rng(1).beta(2, 1, (3, 200))
    low, high = interval(values)
    for row, ends in zip(values, zip(low, high, strict=True), strict=True):
        theirs = stats.bootstrap((row,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(2)).confidence_interval
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
    np.testing.assert_allclose(interval(values[0] + 0.25 - values[0]), [0.25, 0.25])  # a constant gain is certain, however queries differ
    np.testing.assert_allclose(interval(values)[0][1], interval(values[1])[0])  # rows see the same draws
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
        ((0.6, 0.795, 0.8, 0.75), 0.1, 1),  # .005 behind; one standard error is about .1 * sqrt(2) / 10 = .014
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
    """Queries differ a thousand times more than the sizes do, and alike at both: the size that is behind at all of them is not within."""
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
