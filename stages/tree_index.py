"""The nearest codes in a ball tree, ordered exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from stages.records import Candidates, Float32, Int64

if TYPE_CHECKING:
    from sklearn.neighbors import BallTree


@dataclass(frozen=True, eq=False)
class TreeIndex:
    """A ball tree over the codes, by Euclidean distance: exact."""

    kind: ClassVar[str] = "tree"
    recall: ClassVar[float] = 1.0
    codes: Float32 = field(repr=False)  # (N, D)

    @classmethod
    def build(cls, codes: Float32) -> TreeIndex:
        """codes (N, D), at least one."""
        return cls(codes)

    @cached_property
    def tree(self) -> BallTree:
        """Made when it is first needed: where all photos are candidates, it never is, and importing
        scikit-learn takes longer than all the rest of a query.
        """
        from sklearn.neighbors import BallTree

        return BallTree(self.codes)

    def nearest(self, code: Float32, count: int) -> Candidates:
        """As `CodeIndex.nearest`. A ball tree alone returns whichever of the tied photos it met."""
        if count == len(self.codes):
            return by_distance(code, count, self.codes, np.arange(count))
        reach, _ = self.tree.query(code[None], k=count)
        # a hair further, so that every photo tied with the last one is there to be ordered
        rows: Int64 = self.tree.query_radius(code[None], reach[0, -1] * (1 + 1e-6) + 1e-12)[0]
        return by_distance(code, count, self.codes, rows)


def by_distance(code: Float32, count: int, codes: Float32, rows: Int64) -> Candidates:
    """The first `count` of these rows (n,) of codes (N, D), by exact distance, then by row: rows
    ascend as paths do.
    """
    gaps = codes[rows].astype(np.float64) - code
    distance = np.sqrt(np.square(gaps).sum(1)).astype(np.float32)
    best = np.lexsort((rows, distance))[:count]
    return Candidates(rows[best][None].astype(np.int64), distance[best][None])
