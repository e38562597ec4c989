"""The second look in torch is the one on the CPU: equal matches, counts within the stated bound,
each pair alone; on a GPU too where there is one.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from planted_features import (
    SIZE,
    described,
    directions,
    pack,
    planted_pair,
    rounded,
    scattered,
    unrelated,
)

from stages.affine import RobustAffine, draws
from stages.match import Nearest
from stages.records import Float32, Int8, Int32, Int64, LocalFeatures, PackedFeatures
from stages.verify import Verify
from stages.verify_torch import Resident, _hypotheses, match_pairs, verify_on, verify_pairs

OURS = Nearest(), RobustAffine()
SEED004 = (
    Nearest(mutual=False, distance=0.8),
    RobustAffine(threshold=20, trials=1000, polish=0, least=3, largest_stretch=None),
)
RULES = pytest.mark.parametrize("rules", [OURS, SEED004], ids=["ours", "seed004"])
Answer = tuple[Int32, Int32, Float32]
MATCHING = [
    Nearest(),
    Nearest(distance=0.8),
    Nearest(mutual=False, distance=0.8),
    Nearest(mutual=False),
    Nearest(distance=10.0),
]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return str(request.param)


@pytest.fixture(scope="module")
def photos() -> tuple[list[LocalFeatures], PackedFeatures]:
    """Three queries, then for each of them photos that show more or less of it, or nothing at all;
    in two blocks.
    """
    rng = np.random.default_rng(0)
    queries, others = [], []
    for count in (120, 200, 61):
        query, other, _ = planted_pair(rng, count=count, jitter=3.0)
        queries.append(query)
        others += [other, *(bent(rng, query, share, 0.0) for share in (0.5, 0.3, 0.2, 0.1, 0.05))]
        others += [
            bent(rng, query, share, by) for by in (20.0, 50.0, 100.0) for share in (0.6, 0.4, 0.2)
        ]
        others += [
            bent(rng, query, n / count, by, others=0) for n in (3, 4, 5, 6) for by in (0.0, 20.0)
        ]
    others += [unrelated(rng, count) for count in (0, 1, 2, 3, 4, 0, 17, 90, 129, 260)]
    return queries, pack([*queries, *others], blocks=2)


def bent(
    rng: np.random.Generator, query: LocalFeatures, share: float, by: float, others: int = 200
) -> LocalFeatures:
    """A photo with a share of this query's features, turned about a little and bent by so many px,
    among others. What is bent is on no affine map: the best one is found in many small steps.
    """
    kept, noise = rng.random(len(query)) < share, unrelated(rng, others)
    xy = query.xy[kept] @ np.array([[0.9, 0.2], [-0.2, 0.9]]) + rng.normal(30, 4, (kept.sum(), 2))
    xy += by * np.sin(query.xy[kept][:, ::-1] / 120)
    order = rng.permutation(len(xy) + others)
    return described(
        np.concatenate([noise.xy, xy])[order],
        np.concatenate([noise.descriptor, query.descriptor[kept]])[order],
    )


def end_to_end(photos: list[Int8], device: str) -> Resident:
    count, descriptor = (
        np.array([len(photo) for photo in photos]),
        torch.from_numpy(np.concatenate(photos)).to(device),
    )
    return Resident(
        torch.zeros(len(descriptor), 2, device=device),
        descriptor,
        np.cumsum(count) - count,
        count,
        np.ones((len(count), 2), np.int32),
    )


def counts_alike(got: Answer, wanted: Answer) -> None:
    """Equal matches, and inliers within the bound that stages/verify_torch.py states; where these
    are equal, so are the maps.
    """
    assert [part.dtype for part in got] == [np.int32, np.int32, np.float32]
    np.testing.assert_array_equal(got[0], wanted[0])
    off = np.abs(got[1] - wanted[1])
    assert np.mean(off > 0) <= 0.03
    assert np.mean(off > np.maximum(2, 0.05 * wanted[1])) <= 0.01
    np.testing.assert_array_equal(np.isnan(got[2]).any((1, 2)), got[1] == 0)
    corners = np.array([[0, 0, 1], [SIZE[0], 0, 1], [0, SIZE[1], 1]], np.float32).T
    apart = np.abs((got[2] - wanted[2]) @ corners).max((1, 2))  # px
    assert np.mean(apart[(off == 0) & (wanted[1] > 0)] > 0.1) <= 0.03


def matches_alike(
    device: str, match: Nearest, queries: list[Int8], candidates: list[Int8], budget: int
) -> int:
    """How many pairs there are, after it was seen that they are those of `Nearest`, for every query
    with every candidate.
    """
    query, photo = end_to_end(queries, device), end_to_end(candidates, device)
    pairs = np.stack(
        np.meshgrid(np.arange(len(queries)), np.arange(len(candidates)), indexing="ij"), 2
    ).reshape(-1, 2)
    offset, matched = match_pairs(query, photo, pairs, match, budget)
    for p, (q, c) in enumerate(pairs):
        np.testing.assert_array_equal(
            matched[offset[p] : offset[p + 1]].cpu().numpy(), match(queries[q], candidates[c])
        )
    return int(offset[-1])


def tied(rng: np.random.Generator, count: int, dimensions: int = 40) -> Int8:
    """Descriptors of a few directions, over and over: most distances are shared by many."""
    few = rounded(directions(rng, 1 + count // 8, dimensions))
    return few[rng.integers(0, len(few), count)]


@pytest.mark.parametrize("match", MATCHING, ids=str)
def test_matches_are_equal(device: str, match: Nearest) -> None:
    rng = np.random.default_rng(1)
    queries = [rounded(directions(rng, count)) for count in (128, 0, 300, 1)]
    candidates = [rounded(directions(rng, count)) for count in (0, 1, 5, 127, 129, 257)]
    candidates[4][:40] = queries[0][50:90]
    assert matches_alike(device, match, queries, candidates, 1 << 30) > 0


@pytest.mark.parametrize("match", MATCHING, ids=str)
@pytest.mark.parametrize("budget", [1 << 30, 1])
def test_ties_go_to_the_stronger_feature(device: str, match: Nearest, budget: int) -> None:
    rng = np.random.default_rng(2)
    few = tied(rng, 300)
    queries = [tied(rng, 140), few[:130], few[rng.permutation(300)]]
    candidates = [few, few[rng.integers(0, 300, 150)], np.repeat(few[:1], 200, 0), tied(rng, 20)]
    assert matches_alike(device, match, queries, candidates, budget) > 0


@pytest.mark.parametrize("dimensions", [5, 8, 40])
def test_the_longest_descriptors_still_match_exactly(device: str, dimensions: int) -> None:
    """Squared length 2^15, the most that is allowed, and what is left of it when signs are
    turned."""
    rng = np.random.default_rng(3)
    longest = np.zeros(dimensions, np.int64)
    longest[:5] = 127, 127, 22, 5, 1
    assert (longest**2).sum() == 1 << 15
    rows = [rng.permutation(longest) * rng.choice([-1, 1], dimensions) for _ in range(300)]
    photos = [np.array(part, np.int8) for part in (rows[:150], rows[140:], [longest, -longest])]
    for match in MATCHING:
        assert matches_alike(device, match, photos, photos, 1 << 30) > 0


@pytest.fixture
def allowed() -> Iterator[None]:
    """float32 products may be made of bfloat16 factors."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("allowed")
@RULES
def test_what_the_process_allows_products_to_be_does_not_matter(
    device: str,
    rules: tuple[Nearest, RobustAffine],
    photos: tuple[list[LocalFeatures], PackedFeatures],
) -> None:
    test_counts_are_those_of_the_cpu(device, rules, photos)


@RULES
def test_counts_are_those_of_the_cpu(
    device: str,
    rules: tuple[Nearest, RobustAffine],
    photos: tuple[list[LocalFeatures], PackedFeatures],
) -> None:
    queries, packed = photos
    rows = np.arange(len(packed))[::-1].copy()
    answers = [
        (
            verify_on(query, packed, rows, *rules, 5, device),
            Verify(*rules, seed=5).many(query, packed, rows),
        )
        for query in queries
    ]
    counts_alike(*(joined([pair[k] for pair in answers]) for k in (0, 1)))
    assert (joined([pair[1] for pair in answers])[1] >= 15).sum() >= 12


def joined(answers: list[Answer]) -> Answer:
    matches, inliers, affine = (np.concatenate(parts) for parts in zip(*answers, strict=True))
    return matches, inliers, affine


FITS = [
    RobustAffine(polish=polish, trials=trials, least=6)
    for polish in (0, 1, 16, 40)
    for trials in (1, 16, 100)
]


@pytest.mark.parametrize(
    "fit", [*FITS, RobustAffine(largest_scale=1.3, largest_stretch=1.1)], ids=str
)
def test_other_settings(
    device: str, fit: RobustAffine, photos: tuple[list[LocalFeatures], PackedFeatures]
) -> None:
    rows = np.arange(len(photos[1]))
    counts_alike(
        joined(
            [
                verify_on(query, photos[1], rows, Nearest(), fit, seed, device)
                for seed, query in enumerate(photos[0])
            ]
        ),
        joined(
            [
                Verify(fit=fit, seed=seed).many(query, photos[1], rows)
                for seed, query in enumerate(photos[0])
            ]
        ),
    )


def test_a_hypothesis_rests_on_three_different_matches(device: str) -> None:
    """Of three there are no others: each passes through all."""
    points = torch.tensor(
        [[0, 5, 2], [0, 1, 7], [0, 3, 4], [0, 6, 1]], dtype=torch.float32, device=device
    )
    table = torch.from_numpy(
        draws(1000, 0).reshape(-1, 3, 16).transpose(1, 0, 2).reshape(3, 1, -1)
    ).to(device)
    maps = _hypotheses(
        points[:, None], torch.full((1, 1), 3, dtype=torch.int32, device=device), table
    )[..., None]
    torch.testing.assert_close(
        (maps[0] * points[0] + maps[1] * points[1] + maps[2])[:, 0],
        points[2:, None].expand(2, table.shape[2], 3),
    )


@pytest.mark.parametrize("rules", [OURS, (Nearest(), SEED004[1])], ids=["ours", "any map"])
@pytest.mark.parametrize(("scatter", "seen"), [(0.0, False), (0.05, False), (30.0, True)])
def test_points_of_one_line_are_no_map(
    device: str, rules: tuple[Nearest, RobustAffine], scatter: float, seen: bool
) -> None:
    rng = np.random.default_rng(8)
    xy = np.stack([rng.integers(0, 600, 50), 100 + scatter * rng.normal(size=50)], 1)
    query = described(xy, rounded(directions(rng, 50)))
    photo = pack([described(np.add(xy[::-1], [7, 9]), query.descriptor[::-1])])
    inliers = verify_on(query, photo, np.zeros(1, np.int64), *rules, 0, device)[1]
    assert inliers[0] == Verify(*rules).many(query, photo, np.zeros(1, np.int64))[1][0]
    assert (inliers[0] == 50) == (seen or (scatter > 0 and rules[1].largest_stretch is None))


@RULES
def test_a_pair_depends_on_itself_alone(
    device: str,
    rules: tuple[Nearest, RobustAffine],
    photos: tuple[list[LocalFeatures], PackedFeatures],
) -> None:
    """Neither on the order, nor on the chunks, nor on how many queries come together."""
    queries, packed = photos
    order = np.random.default_rng(4).permutation(len(packed))
    whole = Resident.of(packed, np.arange(len(packed)), device)
    # the queries are the first photos
    pairs = np.array([(q, row) for q in range(len(queries)) for row in order])
    together, small = (
        verify_pairs(whole, whole, pairs, *rules, 0, budget) for budget in (1 << 30, 1 << 20)
    )
    for q, query in enumerate(queries):
        alone = verify_on(query, packed, np.arange(len(packed)), *rules, 0, device)
        twice = verify_on(query, packed, np.concatenate([order, order]), *rules, 0, device)
        for k in range(3):
            part = slice(q * len(order), (q + 1) * len(order))
            np.testing.assert_array_equal(together[k][part], alone[k][order])
            np.testing.assert_array_equal(small[k][part], alone[k][order])
            np.testing.assert_array_equal(twice[k], np.concatenate([alone[k][order]] * 2))


def test_features_are_gathered_photo_by_photo(
    photos: tuple[list[LocalFeatures], PackedFeatures],
) -> None:
    packed = photos[1]
    rows: Int64 = np.random.default_rng(5).permutation(len(packed))[:20]
    gathered = Resident.of(packed, rows, "cpu")
    assert len(gathered.xy) == packed.count[rows].sum()
    for n, row in enumerate(rows):
        part, photo = (
            slice(gathered.start[n], gathered.start[n] + gathered.count[n]),
            packed[int(row)],
        )
        np.testing.assert_array_equal(gathered.xy[part], photo.xy)
        np.testing.assert_array_equal(gathered.descriptor[part], photo.descriptor)


@RULES
def test_nothing_is_an_answer(device: str, rules: tuple[Nearest, RobustAffine]) -> None:
    rng = np.random.default_rng(6)
    nobody, somebody = unrelated(rng, 0), unrelated(rng, 50)
    for query, candidates in (
        (nobody, [somebody, nobody]),
        (somebody, [nobody, nobody]),
        (somebody, []),
        (nobody, []),
    ):
        matches, inliers, affine = verify_on(
            query, pack(candidates), np.arange(len(candidates)), *rules, 0, device
        )
        assert matches.tolist() == inliers.tolist() == [0] * len(candidates)
        assert affine.shape == (len(candidates), 2, 3)
        assert np.isnan(affine).all()


def test_what_cannot_be_matched_is_named(device: str) -> None:
    rng = np.random.default_rng(7)
    fine, long = unrelated(rng, 20), described(scattered(rng, 3), np.full((3, 40), 99, np.int8))
    short = described(scattered(rng, 3), rounded(directions(rng, 3, 32)))
    many = described(np.zeros(((1 << 14) + 1, 2)), np.zeros(((1 << 14) + 1, 40), np.int8))
    for query, candidate, message in (
        (fine, long, "longer than 181"),
        (long, fine, "longer than 181"),
        (fine, short, "got 40 and 32"),
        (many, fine, "at most 16384 features a photo, got 16385"),
    ):
        with pytest.raises(ValueError, match=message):
            verify_on(query, pack_alone(candidate), np.zeros(1, np.int64), *OURS, 0, device)


def pack_alone(photo: LocalFeatures) -> PackedFeatures:
    block = (photo.xy, photo.descriptor, photo.score)
    zero, count = np.zeros(1, np.int64), np.array([len(photo)], np.int64)
    return PackedFeatures(
        (block,), zero.astype(np.int32), zero, count, np.array([photo.size], np.int32)
    )
