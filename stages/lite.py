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


def load_lite(
    weights: Mapping[str, np.ndarray], name: str = NAME, device: str = "cpu"
) -> nn.Module:
    """The network ready to answer: float32, evaluation mode. Raises ImportError without the
    package, ValueError naming the first tensor that is missing or has another shape.
    """
    from efficientnet_lite_pytorch import EfficientNet

    return filled(name, EfficientNet.from_name(name.replace("_", "-")), weights, device)


def lite_map(trunk: nn.Module, x: Tensor) -> Tensor:
    """A photo as `stages.trunk.to_tensor` makes it -> the last map (B, 1280, h/32, w/32)."""
    mean, std = (x.new_tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    pixels = (x * std + mean) * 255
    cells: Tensor = trunk.extract_features((pixels - 127) / 128)  # type: ignore[operator]
    return cells
