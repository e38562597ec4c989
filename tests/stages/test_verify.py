"""The second look finds planted photos, sees each pair alone, and on real features counts as seed
004's own way does.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_features import (
    TURN,
    described,
    map_error,
    moved,
    pack,
    planted_pair,
    rounded,
    scattered,
    unrelated,
)
from scipy.spatial import cKDTree
from skimage.measure import ransac
from skimage.transform import AffineTransform

from stages import verify as module
from stages.affine import RobustAffine
from stages.gallery import Gallery
from stages.match import Nearest
from stages.records import Candidates, Int64, LocalFeatures, Matches, PackedFeatures
from stages.verify import Verify

SEED004 = Verify(
    Nearest(mutual=False, distance=0.8),
    RobustAffine(threshold=20, trials=1000, polish=0, least=3, largest_stretch=None),
)
NOTHING = described([], np.empty((0, 40), np.int8))
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "seed004"
NAMES = ("matches", "inliers", "affine")


@pytest.mark.parametrize("share", [0.5, 0.2, 0.1])
def test_planted_maps_are_found(share: float) -> None:
    """Among 300 features a photo, of which a share is in both; the others are matched by chance as
    often as they can be.
    """
    errors = []
    for seed in range(12):
        query, candidate, planted = planted_pair(
            np.random.default_rng(seed), count=300, share=share
        )
        pairs, affine, inliers = Verify().pair(query, candidate)
        agreed = set(map(tuple, pairs[inliers].tolist()))
        assert len(pairs) > 1.2 * len(planted)
        assert np.mean([tuple(pair) in agreed for pair in planted.tolist()]) > 0.95
        errors.append(map_error(affine))
    assert np.median(errors) < 15


@pytest.mark.parametrize(("share", "error"), [(0.5, 1.5), (0.2, 3.0), (0.1, 5.0)])
def test_planted_maps_are_found_exactly(share: float, error: float) -> None:
    pairs = [
        planted_pair(np.random.default_rng(seed), count=300, share=share) for seed in range(12)
    ]
    assert (
        np.median([map_error(Verify().pair(query, candidate)[1]) for query, candidate, _ in pairs])
        < error
    )


def test_unrelated_photos_share_few_inliers() -> None:
    rng = np.random.default_rng(0)
    counts = [Verify().pair(unrelated(rng, 300), unrelated(rng, 300))[2].sum() for _ in range(20)]
    assert max(counts) < 15


@pytest.fixture(scope="module")
def collection() -> tuple[LocalFeatures, Gallery]:
    """A query, and photos of which some share a part with it, some nothing, and two have no
    features; in three blocks.
    """
    rng = np.random.default_rng(0)
    query = planted_pair(rng)[0]
    photos = [NOTHING, *(unrelated(rng, n) for n in (2, 3, 60, 200)), query]
    for share in (0.8, 0.3, 0.1, 0.06):
        n = round(share * len(query))
        xy = np.concatenate([moved(TURN, query.xy[:n]), scattered(rng, 150)])
        photos.append(
            described(xy, np.concatenate([query.descriptor[:n], unrelated(rng, 150).descriptor]))
        )
    photos.append(NOTHING)
    # so that each has its own reach
    photos = [
        LocalFeatures(p.xy, p.descriptor, p.score, (640 + 40 * i, 480))
        for i, p in enumerate(photos)
    ]
    codes = np.arange(len(photos), dtype=np.float32)[:, None]
    return query, Gallery.from_arrays(
        [f"{i:02d}" for i in range(len(photos))], codes, pack(photos, 3)
    )


def looked_at(
    verify: Verify, collection: tuple[LocalFeatures, Gallery], rows: list[int]
) -> Matches:
    query, gallery = collection
    return verify(
        query, Candidates(np.array([rows], np.int64), np.zeros((1, len(rows)), np.float32)), gallery
    )


def assert_each_as_alone(found: Matches, rows: list[int], alone: list[Matches]) -> None:
    for name in NAMES:
        wanted = [getattr(alone[row], name)[0, 0] for row in rows]
        np.testing.assert_array_equal(
            getattr(found, name)[0], np.array(wanted).reshape(getattr(found, name).shape[1:])
        )


@pytest.mark.parametrize("stage", [Verify(), SEED004])
def test_a_pairs_numbers_depend_on_nothing_else(
    stage: Verify, collection: tuple[LocalFeatures, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on the other candidates, their number, their order, where they are cut, the threads or
    the run.
    """
    rows = list(range(len(collection[1])))
    alone = [looked_at(stage, collection, [row]) for row in rows]
    assert sum(int(m.inliers[0, 0]) >= 15 for m in alone) >= 4
    assert min(int(m.inliers[0, 0]) for m in alone) == 0
    rng = np.random.default_rng(1)
    for together in (1, 2, 3, 64):
        monkeypatch.setattr(module, "TOGETHER", together)
        for threads in (1, 2, 5):
            many = Verify(stage.match, stage.fit, threads=threads)
            for some in (
                rows,
                rows[::-1],
                rows * 3,
                *(rng.permutation(rows)[:k].tolist() for k in (1, 2, 7, 9)),
            ):
                assert_each_as_alone(looked_at(many, collection, some), some, alone)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.integers(0, 10), max_size=30),
    together=st.integers(1, 8),
    threads=st.sampled_from([1, 2]),
    seed=st.integers(0, 99),
)
def test_the_order_of_candidates_is_kept(
    rows: list[int],
    together: int,
    threads: int,
    seed: int,
    collection: tuple[LocalFeatures, Gallery],
) -> None:
    """Permute the candidates, and the evidence is permuted."""
    order = np.random.default_rng(seed).permutation(len(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOGETHER", together)
        straight, turned = (
            looked_at(Verify(threads=threads), collection, some)
            for some in (rows, [rows[place] for place in order])
        )
    for name in NAMES:
        np.testing.assert_array_equal(getattr(turned, name)[0], getattr(straight, name)[0][order])


@pytest.mark.parametrize("stage", [Verify(), SEED004, Verify(seed=7)])
def test_a_pair_alone_is_the_pair_among_many(
    stage: Verify, collection: tuple[LocalFeatures, Gallery]
) -> None:
    query, gallery = collection
    matches, inliers, affine = stage.many(query, gallery.features, np.arange(len(gallery)))
    assert (matches.dtype, inliers.dtype, affine.dtype) == (np.int32, np.int32, np.float32)
    for row in range(len(gallery)):
        pairs, one, agreed = stage.pair(query, gallery.features[row])
        assert (len(pairs), agreed.sum()) == (matches[row], inliers[row])
        np.testing.assert_array_equal(one, affine[row])


def test_a_gallery_may_be_packed_in_any_way(collection: tuple[LocalFeatures, Gallery]) -> None:
    """Into one block or many, one for each photo too, and read from memory that may not be
    written."""
    query, gallery = collection
    photos = [gallery.features[row] for row in range(len(gallery))]
    wanted = Verify().many(query, gallery.features, np.arange(len(photos)))
    for blocks in (1, 2, len(photos)):
        packed = pack(photos, blocks)
        for arrays in packed.blocks:
            for array in arrays:
                array.flags.writeable = False
        for got, want in zip(
            Verify(threads=2).many(query, packed, np.arange(len(photos))), wanted, strict=True
        ):
            np.testing.assert_array_equal(got, want)


def test_only_hard_cases_depend_on_the_seed() -> None:
    rng = np.random.default_rng(0)

    def maps(query: LocalFeatures, candidate: LocalFeatures) -> int:
        return len({Verify(seed=seed).pair(query, candidate)[1].tobytes() for seed in range(4)})

    # it does reach the draws
    assert max(maps(unrelated(rng, 300), unrelated(rng, 300)) for _ in range(20)) > 1
    query, candidate, planted = planted_pair(rng)
    for seed in range(8):
        pairs, affine, inliers = Verify(seed=seed).pair(query, candidate)
        assert map_error(affine) < 25
        assert set(map(tuple, planted.tolist())) <= set(map(tuple, pairs[inliers].tolist()))


def test_a_photo_without_features_shares_nothing(collection: tuple[LocalFeatures, Gallery]) -> None:
    _, gallery = collection
    for found in (
        looked_at(Verify(), collection, [0, 10]),
        looked_at(Verify(), (NOTHING, gallery), [0, 4]),
    ):
        assert found.matches.tolist() == found.inliers.tolist() == [[0, 0]]
        assert np.isnan(found.affine).all()


def test_no_candidates_no_evidence(collection: tuple[LocalFeatures, Gallery]) -> None:
    empty = collection[0], Gallery.from_arrays([], np.empty((0, 1), np.float32), pack([]))
    for threads in (1, 2):
        for place in (collection, empty):
            found = looked_at(Verify(threads=threads), place, [])
            assert (found.matches.shape, found.inliers.shape, found.affine.shape) == (
                (1, 0),
                (1, 0),
                (1, 0, 2, 3),
            )


def test_a_gallery_without_a_block_has_no_evidence() -> None:
    none = np.zeros(0, np.int64)
    found = Verify().many(
        unrelated(np.random.default_rng(0)),
        PackedFeatures((), none.astype(np.int32), none, none, np.zeros((0, 2), np.int32)),
        none,
    )
    assert [len(each) for each in found] == [0, 0, 0]


def test_descriptors_of_two_lengths_are_refused_in_threads_too(
    collection: tuple[LocalFeatures, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER", 2)
    query = described(scattered(np.random.default_rng(0), 5), np.ones((5, 32), np.int8))
    for threads in (1, 2):
        with pytest.raises(ValueError, match="one length, got 32 and 40"):
            looked_at(Verify(threads=threads), (query, collection[1]), list(range(11)))


@pytest.mark.shared
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no measuring data at {DATA}")
def test_seed_004s_own_features_are_counted_as_its_own_way_counts_them() -> None:
    """Matches by a k-d tree of float descriptors, skimage's RANSAC; our int8 counts agree with it
    as well as it does with another seed.
    """
    start, codes = np.load(DATA / "local_start.npy"), np.load(DATA / "pca32.npy")
    xy, descriptor = (
        np.load(DATA / f"local_{name}.npy", mmap_mode="r") for name in ("xy", "descriptor")
    )
    queries = np.random.default_rng(0).choice(len(codes), 12, replace=False)
    counts = []
    for query in queries:
        # ten of the forty nearest
        rows = np.argsort(((codes - codes[query]) ** 2).sum(1), kind="stable")[1:41:4]
        theirs = [
            by_its_own_way(*(features(each, start, xy, descriptor) for each in (query, row)))
            for row in rows
        ]
        photos = [
            described(at, rounded(unit))
            for at, unit in (features(each, start, xy, descriptor) for each in (query, *rows))
        ]
        ours = SEED004.many(photos[0], pack(photos[1:]), np.arange(len(rows)))[1]
        counts += [(mine, *both) for mine, both in zip(ours, theirs, strict=True)]
    ours, oracle, other = np.array(counts, float).T
    assert len(ours) == 120
    assert np.corrcoef(ours, oracle)[0, 1] >= np.corrcoef(oracle, other)[0, 1] - 0.01
    assert ours.sum() >= 0.99 * oracle.sum()


def features(
    row: int, start: Int64, xy: np.ndarray, descriptor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    rows = slice(start[row], start[row + 1])
    return np.array(xy[rows], np.float32), np.array(descriptor[rows], np.float64)


def by_its_own_way(
    query: tuple[np.ndarray, np.ndarray], candidate: tuple[np.ndarray, np.ndarray]
) -> list[int]:
    """Inliers with two seeds; the k-d tree stands on the query's descriptors."""
    distance, nearest = cKDTree(query[1]).query(candidate[1], distance_upper_bound=0.8)
    pairs = query[0][nearest[np.isfinite(distance)]], candidate[0][np.isfinite(distance)]
    if len(pairs[0]) < 3:
        return [0, 0]
    with warnings.catch_warnings(action="ignore"):  # of draws that make no map
        found = [
            ransac(
                pairs,
                AffineTransform,
                min_samples=3,
                residual_threshold=20,
                max_trials=1000,
                rng=seed,
            )[1]
            for seed in (0, 1)
        ]
    return [0 if each is None else int(each.sum()) for each in found]
