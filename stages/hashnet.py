"""From a trunk's last map to a real-valued code: a small network, or a kernel or linear projection
of the pooled map.

Each is a stage, made from named arrays as a model stores them: `head_of`. A code's bit is whether
its number is 0 or more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stages.attention import Beside, Guided, cbam
from stages.records import Float32, check_array

ATTENTION: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda channels: nn.Identity(),
    "cbam": cbam,
    "guided": Guided,
}
SQUASH: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda x: torch.sigmoid(x) - 0.5,
    "tanh": torch.tanh,
    "linear": lambda x: x,
}


class HashNet(nn.Module):
    """Map (B, C, h, w), or two of them folded -> codes (B, b): attention, flattened cells, one
    hidden layer, one number a bit.

    bf16: what the attention and the hidden layer are computed in while it learns, where set.
    attention: of ATTENTION; squash: of SQUASH, what the last numbers go through; slices: hidden
    units that each bit has to itself, 0 for all of them together (the divide-and-encode module of
    Lai et al. 2015, section 3.3, which keeps bits from repeating each other); earlier: channels of
    an earlier map, read beside the last one and attended in its place, with so many classes
    (`stages.attention.Beside`).
    """

    def __init__(
        self,
        channels: int,
        cells: int,
        bits: int,
        width: int,
        attention: str = "none",
        squash: str = "sigmoid",
        slices: int = 0,
        earlier: int = 0,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.bf16 = False
        self.attention = (
            Beside(channels, earlier, attention != "none", classes)
            if earlier
            else ATTENTION[attention](channels)
        )
        hidden = slices * bits or width
        self.hidden = nn.Sequential(
            nn.Flatten(),
            nn.Linear((channels + earlier) * cells, hidden),
            nn.ReLU(),
            nn.Dropout(0.5),
        )
        self.code = nn.Conv1d(hidden, bits, 1, groups=bits) if slices else nn.Linear(hidden, bits)
        self.squash = SQUASH[squash]

    def forward(self, x: Tensor) -> Tensor:
        return self.squash(self.linear(x))

    def linear(self, x: Tensor) -> Tensor:
        """The numbers before they are squashed (B, b)."""
        hidden = self.units(x)
        numbers: Tensor = (
            self.code(hidden[:, :, None])[:, :, 0]
            if isinstance(self.code, nn.Conv1d)
            else self.code(hidden)
        )
        return numbers

    def units(self, x: Tensor) -> Tensor:
        """The hidden ones (B, width)."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16 and self.training):
            hidden: Tensor = self.hidden(self.attention(x))
        return hidden.float()


@dataclass(frozen=True)
class NetCode:
    """map (C, h, w) -> code (b,) by a trained network."""

    net: HashNet

    def __call__(self, cells: Float32) -> Float32:
        with torch.inference_mode():
            device = next(self.net.parameters()).device
            code: Float32 = (
                self.net(torch.from_numpy(cells[None]).to(device)).float().cpu().numpy()[0]
            )
        return code


@dataclass(frozen=True, eq=False)
class LinearCode:
    """map (C, h, w) -> code (b,): the pooled map, less its mean, on b directions
    (locality-sensitive hashing draws them).
    """

    mean: Float32  # (C,)
    directions: Float32  # (b, C)

    def __post_init__(self) -> None:
        check_array("LinearCode", "directions", self.directions, np.float32, None, None)
        check_array("LinearCode", "mean", self.mean, np.float32, self.directions.shape[1])

    def __call__(self, cells: Float32) -> Float32:
        code: Float32 = self.of(pool(cells[None]))[0]
        return code

    def of(self, pooled: Float32) -> Float32:
        """(N, C) -> (N, b)."""
        return np.asarray((pooled - self.mean) @ self.directions.T, np.float32)


@dataclass(frozen=True, eq=False)
class KernelCode:
    """map (C, h, w) -> code (b,): Gaussian kernels of the pooled map and m anchors, less their
    means, weighted (Liu et al. 2012, equation 2).
    """

    anchors: Float32  # (m, C)
    gamma: Float32  # (1,) exp(-gamma |x - anchor|^2)
    mean: Float32  # (m,) of the kernels over the training photos
    weights: Float32  # (b, m)

    def __post_init__(self) -> None:
        check_array("KernelCode", "anchors", self.anchors, np.float32, None, None)
        check_array("KernelCode", "gamma", self.gamma, np.float32, 1)
        check_array("KernelCode", "mean", self.mean, np.float32, len(self.anchors))
        check_array("KernelCode", "weights", self.weights, np.float32, None, len(self.anchors))

    def __call__(self, cells: Float32) -> Float32:
        code: Float32 = self.of(pool(cells[None]))[0]
        return code

    def of(self, pooled: Float32) -> Float32:
        """(N, C) -> (N, b)."""
        return np.asarray(
            (kernels(pooled, self.anchors, float(self.gamma[0])) - self.mean) @ self.weights.T,
            np.float32,
        )


def pool(cells: Float32) -> Float32:
    """Maps (N, C, h, w) -> (N, C): the mean over places at unit length."""
    mean: Float32 = cells.mean((2, 3), dtype=np.float32)
    return np.asarray(
        mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12), np.float32
    )


def kernels(pooled: Float32, anchors: Float32, gamma: float) -> Float32:
    """(N, C), (m, C) -> (N, m): exp(-gamma |x - a|^2)."""
    square = (pooled**2).sum(1)[:, None] + (anchors**2).sum(1) - 2 * pooled @ anchors.T
    return np.asarray(np.exp(-gamma * np.maximum(square, 0)), np.float32)


def head_of(
    arrays: Mapping[str, np.ndarray], form: Mapping[str, object], bits: int, device: str = "cpu"
) -> NetCode | LinearCode | KernelCode:
    """The stage that a model's `hash.*` arrays are. form: what of a network is no array, {} for the
    others. Raises ValueError.
    """
    float32 = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    try:
        if "directions" in float32:
            return LinearCode(float32["mean"], float32["directions"])
        if "anchors" in float32:
            return KernelCode(*(float32[name] for name in ("anchors", "gamma", "mean", "weights")))
        net = net_of(form, bits)
        for name, tensor in net.state_dict().items():
            if name in float32 and float32[name].shape != tensor.shape:
                raise ValueError(
                    f"hash.{name}: expected shape {tuple(tensor.shape)}, as the settings say, got"
                    f" {float32[name].shape}"
                )
        net.load_state_dict({name: torch.from_numpy(array) for name, array in float32.items()})
    except (KeyError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"hash: expected the arrays of {form or 'a projection'}, got:"
            f" {' '.join(str(error).split())[:200]}"
        ) from None
    return NetCode(net.eval().requires_grad_(False).to(device))


def net_of(form: Mapping[str, object], bits: int) -> HashNet:
    """An untrained network; form: the arguments of HashNet without the bits."""
    return HashNet(bits=bits, **form)  # type: ignore[arg-type]
