"""The measures of codes against those of rankings, which ranx agrees with
(tests/stages/test_metrics.py)."""

import numpy as np
import pytest

from pipeline.training.hashing.measures import Found, hamming, measure
from stages.metrics import average_precision, tied_average_precision


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, ...]:
    """Codes of 12 bits, most of them tied with many, and labels of which two may be shared."""
    rng = np.random.default_rng(0)
    query, database = (
        rng.normal(size=(70, 12)).astype(np.float32),
        rng.normal(size=(300, 12)).astype(np.float32),
    )
    asked, labels = (rng.integers(0, 4, (n, 5)) == 0 for n in (70, 300))
    return query, database, asked.astype(np.uint8), labels.astype(np.uint8)


def test_a_query_at_a_time_says_the_same(planted: tuple[np.ndarray, ...]) -> None:
    query, database, asked, labels = planted
    found: Found = measure(*planted, candidates=40)
    curve = []
    for q in range(len(query)):
        relevant = (labels @ asked[q]) > 0
        distance = ((database >= 0) != (query[q] >= 0)).sum(1)
        order = np.argsort(distance, kind="stable")
        total = int(relevant.sum())
        assert found.stable[q] == pytest.approx(average_precision(relevant[order], total), abs=1e-6)
        assert found.tied[q] == pytest.approx(
            tied_average_precision(relevant[order], distance[order], total), abs=1e-9
        )
        near = np.linalg.norm(database[order[:40]].astype(np.float64) - query[q], axis=1)
        both = np.concatenate([order[:40][np.argsort(near, kind="stable")], order[40:]])
        # what was looked at twice is tied with nothing
        ties = np.concatenate([np.arange(40) - 40, distance[order[40:]]])
        assert found.both[q] == pytest.approx(
            tied_average_precision(relevant[both], ties, total), abs=1e-9
        )
        within = relevant[distance <= 2]
        assert found.radius2[q] == pytest.approx(within.mean() if len(within) else 0)
        curve.append([relevant[distance <= r].sum() / max(total, 1) for r in range(13)])
    np.testing.assert_allclose(found.recall, np.mean(curve, 0))
    assert (np.diff(found.recall) >= 0).all()


def test_a_depth_divides_by_what_is_found_within_it(planted: tuple[np.ndarray, ...]) -> None:
    query, database, asked, labels = planted
    found = measure(*planted, depth=20)
    for q in range(5):
        distance = ((database >= 0) != (query[q] >= 0)).sum(1)
        seen = ((labels @ asked[q]) > 0)[np.argsort(distance, kind="stable")[:20]]
        assert found.stable[q] == pytest.approx(average_precision(seen, int(seen.sum())), abs=1e-6)
    assert np.isnan(found.tied).all()  # a depth cuts through ties


def test_distances_are_bits_that_differ() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(6, 48)).astype(np.float32), rng.normal(size=(9, 48)).astype(np.float32)
    b[0] = 0  # bits of 1
    np.testing.assert_array_equal(
        hamming(a, b), [[((x >= 0) != (y >= 0)).sum() for y in b] for x in a]
    )
    assert hamming(np.ones((1, 300), np.float32), -np.ones((1, 300), np.float32)).tolist() == [
        [300]
    ]
