"""What people write today to verify a pair, for `scripts/bench.py verify`: seed 004's own way, and
a good OpenCV loop.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from stages.records import Float32, LocalFeatures

NEAR, REACH, TRIALS = 0.8, 20.0, 1000  # seed 004's: distance of descriptors, px, trials
TOGETHER = 512  # features


def unit(photo: LocalFeatures) -> Float32:
    """(M, D) descriptors as seed 004 has them."""
    return photo.descriptor.astype(np.float32) / np.float32(127)


def skimage_pair(query: LocalFeatures, candidate: LocalFeatures, seed: int) -> int:
    """Inliers by seed 004's code: cKDTree, then skimage's RANSAC from candidate to query."""
    from scipy.spatial import cKDTree
    from skimage.measure import ransac
    from skimage.transform import AffineTransform

    if not len(query) or not len(candidate):
        return 0
    _, nearest = cKDTree(unit(query)).query(unit(candidate), distance_upper_bound=NEAR)
    found = np.flatnonzero(nearest < len(query))
    if len(found) < 4:
        return 0
    points = candidate.xy[found], query.xy[nearest[found]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # samples on a line
        _, inliers = ransac(
            points,
            AffineTransform,
            min_samples=3,
            residual_threshold=REACH,
            max_trials=TRIALS,
            rng=seed,
        )  # type: ignore[no-untyped-call]
    return 0 if inliers is None else int(inliers.sum())


def opencv_pair(
    query: LocalFeatures, mine: Float32, candidate: LocalFeatures, theirs: Float32
) -> int:
    """Inliers by one matrix product and OpenCV's USAC; mine (Mq, D), theirs (Mc, D) the unit
    descriptors, ready as float32.
    """
    if not len(query) or not len(candidate):
        return 0
    products = mine @ theirs.T
    nearest = products.argmax(0)
    found = np.flatnonzero(products[nearest, np.arange(len(candidate))] > 1 - NEAR**2 / 2)
    if len(found) < 4:
        return 0
    params = cv2.UsacParams()
    params.threshold, params.maxIterations, params.confidence = REACH, TRIALS, 0.9999
    params.sampler, params.score, params.loMethod = (
        cv2.SAMPLING_UNIFORM,
        cv2.SCORE_METHOD_RANSAC,
        cv2.LOCAL_OPTIM_INNER_LO,
    )
    affine, mask = cv2.estimateAffine2D(candidate.xy[found], query.xy[nearest[found]], params)
    return 0 if affine is None else int(mask.sum())


def bare_products(query: Float32, candidates: Float32, threads: int) -> None:
    """The similarities of a query's features (Mq, D) with those of all candidates, end to end (M,
    D), as float32 matrix products and nothing else: 512 at a time into the same memory, which was
    the fastest of six ways tried (a product a pair: five times slower).
    """

    def some(first: int) -> None:
        room = np.empty((len(query), TOGETHER), np.float32)
        for start in range(first * TOGETHER, len(candidates), threads * TOGETHER):
            part = candidates[start : start + TOGETHER]
            np.matmul(query, part.T, out=room[:, : len(part)])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(some, range(threads)))
