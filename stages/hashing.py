"""Search by short binary codes, in two looks: Hamming distance makes the shortlist, the distance of
the real-valued codes orders it.

Bit j of a photo's code is whether number j of its real-valued code is 0 or more: methods whose bit
is `sigmoid >= .5` store the sigmoid less a half, which changes no distance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from stages.compiled import Kernel
from stages.gallery import Gallery
from stages.records import Bool, Candidates, Float32, Ranking, UInt16, check_array

BLOCK = 4096  # codes whose distances are in the nearest cache together
NEAREST = Kernel.of(
    "stages.hashing_kernels",
    "nearest",
    "uint16[:,:] words, uint16[:] query, int64 count, int64[:] rows, uint16[:] distance,"
    " int64[:] of_distance, uint16[:] block",
)


def pack(codes: Float32) -> UInt16:
    """(N, b) real-valued codes -> (W, N) uint16: W = b / 16 rounded up words a photo, each word of
    all photos together.
    """
    check_array("pack", "codes", codes, np.float32, None, None)
    bits: Bool = codes >= 0
    padded = np.zeros((len(codes), -(-codes.shape[1] // 16) * 2), np.uint8)
    padded[:, : -(-codes.shape[1] // 8)] = np.packbits(bits, axis=1)
    return np.ascontiguousarray(padded.view(np.uint16).T)


@dataclass(frozen=True, eq=False)
class HammingIndex:
    """The codes' bits, packed; their distance is the number of bits that differ."""

    kind: ClassVar[str] = "hamming"
    recall: ClassVar[float] = 1.0
    words: UInt16 = field(repr=False)  # (W, N)

    @classmethod
    def build(cls, codes: Float32) -> HammingIndex:
        """codes (N, b) real-valued."""
        return cls(pack(codes))

    def nearest(self, code: Float32, count: int) -> Candidates:
        """As `CodeIndex.nearest`."""
        rows, distance = nearest_words(pack(code[None])[:, 0], count, self.words)
        return Candidates(rows[None], distance.astype(np.float32)[None])


def nearest_words(query: UInt16, count: int, words: UInt16) -> tuple[np.ndarray, np.ndarray]:
    """query (W,), words (W, N) -> rows (K,) int64 and bits that differ (K,) uint16, nearest first,
    equal ones by row; K = min(count, N).

    Exact, in one pass over the codes and in memory for a few times K.
    """
    check_array("nearest_words", "words", words, np.uint16, len(query), None)
    count = min(count, words.shape[1])
    if count == 0:
        return np.empty(0, np.int64), np.empty(0, np.uint16)
    room = 2 * count + 2 * BLOCK
    rows, distance = np.empty(room, np.int64), np.empty(room, np.uint16)
    work = np.empty(16 * len(words) + 1, np.int64), np.empty(BLOCK, np.uint16)
    held = NEAREST(words, query, count, rows, distance, *work)
    rows, distance = rows[:held], distance[:held]
    best = np.argsort(distance, kind="stable")[:count]  # rows ascend within one distance
    return rows[best], distance[best]


def euclidean(code: Float32, candidates: Candidates, gallery: Gallery) -> Ranking:
    """The second look: candidates by the Euclidean distance of the real-valued codes (seed 002,
    equation 8), equal ones as before.

    Every candidate is accepted: where it stands, the second look put it.
    """
    rows = candidates.rows[0]
    distance = (
        np.square(gallery.codes[rows].astype(np.float64) - code).sum(1)
        if len(rows)
        else np.empty(0)
    )
    order = np.argsort(distance, kind="stable")[None].astype(np.int64)
    accepted = np.ones(order.shape, np.bool_)
    return Ranking(order, accepted, -distance[None], np.full(order.shape, np.nan))
