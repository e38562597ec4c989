"""The first look's searches: the nearest codes, and the photos that hold the same parts, in an
order that nothing but distance and path decides.
"""

import numpy as np

from stages.gallery import Gallery
from stages.records import Candidates, Float32, Int32, Int64, LocalFeatures, check_array


def search(code: Float32, count: int, gallery: Gallery) -> Candidates:
    """code (D,), K, gallery -> Candidates (1, K), the whole gallery where that is smaller than K.

    Photos at equal distance are ordered by path, also across the cut.
    """
    check_array(
        "search", "code", code, np.float32, gallery.codes.shape[1] if len(gallery) else None
    )
    if not np.isfinite(code).all():
        raise ValueError("search.code: expected finite numbers, got NaN or infinity")
    count = min(count, len(gallery))
    if gallery.index is None or count == 0:
        return Candidates(np.empty((1, 0), np.int64), np.empty((1, 0), np.float32))
    return gallery.index.nearest(code, count)


def search_parts(features: LocalFeatures, count: int, gallery: Gallery) -> Candidates:
    """Local features, K, gallery -> Candidates (1, K), the most voted of `stages/inverted_index.py`
    first, equal ones by path. The distance is what a photo lacks of the most votes, as a share of
    them, from 0 to 1.

    Raises ValueError for a gallery without an index of parts.
    """
    if not len(gallery):
        return Candidates(np.empty((1, 0), np.int64), np.empty((1, 0), np.float32))
    if gallery.parts is None:
        raise ValueError("search_parts.gallery: expected an index of parts, got none")
    votes = gallery.parts.votes(features)
    best = most_voted(votes, count)
    share = votes[best] / max(1, int(votes.max()))
    places = np.stack([np.zeros(len(best)), np.arange(1, len(best) + 1)], 1).astype(np.int32)
    return Candidates(best[None], (1 - share).astype(np.float32)[None], places[None])


def most_voted(votes: Int32, count: int) -> Int64:
    """votes (N,), none below 0 -> (min(count, N),) rows, most votes first, equal ones by row. Few
    have any, and only those are sorted.
    """
    voted = np.flatnonzero(votes)
    best = voted[np.argsort(-votes[voted], kind="stable")][:count]
    rest = np.flatnonzero(votes == 0)[: count - len(best)]
    return np.concatenate([best, rest])
