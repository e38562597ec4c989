"""The table of binary codes: rows of artifacts/results/cifar10.json, as scripts/study.py
hashing writes them, beside the published ones.
"""

import re
from collections.abc import Sequence

from pipeline.results.tables import Row, commands, fraction, markdown, number

BITS = (12, 24, 32, 48)
PUBLISHED = {  # seed 002, table 1: CIFAR-10, VGG16, protocol not stated
    "am_vggh": (0.797, 0.844, 0.845, 0.853),
    "vggh": (0.776, 0.825, 0.834, 0.841),
    "dpsh": (0.713, 0.727, 0.744, 0.757),
    "dnnh": (0.552, 0.566, 0.558, 0.581),
    "cnnh_plus": (0.465, 0.521, 0.521, 0.532),
    "cnnh": (0.439, 0.511, 0.509, 0.522),
    "ksh": (0.303, 0.337, 0.346, 0.356),
    "lsh": (0.121, 0.126, 0.120, 0.120),
}


def hashing(rows: Sequence[Row]) -> list[str]:
    """A line per method, protocol and trunk: mAP at each length, mean and range over seeds; both
    looks at 12 and 48 bits, and at 48 the other measures.
    """
    found: dict[tuple[str, str, str], dict[int, list[Row]]] = {}
    for row in rows:
        found.setdefault((row["protocol"], row["model"]["name"], row["recipe"]), {}).setdefault(
            row["bits"], []
        ).append(row)

    def place(key: tuple[str, str, str]) -> tuple[str, str, float]:
        return *key[:2], -max(mean(found[key], bits) or 0 for bits in BITS)

    body = []
    for protocol, trunk, recipe in sorted(found, key=place):
        lengths = found[protocol, trunk, recipe]
        others = [
            mean(lengths, bits, name)
            for bits, name in (
                (12, "mAP_both_looks"),
                (48, "mAP_both_looks"),
                (48, "mAP_stable_sort"),
                (48, "precision_radius_2"),
                (48, "mAP_learned_codes"),
            )
        ]
        cells = [cell(lengths.get(bits, [])) for bits in BITS]
        body.append(
            [
                f"`{recipe}`",
                protocol,
                trunk,
                *cells,
                *("" if other is None else fraction(other) for other in others),
            ]
        )
    body += [
        [
            f"`{recipe}`",
            "not stated",
            "VGG16, as published",
            *map(fraction, figures),
            *[""] * 5,
        ]
        for recipe, figures in PUBLISHED.items()
    ]
    head = [
        "recipe",
        "protocol",
        "trunk",
        *(f"{bits} bits" for bits in BITS),
        "12 bits: both looks",
        "48 bits: both looks",
        "48 bits: ties by a stable sort",
        "48 bits: precision, radius 2",
        "48 bits: learned codes",
    ]
    return markdown(head, body) + commands(rows)


def mean(lengths: dict[int, list[Row]], bits: int, name: str = "mAP") -> float | None:
    """Over seeds; None where there is nothing."""
    rows = [row for row in lengths.get(bits, []) if name in row]
    return sum(row[name] for row in rows) / len(rows) if rows else None


def cell(rows: Sequence[Row]) -> str:
    """Mean [least, most]. Raises ValueError for rows that differ in more than their seed."""
    if not rows:
        return ""
    if (
        len(
            {re.sub(r"--(seed|out|bits|results) [^-]*", "", row["command"]).strip() for row in rows}
        )
        > 1
    ):
        raise ValueError(f"rows of {rows[0]['recipe']} that were made by different commands")
    values = [row["mAP"] for row in rows]
    return fraction(sum(values) / len(values)) + (
        f" [{fraction(min(values))}, {fraction(max(values))}]" if len(values) > 1 else ""
    )


def hamming(rows: Sequence[Row]) -> list[str]:
    """scripts/bench.py hamming: our exact search against FAISS in the same run."""
    (row,) = rows
    size, ours = (
        (
            f"{number(row['codes'], ',d')} codes of {row['bits']} bits, the nearest"
            f" {number(row['count'], ',d')}"
        ),
        row["seconds_per_query"],
    )
    body = [
        [
            "ours, exact",
            number(1000 * ours, ".1f"),
            "",
            f"{number(row['memory_ratio'], '.2f')} x the packed codes",
        ]
    ]
    for way in ("heaps", "counting"):
        spent = row[f"faiss_flat_{way}_seconds_per_query"]
        body.append(
            [
                f"FAISS IndexBinaryFlat, by {way}",
                number(1000 * spent, ".1f"),
                f"{number(spent / ours, '.1f')} x",
                "",
            ]
        )
    spent, recall = (
        row["faiss_multi_index_seconds_per_query"],
        fraction(row["faiss_multi_index_recall"]),
    )
    body.append(
        [
            f"FAISS IndexBinaryMultiHash, finds {recall} of them",
            number(1000 * spent, ".1f"),
            f"{number(spent / ours, '.1f')} x",
            "",
        ]
    )
    head = [size, "ms per query", "ours is faster by", "memory"]
    return markdown(head, body) + commands(rows)
