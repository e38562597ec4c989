"""Which photos the second look verifies: the first places of one list, or the best of two by odds.

Two lists know different things: the nearest codes look alike as wholes, the most voted hold the
same parts. That a photo is the one asked for falls with its place in either, and the odds multiply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stages.records import Candidates, Float32, Float64, Int64

DEPTH = 4000  # places of a list that are told apart; whoever combines lists asks for as many


def shortlist(coarse: Candidates, count: int) -> Candidates:
    """The first `count` of a list."""
    return coarse.part(0, count)


def listed(codes: Float32, query: Float32, rows: Int64) -> Candidates:
    """Candidates that another engine proposes, best first: gallery rows (K,) -> (1, K); codes (N,
    D) of the gallery and (D,) of the query.

    How it looked at the N photos nobody knows: each candidate is taken to be as near as its place
    says or as its code, whichever is nearer.
    """
    # its distances are unknown: its order stands in for them
    order = np.arange(len(rows), dtype=np.float32)
    by_place = np.arange(1, len(rows) + 1) / max(1, len(codes))
    share = np.minimum(by_place, nearness_by_codes(codes, query, rows))
    return Candidates(rows[None], order[None], share=share[None])


def nearness_by_codes(codes: Float32, query: Float32, rows: Int64) -> Float64:
    """(K,) the share of the gallery's photos whose codes are at least as near as those of rows."""
    distance = np.square(codes - query).sum(1)
    ranks = np.searchsorted(np.sort(distance), distance[rows], "right")
    share: Float64 = np.maximum(ranks, 1) / max(1, len(distance))
    return share


@dataclass(frozen=True)
class ByOdds:
    """(list by codes, list by votes, count) -> Candidates (1, count), best odds first, equal ones
    as the list by codes has them, then by path; `distance` is the negative logarithm of the odds.

    The odds that a photo at places a and b of two lists is the right one are taken to fall as
    a^-codes b^-votes; a photo beyond a list, or without a vote, stands behind it. The two exponents
    are those of the greatest conditional likelihood in 813 searches for 480 strongly changed views
    of training photos among 150 to 6,780: -1.74 a search, where codes alone have -3.46 and votes
    -2.46. Tried and lost: the better of two places, sums of odds (-2.35 and less), votes in place
    of ranks (-1.77).
    """

    known_as: ClassVar[str] = "shortlist"
    codes: float = 0.75
    votes: float = 1.1

    def __call__(self, coarse: Candidates, parts: Candidates, count: int) -> Candidates:
        voted = min(int((parts.distance < 1).sum()), DEPTH)
        rows, back = np.unique(
            np.concatenate([coarse.rows[0], parts.rows[0, :voted]]), return_inverse=True
        )
        known = coarse.rows.shape[1]
        by_codes, by_votes = back[:known], back[known:]
        places = np.zeros((len(rows), 2), np.int32)
        places[by_codes, 0] = np.arange(1, known + 1)
        places[by_votes, 1] = np.arange(1, voted + 1)
        ranks = np.tile(np.array([DEPTH + 1, voted + 1], np.int64), (len(rows), 1))
        ranks[by_codes[:DEPTH], 0] = _ranks(coarse)[:DEPTH]
        ranks[by_votes, 1] = _ranks(parts)[:voted]
        cost = (np.log(ranks) @ (self.codes, self.votes)).astype(np.float32)
        # how long the list by codes is, beyond DEPTH, changes nothing for what has a vote
        beyond = (places[:, 0] == 0) | (places[:, 0] > DEPTH) & (places[:, 1] > 0)
        best = np.lexsort((rows, np.where(beyond, DEPTH + 1, places[:, 0]), cost))[:count]
        near = np.full(len(rows), DEPTH + 1, np.int32)
        distance = coarse.distance[0]
        near[by_codes] = np.minimum(np.searchsorted(distance, distance, "right"), DEPTH + 1)
        return Candidates(rows[best][None], cost[best][None], places[best][None], near[best][None])


def _ranks(found: Candidates) -> Int64:
    """(K,) from 1; photos at one distance share the first of their places."""
    ranks: Int64 = 1 + np.searchsorted(found.distance[0], found.distance[0])
    return ranks
