"""The first look: the whole photo as one vector, from the trunk's last map.

`Embed` pools the map in two ways; class logits and the unit embedding are plain functions of what
it pooled, so a gallery that keeps those numbers can be searched by any of the three codes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stages.records import Float32, Image, check_array
from stages.trunk import last_map, resize, run

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Embed:
    """Image -> pooled (2, C) float32: the mean of layer4's map, which is what the class head reads,
    and its generalised mean, which tells instances apart better (GeM, p = 3; Radenovic et al. 2018,
    equation 3).

    Rounded to float16, as a gallery keeps it: a code made later from the stored numbers is the one
    made now.
    """

    trunk: nn.Module
    side: int = 224  # px: the photo keeps its shape, its area is about side x side
    # trunk, photos (B, 3, h, w) -> its last map (B, C, h/32, w/32)
    last: Callable[[nn.Module, Tensor], Tensor] = last_map

    def __call__(self, image: Image) -> Float32:
        width, height = self.input_size(image)

        def forward(trunk: nn.Module, x: Tensor) -> Tensor:
            import torch

            cells = self.last(trunk, x)
            return torch.stack([cells.mean((2, 3)), generalised_mean(cells)], 1)

        pooled: Float32 = run(forward, self.trunk, resize(image.pixels, width, height))[0]
        return pooled.astype(np.float16).astype(np.float32)

    def input_size(self, image: Image) -> tuple[int, int]:
        """As the function of this name has it."""
        return input_size(image, self.side)


def input_size(image: Image, side: int) -> tuple[int, int]:
    """(width, height) px, multiples of 32. Aspects beyond 4:1 are squeezed: a strip of 20,000 x 1
    is still a photo.
    """
    aspect = min(max(image.size[0] / image.size[1], 1 / 4), 4)
    width, height = (max(32, 32 * round(side * a / 32)) for a in (aspect**0.5, aspect**-0.5))
    return width, height


def generalised_mean(cells: Tensor) -> Tensor:
    """Map (B, C, h, w) -> (B, C): between the mean and the maximum, p = 3."""
    return cells.flatten(2).clamp(1e-6).pow(3).mean(2).pow(1 / 3)


@dataclass(frozen=True, eq=False)
class Classify:
    """pooled (2, C) -> logits (L,): the trunk's own class head on the plain mean."""

    weight: Float32  # (L, C)
    bias: Float32  # (L,)

    def __post_init__(self) -> None:
        check_array("Classify", "weight", self.weight, np.float32, None, None)
        check_array("Classify", "bias", self.bias, np.float32, len(self.weight))

    def __call__(self, pooled: Float32) -> Float32:
        logits: Float32 = self.weight @ pooled[0] + self.bias
        return logits


def normalise(pooled: Float32) -> Float32:
    """pooled (2, C) -> embedding (C,): the generalised mean at unit length; a vector of zeros stays
    one.
    """
    unit: Float32 = pooled[1] / np.float32(max(float(np.linalg.norm(pooled[1])), 1e-12))
    return unit
