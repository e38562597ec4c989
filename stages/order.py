"""The order of a whole gallery after both looks, and its ties."""

import numpy as np
import numpy.typing as npt

from stages.records import Candidates, Int64, Ranking


def first_ties(coarse: Candidates) -> Int64:
    """(K,) ties of the first look's order, as `tied_average_precision` takes them: equal distances,
    as duplicates have.
    """
    return _runs(coarse.distance[0])


def chosen(ranking: Ranking) -> int:
    """How many candidates the second look puts first: those that it accepted or raised."""
    return int((ranking.accepted | ranking.raised).sum())


def full_order(ranking: Ranking, candidates: Candidates, coarse: Candidates) -> Int64:
    """(N,) gallery rows: accepted and raised candidates as ranked, behind them all photos of the
    first look's list that are none of these, as they were.
    """
    head = candidates.rows[0, ranking.order[0, : chosen(ranking)]]
    rest = coarse.rows[0]
    return np.concatenate([head, rest[~np.isin(rest, head)]])


def both_ties(ranking: Ranking, candidates: Candidates, coarse: Candidates) -> tuple[Int64, Int64]:
    """`full_order` (N,) and its ties (N,).

    Accepted candidates are tied where their evidence is equal, raised ones likewise, all others
    where their distance is: that the path decides between them is no merit of theirs.
    """
    order, head = full_order(ranking, candidates, coarse), chosen(ranking)
    places = ranking.order[0, :head]
    group, key = np.zeros(len(order), np.int8), np.empty(len(order))
    group[:head] = 2 * ranking.accepted[0, places] + ranking.raised[0, places]
    key[:head] = ranking.evidence[0, places]
    rest = ~np.isin(coarse.rows[0], order[:head])
    key[head:] = coarse.distance[0, rest]
    return order, _runs(group, key)


def _runs(*keys: npt.NDArray[np.generic]) -> Int64:
    """(N,) ascending: neighbours that are equal in every key have one number."""
    changed = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.concatenate(
        [np.zeros(min(1, len(keys[0])), np.int64), np.cumsum(changed, dtype=np.int64)]
    )
