"""Chance by known laws: hazards that depend on both feature counts, inliers drawn from them, and
what the tail then is exactly.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from stages.null import Null
from stages.records import Int32, Int64

Floats = npt.NDArray[np.float64]
LEAST = 4  # inliers of the smallest map
FROM, TO = 60, 600  # features of a photo


def chance(logit: Any) -> Any:
    return 1 / (1 + np.exp(-logit))


def found(query: Any, candidate: Any) -> Any:
    """The chance that there is a map: about 40 % over all counts."""
    a, b = np.log(query / 200), np.log(candidate / 200)
    return chance(-0.4 + 0.7 * a + 0.5 * b - 0.2 * a * b)


def stops(query: Any, candidate: Any, level: int) -> Any:
    """The chance to have just so many inliers, having at least so many."""
    a, b = np.log(query / 200), np.log(candidate / 200)
    return chance(-0.3 - 0.5 * a - 0.4 * b + np.log(min(level, 15) / 8))


def draw(rng: np.random.Generator, pairs: int) -> tuple[Int64, Int64, Int32]:
    """Feature counts of both photos, and inliers, of unrelated pairs."""
    query, candidate = (
        np.exp(rng.uniform(np.log(FROM), np.log(TO), pairs)).astype(np.int64) for _ in range(2)
    )
    going, level = rng.random(pairs) < found(query, candidate), LEAST
    inliers = np.where(going, LEAST, 0).astype(np.int32)
    while going.any():
        going &= rng.random(pairs) >= stops(query, candidate, level)
        inliers[going] += 1
        level += 1
    return query, candidate, inliers


def log_truth(query: Any, candidate: Any, inliers: int) -> Any:
    """The logarithm of the chance of more, and of half of exactly so many."""
    at = found(query, candidate)
    for level in range(LEAST, inliers):
        at = at * (1 - stops(query, candidate, level))
    return np.log(at * (1 - stops(query, candidate, inliers) / 2))


def even(
    logit_found: float = 0.0, logit_stop: float = 0.0, cap: int = 30, least: int = LEAST
) -> Null:
    """Whatever the counts: a map half of the time, and at each number of inliers half of them
    stop."""
    return Null(
        np.eye(1, 10)[0] * logit_found,
        np.eye(1, 17)[0] * logit_stop,
        least,
        cap,
        np.array([1.0, 1e6]),
        1000,
    )
