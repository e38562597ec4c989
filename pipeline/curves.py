"""The picture of a sweep: what more candidates bring, and what they cost."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure  # without pyplot: it draws by Agg, on machines without a screen too
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"  # told apart by the colour-blind, too


def draw(result: dict[str, Any]) -> bytes:
    """Quality, and time, against candidates: a PNG."""
    first, *rows = result["rows"]
    sizes = [row["candidates"] for row in rows]
    figure = Figure(figsize=(11, 5.2), dpi=150, layout="constrained")
    quality, time = figure.subplots(1, 2)
    for name, colour, width in (("mAP", BLUE, 3.5), ("hit@1", ORANGE, 1.5)):  # both are seen where they are equal
        low, high = ([row[name + end] for row in rows] for end in ("_low", "_high"))
        quality.fill_between(sizes, low, high, color=colour, alpha=0.13, linewidth=0)
        quality.plot(
            sizes, [row[name] for row in rows], color=colour, linewidth=width, marker="o", markersize=width + 3, label=f"{name}, 95 % interval"
        )
        quality.axhline(first[name], color=colour, linestyle=":", linewidth=1.5, label=f"{name}, first look alone")
    quality.plot(sizes, [row["ceiling"] for row in rows], color=GREY, linestyle="--", label="ceiling: an answer is among the candidates")
    time.plot(sizes, [row["seconds_median"] for row in rows], color="black", marker="o", markersize=4, label="both looks, median")
    time.axhline(first["seconds_median"], color="black", linestyle=":", label="first look alone, median")
    time.set_yscale("log")
    for axes, title in ((quality, "Quality"), (time, "Seconds a query")):
        axes.set_title(title, loc="left")
        finish_axes(axes, sizes, result["recommended"])
    figure.suptitle(f"{result['recipe']}, model {result['model']}: {result['queries']:,} queries, {result['photos']:,} photos")
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def finish_axes(axes: Axes, sizes: Sequence[int], recommended: int) -> None:
    """What both panels share: the sizes below, as many as there is room for, the recommended one marked."""
    axes.set_xscale("log")
    shown = sizes[-1:]
    for size in sizes[-2::-1]:
        if shown[-1] / size >= (sizes[-1] / sizes[0]) ** 0.09:
            shown = [*shown, size]
    axes.set_xticks(shown, [f"{size:,}" for size in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if recommended:
        axes.axvline(recommended, color=GREY, linewidth=6, alpha=0.25, label=f"recommended: {recommended:,}")
    axes.set_xlabel("candidates")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, fontsize=9, frameon=False)
