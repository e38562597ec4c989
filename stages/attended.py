"""A ResNet50 whose bottlenecks pay attention: seeds 000 and 001, on torchvision's own network.

A module stands after a bottleneck's last batch norm and before the addition. It is kept inside that
norm, whose own tensors keep their names, so that official weights load as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.attention import Global, Squeeze, cbam

FUSIONS = ("residual", "product", "concatenation")


@dataclass(frozen=True)
class Attend:
    """Which attention, where and how. The paper has r = 16 everywhere; it does not say how features
    are fused.
    """

    kind: str  # se, cbam, gam
    reduction: int = 16  # r: how many times fewer channels a module thinks in
    # x + g m(x), g from zero; the product m(x) alone; or a 1 x 1 convolution of both
    fusion: str = "residual"
    # stage: 1 has modules in all 16 bottlenecks, 3 in the nine of the last two stages
    first: int = 1
    groups: int = 1  # of gam's 7 x 7 convolutions

    def __post_init__(self) -> None:
        if (
            self.kind not in KINDS
            or self.fusion not in FUSIONS
            or self.first not in (1, 2, 3, 4)
            or self.reduction < 1
            or self.groups < 1
        ):
            raise ValueError(
                f"attention: expected one of {', '.join(KINDS)}, {', '.join(FUSIONS)}, stage 1 to 4"
                f" and positive numbers, got {self}"
            )


KINDS: dict[str, Callable[[int, Attend], nn.Module]] = {
    "se": lambda channels, how: Squeeze(channels, how.reduction),
    "cbam": lambda channels, how: cbam(channels, how.reduction),
    "gam": lambda channels, how: Global(channels, how.reduction, how.groups),
}


class Fused(nn.Module):
    """x (B, C, h, w) -> what is made of it and of the module's m(x), the features weighted by
    attention.

    `residual` begins as x: its gain is zero, so that a freshly extended network answers as the
    plain one did. So does `concatenation`, seed 000's "concatenated" read as a 1 x 1 convolution of
    both, which begins as the identity on x.
    """

    def __init__(self, module: nn.Module, channels: int, fusion: str) -> None:
        super().__init__()
        self.module, self.fusion = module, fusion
        if fusion == "residual":
            self.gain = nn.Parameter(torch.zeros(1))
        elif fusion == "concatenation":
            self.join = nn.Conv2d(2 * channels, channels, 1, bias=False)
            nn.init.zeros_(self.join.weight)
            nn.init.dirac_(self.join.weight[:, :channels])

    def forward(self, x: Tensor) -> Tensor:
        weighted: Tensor = self.module(x)
        if self.fusion == "residual":
            return x + self.gain * weighted
        return (
            self.join(torch.cat([x, weighted], 1)) if self.fusion == "concatenation" else weighted
        )


class AttendedNorm(nn.BatchNorm2d):
    """A batch norm that attention follows; its own tensors keep their names."""

    def __init__(self, channels: int, how: Attend) -> None:
        super().__init__(channels)
        self.attention = Fused(KINDS[how.kind](channels, how), channels, how.fusion)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(super().forward(x))  # type: ignore[no-any-return]


def attend(model: nn.Module, how: Attend) -> nn.Module:
    """Give a ResNet's bottlenecks fresh modules, from the first named stage on. Raises ValueError
    for a ResNet of another build.
    """
    for stage in range(how.first, 5):
        for block in model.get_submodule(f"layer{stage}").children():
            if not hasattr(block, "bn3"):
                raise ValueError(
                    "attention: expected a ResNet of bottlenecks, such as resnet50, got one without"
                )
            plain = block.get_submodule("bn3")
            assert isinstance(plain, nn.BatchNorm2d)
            norm = AttendedNorm(plain.num_features, how)
            norm.load_state_dict(plain.state_dict(), strict=False)
            block.bn3 = norm.to(plain.weight.device)
    return model


def is_attention(name: str) -> bool:
    """Whether a tensor's name, or a module's, is of a module that was added."""
    return ".attention." in name
