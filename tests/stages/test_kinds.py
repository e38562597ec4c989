"""Two kinds of features in one record: each is matched among its own and nowhere else, whatever
their descriptors say.
"""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from pictures import picture

from stages.kinds import REST, DescribeBoth, join_kinds
from stages.match import Nearest
from stages.records import Image, LocalFeatures
from stages.rootsift import RootSift

SIZE = (640, 480)


def features(rng: np.random.Generator, count: int, length: int = 39) -> LocalFeatures:
    unit = rng.normal(size=(count, length))
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-9)
    return LocalFeatures(
        rng.random((count, 2), np.float32) * 400,
        np.rint(127 * unit).astype(np.int8),
        -np.sort(-rng.random(count, np.float32)),
        SIZE,
    )


def pairs_of(query: LocalFeatures, candidate: LocalFeatures) -> set[tuple[float, ...]]:
    """Matches by the places of their points."""
    pairs = Nearest()(query.descriptor, candidate.descriptor)
    return {(*query.xy[i], *candidate.xy[j]) for i, j in pairs}


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 40), min_size=4, max_size=4))
def test_no_match_joins_two_kinds(seed: int, counts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    a, b, c, d = (features(rng, count) for count in counts)
    kinds = [{tuple(p) for p in each.xy} for each in (a, b, c, d)]
    for match in pairs_of(join_kinds((a, b), 500), join_kinds((c, d), 500)):
        assert (match[:2] in kinds[0]) == (match[2:] in kinds[2])


def test_each_kind_is_matched_as_if_it_were_alone() -> None:
    """But for rounding: photos that share features, slightly changed."""
    rng, share = np.random.default_rng(0), []
    first, second = features(rng, 60), features(rng, 60)

    def again(kind: LocalFeatures) -> LocalFeatures:
        noisy = kind.descriptor + rng.normal(0, 4, kind.descriptor.shape)
        unit = noisy / np.linalg.norm(noisy, axis=1, keepdims=True)
        return LocalFeatures(kind.xy, np.rint(127 * unit).astype(np.int8), kind.score, SIZE)

    third, fourth = again(first), again(second)
    alone = pairs_of(first, third) | pairs_of(second, fourth)
    share.append(pairs_of(join_kinds((first, second), 500), join_kinds((third, fourth), 500)))
    assert len(alone) > 115
    assert len(share[0] ^ alone) <= 4


def test_two_opposite_kinds_are_farther_than_a_right_angle_even_where_all_else_is_alike() -> None:
    one = features(np.random.default_rng(1), 1)
    joined = join_kinds((one, one), 500).descriptor.astype(np.int64)
    squared = ((joined[0] - joined[1]) ** 2).sum()
    assert squared > 2 * 127**2
    assert not len(Nearest(mutual=False)(joined[:1].astype(np.int8), joined[1:].astype(np.int8)))


def test_the_best_of_each_take_turns_and_the_scores_fall() -> None:
    rng = np.random.default_rng(2)
    first, second = features(rng, 3), features(rng, 5)
    both = join_kinds((first, second), 500)
    assert both.descriptor.shape == (8, 40)
    order = [*first.xy[:1], *second.xy[:1], *first.xy[1:2], *second.xy[1:2]]
    np.testing.assert_array_equal(both.xy[:4], order)
    assert (np.diff(both.score) <= 0).all()
    assert both.score[0] == 1
    lengths = np.linalg.norm(both.descriptor.astype(np.float64), axis=1)
    assert np.abs(lengths - 127).max() < 2


def test_where_one_kind_has_few_the_other_has_more() -> None:
    rng = np.random.default_rng(7)
    few, many = features(rng, 3), features(rng, 30)
    for kinds, share in (((few, many), 17), ((many, few), 17), ((many, many), 10)):
        both = join_kinds(kinds, 20)
        assert len(both) == 20
        assert sum(tuple(p) in {tuple(q) for q in many.xy} for p in both.xy) >= share
    np.testing.assert_array_equal(both.xy, join_kinds((many, many), 500).xy[:20])


def test_a_photo_without_features_of_one_kind_or_of_any() -> None:
    rng = np.random.default_rng(3)
    none, some = features(rng, 0), features(rng, 4)
    assert len(join_kinds((none, some), 500)) == 4
    assert join_kinds((none, none), 500).descriptor.shape == (0, 40)
    assert (
        len(
            Nearest()(
                join_kinds((none, some), 500).descriptor, join_kinds((some, none), 500).descriptor
            )
        )
        == 0
    )


def test_kinds_of_two_lengths_are_refused() -> None:
    rng = np.random.default_rng(4)
    with pytest.raises(ValueError, match="descriptors of one length, got 39 and 38"):
        join_kinds((features(rng, 2), features(rng, 2, 38)), 500)


def test_both_looks_at_the_same_photo() -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    both = DescribeBoth(RootSift(keep=20), RootSift(keep=20))(Image(pixels))
    assert len(both) == 40
    assert both.size == (160, 120)


@pytest.mark.parametrize("count", [0, 1, 5, 9, 40])
@pytest.mark.parametrize("keep", [1, 9, 10])
def test_what_is_not_kept_need_not_be_described(count: int, keep: int) -> None:
    image = Image(picture(2))
    some = RootSift(keep=count)(image)
    assert len(some) == count
    sought = RootSift(keep=keep)
    whole, *others = (
        DescribeBoth(lambda _: some, sought, keep, frugal, threads)(image)
        for frugal, threads in ((False, 1), (True, 1), (True, 2), (False, 2))
    )
    for part in others:
        np.testing.assert_array_equal(whole.xy, part.xy)
        np.testing.assert_array_equal(whole.descriptor, part.descriptor)
        assert len(part) == keep


def test_the_published_distance_is_one_of_each_kinds_own_vectors() -> None:
    """As recipe seed004 takes it: on two kinds it pairs what it pairs on each, but for rounding."""
    rng = np.random.default_rng(6)
    one, other, third, fourth = (features(rng, 80, 8) for _ in range(4))
    alone, both = Nearest(False, 0.8), Nearest(False, 0.8 * REST / 127)
    joined = both(
        join_kinds((one, other), 500).descriptor, join_kinds((third, fourth), 500).descriptor
    )
    each = [len(alone(one.descriptor, third.descriptor))]
    each.append(len(alone(other.descriptor, fourth.descriptor)))
    assert abs(len(joined) - sum(each)) < 0.08 * sum(each)
