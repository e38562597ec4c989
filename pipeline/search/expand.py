"""Query expansion from verified matches: photos that the second look accepted ask again, each with
those of its own features that its affine map puts inside the query (Chum et al. 2007, section 4,
with local features in place of a mean of words).

A photo is accepted this way when the second look accepts it for one of those that ask; nothing else
is. Every pair that is verified counts in its expected false alarms, so that expansion accepts at
most as many unrelated photos again as the stated rate allows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.search.looked import Looked, gains_of, sharing_the_rate, with_gains
from pipeline.search.query import Query
from stages.records import Candidates, Float32, LocalFeatures
from stages.shortlist import nearness_by_codes

if TYPE_CHECKING:
    from pipeline.search.engine import Engine

ASKING = 5  # accepted photos that ask, best first
FEWEST = 20  # features inside the query: a photo with fewer does not ask


def expand(engine: Engine, query: Query, count: int, looked: Looked) -> Looked:
    """count: candidates of each that asks."""
    candidates, ranking = looked.candidates, looked.ranking
    asking = ranking.order[0, : int(ranking.accepted.sum())][:ASKING].tolist()
    sources = []
    for place in asking:
        row, affine = int(candidates.rows[0, place]), looked.matches.affine[0, place]
        inside = inside_query(engine.gallery.features[row], affine, query.features.size)
        if inside is not None and len(inside) >= FEWEST:
            sources.append((row, affine, Query("", engine.gallery.codes[row], inside, {})))
    proposed = [engine.find(source, count, 0)[1].rows[0] for *_, source in sources]
    known = candidates.rows[0, ranking.accepted[0]]
    rows = np.concatenate([candidates.rows[0], *proposed])
    open_rows = np.setdiff1d(rows, known)
    voted = None if candidates.places is None else np.zeros((1, len(open_rows), 2), np.int32)
    shared, gains = sharing_the_rate(engine, 1 / max(1, len(sources))), []
    for row, affine, source in sources:
        asked = Candidates(
            open_rows[None],
            np.zeros((1, len(open_rows)), np.float32),  # none before the others
            voted,
            share=nearness_by_codes(engine.gallery.codes, source.code, open_rows)[None],
        )
        seen, judged = shared.refine(source, asked)
        gains += gains_of(asked, seen, judged, affine, through=row)
    return with_gains(looked, proposed, gains)


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
