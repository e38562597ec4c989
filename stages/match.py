"""Which local feature of the query is which of the candidate: nearest neighbours by exact distance,
one way or mutual.

int8 descriptors make every product an integer, so the matches are the same on every machine,
whatever the tile or the thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stages.compiled import Kernel
from stages.records import Int8, Int32, Int64

WHO = 14  # bits: at most 16,384 features a photo
# squared length of a descriptor; 127 x a unit vector is about half of it, whatever the rounding
LONGEST = 1 << 15
MATCH = Kernel.of(
    "stages.match_kernels",
    "match",
    "int8[:,:] query, int8[:] query_flat, int8[:,:] descriptor, int8[:] flat, int64[:] start,"
    " int64[:] count, bool mutual, int64 limit, bool fast, int32[:] queries,"
    " int32[:] candidates, int64[:] offset, int32[:,:] pairs",
)


@dataclass(frozen=True)
class Nearest:
    """Pairs of features closer than `distance`: each candidate feature with its nearest of the
    query, or, when `mutual`, only those that are each other's nearest. Ties go to the stronger
    feature.
    """

    mutual: bool = True
    # Euclidean, between unit vectors; the square root of 2 is a right angle
    distance: float = math.sqrt(2)

    def __post_init__(self) -> None:
        # beyond 2, the distance of opposite unit vectors, everything is near
        if not 0 < self.distance < 100:
            raise ValueError(
                f"Nearest.distance: expected above 0 and below 100, got {self.distance}"
            )

    def __call__(self, query: Int8, candidate: Int8) -> Int32:
        """(Mq, D), (Mc, D) int8 -> (n, 2) pairs (query feature, candidate feature), by candidate
        feature.
        """
        return self.block(
            query, candidate, np.zeros(1, np.int64), np.array([len(candidate)], np.int64)
        )[1]

    def block(
        self, query: Int8, descriptor: Int8, start: Int64, count: Int64
    ) -> tuple[Int64, Int32]:
        """One query with many candidates: candidate p's features are `count[p]` rows of
        `descriptor` from row `start[p]`.

        (Mq, D), (T, D) int8, (P,), (P,) -> offset (P + 1,), pairs (n, 2): those of candidate p are
        pairs[offset[p] : offset[p + 1]]. Raises ValueError for more than 16,384 features in a
        photo, or a descriptor that is not 127 x a unit vector.
        """
        if max(len(query), int(count.max(initial=0))) > 1 << WHO:
            raise ValueError(
                f"match: expected at most {1 << WHO} features a photo, got"
                f" {max(len(query), int(count.max(initial=0)))}"
            )
        if query.shape[1] != descriptor.shape[1]:
            raise ValueError(
                f"match: expected descriptors of one length, got {query.shape[1]} and"
                f" {descriptor.shape[1]}"
            )
        limit = math.ceil((self.distance * 127) ** 2) - 1
        matched = match(query, descriptor, start, count, self.mutual, limit)
        if matched is None:
            raise ValueError(
                "match: expected descriptors of 127 x a unit vector, got one longer than"
                f" {math.isqrt(LONGEST)}"
            )
        return matched


def match(
    query: Int8,
    descriptor: Int8,
    start: Int64,
    count: Int64,
    mutual: bool,
    limit: int,
    fast: bool = True,
) -> tuple[Int64, Int32] | None:
    """`Nearest.block` under a squared distance of `limit`, of descriptors as they are stored; None
    where one is too long. fast: by an instruction of its own, where the machine has it.
    """
    words = -(-query.shape[1] // 4)
    rows = -(-len(query) // 4) * 4 + 4
    columns = -(-int(count.max(initial=0)) // 32) * 32 + 32
    offset = np.empty(len(start) + 1, np.int64)
    pairs = np.empty((int(count.sum()), 2), np.int32)
    query, descriptor = np.ascontiguousarray(query), np.ascontiguousarray(descriptor)
    fit = MATCH(
        *(query, query.reshape(-1), descriptor, descriptor.reshape(-1), start, count),
        *(mutual, limit, fast),
        *(np.empty(rows * (words + 20), np.int32), np.empty(columns * (words + 3), np.int32)),
        *(offset, pairs),
    )
    return (offset, pairs[: offset[-1]]) if fit else None
