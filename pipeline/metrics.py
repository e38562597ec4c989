"""The measures of a ranking, each under the field's own name and with its divisor said."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.records import Bool


@dataclass(frozen=True)
class Quality:
    """Means over queries."""

    mAP: float
    precision_at_1: float
    precision_at_10: float
    hit_at_1: float
    hit_at_10: float

    def to_json(self) -> dict[str, float]:
        return {name.replace("_at_", "@"): round(value, 6) for name, value in vars(self).items()}


def average_precision(relevant: Bool, total: int) -> float:
    """Ranking (N,) of relevance over the full depth, divided by the number of relevant photos, found or not."""
    found = np.flatnonzero(relevant)
    return float((np.arange(1, len(found) + 1) / (found + 1)).sum() / total) if total else 0.0


def precision(relevant: Bool, k: int) -> float:
    """The share of the first k places that are relevant; a place that a short ranking does not have is not."""
    return float(relevant[:k].sum() / k)


def hit(relevant: Bool, k: int) -> float:
    """Whether any of the first k places is relevant."""
    return float(relevant[:k].any())


def measure(rankings: Sequence[Bool], totals: Sequence[int]) -> Quality:
    """Rankings of relevance, one a query, and how many relevant photos each query has."""
    return Quality(
        float(np.mean([average_precision(r, n) for r, n in zip(rankings, totals, strict=True)])),
        float(np.mean([precision(r, 1) for r in rankings])),
        float(np.mean([precision(r, 10) for r in rankings])),
        float(np.mean([hit(r, 1) for r in rankings])),
        float(np.mean([hit(r, 10) for r in rankings])),
    )
