"""Attention modules over a trunk's map (B, C, h, w): which channels and which places matter. The
map keeps its shape.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


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
    """Mixed attention guided by semantic features, after seed 003, an abstract.

    A guide (B, G), what the photo shows, weights the channels of a map (squeeze and excitation, Hu
    et al. 2018) and asks every place how well it fits: softmax over w . tanh(U x + V g), times the
    number of places, so that a map whose places all fit alike stays as it is. Each weight thus
    rests on global and local information together. Without another, a map's own mean over places
    is its guide.
    """

    def __init__(self, channels: int, guide: int = 0, reduction: int = 16) -> None:
        super().__init__()
        guide, hidden = guide or channels, channels // reduction
        self.excite = nn.Sequential(
            nn.Linear(guide, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )
        self.place, self.guide, self.fit = (
            nn.Conv2d(channels, hidden, 1),
            nn.Linear(guide, hidden),
            nn.Conv2d(hidden, 1, 1),
        )

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        guide = x.mean((2, 3)) if guide is None else guide
        channels = 2 * torch.sigmoid(self.excite(guide))[:, :, None, None]
        fit: Tensor = self.fit(torch.tanh(self.place(x) + self.guide(guide)[:, :, None, None]))
        places = (fit.flatten(2).softmax(2) * fit[0, 0].numel()).view_as(fit)
        return x * channels * places


class Beside(nn.Module):
    """The last map (B, C, h, w), and beside it an earlier one of twice the cells on a side, E
    channels: (B, C + 4 E, h, w), as `stages.squaremap.Maps.two` folds them -> (B, C + E, h, w).

    The earlier map is brought to one scale by a batch norm and averaged over 2 x 2 cells. Where it
    is `attended`, it is `Guided` before that by the last map, which knows best what the photo
    shows: by its mean over places or, of L `classes`, by the scores that a linear classifier gives
    that mean. That is our reading of seed 003's semantic features. All weights start at 1.
    """

    def __init__(self, channels: int, earlier: int, attended: bool, classes: int = 0) -> None:
        super().__init__()
        self.channels = channels
        self.norm = nn.BatchNorm2d(earlier)
        self.classify = nn.Linear(channels, classes) if classes else None
        self.guided = Guided(earlier, classes or channels, 4) if attended else None
        if self.guided is not None:
            for part in (self.guided.excite[2], self.guided.fit):
                for parameter in part.parameters():
                    nn.init.zeros_(parameter)

    def scores(self, x: Tensor) -> Tensor:
        """The classes' (B, L), before a softmax."""
        assert self.classify is not None
        scores: Tensor = self.classify(x[:, : self.channels].mean((2, 3)))
        return scores

    def forward(self, x: Tensor) -> Tensor:
        last = x[:, : self.channels]
        earlier: Tensor = self.norm(functional.pixel_shuffle(x[:, self.channels :], 2))
        if self.guided is not None:
            guide = last.mean((2, 3)) if self.classify is None else self.scores(x).softmax(1)
            earlier = self.guided(earlier, guide)
        return torch.cat([last, functional.avg_pool2d(earlier, 2)], 1)
