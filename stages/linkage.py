"""Pairs -> groups: two groups become one where enough of the pairs between them agree.

Connected components would chain whatever one photo in the middle has in common with others: a
collage, a panorama, a walk through a street. Here a pair, best evidence first, joins the groups of
its two photos only if enough of the pairs between them agree, too (average linkage, Sokal &
Michener 1958, over agreement in place of distance).
"""

from collections.abc import Callable

import numpy as np

from stages.records import Bool, Int64

# of the pairs between two groups, more than so many agree: half of two pairs do, a third of three
# does not
SHARE = 0.4
DRAWN = 24  # pairs between two groups that are looked at, at most
# pairs (P, 2) -> whether the two of each agree (P,)
Agree = Callable[[Int64], Bool]


def linked(count: int, pairs: Int64, agree: Agree, share: float = SHARE) -> Int64:
    """So many photos, pairs (E, 2) of them, best first -> (count,) the group of each, named by its
    first photo.

    Where there are more than DRAWN pairs between two groups, so many of them are drawn; the draw
    depends on the sizes of the groups alone.
    """
    root = np.arange(count)
    members = {int(each): np.array([each]) for each in np.unique(pairs)}
    refused: dict[tuple[int, int], tuple[int, int]] = {}  # two groups -> their sizes then
    for one, other in pairs.tolist():
        x, y = sorted((int(root[one]), int(root[other])))
        sizes = len(members[x]), len(members[y])
        if x == y or refused.get((x, y)) == sizes:
            continue
        crossing = _crossing(members[x], members[y])
        if agree(crossing).mean() > share:
            members[x] = np.sort(np.concatenate([members[x], members.pop(y)]))
            root[members[x]] = x
        else:
            refused[x, y] = sizes
    return root


def _crossing(some: Int64, others: Int64) -> Int64:
    """Pairs between two groups (P, 2), P at most DRAWN."""
    total = len(some) * len(others)
    if total <= DRAWN:
        drawn = np.arange(total)
    else:
        rng = np.random.default_rng([len(some), len(others)])
        drawn = np.sort(rng.choice(total, DRAWN, replace=False))
    return np.stack([some[drawn // len(others)], others[drawn % len(others)]], 1)
