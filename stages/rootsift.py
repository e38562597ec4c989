"""The control of the second look's features: RootSIFT, features that nobody trained (Lowe 2004;
Arandjelovic & Zisserman 2012, section 2).

A SIFT descriptor divided by its sum, the square root of each number: a unit vector, whose Euclidean
distance is the Hellinger distance of the histograms. Rounded to int8 as DELF's are, so that
matching and verification are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from stages.records import Image, LocalFeatures
from stages.reduce import Reduce
from stages.trunk import resize

LENGTH = 128  # numbers a descriptor


@dataclass(frozen=True)
class RootSift:
    """Image -> LocalFeatures, the strongest responses first; a photo of one colour has none. A
    place with several orientations stays several features, as SIFT gives them.
    """

    known_as: ClassVar[str] = "describe"
    side: int = 640  # px, the longest side that the photo is shrunk to; it is never enlarged
    keep: int = 500  # features a photo at most
    reduce: Reduce | None = None  # PCA to D, unit length

    def __call__(self, image: Image) -> LocalFeatures:
        shrink = min(1.0, self.side / max(image.size))
        w, h = (max(1, round(side * shrink)) for side in image.size)
        grey = cv2.cvtColor(resize(image.pixels, w, h), cv2.COLOR_RGB2GRAY)
        # without the precise upscale every place would be a quarter of a pixel to the lower right;
        # OpenCV keeps those that respond as much as the last one wanted, and describes no others
        find = cv2.SIFT.create(self.keep, enable_precise_upscale=True)
        points, sift = find.detectAndCompute(grey, None)
        if not points:
            return LocalFeatures(
                np.empty((0, 2), np.float32),
                np.empty((0, self.length), np.int8),
                np.empty(0, np.float32),
                image.size,
            )
        table = np.array(
            [(p.response, p.pt[1], p.pt[0], p.size, p.angle) for p in points], np.float64
        )
        # equal responses: from top to bottom, left to right
        best = np.lexsort((*table.T[:0:-1], -table[:, 0]))[: self.keep]
        unit = np.sqrt(sift[best] / np.maximum(sift[best].sum(1, keepdims=True), 1e-12))
        if self.reduce is not None:
            unit = self.reduce(unit)
        return LocalFeatures(
            image.place(table[best][:, [2, 1]], w, h),
            np.rint(unit * 127).astype(np.int8),
            table[best, 0].astype(np.float32),
            image.size,
        )

    @property
    def length(self) -> int:
        """Numbers a descriptor."""
        return LENGTH if self.reduce is None else len(self.reduce.components)
