"""EfficientNet-Lite (Tan & Le 2019, without squeeze-and-excitation, with ReLU6): Lite0 as the first
look's trunk, a fifth of a ResNet18's multiplications per pixel, made for int8; the larger ones as
teachers.

The network is that of the package efficientnet-lite-pytorch, an extra; tensors have its names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from stages.trunk import MEAN, STD, filled

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "efficientnet_lite0"
# and the side of the photos that each was trained on, px
NETWORKS = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
HEAD = ("_fc.weight", "_fc.bias")
NOT_BLOCKS = ("_conv_head", "_bn1", "_fc")  # what follows the last block


def load_lite(
    weights: Mapping[str, np.ndarray], name: str = NAME, device: str = "cpu"
) -> nn.Module:
    """The network ready to answer: float32, evaluation mode. Raises ImportError without the
    package, ValueError naming the first tensor that is missing or has another shape.
    """
    from efficientnet_lite_pytorch import EfficientNet

    return filled(name, EfficientNet.from_name(name.replace("_", "-")), weights, device)


def load_lite_blocks(
    name: str, weights: Mapping[str, np.ndarray], device: str = "cpu"
) -> nn.Module:
    """The same up to its last block, all that `blocks_maps` asks for; others are not read."""
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name(name.replace("_", "-"))
    for part in NOT_BLOCKS:
        delattr(model, part)
    return filled(name, model, weights, device)


def blocks_part(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of an EfficientNet-Lite's tensors, those that `load_lite_blocks` reads."""
    return {key: tensor for key, tensor in weights.items() if not key.startswith(tuple(NOT_BLOCKS))}


def lite_map(trunk: nn.Module, x: Tensor) -> Tensor:
    """A photo as `stages.trunk.to_tensor` makes it -> the last map (B, 1280, h/32, w/32)."""
    cells: Tensor = trunk.extract_features(_own_scale(x))  # type: ignore[operator]
    return cells


def blocks_maps(trunk: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The same -> the last map of h/16 x w/16 cells (B, 112, ...) and the map of the last block
    (B, 320, h/32, w/32), before the convolution to 1,280 channels: a quarter of the numbers, from
    which codes are learned as well (docs/benchmarks/binary-codes.md).
    """
    x = earlier = trunk._swish(trunk._bn0(trunk._conv_stem(_own_scale(x))))  # type: ignore[operator]
    for block in trunk._blocks:  # type: ignore[union-attr]
        before, x = x, block(x)
        if x.shape[2:] != before.shape[2:]:
            earlier = before
    return earlier, x


def _own_scale(x: Tensor) -> Tensor:
    """As the network was trained: (pixel - 127) / 128."""
    mean, std = (x.new_tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    return ((x * std + mean) * 255 - 127) / 128
