"""How well codes find what they should, by every convention that published tables use, side by
side.
"""

from dataclasses import dataclass

import numpy as np

from stages.metrics import Floats
from stages.records import Bool, Float32, UInt8, UInt16

RADIUS = 2


@dataclass(frozen=True, eq=False)
class Found:
    """Of one query each, (Q,); the curve is a mean over queries, (b + 1,) by Hamming radius."""

    # average precision, ties at their expectation; NaN under a `depth`, which cuts through ties
    tied: Floats
    # ties by place in the database, as a stable sort leaves them: the usual convention
    stable: Floats
    # after the second look at `candidates` photos; the others' ties at their expectation, under a
    # `depth` by place
    both: Floats
    radius2: Floats  # precision within Hamming radius 2; 0 where nothing is
    precision: Floats
    recall: Floats


def measure(
    query: Float32,
    database: Float32,
    asked: UInt8,
    labels: UInt8,
    candidates: int = 4000,
    depth: int | None = None,
) -> Found:
    """query (Q, b), database (N, b) real-valued codes, their labels (Q, L), (N, L): relevant where
    one label is shared.

    Average precision is divided by the number of relevant photos in the database; with `depth`,
    over so many places and divided by the number of relevant ones among them, as tables of mAP@5000
    do.
    """
    bits = query.shape[1]
    parts = []
    for start in range(0, len(query), 64):
        some = slice(start, start + 64)
        relevant = asked[some].astype(np.float32) @ labels.astype(np.float32).T > 0
        distance = hamming(query[some], database)
        gaps = np.square(query[some], dtype=np.float64).sum(1)[:, None] + np.square(
            database, dtype=np.float64
        ).sum(1)
        gaps -= 2 * query[some].astype(np.float64) @ database.T.astype(np.float64)
        counts = _by_distance(distance, np.ones_like(relevant), bits)
        hits = _by_distance(distance, relevant, bits)
        order = np.argsort(distance, axis=1, kind="stable")
        first = np.take_along_axis(relevant, order, 1)
        reranked = np.take_along_axis(gaps, order[:, :candidates], 1).argsort(axis=1, kind="stable")
        second = np.concatenate(
            [np.take_along_axis(first[:, :candidates], reranked, 1), first[:, candidates:]], 1
        )
        # what was re-ranked leaves the ties of the rest
        near_by = np.take_along_axis(distance, order[:, :candidates], 1)
        left, left_hits = (
            counts - _by_distance(near_by, np.ones_like(near_by), bits),
            hits - _by_distance(near_by, first[:, :candidates], bits),
        )
        ones = np.ones(near_by.shape)
        within, near = counts[:, : RADIUS + 1].sum(1), hits[:, : RADIUS + 1].sum(1)
        seen, right = counts.cumsum(1), hits.cumsum(1)
        parts.append(
            (
                tied_average_precision(counts, hits)
                if depth is None
                else np.full(len(distance), np.nan),
                _average_precision(first, depth),
                tied_average_precision(
                    np.hstack([ones, left]), np.hstack([second[:, :candidates], left_hits])
                )
                if depth is None
                else _average_precision(second, depth),
                near / np.maximum(within, 1),
                np.where(seen > 0, right / np.maximum(seen, 1), np.nan),
                right / np.maximum(right[:, -1:], 1),
            )
        )
    tied, stable, both, radius2, precision, recall = (
        np.concatenate(each) for each in zip(*parts, strict=True)
    )
    defined = (~np.isnan(precision)).any(0)
    curve = np.full(bits + 1, np.nan)
    curve[defined] = np.nanmean(precision[:, defined], 0)
    return Found(tied, stable, both, radius2, curve, recall.mean(0))


def hamming(query: Float32, database: Float32) -> UInt16:
    """(Q, b), (N, b) -> (Q, N) bits that differ."""
    a, b = (np.where(codes >= 0, np.float32(1), np.float32(-1)) for codes in (query, database))
    differ: UInt16 = ((query.shape[1] - a @ b.T) / 2).astype(np.uint16)
    return differ


def _by_distance(distance: UInt16, what: np.ndarray, bits: int) -> Floats:
    """(Q, b + 1) how many of `what` are at each distance."""
    at = distance.astype(np.int64) + (bits + 1) * np.arange(len(distance))[:, None]
    held: Floats = np.bincount(
        at.ravel(), what.ravel().astype(np.float64), (bits + 1) * len(distance)
    ).astype(np.float64)
    return held.reshape(len(distance), bits + 1)


def tied_average_precision(counts: Floats, hits: Floats) -> Floats:
    """Photos and relevant photos at each distance (Q, D) -> the mean average precision over all
    orders within equal distances (Q,).

    A tie of n photos, r of them relevant, after `before` relevant ones in `start` places adds r/n
    times the sum over its places of (before + 1 + (i - start)(r - 1)/(n - 1)) / (i + 1) (McSherry &
    Najork 2008, section 3.3): in closed form by harmonic numbers.
    """
    n, r = counts, hits
    start, before = n.cumsum(1) - n, r.cumsum(1) - r
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, n.sum(1).max() + 1))])
    slope = (r - 1) / np.maximum(n - 1, 1)
    summed = n * slope + (before + 1 - slope * (start + 1)) * (
        harmonic[(start + n).astype(np.int64)] - harmonic[start.astype(np.int64)]
    )
    total = np.where(r > 0, r / np.maximum(n, 1) * summed, 0).sum(1)
    return total / np.maximum(r.sum(1), 1)  # type: ignore[no-any-return]


def _average_precision(relevant: Bool, depth: int | None) -> Floats:
    """Rankings of relevance (Q, N) -> (Q,)."""
    seen = relevant[:, :depth]
    found = seen.cumsum(1, dtype=np.float32)
    places = np.arange(1, seen.shape[1] + 1, dtype=np.float32)
    total = (seen if depth else relevant).sum(1)
    average: Floats = np.where(seen, found / places, 0).sum(1, dtype=np.float64) / np.maximum(
        total, 1
    )
    return average
