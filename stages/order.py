"""The order of a whole gallery after both looks, and its ties."""

import numpy as np
import numpy.typing as npt

from stages.records import Candidates, Int64, Ranking


def first_ties(coarse: Candidates) -> Int64:
    """(K,) ties of the first look's order, as `tied_average_precision` takes them: equal distances,
    as duplicates have.
    """
    return _runs(coarse.distance[0])


def full_order(ranking: Ranking, candidates: Candidates, coarse: Candidates) -> Int64:
    """(N,) gallery rows: accepted candidates as ranked, behind them all photos of the first look's
    list that are none of these, as they were.
    """
    head = candidates.rows[0, ranking.order[0, : int(ranking.accepted.sum())]]
    rest = coarse.rows[0]
    return np.concatenate([head, rest[~np.isin(rest, head)]])


def both_ties(ranking: Ranking, candidates: Candidates, coarse: Candidates) -> tuple[Int64, Int64]:
    """`full_order` (N,) and its ties (N,).

    Accepted candidates are tied where their evidence is equal, all others where their distance is:
    that the path decides between them is no merit of theirs.
    """
    order, head = full_order(ranking, candidates, coarse), int(ranking.accepted.sum())
    accepted, key = np.arange(len(order)) < head, np.empty(len(order))
    key[:head] = ranking.evidence[0, ranking.order[0, :head]]
    key[head:] = coarse.distance[0, ~np.isin(coarse.rows[0], order[:head])]
    return order, _runs(accepted, key)


def _runs(*keys: npt.NDArray[np.generic]) -> Int64:
    """(N,) ascending: neighbours that are equal in every key have one number."""
    changed = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.concatenate(
        [np.zeros(min(1, len(keys[0])), np.int64), np.cumsum(changed, dtype=np.int64)]
    )
