"""The verdict: candidates whose evidence is strong enough come first, by evidence; the others stay
as the first look had them.

Worked example, accepting from 20 inliers: a shortlist a b c d with 3, 25, 0, 40 inliers is ranked d
b a c: d and b accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from stages.gallery import Gallery
from stages.null import Ease, Null
from stages.records import Bool, Candidates, Float64, Int32, Int64, LocalFeatures, Matches, Ranking

HARDLY = 0.1  # unrelated candidates as good as this one, expected of any query
UNCALIBRATED = 20  # inliers from which a candidate is accepted where nobody knows chance


@dataclass(frozen=True)
class FixedCount:
    """(features, candidates, matches, gallery) -> Ranking: accepted from so many inliers on, as
    seed 004 does, whatever the photos.
    """

    known_as: ClassVar[str] = "rank"
    least: int  # inliers

    def __call__(
        self, features: LocalFeatures, candidates: Candidates, matches: Matches, gallery: Gallery
    ) -> Ranking:
        _same_shape(candidates, matches)
        evidence = matches.inliers.astype(np.float64)
        accepted = matches.inliers >= self.least
        return _ranked(evidence, accepted, np.full(evidence.shape, np.nan))


@dataclass(frozen=True, eq=False)
class Calibrated:
    """(features, candidates, matches, gallery) -> Ranking: accepted at a stated rate of false
    alarms a query.

    A candidate's expected false alarms are the chance that an unrelated photo with as many
    features, and as near by the first look, reaches its inliers, times the number of candidates it
    stands for: the expected number of unrelated photos that look as good by both looks. Accepting
    where that is at most `rate` accepts at most `rate` of them per query in the mean, however many
    candidates there are (Bonferroni; a contrario, Desolneux et al. 2000).

    The third candidate stands for three, times 1 + 1/2 + 1/3 + ... + 1/K, so that all K together
    have the rate (weighted hypotheses; Genovese, Roeder & Wasserman 2006): where the first look
    knows a thing, little more is needed to say so, and a weak match far down a list is not one. A
    null that does not know nearness lets each stand for all candidates, and for all photos of the
    gallery where votes have looked at them.

    Accepted ones are ordered by the chance of so many inliers as if the first look did not matter
    for it, times the number of photos as near.
    """

    # Tried and lost, all by a geometric tail. Each candidate stands for all: with as many false
    # alarms, Corel-1K has .923 of first places in whole numbers, not .939, and photographs accept
    # up to 1.9 times the stated rate of paintings, not 1.5. Raising weak evidence among near photos
    # before the others' order: Corel-1K .935 for .939, hard photographs equal. Ordered by the
    # chance of near photos: places of the walk .80 first for .84, cartons .82 for .84.

    known_as: ClassVar[str] = "rank"
    rate: float  # unrelated candidates accepted, expected over all that were verified
    null: Null | None  # the model's, for a gallery that has none of its own
    # of the rate: other looks at the same photo have the rest. One that has half of it expects
    # twice as many false alarms
    share: float = 1.0

    def __call__(
        self, features: LocalFeatures, candidates: Candidates, matches: Matches, gallery: Gallery
    ) -> Ranking:
        _same_shape(candidates, matches)
        null = self.null_of(gallery)
        if null is None:  # features of another program, in a gallery too small to measure chance
            return FixedCount(UNCALIBRATED)(features, candidates, matches, gallery)
        counts, inliers = gallery.features.count[candidates.rows[0]], matches.inliers[0]
        distance = candidates.distance[0]
        place = np.searchsorted(distance, distance, "right")  # itself, those before, equal ones
        near = place if candidates.near is None else candidates.near[0]
        among = len(gallery) if candidates.places is not None else len(counts)
        log_alarms, accepted, ease = judge(
            null,
            len(features),
            counts,
            inliers,
            stands_for(null, place, among) / self.share,
            self.rate,
            share=nearness(candidates, place, len(gallery)),
        )
        far = null.odds(len(features), counts).log_chance(inliers, ease)
        return _ranked(-(far + np.log(near))[None], accepted, np.exp(log_alarms)[None])

    def null_of(self, gallery: Gallery) -> Null | None:
        """What chance does among the gallery's photos; None where nobody knows."""
        own, models = gallery.null, self.null
        if own is None or models is None:
            return own or models
        # what nearness does is not to be seen among a gallery's own photos, of which the near ones
        # may show the same thing
        return replace(own, near=models.near, nearest=models.nearest)


def weights(place: Int64) -> Float64:
    """Places in a list (K,), equal ones the last of theirs -> how many candidates each stands for:
    the sum of what is over these is at most 1.
    """
    whole: Float64 = place * (1 / np.arange(1, len(place) + 1)).sum()
    return whole


def stands_for(null: Null, place: Int64, among: int) -> Float64 | int:
    """How many candidates each stands for, by its place (K,); for all those among which it was
    found, where a null does not know nearness.
    """
    return weights(place) if null.near.any() else among


def nearness(candidates: Candidates, place: Int64, photos: int) -> Float64:
    """How near each candidate is (K,), as a null takes it: the share of all photos that are at
    least as near by what put the candidates in order, place of them.
    """
    if candidates.share is not None:
        given: Float64 = candidates.share[0]
        return given
    share: Float64 = np.minimum(place / max(1, photos), 1.0)
    return share


def judge(
    null: Null,
    query: int,
    candidate: Int64,
    inliers: Int32,
    standing: Float64 | float,
    *rates: float,
    share: Float64 | None = None,
) -> tuple[Float64, Bool, Ease]:
    """A query's feature count, those of all candidates (K,), their inliers (K,) and for how many
    each is standing -> the logarithm of the expected false alarms of each (K,); whether it is
    accepted at each rate (R, K); the query's ease. share (K,): as `nearness` has it.
    """
    odds, count = null.odds(query, candidate, share), np.log(np.maximum(1, len(candidate)))
    # what is hardly unrelated says nothing of how the unrelated do
    usual = odds.log_chance(inliers) + count > np.log(HARDLY)
    ease = odds.ease(inliers, usual)
    log_alarms = odds.log_chance(inliers, ease) + np.log(np.maximum(1, standing))
    accepted = (log_alarms <= np.log(rates)[:, None]) & (inliers >= null.least)
    return log_alarms, accepted, ease


def _ranked(evidence: Float64, accepted: Bool, false_alarms: Float64) -> Ranking:
    """No evidence at all gives the first look's order back."""
    order = np.lexsort((np.where(accepted, -evidence, 0), ~accepted), axis=1)
    return Ranking(order.astype(np.int64), accepted, evidence, false_alarms)


def _same_shape(candidates: Candidates, matches: Matches) -> None:
    if candidates.rows.shape != matches.inliers.shape:
        raise ValueError(
            f"rank.matches: expected one per candidate {candidates.rows.shape}, got"
            f" {matches.inliers.shape}"
        )
