"""Attention modules over a trunk's map (B, C, h, w): which channels and which places matter. The
map keeps its shape.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Channel(nn.Module):
    """Weights a channel by the mean and the maximum over places, through one shared perceptron C ->
    C/r -> C (Woo et al. 2018, equation 2; seed 002, equations 1 to 4).
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.shared = nn.Sequential(
            nn.Linear(channels, channels // reduction, bias=False),
            nn.ReLU(),
            nn.Linear(channels // reduction, channels, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.sigmoid(self.shared(x.mean((2, 3))) + self.shared(x.amax((2, 3))))
        return x * weight[:, :, None, None]


class Spatial(nn.Module):
    """Weights a place by the mean and the maximum over channels, through one 7 x 7 convolution (Woo
    et al. 2018, equation 3; seed 002, equation 5).
    """

    def __init__(self, size: int = 7) -> None:
        super().__init__()
        self.look = nn.Conv2d(2, 1, size, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.look(torch.stack([x.mean(1), x.amax(1)], 1)))


def cbam(channels: int, reduction: int = 16) -> nn.Sequential:
    """Channels first, then places (Woo et al. 2018, section 3)."""
    return nn.Sequential(Channel(channels, reduction), Spatial())


class Squeeze(nn.Module):
    """Squeeze and excitation: weights a channel by the mean over places, C -> C/r -> C (Hu et al.
    2018, equations 2 to 4), without biases.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = channels // reduction
        self.excite = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.ReLU(),
            nn.Linear(hidden, channels, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.excite(x.mean((2, 3))))[:, :, None, None]


class Global(nn.Module):
    """GAM, global attention (Liu et al. 2021, equations 1 and 2; seeds 000 and 001, figures 1 to
    3): no pooling anywhere.

    Channels: at every place a perceptron C -> C/r -> C over the channels, as the figure's
    permutation says; the seeds' text squeezes the map to one vector, which the figure contradicts.
    Places: two 7 x 7 convolutions C -> C/r -> C, each with a batch norm, where almost all of its
    parameters are; with `groups` above 1 they are grouped, and so many times cheaper.
    """

    def __init__(self, channels: int, reduction: int = 16, groups: int = 1) -> None:
        super().__init__()
        hidden = channels // reduction
        # a perceptron at every place
        self.channel = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1)
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, hidden, 7, padding=3, groups=groups),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 7, padding=3, groups=groups),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x * torch.sigmoid(self.channel(x))
        return x * torch.sigmoid(self.spatial(x))


class Guided(nn.Module):
    """Mixed attention guided by semantic features: our reading of seed 003, an abstract.

    The photo as a whole, its mean over places, is the semantic guide. It weights the channels
    (squeeze and excitation, Hu et al. 2018) and asks every place how well it fits: softmax over w .
    tanh(U x + V g), times the number of places, so that a map whose places all fit alike stays as
    it is. Each weight thus rests on global and local information together.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = channels // reduction
        self.excite = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )
        self.place, self.guide, self.fit = (
            nn.Conv2d(channels, hidden, 1),
            nn.Linear(channels, hidden),
            nn.Conv2d(hidden, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        whole = x.mean((2, 3))
        channels = 2 * torch.sigmoid(self.excite(whole))[:, :, None, None]
        fit: Tensor = self.fit(torch.tanh(self.place(x) + self.guide(whole)[:, :, None, None]))
        places = (fit.flatten(2).softmax(2) * fit[0, 0].numel()).view_as(fit)
        return x * channels * places
