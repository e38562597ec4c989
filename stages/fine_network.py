"""The network of the fine local features (stages/fine.py): four maps of a photo, at a half, a
quarter, an eighth and a sixteenth of its size; where its keypoints are; what they look like.

It is light on purpose: a map is computed everywhere, but a descriptor only at the keypoints, from
what all four maps say there (a hypercolumn, Hariharan et al. 2015).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.fine_quantised import CELL
from stages.trunk import filled

WIDTHS = (16, 32, 64, 128)  # channels of the maps
DETECTION = 8  # channels in which the maps vote for keypoints
LENGTH = 64  # numbers a descriptor


class FineNetwork(nn.Module):
    """Photos (B, 3, h, w) as `stages.trunk.to_tensor` makes them, sides multiples of STRIDE."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = WIDTHS
        self.levels = nn.ModuleList(
            (
                nn.Sequential(_conv(3, half, 4, 2), _conv(half, half)),
                nn.Sequential(_conv(half, quarter, 3, 2), Block(quarter)),
                nn.Sequential(_conv(quarter, eighth, 3, 2), Block(eighth), Block(eighth)),
                nn.Sequential(_conv(eighth, sixteenth, 3, 2), Block(sixteenth), Block(sixteenth)),
            )
        )
        self.votes = nn.ModuleList(nn.Conv2d(width, DETECTION, 1) for width in WIDTHS)
        self.detect = nn.Sequential(
            nn.Conv2d(DETECTION, DETECTION, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(DETECTION, 4, 3, 1, 1),
            nn.PixelShuffle(2),
        )
        column = sum(WIDTHS)
        self.describe = nn.Sequential(
            nn.Linear(column, 256), nn.ReLU(inplace=True), nn.Linear(256, LENGTH)
        )
        self.attend = nn.Sequential(nn.Linear(column, 64), nn.ReLU(inplace=True), nn.Linear(64, 1))

    def maps(self, photos: Tensor) -> list[Tensor]:
        """The four maps, finest first. A photo's own mean and spread are taken away first: by day
        or by night, it is seen in the same light.
        """
        mean = photos.mean((1, 2, 3), keepdim=True)
        seen = (photos - mean) / (photos.std((1, 2, 3), keepdim=True) + 1e-3)
        maps = []
        for layer in self.levels:
            seen = layer(seen)
            maps.append(seen)
        return maps

    def detection(self, maps: list[Tensor]) -> Tensor:
        """-> (B, h / CELL, w / CELL, CELL * CELL + 1) logits: which pixel of each cell is a
        keypoint, or, the last, that none is (SuperPoint, DeTone et al. 2018, section 3.2).
        """
        finest = maps[0].shape[-2:]
        votes = self.votes[0](maps[0])
        for vote, each in zip(self.votes[1:], maps[1:], strict=True):
            votes = votes + functional.interpolate(vote(each), size=finest, mode="bilinear")
        pixels = self.detect(functional.relu(votes))[:, 0].float()  # (B, h, w)
        cells = functional.pixel_unshuffle(pixels[:, None], CELL).permute(0, 2, 3, 1)
        return functional.pad(cells, (0, 1))

    def columns(self, maps: list[Tensor], xy: Tensor) -> Tensor:
        """What the maps say at points (B, N, 2) px -> (B, N, C)."""
        height, width = (2 * side for side in maps[0].shape[-2:])
        place = (xy + 0.5) * 2 / xy.new_tensor([width, height]) - 1
        said = [
            functional.grid_sample(
                each.float(), place[:, :, None], padding_mode="border", align_corners=False
            )[..., 0]
            for each in maps
        ]
        return torch.cat(said, 1).transpose(1, 2)


class Block(nn.Module):
    """A residual block (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


def _conv(channels: int, width: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


def load_fine(weights: Mapping[str, np.ndarray], device: str = "cpu") -> FineNetwork:
    """The network ready to answer: float32, evaluation mode. Raises ValueError naming the first
    tensor that is missing or has another shape.
    """
    network = filled("fine features'", FineNetwork(), weights, device)
    assert isinstance(network, FineNetwork)
    return network


@torch.inference_mode()
def keypoints(network: nn.Module, photo: Tensor, most: int, least: float, border: int) -> Tensor:
    """Photo (1, 3, h, w) -> (M, 4 + LENGTH): x, y px, how likely it is a keypoint, its attention,
    unit descriptor of at most `most` keypoints, likeliest first, none within `border` px of the
    edge.

    A keypoint is the likeliest pixel around, and at least `least` likely. Its attention is the
    chance that it will be found again.
    """
    assert isinstance(network, FineNetwork)
    maps = network.maps(photo)
    chance = network.detection(maps).softmax(-1)[..., :-1].permute(0, 3, 1, 2)
    chance = functional.pixel_shuffle(chance, CELL)[0, 0]  # (h, w)
    around = functional.max_pool2d(chance[None, None], 5, 1, 2)[0, 0]
    middle = torch.ones_like(chance)[border:-border, border:-border]
    inside = functional.pad(middle, (border,) * 4)
    peaks = torch.where((chance == around) & (chance >= least) & (inside > 0), chance, 0).flatten()
    # in reading order where two are equally likely
    order = peaks.argsort(descending=True, stable=True)[: min(most, int((peaks > 0).sum()))]
    width = chance.shape[1]
    xy = torch.stack([order % width, order // width], 1).float()
    columns = network.columns(maps, xy[None])[0]
    attention = network.attend(columns)[:, 0].sigmoid()
    unit = functional.normalize(network.describe(columns), dim=1)
    return torch.cat([xy, peaks[order, None], attention[:, None], unit], 1)


@torch.inference_mode()
def heat(network: nn.Module, photo: Tensor) -> Tensor:
    """Photo (1, 3, h, w) -> (h / CELL, w / CELL): how likely a cell has a keypoint, times the
    attention of its middle.
    """
    assert isinstance(network, FineNetwork)
    maps = network.maps(photo)
    likely = 1 - network.detection(maps).softmax(-1)[0, ..., -1]
    rows, columns = likely.shape
    y, x = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float32, device=photo.device) for n in (rows, columns)),
        indexing="ij",
    )
    middles = (torch.stack([x, y], 2).view(1, -1, 2) + 0.5) * CELL - 0.5
    attention = network.attend(network.columns(maps, middles))[0, :, 0].sigmoid()
    warm: Tensor = likely * attention.view(rows, columns)
    return warm
