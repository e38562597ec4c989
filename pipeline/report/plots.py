"""Line plots as PNG files: a sweep over candidates, a training, the precision and recall of binary
codes.
"""

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

# without pyplot: it draws by Agg, on machines without a screen too
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from stages.metrics import Floats

# colours that the colour-blind can tell apart, too (Okabe & Ito 2008)
BLUE, ORANGE, GREEN, PINK, GREY = COLOURS = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#666666"

SHOWN_BY_SIZE = ("hit@1", "precision@10", "mAP")  # panels of `plot_gallery_size`


def as_png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def plot_sweep(result: dict[str, Any]) -> bytes:
    """Quality, and time, against candidates: a PNG."""
    first, *rows = result["rows"]
    sizes = [row["candidates"] for row in rows]
    figure = Figure(figsize=(11, 5.2), dpi=150, layout="constrained")
    quality, time = figure.subplots(1, 2)
    # both are seen where they are equal
    for name, colour, width in (("mAP", BLUE, 3.5), ("hit@1", ORANGE, 1.5)):
        low, high = ([row[name + end] for row in rows] for end in ("_low", "_high"))
        quality.fill_between(sizes, low, high, color=colour, alpha=0.13, linewidth=0)
        quality.plot(
            sizes,
            [row[name] for row in rows],
            color=colour,
            linewidth=width,
            marker="o",
            markersize=width + 3,
            label=f"{name}, 95 % interval",
        )
        quality.axhline(
            first[name],
            color=colour,
            linestyle=":",
            linewidth=1.5,
            label=f"{name}, first look alone",
        )
    quality.plot(
        sizes,
        [row["ceiling"] for row in rows],
        color=GREY,
        linestyle="--",
        label="ceiling: an answer is among the candidates",
    )
    time.plot(
        sizes,
        [row["seconds_median"] for row in rows],
        color="black",
        marker="o",
        markersize=4,
        label="both looks, median",
    )
    time.axhline(
        first["seconds_median"], color="black", linestyle=":", label="first look alone, median"
    )
    time.set_yscale("log")
    for axes, title in ((quality, "Quality"), (time, "Seconds a query")):
        axes.set_title(title, loc="left")
        finish_axes(axes, sizes, result["recommended"])
    figure.suptitle(
        f"{result['recipe']}, model {result['model']}: {result['queries']:,} queries,"
        f" {result['photos']:,} photos"
    )
    return as_png(figure)


def finish_axes(axes: Axes, sizes: Sequence[int], recommended: int) -> None:
    """What both panels share: the sizes below, as many as there is room for, the recommended one
    marked.
    """
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
        axes.axvline(
            recommended, color=GREY, linewidth=6, alpha=0.25, label=f"recommended: {recommended:,}"
        )
    axes.set_xlabel("candidates")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, fontsize=9, frameon=False)


def plot_training(log: Sequence[Mapping[str, Any]], best: int, start: float = -1.0) -> bytes:
    """log: a line an epoch with `epoch`, `loss`, `validation` and `px`; best: the epoch whose
    weights are kept, 0 for the start's; start: their validation, -1 where unknown -> PNG.
    """
    figure = Figure(figsize=(10, 4.2), dpi=120, layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, name, colour, title in zip(
        panels,
        ("loss", "validation"),
        (BLUE, ORANGE),
        ("Training loss", "Validation: share right"),
        strict=True,
    ):
        values = {line["epoch"]: line[name] for line in log}
        if name == "validation" and start >= 0:
            values = {0: start, **values}
        axes.plot(*zip(*values.items(), strict=True), color=colour, marker="o", markersize=4)
        kept = f"epoch {best}" if best else "the start"
        if best in values:
            kept += f", {values[best]:.4g}"
        axes.axvline(best, color=GREY, linewidth=6, alpha=0.25, label=f"kept: {kept}")
        for before, line in itertools.pairwise(log):
            if line["px"] != before["px"]:
                axes.axvline(
                    line["epoch"] - 0.5,
                    color=GREY,
                    linestyle=":",
                    label=f"from here {line['px']} px",
                )
        axes.set_title(title, loc="left")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9)
    return as_png(figure)


def plot_precision_recall(curves: Mapping[str, tuple[Floats, Floats]], title: str) -> bytes:
    """Precision against recall, a point a Hamming radius, a line a code length: a PNG. curves: name
    -> recall, precision, (b + 1,) each.
    """
    figure = Figure(figsize=(6, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    for number, (name, (recall, precision)) in enumerate(curves.items()):
        axes.plot(
            recall,
            precision,
            marker="o",
            markersize=3,
            color=COLOURS[number % len(COLOURS)],
            label=name,
        )
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
    axes.set_title(f"{title}: a point a Hamming radius", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return as_png(figure)


def plot_gallery_size(result: dict[str, Any]) -> bytes:
    """Both looks and the first against size, and against matches: a PNG."""

    curves = {
        curve: rows
        for curve in ("size", "matches")
        if (rows := [row for row in result["rows"] if row["curve"] == curve])
    }
    figure = Figure(figsize=(12, 3.9 * len(curves)), dpi=120, layout="constrained")
    panels = figure.subplots(len(curves), len(SHOWN_BY_SIZE), squeeze=False)
    for (curve, rows), line in zip(curves.items(), panels, strict=True):
        at = [row["photos" if curve == "size" else "matches"] for row in rows]
        for name, axes in zip(SHOWN_BY_SIZE, line, strict=True):
            axes.plot(
                at,
                [row["coarse_" + name] for row in rows],
                color=ORANGE,
                marker="o",
                markersize=4,
                label="first look",
            )
            axes.plot(
                at,
                [row[name] for row in rows],
                color=BLUE,
                marker="o",
                markersize=4,
                label="both looks, with the interval of their gain",
            )
            ends = (
                [row["coarse_" + name] + row[f"{name}_gain{end}"] for row in rows]
                for end in ("_low", "_high")
            )
            axes.fill_between(at, *ends, color=BLUE, alpha=0.15, linewidth=0)
            axes.set_xscale("log")
            # no label over another
            shown = [
                here
                for here, after in zip(at, [*at[1:], at[-1] * 9], strict=True)
                if after / here > 1.5
            ]
            axes.set_xticks(shown, [f"{value:,.0f}" for value in shown])
            axes.minorticks_off()
            axes.set_xlabel(
                "photos in the gallery"
                if curve == "size"
                else f"true matches among {rows[0]['photos']:,.0f} photos"
            )
            axes.set_title(name, loc="left")
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.25)
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    figure.suptitle(
        f"{result['recipe']}, model {result['model']['name']}: {result['queries']:,} queries, 95 %"
        " intervals"
    )
    return as_png(figure)
