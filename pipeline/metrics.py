"""The measures of a ranking, each under the field's own name and with its divisor said; and how far their means can be trusted."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt

from stages.records import Bool

Floats = npt.NDArray[np.float64]
RESAMPLES = 2000


@dataclass(frozen=True)
class Quality:
    """Of one query, or means over queries."""

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


def one(relevant: Bool, total: int) -> Quality:
    """The measures of one query, from its ranking of relevance and how many relevant photos it has."""
    return Quality(average_precision(relevant, total), precision(relevant, 1), precision(relevant, 10), hit(relevant, 1), hit(relevant, 10))


def measure(rankings: Sequence[Bool], totals: Sequence[int]) -> Quality:
    """Rankings of relevance, one a query, and how many relevant photos each query has."""
    return Quality(*np.mean([astuple(one(r, n)) for r, n in zip(rankings, totals, strict=True)], axis=0).tolist())


def interval(values: Floats, seed: int = 0) -> tuple[Floats, Floats]:
    """(..., Q) one value a query -> low (...), high (...): the 95 % percentile bootstrap interval of the mean over queries.

    Every row sees the same 2,000 draws of queries, so that the difference of two rows is a paired comparison.
    """
    rng, n = np.random.default_rng(seed), values.shape[-1]
    drawn = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(RESAMPLES)])  # (R, Q) how often each query
    low, high = np.percentile(values @ drawn.T / n, (2.5, 97.5), axis=-1)
    return low, high


def knee(first: Floats, sizes: Floats) -> int | None:
    """first (Q,), sizes (S, Q) ascending, one value a query -> the size to recommend by the one-standard-error rule
    (Breiman et al. 1984): the smallest whose mean is within one standard error of the best size's, the error that of the
    paired difference, and not below the first look's. None where the best size's is no better than the first look's.
    """
    means, n = sizes.mean(1), len(first)
    best = int(means.argmax())
    if means[best] <= first.mean():
        return None
    behind = sizes[best] - sizes  # (S, Q)
    error = behind.std(1, ddof=1) / n**0.5 if n > 1 else np.zeros(len(sizes))
    # one query that differs puts a size exactly one standard error behind: it is within, whichever way the last bit rounds
    within = behind.mean(1) <= error * (1 + 1e-9)
    return int(np.flatnonzero(within & (means >= first.mean()))[0])
