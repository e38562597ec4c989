"""The contact sheet of an evaluation's failures: what was asked, what came first instead, and where
the right photo was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# without pyplot: it draws by Agg, on machines without a screen too
from matplotlib.figure import Figure
from PIL import Image as Pillow

from pipeline.base.errors import ImageError
from pipeline.base.images import load_image
from pipeline.report.plots import as_png
from stages.records import UInt8

MOST = 12  # rows
SHOWN = 5  # results a row
SIDE = 224  # px, the longer one of a photo
GREEN, RED, GREY = "#009e73", "#d55e00", "#bbbbbb"  # colours that the colour-blind can tell apart


@dataclass(frozen=True)
class Tile:
    """One photo of a row."""

    photo: Path
    caption: str
    right: bool | None  # it is an answer; None: it is the query
    # left, top, right, bottom px: the part that was asked with
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Failure:
    """One row: a query whose first result is not relevant."""

    precision: float  # average, of both looks
    tiles: tuple[Tile, ...]  # the query, the first results, the best relevant photo


def draw(failures: Sequence[Failure], title: str) -> bytes:
    """The worst of them, worst first: a PNG. With none, a sheet that says so."""
    worst = sorted(failures, key=lambda failure: failure.precision)[:MOST]
    columns = SHOWN + 2
    figure = Figure(
        figsize=(1.75 * columns, 2.15 * max(1, len(worst)) + 0.6), dpi=100, layout="constrained"
    )
    shown = f"{len(failures)} queries whose first result is wrong" + (
        f", the worst {MOST}" if len(failures) > MOST else ""
    )
    figure.suptitle(
        f"{title}: {shown if failures else 'no query whose first result is wrong'}", fontsize=10
    )
    for row, failure in enumerate(worst):
        for column, tile in enumerate(failure.tiles):
            axes = figure.add_subplot(len(worst), columns, row * columns + column + 1)
            pixels = thumbnail(tile)
            axes.imshow(
                np.full((SIDE * 3 // 4, SIDE, 3), 200, np.uint8) if pixels is None else pixels
            )
            if pixels is None:
                axes.text(
                    0.5,
                    0.5,
                    "photo not found",
                    transform=axes.transAxes,
                    ha="center",
                    va="center",
                    fontsize=8,
                )
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(
                tile.caption,
                fontsize=7,
                color="black" if tile.right is None else GREEN if tile.right else RED,
            )
            for spine in axes.spines.values():
                spine.set(
                    color=GREY if tile.right is None else GREEN if tile.right else RED, linewidth=3
                )
    return as_png(figure)


def thumbnail(tile: Tile) -> UInt8 | None:
    """(h, w, 3) its longer side at most SIDE; None where the file is gone or is no photo any
    more."""
    try:
        small = Pillow.fromarray(load_image(tile.photo).pixels)
    except (OSError, ImageError):
        return None
    if tile.box is not None:
        left, top, right, bottom = map(round, tile.box)
        small = small.crop((left, top, right, bottom))
    small.thumbnail((SIDE, SIDE), Pillow.Resampling.LANCZOS)
    return np.asarray(small)
