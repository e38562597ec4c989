"""What chance does: how many inliers two unrelated photos reach, given how many features each of
them has.

A discrete survival model (Cox 1972, section 5; logistic hazards): the chance that a map is found at
all, then at each count the chance to stop there, both smooth in the logarithms of the two feature
counts. Beyond the largest count that the data still speak of, the last hazard goes on: a geometric
tail. Fitted on pairs that are almost all unrelated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.records import Float64, Int32, Int64

USUAL = 200.0  # features: where logarithms are counted from
SPEAKING = 0.95  # of the pairs with a map; among the few above may be matches that nobody knows of
SLOWER = 0.5  # how fast the chance to stop falls beyond the data, a power of the count
FEWEST = 200  # pairs with a map, to fit at all


@dataclass(frozen=True, eq=False)
class Null:
    """The inliers of unrelated pairs."""

    found: Float64  # (10,) logit of the chance that a map of at least `least` inliers is found
    stops: Float64  # (17,) logit of the chance to have just so many, having at least so many
    least: int  # inliers of the smallest map
    cap: int  # inliers from which the chance to stop stays the same
    span: Float64  # (2,) least and largest feature count that was seen: beyond, they count as these
    pairs: int  # fitted on

    def __post_init__(self) -> None:
        if (
            self.found.shape != (10,)
            or self.stops.shape != (17,)
            or self.span.shape != (2,)
            or not 1 <= self.least <= self.cap
        ):
            raise ValueError(
                f"Null: expected 10 and 17 weights and 1 <= least <= cap, got {self.found.shape},"
                f" {self.stops.shape}, {self.least}, {self.cap}"
            )

    @classmethod
    def fit(cls, query: Int64, candidate: Int64, inliers: Int32, least: int) -> Null:
        """Feature counts of both photos (n,), (n,) and inliers (n,) of unrelated pairs. Raises
        ValueError for too few.

        A pair that the fit finds impossible (less than one such in a hundred samples of this size)
        is a match that slipped in, a near-duplicate: it is left out and the fit made again.
        """
        kept = (query >= least) & (candidate >= least)
        for _ in range(3):
            null = cls._fit(query[kept], candidate[kept], inliers[kept], least)
            fair = kept & (
                null.log_chance(query, candidate, inliers) > -np.log(100 * max(1, kept.sum()))
            )
            if (fair == kept).all():
                break
            kept = fair
        return null

    @classmethod
    def _fit(cls, query: Int64, candidate: Int64, inliers: Int32, least: int) -> Null:
        from sklearn.linear_model import LogisticRegression

        mapped = inliers >= least
        if mapped.sum() < FEWEST or mapped.all():
            raise ValueError(
                f"null: expected at least {FEWEST} random pairs with a map and some without, got"
                f" {mapped.sum()} of {len(mapped)}"
            )
        span = np.quantile(np.concatenate([query, candidate]), [0.005, 0.995])
        cap = max(least, int(np.quantile(inliers[mapped], SPEAKING)))
        counts = _counts(query, candidate, span)
        found = LogisticRegression(C=1.0, max_iter=2000).fit(counts[:, 1:], mapped)
        rows, stopped = [], []
        for level in range(least, cap + 1):
            reached = inliers >= level
            rows.append(_levels(counts[reached], level)[:, 1:])
            stopped.append(inliers[reached] == level)
        stops = LogisticRegression(C=1.0, max_iter=2000).fit(
            np.concatenate(rows), np.concatenate(stopped)
        )
        weights = [
            np.concatenate([model.intercept_, model.coef_[0]]).astype(np.float64)
            for model in (found, stops)
        ]
        return cls(weights[0], weights[1], least, cap, span, len(inliers))

    def log_chance(self, query: int | Int64, candidate: Int64, inliers: Int32) -> Float64:
        """The logarithm of the chance of so many inliers or more (mid-p: half of exactly so many),
        for each pair (K,).
        """
        counts = _counts(np.broadcast_to(np.asarray(query), candidate.shape), candidate, self.span)
        tail = -np.logaddexp(0, -_weighed(counts, self.found))  # of at least `level`
        chance = np.zeros(len(candidate))
        for level in range(self.least, self.cap + 1):
            onward = -np.logaddexp(0, _weighed(_levels(counts, level), self.stops))
            if level == self.cap:
                steps = np.arange(max(level, int(inliers.max(initial=0))) + 2 - level)
                taken = np.concatenate([[0], np.cumsum((level / (level + steps)) ** SLOWER)])
                beyond = np.maximum(inliers - level, 0)
                at, after = tail + onward * taken[beyond], tail + onward * taken[beyond + 1]
            else:
                at, after = tail, tail + onward
            here = inliers >= level if level == self.cap else inliers == level
            # log of their mean, and to the last bit between the two
            halved = at + np.log1p(np.expm1(after - at) / 2)
            chance = np.where(here, halved, chance)
            tail = tail + onward
        return chance


def _weighed(rows: Float64, weights: Float64) -> Float64:
    """(n, d), (d,) -> (n,): a matrix product would round a row by where it stands, and equal pairs
    would differ in their last bit.
    """
    summed: Float64 = np.einsum("nd,d->n", rows, weights)
    return summed


def _counts(query: Int64, candidate: Int64, span: Float64) -> Float64:
    """(n,), (n,) -> (n, 10) a cubic in the logarithms of both counts."""
    a, b = (np.log(np.clip(count, *np.maximum(span, 1)) / USUAL) for count in (query, candidate))
    return np.stack(
        [np.ones(len(a)), a, b, a * a, b * b, a * b, a**3, b**3, a * a * b, a * b * b], 1
    )


def _levels(counts: Float64, level: int) -> Float64:
    """(n, 10) -> (n, 17): the number of inliers enters by its logarithm, beside and times the
    quadratic part.
    """
    log = np.log(level / 8)
    return np.concatenate(
        [counts, np.full((len(counts), 1), log), log * log * counts[:, :1], log * counts[:, 1:6]], 1
    )
