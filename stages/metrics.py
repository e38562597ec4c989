"""The measures of a ranking, each under the field's own name and with its divisor said; and how far
their means can be trusted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.records import Bool, Int64

Floats = npt.NDArray[np.float64]
RESAMPLES = 2000
MAP = (
    "mean average precision over the full depth, divided by the number of a query's relevant"
    " photos, found or not; ties at their expectation"
)


@dataclass(frozen=True)
class Quality:
    """Of one query, or means over queries."""

    mAP: float
    precision_at_1: float
    precision_at_10: float
    hit_at_1: float
    hit_at_10: float
    hit_at_100: float  # what a shortlist of a hundred would hold

    def to_json(self) -> dict[str, float]:
        return {name.replace("_at_", "@"): round(value, 6) for name, value in vars(self).items()}


QUALITY = tuple(name.replace("_at_", "@") for name in Quality.__dataclass_fields__)


def average_precision(relevant: Bool, total: int) -> float:
    """Ranking (N,) of relevance over the full depth, divided by the number of relevant photos,
    found or not.
    """
    found = np.flatnonzero(relevant)
    return float((np.arange(1, len(found) + 1) / (found + 1)).sum() / total) if total else 0.0


def tied_average_precision(relevant: Bool, ties: Int64, total: int) -> float:
    """The mean of `average_precision` over all orders within ties, exactly (McSherry & Najork 2008,
    section 3.3).

    relevant (N,) by place; ties (N,) ascending, places with one number are tied. Equal to the plain
    one where nothing is tied.
    """
    if not total or not len(relevant):
        return 0.0
    _, first, size = np.unique(ties, return_index=True, return_counts=True)
    found = np.add.reduceat(relevant.astype(np.float64), first)  # relevant photos of each tie
    n, r, before, start = (
        np.repeat(of, size) for of in (size, found, np.cumsum(found) - found, first)
    )
    places = np.arange(len(relevant))
    # at a place of a tie: the chance of a relevant photo there, times how many are expected so far
    # when there is one
    expected = (
        r / n * (before + 1 + (places - start) * (r - 1) / np.maximum(n - 1, 1)) / (places + 1)
    )
    return float(expected[r > 0].sum() / total)


def precision(relevant: Bool, k: int) -> float:
    """The share of the first k places that are relevant; a place that a short ranking does not have
    is not.
    """
    return float(relevant[:k].sum() / k)


def hit(relevant: Bool, k: int) -> float:
    """Whether any of the first k places is relevant."""
    return float(relevant[:k].any())


def one(relevant: Bool, ties: Int64, total: int) -> Quality:
    """The measures of one query, from its ranking of relevance, its ties and how many relevant
    photos it has; mAP is tie-aware.
    """
    average = tied_average_precision(relevant, ties, total)
    return Quality(
        average,
        precision(relevant, 1),
        precision(relevant, 10),
        hit(relevant, 1),
        hit(relevant, 10),
        hit(relevant, 100),
    )


def interval(values: Floats, seed: int = 0) -> tuple[Floats, Floats]:
    """(..., Q) one value a query -> low (...), high (...): the 95 % percentile bootstrap interval
    of the mean over queries.

    Every row sees the same 2,000 draws of queries, so that the difference of two rows is a paired
    comparison.
    """
    rng, n = np.random.default_rng(seed), values.shape[-1]
    # (R, Q) how often each query
    drawn = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(RESAMPLES)])
    low, high = np.percentile(values @ drawn.T / n, (2.5, 97.5), axis=-1)
    return low, high


def compare(values: Floats, names: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """(2, M, Q) both looks and the first, M named measures -> {name: mean, "interval": {name: [low,
    high]}}, the first look's the same under "coarse", and under "gain" that of the paired
    difference.
    """
    # all three see the same draws of queries
    values = np.concatenate([values, values[:1] - values[1:]])
    low, high = interval(values, seed)

    def part(place: int) -> dict[str, Any]:
        means = {
            name: round(float(mean), 6)
            for name, mean in zip(names, values[place].mean(1), strict=True)
        }
        ends = zip(names, low[place].tolist(), high[place].tolist(), strict=True)
        return {
            **means,
            "interval": {name: [round(least, 6), round(most, 6)] for name, least, most in ends},
        }

    return {**part(0), "coarse": part(1), "gain": part(2)}


def knee(first: Floats, sizes: Floats) -> int | None:
    """first (Q,), sizes (S, Q) ascending, one value a query -> the size to recommend by the
    one-standard-error rule (Breiman et al. 1984): the smallest whose mean is within one standard
    error of the best size's, the error that of the paired difference, and not below the first
    look's. None where the best size's is no better than the first look's.
    """
    means, n = sizes.mean(1), len(first)
    best = int(means.argmax())
    if means[best] <= first.mean():
        return None
    behind = sizes[best] - sizes  # (S, Q)
    error = behind.std(1, ddof=1) / n**0.5 if n > 1 else np.zeros(len(sizes))
    # one query that differs puts a size exactly one standard error behind: it is within, whichever
    # way the last bit rounds
    within = behind.mean(1) <= error * (1 + 1e-9)
    return int(np.flatnonzero(within & (means >= first.mean()))[0])
