"""A trunk that passes colours through."""

import torch
from torch import nn


class Peephole(nn.Module):
    """A trunk without depth: its third map is every sixteenth pixel, so that each descriptor is the
    colour its cell looks at.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))
        self.conv1 = self.bn1 = self.relu = self.maxpool = self.layer1 = self.layer2 = nn.Identity()

    def layer3(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, ::16, ::16]
