"""The picture of a training: loss and validation over its epochs, the kept epoch marked."""

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure  # without pyplot: it draws by Agg, on machines without a screen too
from matplotlib.ticker import MaxNLocator

from pipeline.curves import BLUE, GREY, ORANGE


def draw(log: Sequence[Mapping[str, Any]], best: int) -> bytes:
    """log: a line an epoch with `epoch`, `loss`, `validation` and `px`; best: the epoch whose weights are kept -> PNG."""
    epochs = [line["epoch"] for line in log]
    figure = Figure(figsize=(10, 4.2), dpi=120, layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, name, colour, title in zip(panels, ("loss", "validation"), (BLUE, ORANGE), ("Training loss", "Validation: share right"), strict=True):
        values = [line[name] for line in log]
        axes.plot(epochs, values, color=colour, marker="o", markersize=4)
        axes.axvline(best, color=GREY, linewidth=6, alpha=0.25, label=f"kept: epoch {best}, {log[best - 1][name]:.4g}")
        for before, line in itertools.pairwise(log):
            if line["px"] != before["px"]:
                axes.axvline(line["epoch"] - 0.5, color=GREY, linestyle=":", label=f"from here {line['px']} px")
        axes.set_title(title, loc="left")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
