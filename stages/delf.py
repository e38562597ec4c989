"""The second look's features: DELF, attentive local features (Noh et al. 2017, sections 3 and 4).

Every cell of layer3's map over an image pyramid is a descriptor; an attention head scores them, the
best are kept, reduced by PCA to unit vectors and rounded to int8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stages.records import Float32, Image, Int64, LocalFeatures, check_array
from stages.reduce import Reduce
from stages.trunk import resize, run, third_map

if TYPE_CHECKING:
    from torch import nn

STRIDE = 16  # px between the cells of layer3
SCALES = (0.25, 0.3536, 0.5, 0.7071, 1.0, 1.4142, 2.0)  # the paper's pyramid


@dataclass(frozen=True, eq=False)
class Attention:
    """Descriptors (M, C) -> scores (M,) >= 0: 1x1 conv, ReLU, 1x1 conv, softplus (section 3.3),
    batch norm folded in.

    Without a trained head the score is the descriptor's length: a strong response is a salient
    place.
    """

    hidden: Float32  # (H, C)
    hidden_bias: Float32  # (H,)
    out: Float32  # (H,)
    out_bias: Float32  # (1,)

    def __post_init__(self) -> None:
        check_array("Attention", "hidden", self.hidden, np.float32, None, None)
        check_array("Attention", "hidden_bias", self.hidden_bias, np.float32, len(self.hidden))
        check_array("Attention", "out", self.out, np.float32, len(self.hidden))
        check_array("Attention", "out_bias", self.out_bias, np.float32, 1)

    def __call__(self, descriptors: Float32) -> Float32:
        hidden = np.maximum(descriptors @ self.hidden.T + self.hidden_bias, 0)
        score: Float32 = np.logaddexp(0, hidden @ self.out + self.out_bias)
        return score


def feature_norm(descriptors: Float32) -> Float32:
    """Descriptors (M, C) -> scores (M,): their lengths, the attention of a network that was never
    taught any.
    """
    length: Float32 = np.linalg.norm(descriptors, axis=-1)
    return length


@dataclass(frozen=True)
class Describe:
    """Image -> LocalFeatures. Ties in score keep pyramid order, so the same photo always gives the
    same rows.
    """

    trunk: nn.Module
    attention: Attention | None  # None: feature_norm
    reduce: Reduce  # PCA to D, unit length
    side: int = 320  # px, the longest side of the photo at scale 1
    scales: tuple[float, ...] = SCALES
    keep: int = 500  # features a photo at most
    threshold: float = 0.0  # cells that score less are no features: a photo may have few, or none

    def __call__(self, image: Image) -> LocalFeatures:
        xy, raw = self.cells(image)
        best, score = self.strongest(raw)
        unit = self.reduce(normalised(raw[best]))
        return LocalFeatures(xy[best], np.rint(unit * 127).astype(np.int8), score[best], image.size)

    def strongest(self, raw: Float32) -> tuple[Int64, Float32]:
        """Raw cells (M, C) -> the rows of those to keep, strongest first, and the scores of all
        (M,).
        """
        score = feature_norm(raw) if self.attention is None else self.attention(raw)
        best = np.argsort(-score, kind="stable")[: self.keep]
        return best[score[best] >= self.threshold], score

    def cells(self, image: Image) -> tuple[Float32, Float32]:
        """Every cell of every scale: centres (M, 2) px of the original photo, raw descriptors (M,
        C).
        """
        places, descriptors = [], []
        for w, h in self.input_sizes(image):
            cells = run(third_map, self.trunk, resize(image.pixels, w, h))[0]  # (C, rows, columns)
            rows, columns = cells.shape[1:]
            # a cell's receptive field is centred on pixel STRIDE * i
            y, x = np.mgrid[:rows, :columns] * STRIDE
            places.append(image.place(np.stack([x.ravel(), y.ravel()], 1), w, h))
            descriptors.append(cells.reshape(len(cells), -1).T)
        return np.concatenate(places), np.ascontiguousarray(np.concatenate(descriptors), np.float32)

    def input_sizes(self, image: Image) -> list[tuple[int, int]]:
        """(width, height) px of each scale, the base rounded to multiples of 32 so that photos
        share few shapes.
        """
        longest = max(image.size)
        base = [max(32, 32 * round(self.side * side / longest / 32)) for side in image.size]
        return [
            (max(16, round(base[0] * scale)), max(16, round(base[1] * scale)))
            for scale in self.scales
        ]


def normalised(descriptors: Float32) -> Float32:
    """Rows of (M, C) to unit length; rows of zeros stay."""
    return descriptors / np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-12)  # type: ignore[no-any-return]
