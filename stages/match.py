"""Which local feature of the query is which of the candidate: nearest neighbours by exact distance,
one way or mutual.

int8 descriptors make every product an integer, so the matches are the same on every machine,
whatever the tile or the thread. A tile of products never leaves the registers: each is reduced at
once to the best partner so far of its query feature and of its candidate feature, a number whose
upper bits are the score and whose lower bits say who.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np

from stages.records import Int8, Int32, Int64
from stages.simd import add, dot4, dot4_anywhere, larger, largest, load, shift_left, splat, store

# of stages/simd.py: what numba keeps on the disk knows this file's changes alone, so a change there
# has to show here
SIMD = "2ce630945d79"
WHO = 14  # bits: at most 16,384 features a photo
# squared length of a descriptor; 127 x a unit vector is about half of it, whatever the rounding
LONGEST = 1 << 15
WORST = -(1 << 31)
# four descriptor bytes of 0, as the candidate's side holds them: 128 more, as uint8
BLANK = -(1 << 31) | 0x808080


@dataclass(frozen=True)
class Nearest:
    """Pairs of features closer than `distance`: each candidate feature with its nearest of the
    query, or, when `mutual`, only those that are each other's nearest. Ties go to the stronger
    feature.
    """

    mutual: bool = True
    # Euclidean, between unit vectors; the square root of 2 is a right angle
    distance: float = math.sqrt(2)

    def __post_init__(self) -> None:
        # beyond 2, the distance of opposite unit vectors, everything is near
        if not 0 < self.distance < 100:
            raise ValueError(
                f"Nearest.distance: expected above 0 and below 100, got {self.distance}"
            )

    def __call__(self, query: Int8, candidate: Int8) -> Int32:
        """(Mq, D), (Mc, D) int8 -> (n, 2) pairs (query feature, candidate feature), by candidate
        feature.
        """
        return self.block(
            query, candidate, np.zeros(1, np.int64), np.array([len(candidate)], np.int64)
        )[1]

    def block(
        self, query: Int8, descriptor: Int8, start: Int64, count: Int64
    ) -> tuple[Int64, Int32]:
        """One query with many candidates: candidate p's features are `count[p]` rows of
        `descriptor` from row `start[p]`.

        (Mq, D), (T, D) int8, (P,), (P,) -> offset (P + 1,), pairs (n, 2): those of candidate p are
        pairs[offset[p] : offset[p + 1]]. Raises ValueError for more than 16,384 features in a
        photo, or a descriptor that is not 127 x a unit vector.
        """
        if max(len(query), int(count.max(initial=0))) > 1 << WHO:
            raise ValueError(
                f"match: expected at most {1 << WHO} features a photo, got"
                f" {max(len(query), int(count.max(initial=0)))}"
            )
        if query.shape[1] != descriptor.shape[1]:
            raise ValueError(
                f"match: expected descriptors of one length, got {query.shape[1]} and"
                f" {descriptor.shape[1]}"
            )
        limit = math.ceil((self.distance * 127) ** 2) - 1
        offset, pairs = _match(
            constant(query),
            constant(descriptor),
            in_words(descriptor),
            start,
            count,
            self.mutual,
            limit,
            True,
        )
        if offset[-1] < 0:
            raise ValueError(
                "match: expected descriptors of 127 x a unit vector, got one longer than"
                f" {math.isqrt(LONGEST)}"
            )
        return offset, pairs


def constant(array: np.ndarray) -> np.ndarray:
    """A read-only view, so that memory maps and arrays are one type to the compiler."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def in_words(descriptor: Int8) -> Int32:
    """(T, D) int8 -> (T, D / 4) int32, the same bytes four at a time; (0, 0) where D is no multiple
    of four.
    """
    whole = descriptor.shape[1] % 4 == 0 and descriptor.flags.c_contiguous
    return constant(descriptor.view(np.int32) if whole else np.empty((0, 0), np.int32))


@numba.njit(nogil=True, cache=True)
def _word(row, w):  # type: ignore[no-untyped-def]
    """Four descriptor bytes as one int32; 0 beyond the end."""
    word = 0
    for b in range(4):
        if 4 * w + b < len(row):
            word |= (row[4 * w + b] & 0xFF) << (8 * b)
    return numba.int32(word)


@numba.njit(nogil=True, cache=True)
def _squared(row):  # type: ignore[no-untyped-def]
    square = 0
    for value in row:
        square += numba.int32(value) * numba.int32(value)
    return square


@numba.njit(nogil=True, cache=True)
def _lay_query(query, words):  # type: ignore[no-untyped-def]
    """The query's features, four at a time: words (M', W) flat, what each product starts from
    (M',), and its key's share (M',).
    """
    rows = (len(query) + 3) // 4 * 4
    laid, begin, bias = (
        np.zeros(rows * words, np.int32),
        np.zeros(rows, np.int32),
        np.full(rows, WORST, np.int32),
    )
    for q in range(len(query)):
        square = _squared(query[q])
        if square > LONGEST:
            return laid, begin, bias[:0]
        begin[q] = -128 * query[q].astype(np.int32).sum()  # the candidate's bytes are 128 too large
        # of two alike, the lower row has the larger key
        bias[q] = (-square << WHO) + (1 << WHO) - 1 - q
        for w in range(words):
            laid[q * words + w] = _word(query[q], w)
    return laid, begin, bias


@numba.njit(nogil=True, cache=True)
def _lay_candidate(descriptor, whole, start, count, words, laid, bias):  # type: ignore[no-untyped-def]
    """The candidate's features, sixteen a lane: word w of feature c at laid[c // 16, w, c % 16].
    Returns whether all are fit.
    """
    for c in range((count + 31) // 32 * 32):
        base = c // 16 * words * 16 + c % 16
        if c >= count:
            bias[c] = WORST
            for w in range(words):
                laid[base + 16 * w] = numba.int32(BLANK)
            continue
        row = descriptor[start + c]
        square = _squared(row)
        if square > LONGEST:
            return False
        bias[c] = (-square << WHO) + (1 << WHO) - 1 - c
        for w in range(words):
            laid[base + 16 * w] = (
                whole[start + c, w] if len(whole) else _word(row, w)
            ) ^ numba.int32(BLANK)
    return True


@numba.njit(nogil=True, cache=True)
def _nearest(  # type: ignore[no-untyped-def]
    query,
    begin,
    query_bias,
    candidate,
    candidate_bias,
    count,
    words,
    mutual,
    fast,
    of_candidate,
    of_query,
):
    """Fill of_candidate (C',) with each candidate feature's best key among the query's, and
    of_query (M', 16) the other way round, there the best of each lane. Key: 2 q.c - (the partner's
    squared length), then who.
    """
    rows = len(begin)
    worst = splat(numba.int32(WORST))
    if mutual:
        for q in range(rows):
            store(of_query, 16 * q, worst)
    for c in range(0, (count + 31) // 32 * 32, 32):
        best0, best1 = worst, worst
        bias0, bias1 = load(candidate_bias, c), load(candidate_bias, c + 16)
        for q in range(0, rows, 4):
            start = splat(begin[q])
            a0, b0 = start, start
            start = splat(begin[q + 1])
            a1, b1 = start, start
            start = splat(begin[q + 2])
            a2, b2 = start, start
            start = splat(begin[q + 3])
            a3, b3 = start, start
            for w in range(words):
                x, y = (
                    load(candidate, c * words + 16 * w),
                    load(candidate, (c + 16) * words + 16 * w),
                )
                n0, n1 = splat(query[q * words + w]), splat(query[(q + 1) * words + w])
                n2, n3 = splat(query[(q + 2) * words + w]), splat(query[(q + 3) * words + w])
                if fast:
                    a0, b0, a1, b1 = (
                        dot4(a0, x, n0),
                        dot4(b0, y, n0),
                        dot4(a1, x, n1),
                        dot4(b1, y, n1),
                    )
                    a2, b2, a3, b3 = (
                        dot4(a2, x, n2),
                        dot4(b2, y, n2),
                        dot4(a3, x, n3),
                        dot4(b3, y, n3),
                    )
                else:
                    a0, b0, a1, b1 = (
                        dot4_anywhere(a0, x, n0),
                        dot4_anywhere(b0, y, n0),
                        dot4_anywhere(a1, x, n1),
                        dot4_anywhere(b1, y, n1),
                    )
                    a2, b2, a3, b3 = (
                        dot4_anywhere(a2, x, n2),
                        dot4_anywhere(b2, y, n2),
                        dot4_anywhere(a3, x, n3),
                        dot4_anywhere(b3, y, n3),
                    )
            for k, a, b in ((0, a0, b0), (1, a1, b1), (2, a2, b2), (3, a3, b3)):
                a, b = shift_left(a, numba.int32(WHO + 1)), shift_left(b, numba.int32(WHO + 1))
                bias = splat(query_bias[q + k])
                best0, best1 = larger(best0, add(a, bias)), larger(best1, add(b, bias))
                if mutual:
                    old = load(of_query, 16 * (q + k))
                    store(of_query, 16 * (q + k), larger(old, larger(add(a, bias0), add(b, bias1))))
        store(of_candidate, c, best0)
        store(of_candidate, c + 16, best1)


@numba.njit(nogil=True, cache=True)
def _match(query, descriptor, whole, start, count, mutual, limit, fast):  # type: ignore[no-untyped-def]
    """`Nearest.block`; offset[-1] is -1 where a descriptor is too long."""
    words = (query.shape[1] + 3) // 4
    most = (count.max() + 31) // 32 * 32 if len(count) else 0
    laid, begin, bias = _lay_query(query, words)
    candidate, candidate_bias, of_candidate = (
        np.empty(most * words, np.int32),
        np.empty(most, np.int32),
        np.empty(most, np.int32),
    )
    of_query = np.empty(16 * len(begin), np.int32)
    partner = np.empty(len(begin), np.int64)
    offset = np.zeros(len(start) + 1, np.int64)
    pairs = np.empty((count.sum(), 2), np.int32)
    if len(bias) < len(begin):
        offset[-1] = -1
        return offset, pairs
    low = (1 << WHO) - 1
    n = 0
    for p in range(len(start)):
        if len(query) and count[p]:
            if not _lay_candidate(
                descriptor, whole, start[p], count[p], words, candidate, candidate_bias
            ):
                offset[-1] = -1
                return offset, pairs
            _nearest(
                laid,
                begin,
                bias,
                candidate,
                candidate_bias,
                count[p],
                words,
                mutual,
                fast,
                of_candidate,
                of_query,
            )
            if mutual:
                for q in range(len(query)):
                    partner[q] = low - (largest(load(of_query, 16 * q)) & low)
            for c in range(count[p]):
                key = of_candidate[c]
                q = low - (key & low)
                squared = -(candidate_bias[c] >> WHO)
                if squared - (key >> WHO) <= limit and (not mutual or partner[q] == c):
                    pairs[n, 0], pairs[n, 1] = q, c
                    n += 1
        offset[p + 1] = n
    return offset, pairs[:n]
