"""The tables of attention embeddings: rows of artifacts/results/attention.json, as evaluate
--first-look writes them, beside the paper's.
"""

from collections.abc import Callable, Sequence

from pipeline.base.names import ATTENDED
from pipeline.results.tables import (
    Row,
    bounded,
    by_label,
    commands,
    fraction,
    markdown,
    number,
)

# Tang, Jiang & Yang 2023 (seeds 000 and 001), table 1: COREL-10K, full setting, split not stated;
# millions of parameters, Top-1 and Top-10, which are hit@1 and hit@10
PUBLISHED = {
    "resnet50": (25.6, 0.7725, 0.9062),
    "resnet50_se": (28.1, 0.7808, 0.9151),
    "resnet50_cbam": (28.2, 0.7857, 0.9184),
    "resnet50_gam": (151.4, 0.7918, 0.9193),
}


TENTH = ", a tenth held out"  # how a label says that the epoch was chosen so


def attention(rows: Sequence[Row]) -> list[str]:
    """A line per embedding and data set, labelled `DATA, EMBEDDING, seed N`: means over seeds, with
    the range of the first look's hit@1 and mAP.
    """
    body = []
    for label, seeds in sorted(by_label(rows).items(), key=lambda item: place(item[0], item[1][0])):
        first = [
            ranged(seeds, "coarse_hit@1"),
            *(fraction(mean(seeds, f"coarse_{name}")) for name in ("hit@10", "precision@10")),
            ranged(seeds, "coarse_mAP"),
        ]
        both = [ranged(seeds, "hit@1"), fraction(mean(seeds, "mAP"))]
        cost = [
            *costs(seeds),
            number(mean(seeds, "peak_mb"), ",.0f"),
            number(mean(seeds, "seconds") / 60, ".0f"),
        ]
        setting = f"{seeds[0]['setting']}, {seeds[0]['px']} px, {seeds[0]['epochs']} epochs"
        body.append([label, setting, str(len(seeds)), *first, *both, *cost])
    for recipe, (size, top1, top10) in PUBLISHED.items():
        found = [fraction(top1), fraction(top10), "", "", "", ""]
        body.append(
            [
                f"COREL-10K, {recipe}, as published",
                "full, 200 epochs",
                "",
                *found,
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
        "first look: hit@1",
        "hit@10",
        "precision@10",
        "mAP",
        "both looks: hit@1",
        "mAP",
    ]
    head += ["million parameters", "ms per image", "peak MB", "minutes per training"]
    return markdown(head, body) + commands(rows)


def networks(rows: Sequence[Row]) -> list[str]:
    """The four networks on Corel-1K after 10 epochs, by the first look: a part of `attention`."""
    return short(
        rows, lambda label: label.startswith("corel-1k, ") and label.endswith(", 10 epochs")
    )


def chosen(rows: Sequence[Row]) -> list[str]:
    """The epoch chosen by a tenth of the photos held out: the four networks, and what else the
    plain one can learn from. A part of `attention`.
    """
    return short(rows, lambda label: label.endswith(TENTH))


def gam(rows: Sequence[Row]) -> list[str]:
    """What makes GAM cheaper, on Corel-1K after 5 epochs: a part of `attention`."""
    return short(
        rows,
        lambda label: (
            label.startswith("corel-1k, ")
            and "_gam" in label
            and ", 10 " not in label
            and TENTH not in label
        ),
    )


def short(rows: Sequence[Row], wanted: Callable[[str], bool]) -> list[str]:
    """A line for each data set and embedding that is wanted."""
    body = []
    for label, seeds in sorted(by_label(rows).items(), key=lambda item: place(item[0], item[1][0])):
        if wanted(label):
            name = ", ".join(label.split(", ")[:2])
            figures = [ranged(seeds, "coarse_hit@1"), ranged(seeds, "coarse_mAP")]
            body.append([name, str(len(seeds)), *figures, *costs(seeds)])
    head = ["photos, embedding", "seeds", "first look: hit@1", "mAP"]
    return markdown([*head, "million parameters", "ms per image"], body)


def gain(rows: Sequence[Row]) -> list[str]:
    """What the second look adds to each embedding on Caltech-101 whose epoch a tenth of the photos
    chose, one seed, 95 % intervals over queries.
    """
    body = [
        [
            row["label"].split(", ")[1],
            *(number(n, ",d") for n in (row["data"]["photos"], row["queries"])),
            *(bounded(row, f"{name}_gain", "+.3f", "+.3f") for name in ("hit@1", "mAP")),
        ]
        for row in rows
        if row["label"].startswith("caltech-101, ") and TENTH in row["label"]
    ]
    head = ["embedding", "photos", "queries", "gain of both looks in hit@1", "in mAP"]
    return markdown(head, body)


def paired(rows: Sequence[Row]) -> list[str]:
    """Gains of the first look from `study compare`, labelled `DATA, EMBEDDING less EMBEDDING`."""
    body = [
        [
            row["label"],
            str(row["queries"]),
            str(len(row["data"]["these"])),
            *(bounded(row, f"{name}, first look", "+.3f", "+.3f") for name in ("hit@1", "mAP")),
        ]
        for row in rows
    ]
    head = ["photos, embedding", "queries", "seeds", "gain in hit@1 of the first look", "in mAP"]
    return markdown(head, body) + commands(rows)


def mean(seeds: Sequence[Row], name: str) -> float:
    return sum(float(seed[name]) for seed in seeds) / len(seeds)


def ranged(seeds: Sequence[Row], name: str) -> str:
    """The mean over seeds, [least, greatest] where there are several."""
    values = [seed[name] for seed in seeds]
    return fraction(mean(seeds, name)) + (
        f" [{fraction(min(values))}, {fraction(max(values))}]" if len(seeds) > 1 else ""
    )


def costs(seeds: Sequence[Row]) -> list[str]:
    return [
        number(mean(seeds, "parameters") / 1e6, ".1f"),
        number(mean(seeds, "ms_per_image"), ".0f"),
    ]


def place(label: str, row: Row) -> tuple[str, int, str]:
    """By data set, then in the paper's order, then what was varied."""
    return label.partition(", ")[0], ATTENDED.index(row["recipe"]), label
