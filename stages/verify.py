"""The second look: do the matches of a pair agree on one affine map?

All candidates of a query are matched and fitted together, a few dozen at a time on each thread;
what comes out for a pair depends on the pair alone: not on the other candidates, their number,
their order, the threads or the run.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from stages.affine import RobustAffine
from stages.gallery import Gallery
from stages.match import Nearest
from stages.records import (
    Bool,
    Candidates,
    Float32,
    Int32,
    Int64,
    LocalFeatures,
    Matches,
    PackedFeatures,
)

# candidates: enough for a thread to be worth waking, few enough that the last one to finish is not
# far behind
TOGETHER = 64


@dataclass(frozen=True)
class Verify:
    """(features, candidates, gallery) -> Matches: every candidate of a query matched with it and
    fitted.
    """

    match: Nearest = field(default_factory=Nearest)
    fit: RobustAffine = field(default_factory=RobustAffine)
    seed: int = 0
    threads: int = 1
    device: str = "cpu"  # where else, in torch: stages/verify_torch.py

    def __call__(
        self, features: LocalFeatures, candidates: Candidates, gallery: Gallery
    ) -> Matches:
        matches, inliers, affine = self.many(features, gallery.features, candidates.rows[0])
        return Matches(matches[None], inliers[None], affine[None])

    def many(
        self, query: LocalFeatures, photos: PackedFeatures, rows: Int64
    ) -> tuple[Int32, Int32, Float32]:
        """A query with the photos of these rows (P,) -> matches (P,), inliers (P,), affine (P, 2,
        3).
        """
        matches, inliers = np.zeros(len(rows), np.int32), np.zeros(len(rows), np.int32)
        affine = np.full((len(rows), 2, 3), np.nan, np.float32)
        if not len(rows):
            return matches, inliers, affine
        if self.device != "cpu":
            from stages.verify_torch import verify_on

            return verify_on(query, photos, rows, self.match, self.fit, self.seed, self.device)

        def work(places: Int64) -> None:
            matches[places], inliers[places], affine[places] = self._block(
                query, photos, rows[places]
            )

        # candidates of one block lie in the same arrays, and are read in the order in which they
        # lie there
        places = np.lexsort((photos.start[rows], photos.block[rows]))
        cuts = np.flatnonzero(np.diff(photos.block[rows[places]])) + 1
        chunks = [
            part
            for run in np.split(places, cuts)
            for part in np.array_split(run, -(-len(run) // TOGETHER))
        ]
        if self.threads == 1 or len(chunks) == 1:
            for chunk in chunks:
                work(chunk)
        else:
            # what is compiled leaves the interpreter free
            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(work, chunks))
        return matches, inliers, affine

    def _block(
        self, query: LocalFeatures, photos: PackedFeatures, rows: Int64
    ) -> tuple[Int32, Int32, Float32]:
        xy, descriptor, _ = photos.blocks[photos.block[rows[0]]]
        start = photos.start[rows]
        offset, pairs = self.match.block(query.descriptor, descriptor, start, photos.count[rows])
        affine, inlier = self.fit.block(
            query.xy, xy, start, photos.size[rows], offset, pairs, self.seed, query.size
        )
        agreed = np.concatenate([[0], np.cumsum(inlier, dtype=np.int32)])
        return np.diff(offset).astype(np.int32), np.diff(agreed[offset]), affine

    def pair(self, query: LocalFeatures, candidate: LocalFeatures) -> tuple[Int32, Float32, Bool]:
        """Pairs (n, 2), affine (2, 3) query px -> candidate px, inliers (n,) of one pair of
        photos."""
        pairs = self.match(query.descriptor, candidate.descriptor)
        affine, inliers = self.fit(
            query.xy[pairs[:, 0]], candidate.xy[pairs[:, 1]], candidate.size, self.seed, query.size
        )
        return pairs, affine, inliers
