"""Seed 004 fits candidate to query: inliers lie within the threshold in pixels of the query, and
what comes back maps query to candidate.
"""

from dataclasses import replace

import numpy as np
import pytest
from planted_features import SIZE, TURN, Floats, map_error, moved, planted_matches, planted_pair

from pipeline.recipes import published_second_look
from stages.affine import RobustAffine

BACKWARD = RobustAffine(
    threshold=20, trials=1000, polish=0, least=3, largest_stretch=None, backward=True
)
# (2, 3) the candidate shows it two and a half times as large
LARGER = np.array([[2.4, -0.9, -60.0], [0.8, 2.6, 30.0]])
SMALLER = np.array([[0.35, -0.1, 90.0], [0.12, 0.4, 60.0]])
MAPS = pytest.mark.parametrize(
    "truth", [TURN, LARGER, SMALLER], ids=["as large", "larger", "smaller"]
)


def residual(affine: Floats, query: Floats, candidate: Floats) -> Floats:
    """px of the query: how far the map's inverse puts the candidate's points from the query's."""
    linear = np.linalg.inv(affine[:, :2].astype(float))
    return np.linalg.norm((candidate - affine[:, 2]) @ linear.T - query, axis=1)


@MAPS
def test_the_planted_map_comes_back_the_right_way_round(truth: Floats) -> None:
    scale, misses = np.sqrt(np.linalg.det(truth[:, :2])), []
    for seed in range(20):
        query, candidate, planted = planted_matches(
            np.random.default_rng(seed), 60, 120, truth, jitter=scale
        )
        affine, inlier = BACKWARD(query, candidate, SIZE, seed)
        assert inlier[planted].mean() > 0.9
        misses.append(map_error(affine, truth) / scale)
        # it is not the way back
        assert map_error(affine, np.c_[np.linalg.inv(truth[:, :2]), [0, 0]]) > 50
    # px of the query, where a trial's three points were wrong by one each
    assert np.median(misses) < 20


@MAPS
def test_inliers_are_within_the_threshold_of_the_query(truth: Floats) -> None:
    apart = 0
    for seed in range(20):
        query, candidate, _ = planted_matches(
            np.random.default_rng(seed),
            80,
            120,
            truth,
            jitter=9 * np.sqrt(np.linalg.det(truth[:, :2])),
        )
        affine, inlier = BACKWARD(query, candidate, SIZE, seed)
        there = residual(affine, query, candidate)
        sure = np.abs(there - 20) > 0.05  # px that rounding may take or give
        np.testing.assert_array_equal(inlier[sure], there[sure] <= 20)
        apart += int(
            (
                inlier
                != (np.linalg.norm(moved(affine.astype(float), query) - candidate, axis=1) <= 20)
            ).sum()
        )
    assert apart > 100 or truth is TURN  # by the candidate's pixels it would be others


@MAPS
def test_it_is_the_forward_fit_of_the_pair_turned_round(truth: Floats) -> None:
    for seed in range(20):
        query, candidate, _ = planted_matches(np.random.default_rng(seed), 40, 100, truth)
        affine, inlier = BACKWARD(query, candidate, SIZE, seed)
        back, same = replace(BACKWARD, backward=False)(candidate, query, SIZE, seed)
        np.testing.assert_array_equal(inlier, same)
        whole = np.vstack([back.astype(float), [0, 0, 1]]) @ np.vstack(
            [affine.astype(float), [0, 0, 1]]
        )
        np.testing.assert_allclose(whole, np.eye(3), atol=2e-3)


def test_a_map_onto_a_line_has_no_way_back() -> None:
    """All query points on one line: there are inliers, and no map that a reader could draw."""
    rng = np.random.default_rng(0)
    candidate = (rng.random((50, 2)) * SIZE).astype(np.float32)
    query = np.c_[candidate[:, 0] / 2, np.full(50, 100)].astype(np.float32)
    affine, inlier = BACKWARD(query, candidate, SIZE, 0)
    assert inlier.all()
    assert np.isnan(affine).all()


def test_it_wants_a_threshold() -> None:
    with pytest.raises(
        ValueError,
        match=r"^RobustAffine\.threshold: expected px of the query for a backward fit, got None$",
    ):
        RobustAffine(backward=True)


def test_the_recipes_verification_draws_query_to_candidate() -> None:
    verify, found = published_second_look(threads=1), []
    for seed in range(10):
        query, candidate, pairs = planted_pair(np.random.default_rng(seed), LARGER, count=120)
        matched, affine, inlier = verify.pair(query, candidate)
        assert (
            residual(affine, query.xy[matched[inlier, 0]], candidate.xy[matched[inlier, 1]]).max()
            < 20.05
        )
        assert inlier.sum() >= 0.95 * len(pairs)
        found.append(map_error(affine, LARGER))
    assert np.median(found) < 20
