"""Which local feature of the query is which of the candidate: two rules, both exact on int8 descriptors.

Products of int8 vectors of up to 1,000 numbers are sums below 2^24, so the float32 matrix product is exact: the matches
are the same whatever the device, the number of threads or the order of summation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.records import Float32, Int8, Int64


def similarities(query: Int8, candidate: Int8) -> Float32:
    """(Mq, D), (Mc, D) -> (Mq, Mc) float32, exact integers: 127^2 x cosine."""
    return query.astype(np.float32) @ candidate.astype(np.float32).T


@dataclass(frozen=True)
class MutualNearest:
    """Pairs that are each other's nearest, at a cosine of at least `cosine`. Ties go to the stronger feature."""

    cosine: float = 0.0

    def __call__(self, query: Int8, candidate: Int8) -> Int64:
        """(Mq, D), (Mc, D) int8 -> (n, 2) pairs (query feature, candidate feature), by query feature."""
        if not len(query) or not len(candidate):
            return np.empty((0, 2), np.int64)
        products = similarities(query, candidate)
        there = products.argmax(1)
        rows = np.arange(len(query))
        mutual = (products.argmax(0)[there] == rows) & (products[rows, there] >= self.cosine * 127**2)
        return np.stack([rows[mutual], there[mutual]], 1)


@dataclass(frozen=True)
class OneWay:
    """Seed 004's rule: every candidate feature takes its nearest query feature, when closer than `distance`."""

    distance: float = 0.8  # Euclidean, between unit vectors

    def __call__(self, query: Int8, candidate: Int8) -> Int64:
        """(Mq, D), (Mc, D) int8 -> (n, 2) pairs (query feature, candidate feature), by candidate feature."""
        if not len(query) or not len(candidate):
            return np.empty((0, 2), np.int64)
        squares = [np.square(d.astype(np.float32)).sum(1) for d in (query, candidate)]  # rounding leaves lengths a little off 127
        gaps = squares[0][:, None] + squares[1] - 2 * similarities(query, candidate)  # squared distances x 127^2
        there = gaps.argmin(0)
        columns = np.arange(len(candidate))
        close = gaps[there, columns] < (self.distance * 127) ** 2
        return np.stack([there[close], columns[close]], 1)
