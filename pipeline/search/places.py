"""What an answer tells of one place of its ranking, beside the second look's evidence."""

import numpy as np

from stages.records import Candidates, Float32


def coarse_place(codes: Float32, code: Float32, row: int) -> tuple[int, float]:
    """Where a photo stands by its code among all (N, D), from 1, and how far it is from the query's
    (D,).
    """
    distance = np.sqrt(np.square(codes.astype(np.float64) - code).sum(1)).astype(np.float32)
    before = (distance < distance[row]) | (
        (distance == distance[row]) & (np.arange(len(distance)) < row)
    )
    return int(before.sum()) + 1, float(distance[row])


def hamming(code: Float32, other: Float32) -> int:
    """In how many bits two real-valued codes (b,) differ, as stages/hashing.py has bits."""
    return int(((code >= 0) != (other >= 0)).sum())


def found_by(shortlist: str, candidates: Candidates, place: int) -> str:
    """Which list alone, as long as the shortlist, would have brought this candidate. shortlist: one
    of SHORTLISTS.
    """
    if candidates.places is None:
        return shortlist
    inside = (candidates.places[0, place] > 0) & (
        candidates.places[0, place] <= candidates.rows.shape[1]
    )
    return "both" if inside[0] == inside[1] else "global" if inside[0] else "parts"
