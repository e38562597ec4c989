"""The order of a whole gallery after both looks, and its ties."""

import numpy as np
import numpy.typing as npt

from stages.records import Candidates, Int64, Ranking


def first_ties(coarse: Candidates) -> Int64:
    """(K,) ties of the first look's order, as `tied_average_precision` takes them: equal distances,
    as duplicates have.
    """
    return _runs(coarse.distance[0])


def full_order(ranking: Ranking, coarse: Candidates) -> Int64:
    """(N,) places in the first look's order: the looked-at candidates as ranked, behind them all
    others as they were.
    """
    return np.concatenate(
        [ranking.order[0], np.arange(ranking.order.shape[1], coarse.rows.shape[1])]
    )


def both_ties(coarse: Candidates, ranking: Ranking) -> tuple[Int64, Int64]:
    """`full_order` (N,) and its ties (N,).

    Accepted candidates are tied where their evidence is equal, raised ones likewise, all others
    where their distance is: that the path decides between them is no merit of theirs.
    """
    order, looked = full_order(ranking, coarse), ranking.order.shape[1]
    group, key = np.zeros(len(order), np.int8), coarse.distance[0].astype(np.float64)
    group[:looked] = 2 * ranking.accepted[0] + ranking.raised[0]
    key[:looked] = np.where(group[:looked] > 0, ranking.evidence[0], key[:looked])
    return order, _runs(group[order], key[order])


def _runs(*keys: npt.NDArray[np.generic]) -> Int64:
    """(N,) ascending: neighbours that are equal in every key have one number."""
    changed = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.concatenate(
        [np.zeros(min(1, len(keys[0])), np.int64), np.cumsum(changed, dtype=np.int64)]
    )
