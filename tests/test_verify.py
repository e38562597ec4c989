"""The second look finds planted maps, counts as scikit-image's RANSAC does, refuses what no camera does, and sees each pair alone."""

import numpy as np
import pytest
from planted_features import SIZE, TURN, Floats, described, moved, pack, planted_pair, scattered, unrelated
from skimage.measure import ransac
from skimage.transform import AffineTransform

from stages.match import OneWay
from stages.records import Bool, Candidates, Float32, Gallery, LocalFeatures, Matches
from stages.verify import RobustAffine, Verify

SEED004 = RobustAffine("ransac", threshold=20, iterations=1000, least=3, largest_scale=None, largest_stretch=None)
CORNERS = np.array([[0, 0], [SIZE[0], 0], [0, SIZE[1]], SIZE], float)
POINTS = scattered(np.random.default_rng(0), 50)  # (50, 2) px


def fitted(fit: RobustAffine, query: Floats, candidate: Floats, seed: int = 0) -> tuple[Float32, Bool]:
    return fit(query.astype(np.float32), candidate.astype(np.float32), SIZE, seed)


def map_error(affine: Float32) -> float:
    """px, at the query's worst corner; NaN where there is no map."""
    return float(np.linalg.norm(moved(affine, CORNERS) - moved(TURN, CORNERS), axis=1).max())


@pytest.mark.parametrize(("share", "error"), [(0.5, 1.5), (0.2, 3.0), (0.1, 5.0)])
def test_planted_maps_are_found(share: float, error: float) -> None:
    """Among 300 features a photo, of which a share is in both; the others are matched by chance as often as they can be."""
    for seed in range(12):
        query, candidate, planted = planted_pair(np.random.default_rng(seed), count=300, share=share)
        pairs, affine, inliers = Verify().pair(query, candidate)
        agreed = set(map(tuple, pairs[inliers].tolist()))
        assert len(pairs) > 1.2 * len(planted)
        assert np.mean([tuple(pair) in agreed for pair in planted.tolist()]) > 0.95
        assert map_error(affine) < error


@pytest.mark.parametrize(("share", "found"), [(0.5, 1.0), (0.2, 1.0), (0.1, 0.6)])
def test_maps_are_found_among_pairs_that_are_mostly_wrong(share: float, found: float) -> None:
    """The last is the price of 1,000 iterations: three draws out of 10% good pairs are all good once in a thousand."""
    good, errors = round(300 * share), []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        query, candidate = scattered(rng, 300), scattered(rng, 300)
        candidate[:good] = moved(TURN, query[:good]) + rng.normal(size=(good, 2))
        affine, inliers = fitted(RobustAffine(), query, candidate, seed)
        errors.append(map_error(affine))
        assert not errors[-1] < 10 or inliers[:good].mean() > 0.95
    assert np.mean(np.array(errors) < 10) >= found


def test_inliers_lie_where_the_map_says() -> None:
    for seed in range(5):
        query, candidate, _ = planted_pair(np.random.default_rng(seed), share=0.3)
        pairs, affine, inliers = Verify().pair(query, candidate)
        residual = np.linalg.norm(moved(affine, query.xy[pairs[:, 0]]) - candidate.xy[pairs[:, 1]], axis=1)
        assert residual[inliers].max() <= 0.03 * SIZE[0] * 1.01  # the share of the candidate's longest side


def test_unrelated_photos_share_few_inliers() -> None:
    rng = np.random.default_rng(0)
    counts = [Verify().pair(unrelated(rng, 300), unrelated(rng, 300))[2].sum() for _ in range(20)]
    assert max(counts) < 15


def test_seed_004s_counts_are_scikit_images() -> None:
    """Its code counted the inliers of skimage's RANSAC; OpenCV's, many times faster, must count the same."""
    ours, theirs = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        good, bad = int(rng.integers(20, 120)), int(rng.integers(30, 150))
        query, candidate = scattered(rng, good + bad), scattered(rng, good + bad)
        candidate[:good] = moved(TURN, query[:good]) + 5 * rng.normal(size=(good, 2))
        ours.append(fitted(SEED004, query, candidate, seed)[1].sum())
        _, inliers = ransac(
            (query, candidate), AffineTransform, min_samples=3, residual_threshold=20, max_trials=1000, stop_probability=0.9999, rng=seed
        )
        theirs.append(inliers.sum())
    a, b = np.array(ours, float), np.array(theirs, float)
    assert np.corrcoef(a, b)[0, 1] > 0.98
    assert np.abs(a - b).mean() < 0.04 * b.mean()
    assert abs(a.mean() - b.mean()) < 0.03 * b.mean()


@pytest.mark.parametrize(
    ("linear", "ours", "published"),
    [
        ([[1, 0], [0, 1]], True, True),
        ([[0, -1], [1, 0]], True, True),  # turned by 90 degrees
        ([[6, 0], [0, 6]], True, True),
        ([[0.15, 0], [0, 0.15]], True, True),
        ([[2, 0], [0, 0.6]], True, True),
        ([[-1, 0], [0, 1]], False, True),  # mirrored
        ([[0, 1], [1, 0]], False, True),
        ([[15, 0], [0, 15]], False, True),  # too large, too small
        ([[0.07, 0], [0, 0.07]], False, True),
        ([[2, 0], [0, 0.4]], False, True),  # stretched
        ([[1, 4.5], [0, 1]], False, True),  # sheared
    ],
)
def test_a_map_no_camera_makes_is_refused(linear: list[list[float]], ours: bool, published: bool) -> None:
    for fit, wanted in ((RobustAffine(threshold=2), ours), (SEED004, published)):
        affine, inliers = fitted(fit, POINTS, POINTS @ np.array(linear, float).T)
        assert inliers.sum() == (50 if wanted else 0)
        assert np.isfinite(affine).all() == np.isfinite(affine).any() == wanted


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


def test_one_repeated_point_is_no_map() -> None:
    point = np.full((50, 2), 100.0)
    for fit in (RobustAffine(), SEED004):
        for query, candidate in ((point, point), (point, POINTS), (POINTS, point)):
            affine, inliers = fitted(fit, query, candidate)
            assert not inliers.any()
            assert np.isnan(affine).all()


@pytest.mark.parametrize(("fit", "least"), [(RobustAffine(), 4), (RobustAffine(least=12), 12), (SEED004, 3)])
def test_fewer_than_least_is_no_map(fit: RobustAffine, least: int) -> None:
    for n in range(least + 2):
        affine, inliers = fitted(fit, POINTS[:n], POINTS[:n] + 7)
        assert inliers.tolist() == [n >= least] * n
        assert np.isnan(affine).any() == (n < least)


@pytest.fixture(scope="module")
def collection() -> tuple[LocalFeatures, Gallery]:
    """A query, and photos of which some share a part with it, some nothing, and two have no features."""
    rng = np.random.default_rng(0)
    query = planted_pair(rng)[0]
    photos = [described([], np.empty((0, 40), np.int8)), *(unrelated(rng, n) for n in (2, 3, 60, 200)), query]
    for share in (0.8, 0.3, 0.1, 0.06):
        n = round(share * len(query))
        xy = np.concatenate([moved(TURN, query.xy[:n]), scattered(rng, 150)])
        photos.append(described(xy, np.concatenate([query.descriptor[:n], unrelated(rng, 150).descriptor])))
    photos.append(photos[0])
    codes = np.arange(len(photos), dtype=np.float32)[:, None]
    return query, Gallery.from_arrays([f"{i:02d}" for i in range(len(photos))], codes, pack(photos, 3))


def looked_at(verify: Verify, collection: tuple[LocalFeatures, Gallery], rows: list[int]) -> Matches:
    query, gallery = collection
    return verify(query, Candidates(np.array([rows], np.int64), np.zeros((1, len(rows)), np.float32)), gallery)


@pytest.mark.parametrize("match", [None, OneWay(0.8)])
@pytest.mark.parametrize("fit", [RobustAffine(), SEED004])
def test_a_pairs_numbers_depend_on_nothing_else(match: OneWay | None, fit: RobustAffine, collection: tuple[LocalFeatures, Gallery]) -> None:
    """Not on the other candidates, their number, their order, the threads or the run."""

    def stage(threads: int) -> Verify:
        return Verify(fit=fit, threads=threads) if match is None else Verify(match, fit, threads=threads)

    rows = list(range(len(collection[1])))
    alone = [looked_at(stage(1), collection, [row]) for row in rows]
    assert sum(int(m.inliers[0, 0]) >= 15 for m in alone) >= 4
    assert min(int(m.inliers[0, 0]) for m in alone) == 0
    rng = np.random.default_rng(1)
    for threads, some in [(1, rows), (4, rows), (4, rows[::-1]), (4, rows * 3), *((3, rng.permutation(rows)[:k].tolist()) for k in (1, 2, 7, 9))]:
        together = looked_at(stage(threads), collection, some)
        for place, row in enumerate(some):
            for name in ("matches", "inliers", "affine"):
                np.testing.assert_array_equal(getattr(together, name)[0, place], getattr(alone[row], name)[0, 0])


def test_only_hard_cases_depend_on_the_seed() -> None:
    rng = np.random.default_rng(0)

    def maps(query: LocalFeatures, candidate: LocalFeatures) -> int:
        return len({Verify(seed=seed).pair(query, candidate)[1].tobytes() for seed in range(4)})

    assert {maps(unrelated(rng, 300), unrelated(rng, 300)) for _ in range(20)} > {1}  # it does reach the draws
    query, candidate, planted = planted_pair(rng)
    for seed in range(4):
        _, affine, inliers = Verify(seed=seed).pair(query, candidate)
        assert map_error(affine) < 1.5
        assert inliers.sum() >= len(planted)


def test_a_photo_without_features_shares_nothing(collection: tuple[LocalFeatures, Gallery]) -> None:
    _, gallery = collection
    nothing = described([], np.empty((0, 40), np.int8))
    for found in (looked_at(Verify(), collection, [0, 10]), looked_at(Verify(), (nothing, gallery), [0, 4])):
        assert found.matches.tolist() == found.inliers.tolist() == [[0, 0]]
        assert np.isnan(found.affine).all()


def test_no_candidates_no_evidence(collection: tuple[LocalFeatures, Gallery]) -> None:
    found = looked_at(Verify(), collection, [])
    assert (found.matches.shape, found.inliers.shape, found.affine.shape) == ((1, 0), (1, 0), (1, 0, 2, 3))
