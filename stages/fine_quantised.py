"""The network of the fine local features in whole numbers: its maps by ONNX Runtime, and what
`stages/fine_network.py` makes of them without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from stages.compiled import Kernel
from stages.quantised import NORMALISED, Network, looked_up
from stages.records import Float32, UInt8

CELL = 8  # px: the square in which at most one keypoint is expected
STRIDE = 16  # px between the values of the coarsest map: sides are multiples of it
SAMPLE = Kernel.of(
    "stages.fine_kernels",
    "sample",
    "float32[:,:,:] channels, float32[:,:] xy, int64 height, int64 width, int64 begin,"
    " float32[:,:] out, int32[:,:] corner, float32[:,:] share",
)


@dataclass(frozen=True, eq=False)
class FineQuantised:
    """heads: the weights of `FineNetwork.describe` and `FineNetwork.attend`, by their names."""

    network: Network
    heads: Mapping[str, Float32]

    def keypoints(self, pixels: UInt8, most: int, least: float, border: int) -> Float32:
        """(h, w, 3) RGB, sides multiples of STRIDE -> (M, 4 + LENGTH), as
        `stages.fine_network.keypoints` has them.
        """
        pixel_votes, *maps = self.network(standardised(pixels))
        chance = chances(pixel_votes[0])
        around = cv2.dilate(chance, np.ones((5, 5), np.uint8))
        peaks = (chance == around) & (chance >= least)
        inside = np.zeros_like(peaks)
        inside[border:-border, border:-border] = peaks[border:-border, border:-border]
        y, x = np.nonzero(inside)
        # in reading order where two are equally likely
        order = np.argsort(-chance[y, x], kind="stable")[:most]
        y, x = y[order], x[order]
        xy = np.stack([x, y], 1).astype(np.float32)
        columns = np.empty((len(xy), sum(each.shape[1] for each in maps)), np.float32)
        begin, work = 0, (np.empty((2, len(xy)), np.int32), np.empty((2, len(xy)), np.float32))
        for each in maps:
            SAMPLE(each[0], xy, *chance.shape, begin, columns, *work)
            begin += each.shape[1]
        attention = 1 / (1 + np.exp(-self._head("attend", columns)))
        raw = self._head("describe", columns)
        unit = raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), np.float32(1e-12))
        return np.concatenate([xy, chance[y, x][:, None], attention, unit], 1)

    def _head(self, name: str, columns: Float32) -> Float32:
        """Two layers, as torch's nn.Sequential numbers them."""
        first = columns @ self.heads[f"{name}.0.weight"].T + self.heads[f"{name}.0.bias"]
        hidden: Float32 = np.maximum(first, 0)
        said: Float32 = hidden @ self.heads[f"{name}.2.weight"].T + self.heads[f"{name}.2.bias"]
        return said


def standardised(pixels: UInt8) -> Float32:
    """(h, w, 3) -> (1, 3, h, w): a photo's own mean and spread are taken away."""
    # exact, whatever the order in which pixels are counted
    counts = np.stack(
        [cv2.calcHist([pixels], [channel], None, [256], [0, 256]).ravel() for channel in range(3)],
        1,
    ).astype(np.float64)
    mean = (counts * NORMALISED).sum() / pixels.size
    spread = np.sqrt((counts * np.square(NORMALISED - mean)).sum() / (pixels.size - 1))
    return looked_up(pixels, ((NORMALISED - mean) / (spread + 1e-3)).astype(np.float32))


def chances(votes: Float32) -> Float32:
    """(4, h / 2, w / 2), logits of the pixels of each square of two by two -> (h, w): the chance
    that each is its cell's keypoint, against there being none (SuperPoint, DeTone et al. 2018,
    section 3.2).
    """
    rows, columns = 2 * votes.shape[1], 2 * votes.shape[2]
    pixels = votes.reshape(2, 2, rows // 2, columns // 2).transpose(2, 0, 3, 1)
    cells = pixels.reshape(rows // CELL, CELL, columns // CELL, CELL)
    most = np.maximum(cells.max((1, 3), keepdims=True), 0)
    odds = np.exp(cells - most)
    total = odds.sum((1, 3), keepdims=True) + np.exp(-most)
    chance: Float32 = (odds / total).reshape(rows, columns)
    return chance
