"""What several looks at one photo found: its own, and those of others that asked in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.search.turn import AS_IT_IS, Turn, composed
from stages.rank import Calibrated
from stages.records import Candidates, Float32, Int64, Matches, Ranking

if TYPE_CHECKING:
    from pipeline.search.engine import Engine


@dataclass(frozen=True, eq=False)
class Looked:
    """The candidates of all looks, and what became of them."""

    candidates: Candidates  # (1, K): those of the query as it is first
    matches: Matches  # (1, K) of the look that had most evidence; affine from the query
    ranking: Ranking  # (1, K)
    through: Mapping[int, int] = field(default_factory=dict)  # gallery row -> that of who asked
    turned: Mapping[int, Turn] = field(default_factory=dict)  # gallery row -> how the query asked


@dataclass(frozen=True, eq=False)
class Gain:
    """A photo that another look accepted."""

    row: int  # of the gallery
    matches: int
    inliers: int
    affine: Float32  # (2, 3) query px -> its px
    evidence: float  # as `Ranking` has it
    false_alarms: float
    through: int | None = None
    turn: Turn = AS_IT_IS


def gains_of(
    candidates: Candidates,
    matches: Matches,
    ranking: Ranking,
    before: Float32 | None,
    through: int | None = None,
    turn: Turn = AS_IT_IS,
) -> list[Gain]:
    """What another look accepted; before: (2, 3) query px -> px of what looked, None where they are
    the same.
    """
    return [
        Gain(
            int(candidates.rows[0, place]),
            int(matches.matches[0, place]),
            int(matches.inliers[0, place]),
            matches.affine[0, place]
            if before is None
            else composed(before, matches.affine[0, place]),
            float(ranking.evidence[0, place]),
            float(ranking.false_alarms[0, place]),
            through,
            turn,
        )
        for place in np.flatnonzero(ranking.accepted[0]).tolist()
    ]


def with_gains(looked: Looked, proposed: Sequence[Int64], gains: Sequence[Gain]) -> Looked:
    """The same with what other looks proposed, gallery rows (K,) each, and accepted. A photo that
    is accepted already, or several times, keeps its best evidence; those that came through another
    photo stand behind those that the query itself found.
    """
    candidates, ranking = looked.candidates, looked.ranking
    rows = np.concatenate([candidates.rows[0], *proposed])
    rows = rows[np.sort(np.unique(rows, return_index=True)[1])]  # each once, as they came
    known = candidates.rows.shape[1]
    more = len(rows) - known
    matches = Matches.join([looked.matches, Matches.none(more)])
    accepted, evidence, alarms = (
        np.concatenate([each[0], np.full(more, empty, each.dtype)])
        for each, empty in (
            (ranking.accepted, False),
            (ranking.evidence, -np.inf),
            (ranking.false_alarms, np.nan),
        )
    )
    through, turned = dict(looked.through), dict(looked.turned)
    place_of = {row: place for place, row in enumerate(rows.tolist())}
    for gain in sorted(gains, key=lambda each: -each.evidence):
        place = place_of[gain.row]
        if accepted[place] and evidence[place] >= gain.evidence:
            continue
        accepted[place] = True
        evidence[place], alarms[place] = gain.evidence, gain.false_alarms
        matches.matches[0, place], matches.inliers[0, place] = gain.matches, gain.inliers
        matches.affine[0, place] = gain.affine
        if gain.through is not None:
            through[gain.row] = gain.through
        if gain.turn != AS_IT_IS:
            turned[gain.row] = gain.turn
    far = candidates.distance[0, -1] if known else np.float32(0)
    distance = np.concatenate([candidates.distance[0], np.full(more, far, np.float32)])
    places = candidates.places
    if places is not None:
        places = np.pad(places, ((0, 0), (0, more), (0, 0)))
    indirect = np.isin(rows, list(through))
    group = np.where(accepted, np.where(indirect, 1, 0), 2)
    order = np.lexsort((np.where(accepted, -evidence, 0), group))[None]
    return Looked(
        Candidates(rows[None], distance[None], places),
        matches,
        Ranking(order.astype(np.int64), accepted[None], evidence[None], alarms[None]),
        through,
        turned,
    )


def sharing_the_rate(engine: Engine, share: float) -> Engine:
    """The same engine, one of whose looks has this share of the rate of false alarms."""
    acceptance = engine.acceptance
    if not isinstance(acceptance, Calibrated) or share == 1:
        return engine
    shared = replace(acceptance, share=acceptance.share * share)
    return engine.with_answer(engine.recipe.answer.with_stage("ranking", shared))
