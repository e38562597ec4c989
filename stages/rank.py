"""The verdict: candidates whose evidence is strong enough come first, by evidence; behind them
those whose weak evidence is rare among the photos as near; the others stay as the first look had
them.

Worked example, accepting from 20 inliers: a shortlist a b c d with 3, 25, 0, 40 inliers is ranked d
b a c: d and b accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from stages.gallery import Gallery
from stages.null import Null
from stages.records import Bool, Candidates, Float64, Int32, Int64, LocalFeatures, Matches, Ranking

RAISE = 0.2  # of the rate
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
        raised = np.zeros(accepted.shape, np.bool_)
        return _ranked(evidence, accepted, raised, np.full(evidence.shape, np.nan))


@dataclass(frozen=True, eq=False)
class Calibrated:
    """(features, candidates, matches, gallery) -> Ranking: accepted at a stated rate of false
    alarms a query.

    A candidate's expected false alarms are the chance that an unrelated photo with as many
    features, and as near by the first look, reaches its inliers, times the number of candidates
    that were verified: the expected number of unrelated photos that match as well. Accepting where
    that is at most `rate` accepts `rate` of them per query in the mean (Bonferroni; a contrario,
    Desolneux et al. 2000), however many candidates there are. A null that does not know nearness
    takes all photos of the gallery in place of the candidates where votes chose them.

    Few photos are nearer by the first look than the one that it ranks third: among these, not among
    all candidates, evidence too weak to accept anything may still be rare. What both looks say is
    the chance of so many inliers, as if the first look did not matter for it, times the number of
    candidates as near, itself among them. Accepted ones are ordered by it; a candidate is raised
    where it is at most RAISE times `rate`. Since 1 + 1/2 + 1/3 ... grows as a logarithm, few
    unrelated photos are raised, none of which is called a match.
    """

    # Tried and lost. As near by the odds of codes and votes: of the hard photographs more are found
    # first, and fewer classes. Ordered by the chance of near photos: places of the walk .78 first
    # for .84, cartons .81 for .84. Raised by it: cartons .81 for .84, Corel-1K .938 for .928.
    # Raised at the whole rate: no more are found, Corel-1K .914.

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
        null = gallery.null or self.null
        if null is None:  # features of another program, in a gallery too small to measure chance
            return FixedCount(UNCALIBRATED)(features, candidates, matches, gallery)
        if gallery.null is not None and self.null is not None:
            # what nearness does is not to be seen among a gallery's own photos, of which the near
            # ones may show the same thing
            null = replace(null, near=self.null.near, nearest=self.null.nearest)
        counts = gallery.features.count[candidates.rows[0]]
        among = len(counts)
        # votes have looked at every photo, and chosen those that are like the query by chance, too
        if candidates.places is not None and not null.near.any():
            among = len(gallery)
        distance = candidates.distance[0]
        near = (
            np.searchsorted(distance, distance, "right")  # itself, nearer ones, equal ones
            if candidates.near is None
            else candidates.near[0]
        )
        log_alarms, accepted = judge(
            null,
            len(features),
            counts,
            matches.inliers[0],
            self.rate * self.share,
            among=among,
            share=nearness(candidates, near, len(gallery)),
        )
        log_alarms -= np.log(self.share)
        near_alarms = null.log_chance(len(features), counts, matches.inliers[0]) + np.log(near)
        raised = (near_alarms <= np.log(RAISE * self.rate)) & (matches.inliers[0] >= null.least)
        raised &= ~accepted[0]
        return _ranked(-near_alarms[None], accepted, raised[None], np.exp(log_alarms)[None])


def nearness(candidates: Candidates, near: Int64 | Int32, photos: int) -> Float64:
    """How near each candidate is (K,), as a null takes it: the share of all photos that are at
    least as near by what put the candidates in order, their codes (near of them) or the odds of
    codes and votes.
    """
    if candidates.share is not None:
        given: Float64 = candidates.share[0]
        return given
    if candidates.places is not None:
        near = np.searchsorted(candidates.distance[0], candidates.distance[0], "right")
    share: Float64 = np.minimum(near / max(1, photos), 1.0)
    return share


def judge(
    null: Null,
    query: int,
    candidate: Int64,
    inliers: Int32,
    *rates: float,
    among: int | None = None,
    share: Float64 | None = None,
) -> tuple[Float64, Bool]:
    """A query's feature count, those of all candidates (K,) and their inliers (K,) -> the
    logarithm of the expected false alarms of each (K,); whether it is accepted at each rate (R, K).
    among: photos of which these were chosen, K unless given; share (K,): as `nearness` has it.
    """
    # Tried and lost: sharing the rate out by 1 / coarse rank. By folders it costs no first place
    # (embedded model, 1,287 photos, 200 candidates: hit@1 -.001 where this has -.009 [-.022,
    # .004]), but in the museum one wall shot of fifteen (.933 for .967).
    count = np.log(max(1, len(inliers) if among is None else among))
    odds = null.odds(query, candidate, share)
    # what is hardly unrelated says nothing of how the unrelated do
    usual = odds.log_chance(inliers) + count > np.log(HARDLY)
    log_alarms = odds.log_chance(inliers, odds.ease(inliers, usual)) + count
    return log_alarms, (log_alarms <= np.log(rates)[:, None]) & (inliers >= null.least)


def _ranked(evidence: Float64, accepted: Bool, raised: Bool, false_alarms: Float64) -> Ranking:
    """No evidence at all gives the first look's order back."""
    group = np.where(accepted, 0, np.where(raised, 1, 2))
    key = np.where(group < 2, -evidence, 0)
    order = np.lexsort((key, group), axis=1)
    return Ranking(order.astype(np.int64), accepted, raised, evidence, false_alarms)


def _same_shape(candidates: Candidates, matches: Matches) -> None:
    if candidates.rows.shape != matches.inliers.shape:
        raise ValueError(
            f"rank.matches: expected one per candidate {candidates.rows.shape}, got"
            f" {matches.inliers.shape}"
        )
