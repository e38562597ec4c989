"""The nearest codes on FAISS, for galleries where the ball tree is slow: every code compared, or
those of the nearest cells alone.

Always built from the codes, never read from a file. What share of the truly nearest the cells give
is measured when they are built.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.records import Candidates, Float32, Int64, check_array
from stages.tree_index import by_distance

# codes: comparing all takes some 20 ms by then (7 at a million); cells take minutes to build, and
# miss some
FLAT_ENDS = 3_000_000
# nearest codes that the cells are tuned for; more than these are found by comparing all
COUNT = 4000
RECALL = 0.995  # of them, wanted while tuning, so that other queries find .99
QUERIES = 64  # codes that ask while tuning
# of the cells: to look into more takes as long as to compare all; codes without any structure need
# it
WORTH = 0.25
# more are asked for than wanted: those tied with the last one have to be there to be ordered
SLACK = 64
NEAR = 1 + 1e-5  # FAISS's squared distances are float32 sums


@dataclass(frozen=True, eq=False)
class FaissIndex:
    """The nearest codes by Euclidean distance, found by FAISS and ordered exactly."""

    codes: Float32 = field(repr=False)  # (N, D)
    # a faiss.IndexIVFFlat over them; None: every code is compared
    cells: Any = field(default=None, repr=False)
    probes: int = 0  # cells looked into
    # of the COUNT nearest, mean over QUERIES codes; 1 where every code is compared
    recall: float = 1.0

    @property
    def kind(self) -> str:
        return "flat" if self.cells is None else "ivf"

    @classmethod
    def fit(
        cls, codes: Float32, known: tuple[int, float] | None = None, flat_ends: int = FLAT_ENDS
    ) -> FaissIndex:
        """codes (N, D). known: probes (0: cells are not worth it) and recall as they were measured
        on just these codes, not to be measured again.
        """
        import faiss

        check_array("FaissIndex", "codes", codes, np.float32, None, None)
        if len(codes) <= flat_ends or (known is not None and known[0] == 0):
            return cls(codes)
        cells = faiss.IndexIVFFlat(
            faiss.IndexFlatL2(codes.shape[1]), codes.shape[1], cells_for(len(codes))
        )
        cells.cp.seed, cells.cp.niter, cells.cp.max_points_per_centroid = 1, 10, 64
        cells.train(codes)
        cells.add(codes)
        if known is not None:
            return cls(codes, cells, *known)
        rng = np.random.default_rng(0)
        asked = codes[np.sort(rng.choice(len(codes), min(QUERIES, len(codes)), replace=False))]
        count = min(COUNT, len(codes))
        exact = faiss.knn(asked, codes, count)[1]
        low, high = 0, 8  # probes that are too few, and a guess
        while (recall := _recall(cells, asked, exact, high)) < RECALL and high < cells.nlist:
            low, high = high, min(2 * high, cells.nlist)
        found = recall
        while high - low > max(1, high // 8):
            middle = (low + high) // 2
            if (recall := _recall(cells, asked, exact, middle)) < RECALL:
                low = middle
            else:
                high, found = middle, recall
        if high > WORTH * cells.nlist:
            return cls(codes)
        return cls(codes, cells, high, found)

    def nearest(self, code: Float32, count: int) -> Candidates:
        """As `CodeIndex.nearest`; beyond the cells' recall some of the nearest may be missing."""
        rows = np.arange(count) if count == len(self.codes) else self._near(code, count)
        return by_distance(code, count, self.codes, rows)

    def _near(self, code: Float32, count: int) -> Int64:
        """code (D,) -> rows (n,) in any order: the `count` nearest, or so many of them as `recall`
        says, and all tied with the last.
        """
        asked = min(count + SLACK, len(self.codes))
        while True:
            squared, rows = self._search(code, asked, count <= COUNT)
            if len(rows) < count:  # a query far from everything, whose cells hold few
                squared, rows = self._search(code, asked, False)
            if (
                len(rows) < asked
                or asked == len(self.codes)
                or squared[-1] > squared[count - 1] * NEAR
            ):
                return rows
            asked = min(4 * asked, len(self.codes))

    def _search(self, code: Float32, asked: int, in_cells: bool) -> tuple[Float32, Int64]:
        import faiss

        if in_cells and self.cells is not None:
            squared, rows = self.cells.search(
                code[None], asked, params=faiss.SearchParametersIVF(nprobe=self.probes)
            )
        else:
            squared, rows = faiss.knn(code[None], self.codes, asked)
        there = rows[0] >= 0
        return squared[0][there], rows[0][there]


def cells_for(codes: int) -> int:
    """A power of two below the root of their number."""
    return max(1, 1 << int(np.log2(max(1, codes)) / 2))


def _recall(cells: Any, asked: Float32, exact: Int64, probes: int) -> float:
    """The share of `exact` (Q, K) that so many cells give."""
    import faiss

    rows = cells.search(asked, exact.shape[1], params=faiss.SearchParametersIVF(nprobe=probes))[1]
    return (
        sum(len(np.intersect1d(mine, theirs)) for mine, theirs in zip(rows, exact, strict=True))
        / exact.size
    )
