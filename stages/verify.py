"""The second look: do the matches of a pair agree on one affine map?

Every pair is fitted alone, its random draws seeded by the two photos' features, so that its count of inliers depends on
nothing else: not on the other candidates, their number, their order or the run.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np

from stages.match import MutualNearest
from stages.records import Bool, Candidates, Float32, Gallery, Int8, Int64, LocalFeatures, Matches

Floats = np.ndarray[Any, np.dtype[Any]]  # OpenCV answers in float64
NO_AFFINE = np.full((2, 3), np.nan, np.float32)


@dataclass(frozen=True)
class RobustAffine:
    """Point pairs -> an affine map and who agrees with it, by OpenCV's USAC (MAGSAC++, Barath et al. 2020) or RANSAC.

    A map that mirrors, or shrinks, stretches or shears beyond `largest_scale` and `largest_stretch`, or rests on points of
    one line, is no photograph of the same thing: it is refused, and with it all its inliers.
    """

    method: Literal["magsac", "ransac"] = "magsac"
    relative: float = 0.03  # how far an inlier may lie, as a share of the candidate's longest side: about one cell of layer3
    threshold: float | None = None  # px, instead
    iterations: int = 1000  # at most; 10,000 changed no first place on the museum, at three times the price
    least: int = 4  # inliers below which there is no map
    largest_scale: float | None = 10.0  # of lengths, either way
    largest_stretch: float | None = 4.0  # ratio of the two singular values

    def __call__(self, query: Float32, candidate: Float32, size: tuple[int, int], seed: int) -> tuple[Float32, Bool]:
        """(n, 2), (n, 2) px, the candidate's size -> affine (2, 3), NaN where none; inliers (n,)."""
        nobody = NO_AFFINE, np.zeros(len(query), np.bool_)
        if len(query) < max(3, self.least):
            return nobody
        threshold = self.relative * max(size) if self.threshold is None else self.threshold
        if self.method == "magsac":
            params = cv2.UsacParams()
            params.score = cv2.SCORE_METHOD_MAGSAC
            params.sampler = cv2.SAMPLING_UNIFORM
            params.loMethod = cv2.LOCAL_OPTIM_SIGMA
            params.threshold = threshold
            params.maxIterations = self.iterations
            params.confidence = 0.999
            params.randomGeneratorState = seed & 0x7FFFFFFF
            affine, mask = cv2.estimateAffine2D(query, candidate, params)
        else:  # OpenCV's plain RANSAC draws the same every time: the seed is not for it
            affine, mask = cv2.estimateAffine2D(
                query, candidate, method=cv2.RANSAC, ransacReprojThreshold=threshold, maxIters=self.iterations, confidence=0.999999, refineIters=0
            )
        if affine is None or not np.isfinite(affine).all() or not self.plausible(affine):
            return nobody
        inliers = mask.ravel().astype(bool)
        if inliers.sum() < self.least or (self.largest_stretch and on_a_line(query[inliers])):
            return nobody
        return affine.astype(np.float32), inliers

    def plausible(self, affine: Floats) -> bool:
        """A map of the plane that a camera's move can make."""
        large, small = np.linalg.svd(affine[:, :2].astype(np.float64), compute_uv=False)
        if self.largest_scale and not 1 / self.largest_scale <= (large * small) ** 0.5 <= self.largest_scale:
            return False
        return not self.largest_stretch or (large <= self.largest_stretch * small and float(np.linalg.det(affine[:, :2])) > 0)


def on_a_line(points: Float32) -> bool:
    """(n, 2) px: points on one line, but for rounding, leave a map across it open; whatever was fitted there is noise."""
    across, along = np.linalg.eigvalsh(np.cov(points.T.astype(np.float64)))
    return bool(across <= 1e-10 * along)


@dataclass(frozen=True)
class Verify:
    """(features, candidates, gallery) -> Matches: every candidate of a query matched with it and fitted."""

    match: Callable[[Int8, Int8], Int64] = field(default_factory=MutualNearest)
    fit: RobustAffine = field(default_factory=RobustAffine)
    seed: int = 0
    threads: int = 1

    def __call__(self, features: LocalFeatures, candidates: Candidates, gallery: Gallery) -> Matches:
        rows = candidates.rows[0]
        with ThreadPoolExecutor(self.threads) as pool:  # OpenCV and the matrix product leave the interpreter free
            fitted = list(pool.map(lambda row: self.pair(features, gallery.features[row]), rows))
        return Matches(
            np.array([[len(pairs) for pairs, _, _ in fitted]], np.int32).reshape(1, -1),
            np.array([[inliers.sum() for _, _, inliers in fitted]], np.int32).reshape(1, -1),
            np.array([affine for _, affine, _ in fitted], np.float32).reshape(1, -1, 2, 3),
        )

    def pair(self, query: LocalFeatures, candidate: LocalFeatures) -> tuple[Int64, Float32, Bool]:
        """Pairs (n, 2), affine (2, 3) query px -> candidate px, inliers (n,) of one pair of photos."""
        pairs = self.match(query.descriptor, candidate.descriptor)
        seed = zlib.crc32(candidate.descriptor.tobytes(), zlib.crc32(query.descriptor.tobytes(), self.seed))
        affine, inliers = self.fit(query.xy[pairs[:, 0]], candidate.xy[pairs[:, 1]], candidate.size, seed)
        return pairs, affine, inliers
