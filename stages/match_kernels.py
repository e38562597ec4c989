"""The compiled half of `stages/match.py`: a query's features against those of many candidates.

A tile of products never leaves the registers: each is reduced at once to the best partner so far of
its query feature and of its candidate feature, a number whose upper bits are the score and whose
lower bits say who.

Features whose last number is above zero are laid apart from the rest. Where that number alone keeps
the two too far apart to match, as between the kinds of `stages/kinds.py`, their products are left
out, and nothing comes out differently.
"""

import numba
import numpy as np

from stages.match import LONGEST, WHO
from stages.simd import (
    add,
    dot4,
    dot4_anywhere,
    larger,
    largest,
    load,
    load_word,
    shift_left,
    splat,
    store,
    sub,
    xor,
)

WORST = -(1 << 31)
# four descriptor bytes of 0, as the candidate's side holds them: 128 more, as uint8
BLANK = -(1 << 31) | 0x808080


@numba.njit(nogil=True, error_model="numpy")
def _squared(row):  # type: ignore[no-untyped-def]
    square = np.int32(0)
    for value in row:
        square += np.int32(value) * np.int32(value)
    return square


@numba.njit(nogil=True, error_model="numpy")
def word_at(flat, start, length, w):  # type: ignore[no-untyped-def]
    """Bytes 4 w to 4 w + 3 of the row from `start` as one int32; 0 beyond its end."""
    if 4 * w + 4 <= length:
        return load_word(flat, start + 4 * w)
    word = 0
    for b in range(length - 4 * w):
        word |= (flat[start + 4 * w + b] & 0xFF) << (8 * b)
    return np.int32(word)


@numba.njit(nogil=True, error_model="numpy")
def _least(rows, start, count):  # type: ignore[no-untyped-def]
    """How far from zero the last number of `count` rows from `start` is at least."""
    least = np.int32(128)
    for row in range(start, start + count):
        last = np.int32(rows[row, rows.shape[1] - 1])
        least = min(least, abs(last))
    return least


@numba.njit(nogil=True, error_model="numpy")
def _lay_query(query, flat, apart, laid, begin, bias, slot):  # type: ignore[no-untyped-def]
    """The query's features (M, D), four at a time: their words, laid (M', W) flat; what each
    product starts from (M',); its key's share (M',); and where each feature is (M,). Returns where
    those end whose last number is above zero, all of them where they are not laid apart; -1 where
    one is too long.
    """
    length, words = query.shape[1], (query.shape[1] + 3) // 4
    laid[:] = 0
    begin[:] = 0
    bias[:] = WORST
    first, second = 0, 0
    if apart:
        for q in range(len(query)):
            second += query[q, length - 1] > 0
        second = (second + 3) // 4 * 4
    middle = second if apart else len(bias)
    for q in range(len(query)):
        square = _squared(query[q])
        if square > LONGEST:
            return -1
        if apart and query[q, length - 1] <= 0:
            at = second
            second += 1
        else:
            at = first
            first += 1
        slot[q] = at
        total = np.int32(0)
        for value in query[q]:
            total += value
        begin[at] = -128 * total  # the candidate's bytes are 128 too large
        # of two alike, the lower row has the larger key
        bias[at] = (-square << WHO) + (1 << WHO) - 1 - q
        for w in range(words):
            laid[at * words + w] = word_at(flat, q * length, length, w)
    return middle


@numba.njit(nogil=True, error_model="numpy")
def _lay_candidate(descriptor, flat, start, count, apart, laid, bias, slot):  # type: ignore[no-untyped-def]
    """The candidate's features, sixteen a lane: word w of feature c at laid[slot // 16, w, slot %
    16]. Returns where those end whose last number is above zero, and where the rest do, multiples
    of 32; -1 where one is too long.
    """
    length, words = descriptor.shape[1], (descriptor.shape[1] + 3) // 4
    first, second = 0, 0
    if apart:
        for c in range(start, start + count):
            second += descriptor[c, length - 1] > 0
        second = (second + 31) // 32 * 32
    middle = second
    for c in range(count):
        row = (start + c) * length
        if apart and flat[row + length - 1] > 0:
            at = first
            first += 1
        else:
            at = second
            second += 1
        slot[c] = at
        bias[at] = (1 << WHO) - 1 - c  # the squared length is still to come
        base = at // 16 * words * 16 + at % 16
        for w in range(length // 4):
            laid[base + 16 * w] = load_word(flat, row + 4 * w) ^ np.int32(BLANK)
        if length % 4:
            w = words - 1
            laid[base + 16 * w] = word_at(flat, row, length, w) ^ np.int32(BLANK)
    end = (second + 31) // 32 * 32
    for some in range(2):
        for at in range(second if some else first, end if some else middle):
            base = at // 16 * words * 16 + at % 16
            for w in range(words):
                laid[base + 16 * w] = np.int32(BLANK)
    zero, most = splat(np.int32(0)), splat(np.int32(0))
    ones, blank = splat(np.int32(0x01010101)), splat(np.int32(BLANK))
    for at in range(0, end, 16):
        square, total = zero, zero
        for w in range(words):
            more = load(laid, at * words + 16 * w)  # 128 more than the bytes
            signed = xor(more, blank)
            square, total = dot4(square, more, signed), dot4(total, ones, signed)
        square = sub(square, shift_left(total, np.int32(7)))
        most = larger(most, square)
        store(bias, at, sub(load(bias, at), shift_left(square, np.int32(WHO))))
    if largest(most) > LONGEST:
        return -1, -1
    for some in range(2):
        for at in range(second if some else first, end if some else middle):
            bias[at] = WORST
    return middle, end


@numba.njit(nogil=True, error_model="numpy")
def _nearest(  # type: ignore[no-untyped-def]
    query,
    begin,
    query_bias,
    queries,
    candidate,
    candidate_bias,
    candidates,
    words,
    mutual,
    fast,
    of_candidate,
    of_query,
):
    """Those of the query from queries[0] to queries[1] with those of the candidate in the same way:
    fill of_candidate (C',) with each candidate feature's best key among the query's, and of_query
    (M', 16) the other way round, there the best of each lane. Key: 2 q.c - (the partner's squared
    length), then who.
    """
    worst = splat(np.int32(WORST))
    for c in range(candidates[0], candidates[1], 32):
        best0, best1 = worst, worst
        bias0, bias1 = load(candidate_bias, c), load(candidate_bias, c + 16)
        for q in range(queries[0], queries[1], 4):
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
                a, b = shift_left(a, np.int32(WHO + 1)), shift_left(b, np.int32(WHO + 1))
                bias = splat(query_bias[q + k])
                best0, best1 = larger(best0, add(a, bias)), larger(best1, add(b, bias))
                if mutual:
                    old = load(of_query, 16 * (q + k))
                    store(of_query, 16 * (q + k), larger(old, larger(add(a, bias0), add(b, bias1))))
        store(of_candidate, c, larger(load(of_candidate, c), best0))
        store(of_candidate, c + 16, larger(load(of_candidate, c + 16), best1))


@numba.njit(nogil=True, error_model="numpy")
def match(  # type: ignore[no-untyped-def]
    query,
    query_flat,
    descriptor,
    flat,
    start,
    count,
    mutual,
    limit,
    fast,
    queries,
    candidates,
    offset,
    pairs,
):
    """`stages.match.match`: fill offset (P + 1,) and the first offset[P] of pairs (n, 2); what is
    flat are the same arrays. Room to work in, W words of four bytes a descriptor: queries ((W + 20)
    M'), M' the next multiple of four above M + 3; candidates ((W + 3) N'), N' the next multiple of
    32 above the largest count + 31. Returns 0 where a descriptor is too long, else 1.
    """
    words = (query.shape[1] + 3) // 4
    rows = (len(query) + 3) // 4 * 4 + 4
    laid, begin = queries[: rows * words], queries[rows * words : rows * (words + 1)]
    rest = queries[rows * (words + 1) :]
    query_bias, partner, slot_of = rest[:rows], rest[rows : 2 * rows], rest[2 * rows : 3 * rows]
    of_query = rest[3 * rows : 19 * rows]
    # how far the last number alone has to keep two features apart: beyond the limit's root
    of_mine, apart = _least(query, 0, len(query)), False
    if len(query):
        apart = 4 * of_mine * of_mine > limit
    middle = _lay_query(query, query_flat, apart, laid, begin, query_bias, slot_of)
    offset[0] = 0
    if middle < 0:
        return 0
    low = (1 << WHO) - 1
    worst = splat(np.int32(WORST))
    n = 0
    for p in range(len(start)):
        if len(query) and count[p]:
            room = (count[p] + 31) // 32 * 32 + 32
            candidate = candidates[: room * words]
            candidate_bias = candidates[room * words : room * (words + 1)]
            slot = candidates[room * (words + 1) : room * (words + 2)]
            of_candidate = candidates[room * (words + 2) : room * (words + 3)]
            other = _least(descriptor, start[p], count[p])
            split = apart and (of_mine + other) * (of_mine + other) > limit
            half, end = _lay_candidate(
                descriptor, flat, start[p], count[p], split, candidate, candidate_bias, slot
            )
            if end < 0:
                return 0
            for at in range(0, end, 16):
                store(of_candidate, at, worst)
            if mutual:
                for q in range(rows):
                    store(of_query, 16 * q, worst)
            for some in range(2):
                _nearest(
                    laid,
                    begin,
                    query_bias,
                    (middle if split and some else 0, middle if split and not some else rows),
                    candidate,
                    candidate_bias,
                    (half if some else 0, end if some else half),
                    words,
                    mutual,
                    fast,
                    of_candidate,
                    of_query,
                )
            if mutual:
                for q in range(len(query)):
                    partner[q] = low - (largest(load(of_query, 16 * slot_of[q])) & low)
            for c in range(count[p]):
                key = of_candidate[slot[c]]
                q = low - (key & low)
                squared = -(candidate_bias[slot[c]] >> WHO)
                if squared - (key >> WHO) <= limit and (not mutual or partner[q] == c):
                    pairs[n, 0], pairs[n, 1] = q, c
                    n += 1
        offset[p + 1] = n
    return 1
