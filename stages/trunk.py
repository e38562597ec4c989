"""The residual trunk that both looks share, under torchvision's own names, so that its published
weights load as they are.

A photo goes through alone: its numbers never depend on which others are processed beside it.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stages.records import Float32, UInt8

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from stages.attended import Attend

MEAN = (0.485, 0.456, 0.406)  # of RGB in [0, 1]: the convention of every published ResNet
STD = (0.229, 0.224, 0.225)


def pick_device(wanted: str) -> str:
    """`auto` is the GPU where there is one. Raises ValueError when `cuda` is wanted and there is
    none.
    """
    if wanted == "cpu" or (wanted == "auto" and "torch" not in sys.modules and not has_driver()):
        return "cpu"
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: expected a CUDA GPU, got none; run with `--device cpu`")
    return "cuda" if torch.cuda.is_available() else "cpu"


def has_driver() -> bool:
    """Whether this machine has a CUDA driver: known in no time, where importing torch takes a
    second.
    """
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def build_resnet(name: str, classes: int, how: Attend | None = None) -> nn.Module:
    """An untrained torchvision ResNet (`resnet18`, `resnet50`) with a `classes`-way head; with
    attention in its bottlenecks where told how.
    """
    from stages.vision import torchvision_models

    model: nn.Module = getattr(torchvision_models(), name)(num_classes=classes or 1)
    if not classes:  # a trunk without a head; torch would complain of a layer without outputs
        for each in model.fc.parameters():  # type: ignore[union-attr]
            each.data = each.data[:0]
    if how is None:
        return model
    from stages.attended import attend

    return attend(model, how)


def load_resnet(
    name: str, weights: Mapping[str, np.ndarray], device: str = "cpu", how: Attend | None = None
) -> nn.Module:
    """A ResNet ready to answer: float32, evaluation mode, its head as wide as `fc.weight` has rows.

    Raises ValueError naming the first tensor that is missing or has another shape.
    """
    for key in ("fc.weight", "fc.bias"):
        if key not in weights:
            raise ValueError(f"{name} weights: expected a tensor {key}, got none")
    return filled(name, build_resnet(name, len(weights["fc.weight"]), how), weights, device)


def load_local(name: str, weights: Mapping[str, np.ndarray], device: str = "cpu") -> nn.Module:
    """The same up to layer3, all that `third_map` asks for: a trunk of the local features' own.
    Other tensors are not read.
    """
    model = build_resnet(name, 1)
    del model.layer4, model.fc
    return filled(name, model, weights, device)


def load_vgg16(name: str, weights: Mapping[str, np.ndarray], device: str = "cpu") -> nn.Module:
    """VGG16's convolutions under torchvision's names, `features.0.weight` and so on; other tensors
    are not read.
    """
    import torch
    from torch import nn

    from stages.vision import torchvision_models

    with torch.device("meta"):  # its classifier of 120 million numbers is never made
        features = torchvision_models().vgg16().features
    return filled(
        name, nn.Sequential(OrderedDict(features=features.to_empty(device="cpu"))), weights, device
    )


def local_part(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of a ResNet's tensors, those that `load_local` reads."""
    return {
        key: tensor for key, tensor in weights.items() if not key.startswith(("layer4.", "fc."))
    }


def filled(
    name: str, model: nn.Module, weights: Mapping[str, np.ndarray], device: str
) -> nn.Module:
    import torch

    state = model.state_dict()
    for key, tensor in state.items():
        if key.endswith("num_batches_tracked"):
            continue
        if key not in weights:
            raise ValueError(f"{name} weights: expected a tensor {key}, got none")
        if tuple(tensor.shape) != weights[key].shape:
            raise ValueError(
                f"{name} weights: {key}: expected shape {tuple(tensor.shape)}, got"
                f" {weights[key].shape}"
            )
        state[key] = torch.from_numpy(np.array(weights[key], np.float32))
    model.load_state_dict(state)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.eval().to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def resize(pixels: UInt8, width: int, height: int) -> UInt8:
    """Area averaging when shrinking, bilinear when enlarging: pixel (x, y) maps to ((x + .5) * s -
    .5, ...).
    """
    # one axis may shrink while the other grows
    smaller = min(width, pixels.shape[1]), min(height, pixels.shape[0])
    out = cv2.resize(
        cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA),
        (width, height),
        interpolation=cv2.INTER_LINEAR,
    )
    return out.astype(np.uint8, copy=False)


def to_tensor(pixels: UInt8, device: torch.device | str = "cpu") -> Tensor:
    """(h, w, 3) or (B, h, w, 3) uint8 RGB to (B, 3, h, w) float32, normalised, channels last in
    memory.
    """
    import torch

    batch = pixels if pixels.ndim == 4 else pixels[None]
    x = (
        torch.from_numpy(np.ascontiguousarray(batch))
        .to(device)
        .permute(0, 3, 1, 2)
        .to(torch.float32)
        .div_(255)
    )
    x = x.sub_(x.new_tensor(MEAN).view(3, 1, 1)).div_(x.new_tensor(STD).view(3, 1, 1))
    return x.contiguous(memory_format=torch.channels_last)


def third_map(trunk: nn.Module, x: Tensor) -> Tensor:
    """layer3's map (B, C, h/16, w/16): the one whose cells are still small enough to be local."""
    x = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(x))))  # type: ignore[operator]
    return trunk.layer3(trunk.layer2(trunk.layer1(x)))  # type: ignore[operator, no-any-return]


def last_map(trunk: nn.Module, x: Tensor) -> Tensor:
    """layer4's map (B, C, h/32, w/32)."""
    return trunk.layer4(third_map(trunk, x))  # type: ignore[operator, no-any-return]


def run(forward: Callable[[nn.Module, Tensor], Tensor], trunk: nn.Module, pixels: UInt8) -> Float32:
    """`forward` without gradients on the trunk's device; a photo too large for the GPU's memory is
    done on the CPU.

    A batch that does not fit is halved until it does, and a single photo that does not fit falls to
    the CPU.
    """
    import torch

    device = next(trunk.parameters()).device
    with torch.inference_mode():
        try:
            return forward(trunk, to_tensor(pixels, device)).float().cpu().numpy()
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
    if pixels.ndim == 4 and len(pixels) > 1:
        half = len(pixels) // 2
        return np.concatenate(
            [run(forward, trunk, pixels[:half]), run(forward, trunk, pixels[half:])]
        )
    logging.getLogger(__name__).warning(
        "a photo of %d x %d did not fit the GPU's memory and was done on the CPU",
        pixels.shape[-2],
        pixels.shape[-3],
    )
    import copy

    return run(forward, copy.deepcopy(trunk).cpu(), pixels)
