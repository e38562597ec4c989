"""The table of attention embeddings: rows of artifacts/results/attention.json, as evaluate
--first-look writes them, beside the paper's.
"""

from collections.abc import Sequence

from pipeline.base.names import ATTENDED
from pipeline.results.tables import Row, by_label, commands, fraction, markdown, number

# seeds 000 and 001, table 1: COREL-10K, full setting, split not stated; millions of parameters,
# Top-1, Top-10
PUBLISHED = {
    "resnet50": (25.6, 0.7725, 0.9062),
    "resnet50_se": (28.1, 0.7808, 0.9151),
    "resnet50_cbam": (28.2, 0.7857, 0.9184),
    "resnet50_gam": (151.4, 0.7918, 0.9193),
}


def attention(rows: Sequence[Row]) -> list[str]:
    """A line per embedding and data set, labelled `DATA, EMBEDDING, seed N`: means over seeds, with
    the range of the first look's Top-1 and mAP.
    """
    body = []
    for label, seeds in sorted(by_label(rows).items(), key=lambda item: place(item[0], item[1][0])):

        def mean(name: str, seeds: Sequence[Row] = seeds) -> float:
            return sum(float(seed[name]) for seed in seeds) / len(seeds)

        def ranged(name: str, seeds: Sequence[Row] = seeds) -> str:
            values = [seed[name] for seed in seeds]
            return fraction(mean(name, seeds)) + (
                f" [{fraction(min(values))}, {fraction(max(values))}]" if len(seeds) > 1 else ""
            )

        first = [
            ranged("coarse_hit@1"),
            *(fraction(mean(f"coarse_{name}")) for name in ("hit@10", "precision@10")),
            ranged("coarse_mAP"),
        ]
        both = [ranged("hit@1"), fraction(mean("mAP"))]
        cost = [
            number(mean("parameters") / 1e6, ".1f"),
            number(mean("ms_per_image"), ".0f"),
            number(mean("peak_mb"), ",.0f"),
            number(mean("seconds") / 60, ".0f"),
        ]
        setting = f"{seeds[0]['setting']}, {seeds[0]['px']} px, {seeds[0]['epochs']} epochs"
        body.append([label, setting, str(len(seeds)), *first, *both, *cost])
    for recipe, (size, top1, top10) in PUBLISHED.items():
        body.append(
            [
                f"COREL-10K, {recipe}, as published",
                "full, 200 epochs",
                "",
                fraction(top1),
                fraction(top10),
                "",
                "",
                "",
                "",
                f"{size}",
                "",
                "",
                "",
            ]
        )
    head = [
        "photos, embedding",
        "setting",
        "seeds",
        "first look: Top-1",
        "hit@10",
        "precision@10",
        "mAP",
        "both looks: Top-1",
        "mAP",
    ]
    head += ["million parameters", "ms per image", "peak MB", "minutes per training"]
    return markdown(head, body) + commands(rows)


def place(label: str, row: Row) -> tuple[str, int, str]:
    """By data set, then in the paper's order, then what was varied."""
    return label.partition(", ")[0], ATTENDED.index(row["recipe"]), label
