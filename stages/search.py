"""The first look's search: the nearest codes in a ball tree, in an order that nothing but distance and path decides."""

from __future__ import annotations

import numpy as np

from stages.records import Candidates, Float32, Gallery, want


def search(code: Float32, count: int, gallery: Gallery) -> Candidates:
    """code (D,), K, gallery -> Candidates (1, K), the whole gallery where that is smaller than K.

    Photos at equal distance are ordered by path, also across the cut: a ball tree alone returns whichever of them it met.
    """
    want("search", "code", code, np.float32, None if gallery.tree is None else gallery.codes.shape[1])
    if not np.isfinite(code).all():
        raise ValueError("search.code: want finite numbers, got NaN or infinity")
    count = min(count, len(gallery))
    if gallery.tree is None or count == 0:
        return Candidates(np.empty((1, 0), np.int64), np.empty((1, 0), np.float32))
    rows = np.arange(len(gallery))
    if count < len(gallery):
        reach, _ = gallery.tree.query(code[None], k=count)
        # a hair further, so that every photo tied with the last one is there to be ordered
        rows = gallery.tree.query_radius(code[None], reach[0, -1] * (1 + 1e-6) + 1e-12)[0]
    gaps = gallery.codes[rows].astype(np.float64) - code
    distance = np.sqrt(np.square(gaps).sum(1)).astype(np.float32)
    best = np.lexsort((rows, distance))[:count]  # rows ascend as paths do
    return Candidates(rows[best][None].astype(np.int64), distance[best][None])
