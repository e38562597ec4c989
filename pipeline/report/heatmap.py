"""A map of attention: a photo, the attention score of every place in it, and the
features that were kept.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

# without pyplot: it draws by Agg, on machines without a screen too
from matplotlib.figure import Figure

from pipeline.report.plots import as_png
from stages.delf import STRIDE, Describe, feature_norm
from stages.embed import Embed
from stages.fine import DescribeFine, seen_at
from stages.fine_quantised import CELL
from stages.records import Float32, Image
from stages.trunk import last_map, resize, run

LONGEST = 480  # px of a drawn photo
WIDE, ABOVE = 4.0, 0.7  # inches of a drawn photo, and of the words above it


def heat(describe: Describe | DescribeFine, image: Image, width: int, height: int) -> Float32:
    """(height, width): the score at every place of the photo drawn so large; of DELF the mean over
    the scales of the pyramid.
    """
    if isinstance(describe, DescribeFine):
        cells = describe.heat(image)
        rows, columns = (np.array(cells.shape) * CELL).tolist()
        whole = cv2.resize(cells, (columns, rows), interpolation=cv2.INTER_LINEAR)
        seen = seen_at(image, describe.side)[-1].shape
        return np.asarray(cv2.resize(whole[: seen[0], : seen[1]], (width, height)), np.float32)
    total = np.zeros((height, width), np.float32)
    for scale in describe.scales:
        one = replace(describe, scales=(scale,))
        (w, h), raw = one.input_sizes(image)[0], one.cells(image)[1]
        score = feature_norm(raw) if describe.attention is None else describe.attention(raw)
        grid = score.reshape(-(-h // STRIDE), -(-w // STRIDE)).astype(np.float32)
        # in cells
        x, y = (
            ((np.arange(n) + 0.5) * (side / n) - 0.5) / STRIDE
            for n, side in ((width, w), (height, h))
        )
        places = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
        total += cv2.remap(grid, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mean: Float32 = total / np.float32(len(describe.scales))
    return mean


def draw(
    describe: Describe | DescribeFine, photos: Sequence[tuple[str, Image]], model: str
) -> bytes:
    """A row a photo: itself, its heat, its features. A PNG."""
    sizes, tall = drawn_sizes(photos)
    figure = Figure(figsize=(3 * WIDE + 1, sum(tall)), dpi=110, layout="constrained")
    panels = figure.subplots(len(photos), 3, squeeze=False, height_ratios=tall)
    for row, (name, image), (width, height) in zip(panels, photos, sizes, strict=True):
        small, warm, features = (
            resize(image.pixels, width, height),
            heat(describe, image, width, height),
            describe(image),
        )
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        # px of the photo, whatever it is drawn at
        extent = (-0.5, image.size[0] - 0.5, image.size[1] - 0.5, -0.5)
        row[0].imshow(small, extent=extent)
        row[1].imshow(grey, extent=extent, cmap="gray", vmin=0, vmax=255)
        drawn = row[1].imshow(warm, extent=extent, cmap="inferno", alpha=0.75, vmin=0)
        figure.colorbar(drawn, ax=row[1], fraction=0.04)
        row[2].imshow(grey, extent=extent, cmap="gray", vmin=-128, vmax=255)
        row[2].scatter(*features.xy.T, s=5, c=features.score, cmap="inferno", vmin=0, linewidths=0)
        what = "score, mean over scales" if isinstance(describe, Describe) else "score"
        said = (name, what, f"{len(features)} features kept")
        for axes, title in zip(row, said, strict=True):
            axes.set_title(plain(title), loc="left", fontsize=9)
            axes.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[])
    kind = (
        "length of the feature, attention not trained"
        if isinstance(describe, Describe) and describe.attention is None
        else "trained attention"
    )
    figure.suptitle(f"model {model}: {kind}", fontsize=10)
    return as_png(figure)


def energy(embed: Embed, image: Image, width: int, height: int) -> Float32:
    """(height, width): how strongly the last map responds at every place, the mean square over its
    channels (Zagoruyko & Komodakis 2017, equation 2), as a share of its maximum.
    """
    # (C, rows, columns)
    cells = run(last_map, embed.trunk, resize(image.pixels, *embed.input_size(image)))[0]
    strength = np.square(cells, dtype=np.float32).mean(0)
    warm: Float32 = cv2.resize(
        strength / max(float(strength.max()), 1e-12),
        (width, height),
        interpolation=cv2.INTER_LINEAR,
    )
    return warm


def compare(embeds: Sequence[tuple[str, Embed]], photos: Sequence[tuple[str, Image]]) -> bytes:
    """A row a photo: itself, then how strongly each embedding responds, side by side. A PNG."""
    sizes, tall = drawn_sizes(photos)
    figure = Figure(figsize=((1 + len(embeds)) * WIDE, sum(tall)), dpi=80, layout="constrained")
    panels = figure.subplots(len(photos), 1 + len(embeds), squeeze=False, height_ratios=tall)
    for row, (name, image), (width, height) in zip(panels, photos, sizes, strict=True):
        small = resize(image.pixels, width, height)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        row[0].imshow(small)
        for axes, (_, embed) in zip(row[1:], embeds, strict=True):
            axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
            axes.imshow(
                energy(embed, image, width, height), cmap="inferno", alpha=0.7, vmin=0, vmax=1
            )
        for axes, title in zip(row, (name, *(said for said, _ in embeds)), strict=True):
            axes.set_title(plain(title), loc="left", fontsize=10)
            axes.set(xticks=[], yticks=[])
    return as_png(figure)


def drawn_sizes(photos: Sequence[tuple[str, Image]]) -> tuple[list[tuple[int, int]], list[float]]:
    """What every photo is drawn from, (width, height) px, and how tall its row is, in inches."""
    sizes = []
    for _, image in photos:
        shrink = min(1.0, LONGEST / max(image.size))
        width, height = (max(1, round(side * shrink)) for side in image.size)
        sizes.append((width, height))
    return sizes, [WIDE * min(max(height / width, 0.1), 3) + ABOVE for width, height in sizes]


def plain(title: str) -> str:
    """Safe to draw: no letters that the font lacks, no formula."""
    return title.encode("ascii", "backslashreplace").decode().replace("$", r"\$")
