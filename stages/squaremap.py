"""A photo brought to a square and through a trunk's convolutions: the map (C, h, w) that hashing
starts from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stages.lite import NAME, blocks_map, load_lite_blocks
from stages.records import Float32, Image, LocalFeatures, UInt8
from stages.trunk import last_map, load_resnet, load_vgg16, resize, run

if TYPE_CHECKING:
    from torch import Tensor, nn


def vgg_map(trunk: nn.Module, x: Tensor) -> Tensor:
    """VGG16's map after its last pooling (B, 512, h/32, w/32)."""
    return trunk(x)  # type: ignore[no-any-return]


Load = Callable[[str, Mapping[str, np.ndarray], str], "nn.Module"]
Forward = Callable[["nn.Module", "Tensor"], "Tensor"]
MAPS: dict[str, tuple[Load, Forward]] = {
    "resnet18": (load_resnet, last_map),
    "resnet50": (load_resnet, last_map),
    "vgg16": (load_vgg16, vgg_map),
    NAME: (load_lite_blocks, blocks_map),
}

CHANNELS = {"resnet18": 512, "resnet50": 2048, "vgg16": 512, NAME: 320}


def square(image: Image, side: int) -> UInt8:
    """(side, side, 3), whatever the photo's shape: hashing networks read a fixed number of
    cells."""
    return resize(image.pixels, side, side)


@dataclass(frozen=True)
class SquareMap:
    """Image -> map (C, side / 32, side / 32) float32."""

    trunk: nn.Module
    forward: Forward
    side: int = 224  # px

    def __call__(self, image: Image) -> Float32:
        cells: Float32 = run(self.forward, self.trunk, square(image, self.side))[0]
        return cells


def pool_map(cells: Float32) -> Float32:
    """map (C, h, w) -> (2, C): its mean, in both places where a gallery keeps what was pooled;
    rounded to float16 as it is kept.
    """
    mean: Float32 = cells.mean((1, 2)).astype(np.float16).astype(np.float32)
    return np.stack([mean, mean])


def no_features(image: Image) -> LocalFeatures:
    """A photo of which nothing local is kept but its size."""
    return LocalFeatures(
        np.empty((0, 2), np.float32), np.empty((0, 1), np.int8), np.empty(0, np.float32), image.size
    )
