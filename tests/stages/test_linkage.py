"""Groups of pairs: what one photo in the middle joins, and what belongs together."""

import numpy as np

from stages.linkage import linked


def agreeing(*groups: set[int], asked: list[int] | None = None):
    """Pairs agree that lie in one of these sets."""

    def agree(pairs: np.ndarray) -> np.ndarray:
        if asked is not None:
            asked.append(len(pairs))
        return np.array([any({*pair} <= group for group in groups) for pair in pairs.tolist()])

    return agree


def test_a_photo_in_the_middle_does_not_chain_what_lies_around_it() -> None:
    leaves = [{0, leaf} for leaf in range(1, 6)]
    pairs = np.array([[0, leaf] for leaf in range(1, 6)])
    group = linked(6, pairs, agreeing(*leaves))
    assert max(np.bincount(group)) <= 3
    two = {1, 2, 3, 4}, {5, 6, 7, 8}  # and 0, which agrees with one of each
    inside = [[a, b] for each in two for a in each for b in each if a < b]
    group = linked(9, np.array([*inside, [0, 1], [0, 5]]), agreeing(*two, {0, 1}, {0, 5}))
    assert group[1] != group[5]


def test_what_agrees_is_one_group_whoever_was_listed() -> None:
    everyone, asked = set(range(60)), []
    chain = np.array([[n, n + 1] for n in range(59)])
    assert set(linked(61, chain, agreeing(everyone, asked=asked))) == {0, 60}
    assert max(asked) == 24  # pairs that are looked at for one decision
    assert linked(3, np.empty((0, 2), np.int64), agreeing()).tolist() == [0, 1, 2]


def test_a_long_walk_falls_into_parts() -> None:
    near = [set(range(n, n + 4)) for n in range(60)]  # photos agree with the three next ones
    pairs = np.array([[n, n + step] for step in (1, 2, 3) for n in range(60)])
    sizes = np.bincount(linked(63, pairs, agreeing(*near)))
    assert 3 <= max(sizes) <= 12
