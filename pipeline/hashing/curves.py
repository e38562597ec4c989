"""The picture of a row: precision against recall, a point a Hamming radius, a line a code length."""

import io
from collections.abc import Mapping

from matplotlib.figure import Figure

from pipeline.hashing.measures import Found

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#666666")  # told apart by the colour-blind, too


def draw(found: Mapping[str, Found], title: str) -> bytes:
    """A PNG."""
    figure = Figure(figsize=(6, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    for number, (name, each) in enumerate(found.items()):
        axes.plot(each.recall, each.precision, marker="o", markersize=3, color=COLOURS[number % len(COLOURS)], label=name)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
    axes.set_title(f"{title}: a point a Hamming radius", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
