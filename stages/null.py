"""What chance does: how many inliers two unrelated photos reach, given how many features each of
them has, and how near they are by the first look.

A discrete survival model (Cox 1972, section 5; logistic hazards): the chance that a map is found at
all, then at each count the chance to stop there, both smooth in the logarithms of the two feature
counts. Beyond the largest count that the data still speak of, the last hazard goes on, falling
slowly. Fitted on pairs that are almost all unrelated.

Queries differ: leaves and brickwork agree with anything a little more often than a clear sky with a
few boats does. How much more, a query's own candidates tell, almost all of which are unrelated: one
number that makes every step below `cap` easier or harder, whose spread over queries is known, and
over which the chance is averaged (empirical Bayes; Robbins 1956). So few candidates are judged with
caution, and a photo of another kind than those the null was fitted on by its own.

Photos that the first look finds near have more in common by chance than others. How near is the
share of a gallery's photos that are at least as near to the query, whose logarithm shifts all
logits: so it means the same in galleries of any size, and by whatever the first look compares.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from stages.records import Bool, Float64, Int32, Int64

USUAL = 200.0  # features: where logarithms are counted from
FAR = 0.6  # the share of nearer photos that far pairs have in the geometric mean: shifts nothing
# of the pairs with a map; among the few above may be matches that nobody knows of, and fewer where
# the photos are known to show different things, as those are by which nearness is fitted
SPEAKING, KNOWN = 0.95, 0.98
# how much queries differ beyond their feature counts, standard deviation of a logit: by what half
# of the pairs of each of 1,200 training photos said, the other half was foretold best at .5 (log
# likelihood -7,778; -7,782 at .4, -7,783 at .7, -8,486 where they do not differ)
DIFFER = 0.5
STEPS = 8  # of Newton, to a query's ease
SLOWER = 0.5  # how fast the chance to stop falls beyond the data, a power of the count
FEWEST = 200  # pairs with a map, to fit at all


@dataclass(frozen=True, eq=False)
class Null:
    """The inliers of unrelated pairs."""

    found: Float64  # (10,) logit of the chance that a map of at least `least` inliers is found
    stops: Float64  # (17,) logit of the chance to have just so many, having at least so many
    least: int  # inliers of the smallest map
    cap: int  # inliers beyond which the data say nothing
    span: Float64  # (2,) least and largest feature count that was seen: beyond, they count as these
    pairs: int  # fitted on
    # (3,) what the logarithm of nearness adds to the logit of `found`, of `stops`, and of `stops`
    # for each unit of the inliers' logarithm; and the smallest share that was seen
    near: Float64 = field(default_factory=lambda: np.zeros(3))
    nearest: float = 1.0

    def __post_init__(self) -> None:
        if (
            self.found.shape != (10,)
            or self.stops.shape != (17,)
            or self.span.shape != (2,)
            or self.near.shape != (3,)
            or not 0 < self.nearest <= 1
            or not 1 <= self.least <= self.cap
        ):
            raise ValueError(
                "Null: expected 10, 17 and 3 weights and 1 <= least <= cap, got"
                f" {self.found.shape}, {self.stops.shape}, {self.near.shape}, {self.least},"
                f" {self.cap}"
            )

    @classmethod
    def fit(
        cls,
        query: Int64,
        candidate: Int64,
        inliers: Int32,
        least: int,
        share: Float64 | None = None,
    ) -> Null:
        """Feature counts of both photos (n,), (n,) and inliers (n,) of unrelated pairs; share (n,)
        of the photos that are at least as near, where nearness is to be fitted. Raises ValueError
        for too few.

        A pair that the fit finds impossible (less than one such in a hundred samples of this size)
        is a match that slipped in, a near-duplicate: it is left out and the fit made again.
        """
        kept = (query >= least) & (candidate >= least)
        for _ in range(3):
            null = cls._fit(
                query[kept],
                candidate[kept],
                inliers[kept],
                least,
                None if share is None else share[kept],
            )
            fair = kept & (
                null.log_chance(query, candidate, inliers, share)
                > -np.log(100 * max(1, kept.sum()))
            )
            if (fair == kept).all():
                break
            kept = fair
        return null

    @classmethod
    def _fit(
        cls,
        query: Int64,
        candidate: Int64,
        inliers: Int32,
        least: int,
        share: Float64 | None,
    ) -> Null:
        mapped = inliers >= least
        if mapped.sum() < FEWEST:
            raise ValueError(
                f"null: expected at least {FEWEST} random pairs with a map, got {mapped.sum()} of"
                f" {len(mapped)}"
            )
        span = np.quantile(np.concatenate([query, candidate]), [0.005, 0.995])
        speaking = SPEAKING if share is None else KNOWN
        cap = max(least, int(np.quantile(inliers[mapped], speaking)))
        counts = _counts(query, candidate, span)
        nearest = 1.0 if share is None else float(share.min())
        # no column where nearness is not fitted
        near = np.empty((len(counts), 0)) if share is None else _nearness(share, nearest)[:, None]
        found = _fit_logit(np.concatenate([counts[:, 1:], near], 1), mapped)
        rows, stopped = [], []
        for level in range(least, cap + 1):
            reached = inliers >= level
            own = near[reached]
            columns = [_levels(counts[reached], level)[:, 1:], own, np.log(level / 8) * own]
            rows.append(np.concatenate(columns, 1))
            stopped.append(inliers[reached] == level)
        stops = _fit_logit(np.concatenate(rows), np.concatenate(stopped))
        shifts = np.zeros(3) if share is None else np.concatenate([found[10:], stops[17:]])
        return cls(found[:10], stops[:17], least, cap, span, len(inliers), shifts, nearest)

    def odds(self, query: int | Int64, candidate: Int64, share: Float64 | None = None) -> Odds:
        """What chance does for each pair (K,); share (K,) of the photos that are at least as near,
        where it is known.
        """
        counts = _counts(np.broadcast_to(np.asarray(query), candidate.shape), candidate, self.span)
        near = np.zeros(len(counts)) if share is None else _nearness(share, self.nearest)
        stops = [
            _weighed(_levels(counts, level), self.stops)
            + (self.near[1] + self.near[2] * np.log(level / 8)) * near
            for level in range(self.least, self.cap + 1)
        ]
        found = _weighed(counts, self.found) + self.near[0] * near
        return Odds(found, np.stack(stops), self.least)

    def log_chance(
        self, query: int | Int64, candidate: Int64, inliers: Int32, share: Float64 | None = None
    ) -> Float64:
        """As `Odds.log_chance`, of queries that are like others."""
        return self.odds(query, candidate, share).log_chance(inliers)


@dataclass(frozen=True)
class Ease:
    """By how much unrelated photos agree more easily with one query than with others of as many
    features: what is to be taken from the logit to stop, and the standard deviation to which that
    is known.
    """

    by: float = 0.0
    spread: float = 0.0


AS_OTHERS = Ease()


@dataclass(frozen=True, eq=False)
class Odds:
    """What chance does for each of a query's pairs."""

    found: Float64  # (K,) logit of the chance of a map
    # (L, K) logit to have just `least`, `least` + 1, ... inliers, having at least so many; from the
    # last one on the chance falls slowly
    stops: Float64
    least: int

    def log_chance(self, inliers: Int32, ease: Ease = AS_OTHERS) -> Float64:
        """The logarithm of the chance of so many inliers or more (mid-p: half of exactly so many),
        for each pair (K,), in the mean over what the query's ease may be.
        """
        if not ease.spread:
            return self._log_chance(inliers, ease.by)
        # three points by Gauss and Hermite
        shifts = ease.by + ease.spread * np.array([-(3**0.5), 0, 3**0.5])
        parts = [self._log_chance(inliers, float(shift)) for shift in shifts]
        whole: Float64 = np.logaddexp.reduce(np.array(parts) + np.log([[1 / 6], [2 / 3], [1 / 6]]))
        return whole

    def _log_chance(self, inliers: Int32, ease: float) -> Float64:
        tail = -np.logaddexp(0, -self.found)  # of at least `level`
        chance, cap = np.zeros(len(self.found)), self.least + len(self.stops) - 1
        for level, stop in enumerate(self.stops, self.least):
            if level == cap:
                onward = -np.logaddexp(0, stop)
                steps = np.arange(max(level, int(inliers.max(initial=0))) + 2 - level)
                taken = np.concatenate([[0], np.cumsum((level / (level + steps)) ** SLOWER)])
                beyond = np.maximum(inliers - level, 0)
                at, after = tail + onward * taken[beyond], tail + onward * taken[beyond + 1]
                here = inliers >= level
            else:
                onward = -np.logaddexp(0, stop - ease)
                at, after, here = tail, tail + onward, inliers == level
            # log of their mean, and to the last bit between the two
            halved = at + np.log1p(np.expm1(after - at) / 2)
            chance = np.where(here, halved, chance)
            tail = tail + onward
        return chance

    def ease(self, inliers: Int32, among: Bool) -> Ease:
        """The likeliest by those of the query's own candidates (K,) that are among them, almost all
        unrelated; as wide as queries differ without any.
        """
        logits, stopped = [np.empty(0)], [np.empty(0, np.bool_)]
        for level, stop in enumerate(self.stops[:-1], self.least):
            reached = among & (inliers >= level)
            logits.append(stop[reached])
            stopped.append(inliers[reached] == level)
        logit, told, by, width = np.concatenate(logits), np.concatenate(stopped), 0.0, 0.0
        for _ in range(STEPS):  # Newton's, of a concave function
            chance = 1 / (1 + np.exp(by - logit))
            width = float((chance * (1 - chance)).sum()) + 1 / DIFFER**2
            by += float((chance - told).sum() - by / DIFFER**2) / width
        return Ease(by, width**-0.5)


def _fit_logit(rows: Float64, told: Bool) -> Float64:
    """(n, d), (n,) -> (1 + d,) the intercept and weights of logistic regression; where all or none
    are told, as if one of n + 1 were otherwise.
    """
    from sklearn.linear_model import LogisticRegression

    if told.all() or not told.any():
        logit = np.log(len(told) + 1)
        return np.concatenate([[logit if told.all() else -logit], np.zeros(rows.shape[1])])
    fitted = LogisticRegression(C=1.0, max_iter=2000).fit(rows, told)
    return np.concatenate([fitted.intercept_, fitted.coef_[0]]).astype(np.float64)


def _weighed(rows: Float64, weights: Float64) -> Float64:
    """(n, d), (d,) -> (n,): a matrix product would round a row by where it stands, and equal pairs
    would differ in their last bit.
    """
    summed: Float64 = np.einsum("nd,d->n", rows, weights)
    return summed


def _nearness(share: Float64, nearest: float) -> Float64:
    """(n,) -> (n,) its logarithm, counted from that of far pairs; a share smaller than any that was
    seen counts as that.
    """
    return np.log(np.clip(share, nearest, 1.0) / FAR)


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
