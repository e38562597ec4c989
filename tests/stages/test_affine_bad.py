"""What is no map: what no camera makes, points of one line, too few of them. Whatever comes in, no
half of an answer comes out.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_features import SIZE, TURN, Floats, moved, planted_matches, scattered

from stages.affine import RobustAffine
from stages.records import Bool, Float32

SEED004 = RobustAffine(threshold=20, trials=1000, polish=0, least=3, largest_stretch=None)
POINTS = scattered(np.random.default_rng(0), 50)  # (50, 2) px


def fitted(
    fit: RobustAffine, query: Floats, candidate: Floats, seed: int = 0
) -> tuple[Float32, Bool]:
    return fit(query.astype(np.float32), candidate.astype(np.float32), SIZE, seed)


def camera_makes(affine: Float32, largest_scale: float = 10, largest_stretch: float = 4) -> bool:
    """As the docstring has it: no mirror, and bounds on the scale and on the ratio of the singular
    values.
    """
    large, small = np.linalg.svd(affine[:, :2].astype(float), compute_uv=False)
    scale = (large * small) ** 0.5
    return bool(
        np.linalg.det(affine[:, :2]) > 0
        and 1 / largest_scale <= scale <= largest_scale
        and large <= largest_stretch * small
    )


@pytest.mark.parametrize(
    ("linear", "ours", "published"),
    [
        ([[1, 0], [0, 1]], True, True),
        ([[0, -1], [1, 0]], True, True),  # turned by 90 degrees
        ([[6, 0], [0, 6]], True, True),
        ([[0.15, 0], [0, 0.15]], True, True),
        ([[2, 0], [0, 0.6]], True, True),
        ([[9.9, 0], [0, 9.9]], True, True),
        ([[3.95, 0], [0, 1]], True, True),
        ([[-1, 0], [0, 1]], False, True),  # mirrored
        ([[0, 1], [1, 0]], False, True),
        ([[10.1, 0], [0, 10.1]], False, True),  # too large, too small
        ([[0.07, 0], [0, 0.07]], False, True),
        ([[2, 0], [0, 0.4]], False, True),  # stretched
        ([[1, 0], [0, 4.05]], False, True),
        ([[1, 4.5], [0, 1]], False, True),  # sheared
    ],
)
def test_a_map_no_camera_makes_is_refused(
    linear: list[list[float]], ours: bool, published: bool
) -> None:
    for fit, wanted in (
        (RobustAffine(threshold=2), ours),
        (RobustAffine(threshold=2, polish=0), ours),
        (SEED004, published),
    ):
        affine, inliers = fitted(fit, POINTS, POINTS @ np.array(linear, float).T)
        assert inliers.sum() == (50 if wanted else 0)
        assert np.isfinite(affine).all() == np.isfinite(affine).any() == wanted
        if wanted:
            np.testing.assert_allclose(affine, np.c_[linear, [0, 0]], atol=1e-3)


@pytest.mark.parametrize(
    "linear", [[[10, 0], [0, 10]], [[0.1, 0], [0, 0.1]], [[4, 0], [0, 1]], [[0, -1], [4, 0]]]
)
def test_polish_does_not_leave_what_a_camera_makes(linear: list[list[float]]) -> None:
    """Maps at the limit, so that many of the least squares fits are beyond it."""
    truth = np.c_[linear, [0, 0]]
    for seed in range(60):
        query, candidate, _ = planted_matches(
            np.random.default_rng(seed), 40, 60, truth, 0.5 * np.abs(linear).max()
        )
        affine, inliers = fitted(
            RobustAffine(threshold=float(np.abs(linear).max()), trials=500), query, candidate
        )
        assert not inliers.any() or camera_makes(affine, 10 + 1e-4, 4 + 1e-4)


@pytest.mark.parametrize("angle", [0, 10, 45, 90, 133])
def test_points_on_a_line_are_no_map(angle: float) -> None:
    """However well they agree: across the line anything would do."""
    direction = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    for seed in range(20):
        rng = np.random.default_rng(seed)
        line = 300 + rng.random((int(rng.integers(4, 60)), 1)) * 200 * direction
        for candidate in (line, line + 5, moved(TURN, line)):
            affine, inliers = fitted(RobustAffine(), line, candidate, seed)
            assert not inliers.any()
            assert np.isnan(affine).all()


def test_points_on_a_line_are_no_map_behind_a_wrong_match() -> None:
    """The line alone, without the wrong match, is no map, wherever the wrong one lies."""
    maps = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        angle = rng.random() * np.pi
        line = 430 + (rng.random((40, 1)) - 0.5) * 100 * [np.cos(angle), np.sin(angle)]
        _, inliers = fitted(
            RobustAffine(threshold=3), np.r_[[[0, 0]], line], np.r_[[[640, 190]], line + 5], seed
        )
        maps += bool(inliers.any() and not inliers[0])
    assert maps == 0


def test_one_repeated_point_is_no_map() -> None:
    point = np.full((50, 2), 100.0)
    for fit in (RobustAffine(), SEED004):
        for query, candidate in (
            (point, point),
            (point, POINTS),
            (np.repeat(POINTS[:2], 25, 0), POINTS),
        ):
            affine, inliers = fitted(fit, query, candidate)
            assert not inliers.any()
            assert np.isnan(affine).all()
    # all to one point: a map of scale 0
    for query, candidate in ((POINTS, point), (POINTS, np.repeat(POINTS[:2], 25, 0))):
        assert not fitted(RobustAffine(), query, candidate)[1].any()


@pytest.mark.parametrize(
    ("fit", "least"),
    [(RobustAffine(), 4), (RobustAffine(least=12), 12), (RobustAffine(least=0), 3), (SEED004, 3)],
)
def test_fewer_than_least_is_no_map(fit: RobustAffine, least: int) -> None:
    for n in range(least + 2):
        affine, inliers = fitted(fit, POINTS[:n], POINTS[:n] + 7)
        assert inliers.tolist() == [n >= least] * n
        assert np.isnan(affine).any() == (n < least)


def test_fewer_inliers_than_least_are_no_map() -> None:
    query, candidate = POINTS.copy(), POINTS[::-1].copy()
    candidate[:12] = query[:12] + 7
    assert fitted(RobustAffine(threshold=0.1, least=12), query, candidate)[1].sum() == 12
    affine, inliers = fitted(RobustAffine(threshold=0.1, least=13), query, candidate)
    assert np.isnan(affine).all()
    assert not inliers.any()


def test_no_trials_are_no_map() -> None:
    assert np.isnan(fitted(RobustAffine(trials=0), POINTS, POINTS)[0]).all()


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(0, 40),
    st.sampled_from([1, 2, 5, 600, 20_000]),
    st.sampled_from([0.4, 2.0, 30.0]),
    st.sampled_from([0, 1, 4, 40]),
    st.booleans(),
)
def test_an_answer_is_whole(
    seed: int, n: int, side: int, reach: float, polish: int, any_map: bool
) -> None:
    """Points on a coarse grid, so that many coincide and lie on lines: a credible map and at least
    `least` that agree, or nothing at all.
    """
    rng = np.random.default_rng(seed)
    query, candidate = (rng.integers(0, side + 1, (n, 2)).astype(float) for _ in range(2))
    candidate[: n // 2] = query[: n // 2] + np.array([3, -2])
    fit = RobustAffine(
        threshold=reach, trials=200, polish=polish, largest_stretch=None if any_map else 4.0
    )
    affine, inliers = fitted(fit, query, candidate, seed)
    assert (affine.shape, affine.dtype, inliers.shape, inliers.dtype) == (
        (2, 3),
        np.float32,
        (n,),
        np.bool_,
    )
    if not inliers.any():
        assert np.isnan(affine).all()
        return
    assert np.isfinite(affine).all()
    assert inliers.sum() >= fit.least
    assert any_map or camera_makes(affine, 10.001, 4.001)
    miss = np.linalg.norm(moved(affine.astype(float), query) - candidate, axis=1)
    blur = 1e-5 * (side + np.abs(affine[:, :2]).max() * side)  # px
    assert (miss[inliers] <= reach + blur).all()
    assert (miss[~inliers] >= reach - blur).all()
    again = fitted(fit, query, candidate, seed)
    assert all(
        one.tobytes() == other.tobytes()
        for one, other in zip((affine, inliers), again, strict=True)
    )
