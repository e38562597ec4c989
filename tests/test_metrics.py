"""The measures against worked examples and scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from pipeline.metrics import average_precision, hit, measure, precision


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
