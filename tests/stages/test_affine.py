"""The robust fit finds planted maps among few good matches and counts as scikit-image's RANSAC
does, whatever the photo's size.
"""

import math

import numba
import numpy as np
import pytest
from planted_features import SIZE, TURN, Floats, map_error, moved, planted_matches, scattered
from skimage.measure import ransac
from skimage.transform import AffineTransform

from stages.affine import RobustAffine, draws
from stages.affine_kernels import _hypotheses
from stages.records import Bool, Float32, Int64
from stages.simd import store

SEED004 = RobustAffine(threshold=20, trials=1000, polish=0, least=3, largest_stretch=None)
REACH = 0.03 * SIZE[0]  # px, of the default
Pairs = tuple[Float32, Float32, Bool]


def fit_all(fit: RobustAffine, cases: list[Pairs], seed: int = 0) -> tuple[Float32, list[Bool]]:
    """All at once, as candidates of one query: affine (P, 2, 3), inliers of each case."""
    query, candidate = (np.concatenate([case[side] for case in cases]) for side in (0, 1))
    count = np.array([len(case[0]) for case in cases])
    offset = np.concatenate([[0], np.cumsum(count)])
    pairs = np.stack(
        [np.arange(len(query)), np.concatenate([np.arange(n) for n in count])], 1
    ).astype(np.int32)
    affine, inlier = fit.block(
        query,
        candidate,
        offset[:-1].copy(),
        np.tile(np.int32(SIZE), (len(cases), 1)),
        offset,
        pairs,
        seed,
        SIZE,
    )
    return affine, np.split(inlier.astype(bool), offset[1:-1])


def residuals(affine: Float32, query: Floats, candidate: Floats) -> Floats:
    return np.linalg.norm(moved(affine.astype(float), query.astype(float)) - candidate, axis=1)


def trials_for(good: int, count: int) -> int:
    """So many draws of three matches hold one of three good ones with probability .999."""
    return math.ceil(math.log(0.001) / math.log1p(-math.comb(good, 3) / math.comb(count, 3)))


@pytest.mark.parametrize(
    ("share", "count", "trials"),
    [
        (0.5, 100, 1000),
        (0.3, 150, 1000),
        (0.2, 200, 1000),
        (0.1, 300, 8_000),
        (0.05, 400, 65_000),
        (0.05, 600, 65_000),
    ],
)
def test_planted_maps_are_found(share: float, count: int, trials: int) -> None:
    """1,000 trials are enough at 20 % good matches; below, it takes what the theory asks."""
    good, rng = round(share * count), np.random.default_rng(0)
    assert trials_for(good, count) <= trials
    cases = [planted_matches(rng, good, count) for _ in range(150)]
    affine, inliers = fit_all(RobustAffine(trials=trials), cases)
    recall = [
        inlier[planted].mean() for inlier, (_, _, planted) in zip(inliers, cases, strict=True)
    ]
    assert np.mean(recall) >= 0.99
    assert np.mean(np.array(recall) >= 0.99) >= 0.9
    assert (
        np.median(
            [
                residuals(a, q[planted], c[planted]).mean()
                for a, (q, c, planted) in zip(affine, cases, strict=True)
            ]
        )
        < REACH / 3
    )


@pytest.mark.parametrize("trials", [100, 1000])
def test_too_few_trials_find_what_the_theory_says(trials: int) -> None:
    """At 10 % good matches: neither less, nor more, which would be a test that lets everything
    pass.
    """
    rng = np.random.default_rng(0)
    cases = [planted_matches(rng, 30, 300) for _ in range(150)]
    found = np.mean(
        [
            inlier[case[2]].mean() > 0.9
            for inlier, case in zip(
                fit_all(RobustAffine(trials=trials), cases)[1], cases, strict=True
            )
        ]
    )
    chance = 1 - (1 - math.comb(30, 3) / math.comb(300, 3)) ** trials
    assert abs(found - chance) < 0.15


@pytest.mark.parametrize(
    ("share", "fit"), [(0.5, RobustAffine()), (0.3, RobustAffine()), (0.5, SEED004), (0.3, SEED004)]
)
def test_query_features_that_are_matched_many_times_do_no_harm(
    share: float, fit: RobustAffine
) -> None:
    """One way, a query feature is the nearest of several: of a cluster in the right place, and the
    wrong ones' too.
    """
    rng, cases = np.random.default_rng(0), []
    for _ in range(150):
        good, bad = round(200 * share), round(200 * (1 - share))
        query, hubs = scattered(rng, good // 3), scattered(rng, 12)
        which = np.concatenate([np.arange(good) % len(query), rng.integers(0, len(hubs), bad)])
        xy = np.where(
            np.arange(200)[:, None] < good, query[which % len(query)], hubs[which % len(hubs)]
        )
        to = np.where(
            np.arange(200)[:, None] < good,
            moved(TURN, xy) + 2 * rng.normal(size=(200, 2)),
            scattered(rng, 200),
        )
        order = rng.permutation(200)
        cases.append((xy[order].astype(np.float32), to[order].astype(np.float32), order < good))
    _, inliers = fit_all(fit, cases)
    assert (
        np.mean(
            [inlier[planted].mean() for inlier, (_, _, planted) in zip(inliers, cases, strict=True)]
        )
        >= 0.99
    )


def test_seed_004s_counts_are_scikit_images() -> None:
    """Its code counted the inliers of skimage's RANSAC; ours, a thousand times faster, must count
    the same.
    """
    ours, theirs = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        good, bad = int(rng.integers(20, 120)), int(rng.integers(30, 150))
        query, candidate, _ = planted_matches(rng, good, good + bad, jitter=5)
        ours.append(SEED004(query, candidate, SIZE, seed)[1].sum())
        theirs.append(
            ransac(
                (query, candidate),
                AffineTransform,
                min_samples=3,
                residual_threshold=20,
                max_trials=1000,
                rng=seed,
            )[1].sum()
        )
    a, b = np.array(ours, float), np.array(theirs, float)
    assert np.corrcoef(a, b)[0, 1] > 0.995
    assert np.abs(a - b).mean() < 0.01 * b.mean()
    assert a.sum() >= 0.995 * b.sum()


def by_numpy(query: Floats, candidate: Floats, reach: float, table: Int64) -> Bool:
    """The search without polish, one hypothesis after another: the first best of each lane, then
    the first lane with the best.
    """
    best = [(0, np.zeros(len(query), bool))] * 16
    for three in table:
        for lane, (i, j, k) in enumerate(chosen(three, len(query)).T):
            rows = [i, j, k]
            at = np.c_[query[rows], np.ones(3)]
            if abs(np.linalg.det(at)) > 1e-6:
                agree = residuals(np.linalg.solve(at, candidate[rows]).T, query, candidate) <= reach
                if agree.sum() > best[lane][0]:
                    best[lane] = int(agree.sum()), agree
    return max(best, key=lambda lane: lane[0])[1]


def chosen(three: Int64, n: int) -> Int64:
    """Three numbers below 2^16 in rows -> three different matches of n: one of n, one of the
    others, one of those that are left.
    """
    i, j, k = (three.astype(np.int64) * np.array([[n], [n - 1], [n - 2]])) >> 16
    j = j + (j >= i)
    low, high = np.minimum(i, j), np.maximum(i, j)
    k = k + (k >= low)
    return np.stack([i, j, k + (k >= high)])


@numba.njit  # type: ignore[untyped-decorator]
def hypotheses(points, n, table, out):  # type: ignore[no-untyped-def]
    """The maps of all draws: (T, 6, 16), flat."""
    for t in range(len(table) // 48):
        for k, lane in enumerate(_hypotheses(points, n, table, t, np.empty(16, np.int32))):
            store(out, 96 * t + 16 * k, lane)


@pytest.mark.parametrize("n", [3, 4, 5, 50, 1 << 14])
def test_a_hypothesis_goes_through_its_three_matches(n: int) -> None:
    query, candidate, _ = planted_matches(np.random.default_rng(n), 0, n)
    table, out = draws(1600, 0), np.empty(1600 * 6, np.float32)
    hypotheses(np.c_[query, candidate].ravel(), n, table, out)
    for three, maps in zip(table.reshape(-1, 3, 16), out.reshape(-1, 6, 16), strict=True):
        for rows, affine in zip(chosen(three, n).T, maps.T, strict=True):
            # px^2; in slimmer triangles rounding grows
            if abs(np.linalg.det(np.c_[query[rows], np.ones(3)])) > 1000:
                assert residuals(affine.reshape(2, 3), query[rows], candidate[rows]).max() < 0.1


def test_it_is_ransac_written_out() -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(3, 60))
        query, candidate, _ = planted_matches(rng, n // 3, n)
        table = draws(64, seed).reshape(-1, 3, 16)
        wanted = by_numpy(query.astype(float), candidate.astype(float), 20, table)
        np.testing.assert_array_equal(
            RobustAffine(20, 20, 64, 0, 3, largest_stretch=None)(query, candidate, SIZE, seed)[1],
            wanted,
        )


@pytest.mark.parametrize("n", [3, 4, 5, 100, 1000, 1 << 14])
def test_draws_are_three_different_matches_each_as_likely(n: int) -> None:
    table = draws(100_000, 0).reshape(-1, 3, 16)
    i, j, k = rows = chosen(table.transpose(1, 0, 2).reshape(3, -1), n)
    assert rows.min() == 0
    assert rows.max() <= n - 1
    assert not ((i == j) | (i == k) | (j == k)).any()
    # all orders of the three, or each of them by itself
    cells = [i * 25 + j * 5 + k] if n <= 5 else [i, j, k]
    possible = n * (n - 1) * (n - 2) if n <= 5 else n
    for cell in cells:
        count = np.bincount(np.unique(cell, return_inverse=True)[1])
        squares = ((count - len(cell) / possible) ** 2).sum() / (len(cell) / possible)
        assert len(count) <= possible
        # 2^16 numbers are not as even among so many
        assert n == 1 << 14 or squares < possible + 6 * math.sqrt(2 * possible)


def test_draws_come_from_the_seed_and_fill_the_last_sixteen() -> None:
    assert [len(draws(trials, 0)) // 3 for trials in (1, 16, 17, 1000)] == [16, 16, 32, 1008]
    assert not np.array_equal(draws(1000, 0), draws(1000, 1))
    assert np.array_equal(draws(1000, 0)[:480], draws(160, 0))  # more trials are the same and more


@pytest.mark.parametrize(("reach", "jitter"), [(REACH, 1.0), (6.0, 3.0), (3.0, 3.0)])
def test_polish_never_loses_a_match(reach: float, jitter: float) -> None:
    rng = np.random.default_rng(0)
    cases = [planted_matches(rng, 40, 120, jitter=jitter) for _ in range(100)]
    counts = np.array(
        [
            [
                inlier.sum()
                for inlier in fit_all(RobustAffine(threshold=reach, polish=polish), cases)[1]
            ]
            for polish in (0, 1, 4, 16)
        ]
    )
    assert (np.diff(counts, axis=0) >= 0).all()
    assert reach == REACH or counts[2].sum() > counts[0].sum()


def test_polish_comes_closer_to_the_truth() -> None:
    rng = np.random.default_rng(0)
    cases = [planted_matches(rng, 60, 120, jitter=3) for _ in range(100)]
    plain, polished = (
        np.mean([map_error(a) for a in fit_all(RobustAffine(threshold=6, polish=polish), cases)[0]])
        for polish in (0, 4)
    )
    assert polished < 0.8 * plain


def test_a_map_is_the_least_squares_fit_of_its_inliers() -> None:
    rng = np.random.default_rng(0)
    cases = [planted_matches(rng, 60, 120) for _ in range(100)]
    errors = [map_error(a) for a in fit_all(RobustAffine(), cases)[0]]
    assert np.mean(errors) < 4  # px; numpy.linalg.lstsq over the same inliers: 1.0


@pytest.mark.parametrize("seed", range(5))
def test_inliers_lie_where_the_map_says(seed: int) -> None:
    """All that do, and they alone, on photos of 20,000 px, too, whose coordinates take most of
    float32's digits.
    """
    for size, reach, jitter in (
        (SIZE, 3.0, 2.0),
        (SIZE, REACH, 5.0),
        ((20_000, 15_000), 5.0, 2.0),
        ((20_000, 15_000), 600.0, 2.0),
    ):
        truth = np.c_[TURN[:, :2], TURN[:, 2] * size[0] / SIZE[0]]
        query, candidate, planted = planted_matches(
            np.random.default_rng(seed), 60, 150, truth, jitter, size
        )
        affine, inliers = RobustAffine(threshold=reach)(query, candidate, size, seed)
        miss = residuals(affine, query, candidate)
        sure = abs(miss - reach) > 1e-6 * size[0]  # px that rounding may take or give
        assert sure.sum() >= len(sure) - 1
        np.testing.assert_array_equal(inliers[sure], miss[sure] <= reach)
        assert inliers[planted].mean() > (0.9 if reach > 2 * jitter else 0.5)


def test_a_fit_does_not_see_where_the_photo_begins() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        # quarters of a pixel: no sum is rounded
        query, candidate, _ = (np.round(4 * each) / 4 for each in planted_matches(rng, 30, 90))
        query, candidate = query.astype(np.float32), candidate.astype(np.float32)
        affine, inliers = RobustAffine()(query, candidate, SIZE, 0)
        there, same = RobustAffine()(
            query + np.float32([16384, 20000]), candidate + np.float32([20000, -8192]), SIZE, 0
        )
        np.testing.assert_array_equal(same, inliers)
        np.testing.assert_array_equal(there[:, :2], affine[:, :2])


@pytest.mark.parametrize(("side", "spread"), [(640, 30), (4000, 30), (20_000, 400)])
def test_a_small_thing_far_from_the_first_match_is_found(side: int, spread: int) -> None:
    """Sums are taken around the first match, here a wrong one in the other corner."""
    for seed in range(20):
        query, candidate, planted = planted_matches(
            np.random.default_rng(seed), 30, 60, TURN, 0, (spread, spread)
        )
        query[planted], candidate[planted] = (
            query[planted] + (0.95 * side - spread),
            candidate[planted] + 0.5 * side,
        )
        query[~planted] *= side / spread
        candidate[~planted] *= side / spread
        first = np.r_[
            np.flatnonzero(~planted)[0], np.delete(np.arange(60), np.flatnonzero(~planted)[0])
        ]
        query, candidate, planted = query[first], candidate[first], planted[first]
        query[0] = 0
        for fit in (RobustAffine(threshold=3), SEED004):
            assert fit(query, candidate, (side, side), seed)[1][planted].mean() > 0.95


@pytest.mark.parametrize("larger", [0.06, 0.5, 4.0, 16.0])
@pytest.mark.parametrize("side", ["query", "candidate"])
def test_the_resolution_of_a_photo_changes_nothing(side: str, larger: float) -> None:
    """A telephone's photo among small ones: scales and distances are measured by the photos."""
    rng = np.random.default_rng(5)
    size = (int(SIZE[0] * larger), int(SIZE[1] * larger))
    for good in (0, 12, 60):
        query, candidate, _ = planted_matches(rng, good, 150, jitter=3)
        affine, inliers = RobustAffine()(query, candidate, SIZE, 0)
        if side == "query":
            scaled, again = RobustAffine()(
                (query * size[0] / SIZE[0]).astype(np.float32), candidate, SIZE, 0, size
            )
            scaled[:, :2] *= size[0] / SIZE[0]
        else:
            scaled, again = RobustAffine()(
                query, (candidate * size[0] / SIZE[0]).astype(np.float32), size, 0, SIZE
            )
            scaled = scaled * SIZE[0] / size[0]
        # rounding may decide about a match at the very edge
        assert abs(int(again.sum()) - int(inliers.sum())) <= (1 if good else 3)
        if good:
            np.testing.assert_allclose(scaled, affine, rtol=0.02, atol=2)


@pytest.mark.parametrize("shrink", [0.2, 0.5, 1.0, 3.0])
def test_inliers_lie_near_in_both_photos(shrink: float) -> None:
    rng = np.random.default_rng(7)
    query = rng.uniform(0, 400, (300, 2)).astype(np.float32)
    noise = rng.normal(0, 0.01 * max(SIZE), query.shape)
    candidate = (query * shrink + noise * min(1, shrink) + 5).astype(np.float32)
    affine, inliers = RobustAffine()(query, candidate, SIZE, 0)
    there = residuals(affine, query, candidate)
    linear = affine[:, :2].astype(float)
    back = there / np.sqrt(np.linalg.det(linear))
    reach = 0.015 * max(SIZE)
    within = (there <= reach) & (back <= reach)
    assert (within != inliers).sum() <= 2  # at the very edge
    assert 60 < inliers.sum() < 290
