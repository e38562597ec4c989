"""The second look's learned features, fine ones: DELF's idea, attention over the maps of a network
(Noh et al. 2017), on a light network made for it, with keypoints to the pixel.

DELF's own, stages/delf.py, sees a photo in cells of 16 px whose surroundings of 211 px mix a thing
with what is behind it; these see 3 px as well as 200.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import cv2
import numpy as np

from stages.fine_quantised import STRIDE, FineQuantised
from stages.records import Float32, Image, LocalFeatures, UInt8
from stages.reduce import Reduce
from stages.trunk import resize, run

if TYPE_CHECKING:
    from torch import Tensor, nn

CANDIDATES = 1000  # keypoints by likelihood, of which attention chooses
LEAST = 0.02  # chance of a keypoint; where nothing is to be seen, every pixel has 1 / 65
# times at most. Of 111 harmed views of held-out photos .874 find their photo as it is, .793 where
# all are enlarged, .874 in both sizes, .838 in half the size, too; where the photos have 200 px,
# .685, .685 and .865
ENLARGED = 2.0
WORTH = 2**0.5  # times: an enlargement of less would find the same features again
BORDER = 4  # px from the photo's edge, within which no keypoint counts


@dataclass(frozen=True)
class DescribeFine:
    """Image -> LocalFeatures, the surest first; a photo of one colour has none."""

    known_as: ClassVar[str] = "describe"
    network: nn.Module | FineQuantised  # a FineNetwork, as it is or in whole numbers
    reduce: Reduce  # PCA to D, unit length
    side: int = 640  # px: a photo is shrunk until its longest side is at most this
    keep: int = 500  # features a photo at most

    def __call__(self, image: Image) -> LocalFeatures:
        xy, likely, attention, raw = self.keypoints(image)
        score = likely * attention
        best = np.argsort(-score, kind="stable")[: self.keep]
        return LocalFeatures(
            xy[best],
            np.rint(self.reduce(raw[best]) * 127).astype(np.int8),
            score[best],
            image.size,
        )

    def keypoints(self, image: Image) -> tuple[Float32, Float32, Float32, Float32]:
        """All that attention chooses from, size after size, likeliest first: places (M, 2) px, how
        likely each is (M,), attention (M,), unit descriptors (M, LENGTH) before reduction.
        """
        sizes = [self._keypoints(image, pixels) for pixels in seen_at(image, self.side)]
        xy, likely, attention, raw = map(np.concatenate, zip(*sizes, strict=True))
        return xy, likely, attention, raw

    def _keypoints(self, image: Image, pixels: UInt8) -> tuple[Float32, Float32, Float32, Float32]:
        rows, columns = pixels.shape[:2]
        found = self._found(padded(pixels))
        # the network's own border is that of the padded photo
        found = found[(found[:, 0] < columns - BORDER) & (found[:, 1] < rows - BORDER)]
        return image.place(found[:, :2], columns, rows), found[:, 2], found[:, 3], found[:, 4:]

    def _found(self, pixels: UInt8) -> Float32:
        """As `stages.fine_network.keypoints` has them."""
        if isinstance(self.network, FineQuantised):
            return self.network.keypoints(pixels, CANDIDATES, LEAST, BORDER)
        from stages.fine_network import keypoints

        def forward(network: nn.Module, x: Tensor) -> Tensor:
            return keypoints(network, x, CANDIDATES, LEAST, BORDER)

        return run(forward, self.network, pixels)

    def heat(self, image: Image) -> Float32:
        """(rows, columns): the attention of each cell of the photo, for people to look at."""
        from stages.fine_network import heat

        if isinstance(self.network, FineQuantised):
            raise TypeError("DescribeFine.heat: expected a network as it is, got whole numbers")
        return run(heat, self.network, padded(seen_at(image, self.side)[-1]))


def seen_at(image: Image, side: int) -> list[UInt8]:
    """The sizes in which the photo is looked at: its longest side at most `side` px; and, where it
    is much shorter than that, enlarged towards it, at most twice.
    """
    whole = side / max(image.size)
    scales = [min(1.0, whole), *([min(ENLARGED, whole)] if whole >= WORTH else [])]
    return [
        resize(image.pixels, *(max(1, round(each * scale)) for each in image.size))
        for scale in scales
    ]


def padded(pixels: UInt8) -> UInt8:
    """(h, w, 3) with its last row and column repeated until both sides are multiples of the
    network's stride.
    """
    below, right = (-side % STRIDE for side in pixels.shape[:2])
    whole = cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_REPLICATE)
    return whole.astype(np.uint8, copy=False)
