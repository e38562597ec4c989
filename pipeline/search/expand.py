"""Query expansion from verified matches: photos that the second look accepted ask again, each with
those of its own features that its affine map puts inside the query (Chum et al. 2007, section 4,
with local features in place of a mean of words).

A photo is accepted this way when the second look accepts it for one of those that ask; nothing else
is. Every pair that is verified counts in its expected false alarms, so that expansion accepts at
most as many unrelated photos again as the stated rate allows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.search.query import Query
from stages.rank import Calibrated
from stages.records import Candidates, Float32, LocalFeatures, Matches, Ranking

if TYPE_CHECKING:
    from pipeline.search.engine import Engine

ASKING = 5  # accepted photos that ask, best first
FEWEST = 20  # features inside the query: a photo with fewer does not ask


@dataclass(frozen=True, eq=False)
class Expanded:
    """The candidates of all that asked, and what became of them."""

    candidates: Candidates  # (1, K'), K' >= K: those of the query first
    matches: Matches  # (1, K') of the photo that asked and had most evidence; affine from the query
    ranking: Ranking  # (1, K')
    found_through: dict[int, int]  # gallery row -> the row of the photo through which it came


def expand(
    engine: Engine,
    query: Query,
    count: int,
    candidates: Candidates,
    matches: Matches,
    ranking: Ranking,
) -> Expanded:
    """count: candidates of each that asks; the other three are the query's own, (1, K)."""
    asking = ranking.order[0, : int(ranking.accepted.sum())][:ASKING].tolist()
    sources = []
    for place in asking:
        row, affine = int(candidates.rows[0, place]), matches.affine[0, place]
        inside = inside_query(engine.gallery.features[row], affine, query.features.size)
        if inside is not None and len(inside) >= FEWEST:
            sources.append((row, affine, Query("", engine.gallery.codes[row], inside, {})))
    proposed = [engine.find(source, count, 0)[1].rows[0] for *_, source in sources]
    rows = np.concatenate([candidates.rows[0], *proposed])
    rows = rows[np.sort(np.unique(rows, return_index=True)[1])]  # each once, as they came
    known = candidates.rows.shape[1]
    more = len(rows) - known
    whole = Matches.join([matches, Matches.none(more)])
    accepted, raised, evidence, alarms = (
        np.concatenate([each[0], np.full(more, empty, each.dtype)])
        for each, empty in (
            (ranking.accepted, False),
            (ranking.raised, False),
            (ranking.evidence, -np.inf),
            (ranking.false_alarms, np.nan),
        )
    )
    distance = np.concatenate(
        [
            candidates.distance[0],
            np.full(more, candidates.distance[0, -1] if known else 0, np.float32),
        ]
    ).astype(np.float32)
    places = candidates.places
    if places is not None:
        places = np.pad(places, ((0, 0), (0, more), (0, 0)))
    shared = sharing_the_rate(engine, len(sources))
    open_places = np.flatnonzero(~accepted)
    through: dict[int, int] = {}
    best = np.full(len(rows), -np.inf)
    for row, affine, source in sources:
        others = open_places[rows[open_places] != row]
        asked = Candidates(
            rows[others][None],
            np.zeros((1, len(others)), np.float32),
            None if places is None else places[:, others],
        )
        seen, judged = shared.refine(source, asked)
        gained = judged.accepted[0] & (judged.evidence[0] > best[others])
        for place, at in zip(others[gained].tolist(), np.flatnonzero(gained).tolist(), strict=True):
            best[place] = evidence[place] = judged.evidence[0, at]
            accepted[place], raised[place] = True, False
            alarms[place] = judged.false_alarms[0, at] * len(sources)
            whole.matches[0, place], whole.inliers[0, place] = (
                seen.matches[0, at],
                seen.inliers[0, at],
            )
            whole.affine[0, place] = composed(affine, seen.affine[0, at])
            through[int(rows[place])] = row
    # those of the query itself stand before those that came through another photo
    group = np.where(accepted, np.where(best > -np.inf, 1, 0), np.where(raised, 2, 3))
    order = np.lexsort((np.where(group < 3, -evidence, 0), group))[None]
    return Expanded(
        Candidates(rows[None], distance[None], places),
        whole,
        Ranking(order.astype(np.int64), accepted[None], raised[None], evidence[None], alarms[None]),
        through,
    )


def sharing_the_rate(engine: Engine, asking: int) -> Engine:
    """The same engine, in which so many photos that ask share the rate of false alarms."""
    acceptance = engine.acceptance
    if not isinstance(acceptance, Calibrated):
        return engine
    shared = replace(acceptance, rate=acceptance.rate / max(1, asking))
    return engine.with_answer(engine.recipe.answer.with_stage("ranking", shared))


def inside_query(
    features: LocalFeatures, affine: Float32, size: tuple[int, int]
) -> LocalFeatures | None:
    """The features of a matched photo that lie inside the query (width, height) px; affine (2, 3)
    query px -> its px. None where the map cannot be turned round.
    """
    linear = affine[:, :2].astype(np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(linear)) < 1e-9:
        return None
    there = (features.xy - affine[:, 2]) @ np.linalg.inv(linear).T
    kept = ((there >= -0.5) & (there <= np.array(size) - 0.5)).all(1)
    return replace(
        features,
        xy=features.xy[kept],
        descriptor=features.descriptor[kept],
        score=features.score[kept],
    )


def composed(first: Float32, second: Float32) -> Float32:
    """(2, 3) each -> the map that goes by the first, then by the second."""
    linear = second[:, :2] @ first[:, :2]
    moved = second[:, :2] @ first[:, 2] + second[:, 2]
    whole: Float32 = np.concatenate([linear, moved[:, None]], 1).astype(np.float32)
    return whole
