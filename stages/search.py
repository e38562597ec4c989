"""The first look's search: the nearest codes in a ball tree or on FAISS, in an order that nothing but distance and path decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stages.records import Candidates, Float32, Gallery, Int64, want

if TYPE_CHECKING:
    from sklearn.neighbors import BallTree


def search(code: Float32, count: int, gallery: Gallery) -> Candidates:
    """code (D,), K, gallery -> Candidates (1, K), the whole gallery where that is smaller than K.

    Photos at equal distance are ordered by path, also across the cut: a ball tree alone returns whichever of them it met.
    """
    planted = gallery.tree is not None or gallery.index is not None
    want("search", "code", code, np.float32, gallery.codes.shape[1] if planted else None)
    if not np.isfinite(code).all():
        raise ValueError("search.code: want finite numbers, got NaN or infinity")
    count = min(count, len(gallery))
    if not planted or count == 0:
        return Candidates(np.empty((1, 0), np.int64), np.empty((1, 0), np.float32))
    if count == len(gallery):
        rows = np.arange(count)
    else:
        rows = within(gallery.tree, code, count) if gallery.index is None else gallery.index.near(code, count)
    return by_distance(code, count, gallery.codes, rows)


def within(tree: BallTree, code: Float32, count: int) -> Int64:
    """The rows (n,) of the `count` nearest in any order, and of every one tied with the last of them."""
    reach, _ = tree.query(code[None], k=count)
    # a hair further, so that every photo tied with the last one is there to be ordered
    rows: Int64 = tree.query_radius(code[None], reach[0, -1] * (1 + 1e-6) + 1e-12)[0]
    return rows


def by_distance(code: Float32, count: int, codes: Float32, rows: Int64) -> Candidates:
    """The first `count` of these rows (n,) of codes (N, D), by exact distance, then by row: rows ascend as paths do."""
    gaps = codes[rows].astype(np.float64) - code
    distance = np.sqrt(np.square(gaps).sum(1)).astype(np.float32)
    best = np.lexsort((rows, distance))[:count]
    return Candidates(rows[best][None].astype(np.int64), distance[best][None])
