"""A photo brought to a square and through a trunk's convolutions: the map (C, h, w) that hashing
starts from, its last one alone or with an earlier one of twice the cells on a side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stages.lite import NAME, blocks_maps, load_lite_blocks
from stages.records import Float32, Image, LocalFeatures, UInt8
from stages.trunk import load_resnet, load_vgg16, resize, run, third_map

if TYPE_CHECKING:
    from torch import Tensor, nn


Load = Callable[[str, Mapping[str, np.ndarray], str], "nn.Module"]
Forward = Callable[["nn.Module", "Tensor"], "Tensor"]


@dataclass(frozen=True)
class Maps:
    """What a trunk has to offer: its last map, h/32 x w/32 cells, and its last of h/16 x w/16."""

    load: Load
    both: Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]  # (B, E, 2 h, 2 w), (B, C, h, w)
    channels: int  # C
    earlier: int  # E

    def last(self, trunk: nn.Module, x: Tensor) -> Tensor:
        """(B, C, h, w)."""
        return self.both(trunk, x)[1]

    def two(self, trunk: nn.Module, x: Tensor) -> Tensor:
        """(B, C + 4 E, h, w): the last map, then the earlier one, four cells as four channels:
        `stages.attention.Beside` reads it.
        """
        from torch import cat
        from torch.nn.functional import pixel_unshuffle

        earlier, last = self.both(trunk, x)
        return cat([last, pixel_unshuffle(earlier, 2)], 1)

    def forward(self, two: bool) -> Forward:
        """Photos as `stages.trunk.to_tensor` makes them -> the map."""
        return self.two if two else self.last


def vgg_maps(trunk: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """VGG16's after its fourth and after its last pooling, both of 512 channels."""
    fourth = trunk.features[:24](x)  # type: ignore[index, operator]
    return fourth, trunk.features[24:](fourth)  # type: ignore[index, operator]


def resnet_maps(trunk: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """layer3's and layer4's."""
    third = third_map(trunk, x)
    return third, trunk.layer4(third)  # type: ignore[operator]


MAPS = {
    "resnet18": Maps(load_resnet, resnet_maps, 512, 256),
    "resnet50": Maps(load_resnet, resnet_maps, 2048, 1024),
    "vgg16": Maps(load_vgg16, vgg_maps, 512, 512),
    NAME: Maps(load_lite_blocks, blocks_maps, 320, 112),
}


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
