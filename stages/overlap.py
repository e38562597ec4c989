"""How much of two photos shows the same, by the affine map between them; and which are the same
picture but for their size, edges and quality.
"""

import cv2
import numpy as np

from stages.records import Bool, Float32, Float64, Int32

# A near-duplicate pair: each photo shows so much of the other, its map is a scale and a turn but
# for so much stretch, and so many of the matches agree on it. A copy that was scaled, turned,
# recompressed or marked has a stretch of 1.03 at most in nine of ten, and an overlap of what was
# left of it; the same thing from another place has perspective, so that the stretch grows and
# matches are lost.
OVERLAP, STRETCH, AGREEING = 2 / 3, 1.1, 0.5

# Things that are alike agree, too, buses or drawn animals in one pose, but loosely: their inliers
# fill the tolerance, while those of one thing lie in its middle. Of inliers that lie anywhere in
# it, a ninth is within a third of it, and a quarter once the map is fitted to them; so many have to
# be. Among photos of one scene, nine of ten pairs have more.
MIDDLE, TIGHT = 1 / 3, 0.3


def in_the_middle(affine: Float32, xy: Float32, other: Float32, reach: float) -> int:
    """How many inliers, points (n, 2) px and (n, 2) px of the other photo, lie within a third of
    the tolerance, reach px of the other photo.
    """
    away = xy @ affine[:, :2].T + affine[:, 2] - other
    return int((np.square(away).sum(1) <= (MIDDLE * reach) ** 2).sum())


def overlaps(affine: Float32, size: Int32, other: Int32) -> Float64:
    """affine (P, 2, 3) px of a photo -> px of another, sizes (P, 2) px of both -> (P, 2) the share
    of each photo's area that the other shows; 0 where there is no map.
    """
    shares = np.zeros((len(affine), 2))
    for place in np.flatnonzero(np.isfinite(affine).all((1, 2))).tolist():
        (width, height), (far_width, far_height) = size[place].tolist(), other[place].tolist()
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64) - 0.5
        there = (corners @ affine[place, :, :2].T + affine[place, :, 2]).astype(np.float32)
        frame = np.array([[0, 0], [far_width, 0], [far_width, far_height], [0, far_height]]) - 0.5
        common = cv2.intersectConvexConvex(there, frame.astype(np.float32))[0]
        mapped = abs(np.linalg.det(affine[place, :, :2].astype(np.float64))) * width * height
        if mapped > 0:
            shares[place] = common / mapped, common / (far_width * far_height)
    return np.minimum(shares, 1.0)


def near_duplicates(
    affine: Float32, size: Int32, other: Int32, matches: Int32, inliers: Int32
) -> Bool:
    """As `overlaps`, and matches and inliers (P,) -> (P,) whether the photos of each pair are the
    same picture.
    """
    whole: Bool = np.asarray(np.isfinite(affine).all((1, 2)))
    linear = np.where(whole[:, None, None], affine[:, :, :2], np.eye(2)).astype(np.float64)
    largest, least = np.linalg.svd(linear, compute_uv=False).T
    alike: Bool = (
        whole
        & (largest <= STRETCH * least)
        & (inliers >= AGREEING * np.maximum(matches, 1))
        & (overlaps(affine, size, other).min(1, initial=1.0) >= OVERLAP)
    )
    return alike
