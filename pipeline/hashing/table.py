"""The README's table of hashing: rows of artifacts/results/cifar10.json, as scripts/hashing.py writes them, beside the published ones."""

from collections.abc import Sequence

from pipeline.tables import Row, commands, fraction, markdown

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
    """A line a method and protocol: mAP at each length, mean and range over seeds; at the longest what the other measures say."""
    found: dict[tuple[str, str], dict[int, list[Row]]] = {}
    for row in rows:
        found.setdefault((row["protocol"], row["recipe"]), {}).setdefault(row["bits"], []).append(row)
    order = {(protocol, recipe): (protocol, -longest(lengths, "mAP")) for (protocol, recipe), lengths in found.items()}
    body = []
    for protocol, recipe in sorted(found, key=order.__getitem__):
        lengths = found[protocol, recipe]
        cells = [cell(lengths.get(bits, []), PUBLISHED.get(recipe, ())[i : i + 1]) for i, bits in enumerate(BITS)]
        others = [fraction(longest(lengths, name)) for name in ("mAP_both_looks", "mAP_stable_sort", "precision_radius_2")]
        learned = fraction(longest(lengths, "mAP_learned_codes")) if "mAP_learned_codes" in lengths[max(lengths)][0] else ""
        body.append([f"`{recipe}`", protocol, *cells, *others, learned])
    head = ["recipe", "protocol", *(f"{bits} bits" for bits in BITS), "48: both looks", "48: ties by a stable sort", "48: precision, radius 2"]
    return markdown([*head, "48: learned codes"], body) + commands(rows)


def longest(lengths: dict[int, list[Row]], name: str) -> float:
    """The mean over seeds at the longest code."""
    rows = lengths[max(lengths)]
    return float(sum(row[name] for row in rows) / len(rows))


def cell(rows: Sequence[Row], published: Sequence[float]) -> str:
    """Mean [least, most] (published)."""
    if not rows:
        return ""
    values = [row["mAP"] for row in rows]
    spread = f" [{fraction(min(values))}, {fraction(max(values))}]" if len(values) > 1 else ""
    told = f" ({fraction(published[0])})" if published else ""
    return f"{fraction(sum(values) / len(values))}{spread}{told}"
