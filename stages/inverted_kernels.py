"""The compiled half of `stages/visual_words.py` and `stages/inverted_index.py`: the nearest words
of features, and the walk through inverted lists.
"""

import numba
import numpy as np

from stages.match_kernels import word_at
from stages.simd import (
    add,
    dot4,
    largest,
    load,
    mul,
    shift_left,
    splat,
    store,
    sub,
)
from stages.visual_words import NONE


@numba.njit(nogil=True, error_model="numpy")
def nearest_words(query, flat, words, length, found, rows, best, score):  # type: ignore[no-untyped-def]
    """query (M, D) int8, flat the same array; words: sixteen a lane, four numbers each, 128 more as
    uint8, and length (V',) their squared lengths -> found (M, P), filled: the P nearest words of
    each, nearest first, equal ones by number. To work in: rows (4 W,), W numbers of four bytes a
    descriptor; best (4, P); score (16,).
    """
    wide, wanted = (query.shape[1] + 3) // 4, found.shape[1]
    for m in range(0, len(query), 4):
        some = min(4, len(query) - m)
        begin0, begin1, begin2, begin3 = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
        for k in range(4):
            mine = m + min(k, some - 1)
            total = np.int32(0)
            for value in query[mine]:
                total += value
            total *= -128  # the words' bytes are 128 too large
            begin0 = total if k == 0 else begin0
            begin1 = total if k == 1 else begin1
            begin2 = total if k == 2 else begin2
            begin3 = total if k == 3 else begin3
            for w in range(wide):
                rows[k * wide + w] = word_at(flat, mine * query.shape[1], query.shape[1], w)
            for p in range(wanted):
                best[k, p] = NONE
        for group in range(len(length) // 16):
            a, b, c, d = splat(begin0), splat(begin1), splat(begin2), splat(begin3)
            for w in range(wide):
                x = load(words, (group * wide + w) * 16)
                a, b = dot4(a, x, splat(rows[w])), dot4(b, x, splat(rows[wide + w]))
                c = dot4(c, x, splat(rows[2 * wide + w]))
                d = dot4(d, x, splat(rows[3 * wide + w]))
            own, one = load(length, 16 * group), np.int32(1)
            a, b = sub(shift_left(a, one), own), sub(shift_left(b, one), own)
            c, d = sub(shift_left(c, one), own), sub(shift_left(d, one), own)
            # mostly none of sixteen is nearer than what was found before
            if largest(a) > best[0, wanted - 1]:
                _enter(score, a, 16 * group, best[0], found[m])
            if some > 1 and largest(b) > best[1, wanted - 1]:
                _enter(score, b, 16 * group, best[1], found[m + 1])
            if some > 2 and largest(c) > best[2, wanted - 1]:
                _enter(score, c, 16 * group, best[2], found[m + 2])
            if some > 3 and largest(d) > best[3, wanted - 1]:
                _enter(score, d, 16 * group, best[3], found[m + 3])
    return 0


@numba.njit(nogil=True, error_model="numpy")
def _enter(score, lanes, first, best, found):  # type: ignore[no-untyped-def]
    """Sixteen scores, of words from number `first`, among the best so far (P,), largest first."""
    store(score, 0, lanes)
    last = len(best) - 1
    for lane in range(16):
        value = score[lane]
        if value <= best[last]:
            continue
        place = last
        while place > 0 and best[place - 1] < value:
            best[place], found[place] = best[place - 1], found[place - 1]
            place -= 1
        best[place], found[place] = value, first + lane


@numba.njit(nogil=True, error_model="numpy")
def _products(shares, zero, centroids, base, times, products):  # type: ignore[no-untyped-def]
    """products (8, 256) flat, filled: base (8, 256), and `times` the product of each byte's share
    of a vector, shares (8, J) flat, four numbers each, with that byte's centroids. zero (8,): what
    makes good that the centroids' bytes are 128 too large.
    """
    wide = len(shares) // 8
    for byte in range(8):
        for group in range(16):
            at = (byte * 16 + group) * 16
            total = splat(zero[byte])
            for w in range(wide):
                centroid = load(centroids, at * wide + 16 * w)
                total = dot4(total, centroid, splat(shares[byte * wide + w]))
            store(products, at, add(load(base, at), mul(total, splat(np.int32(times)))))


@numba.njit(nogil=True, error_model="numpy")
def walk(  # type: ignore[no-untyped-def]
    query,
    shares,
    zero,
    probes,
    words,
    word_shares,
    word_zero,
    centroids,
    squares,
    start,
    photo,
    code,
    number,
    shift,
    most,
    limit,
    hist,
    products,
    table,
    seen,
    touched,
    nearest,
    feature,
    content,
    distance,
):
    """One segment: the query's features (M, D) int8, the share that each byte has of them (M, 8 J)
    and `zero` (M, 8) of these; the words that each looks into (M, P); all words (V, D) and the same
    of them; centroids, sixteen a lane, and their squared lengths (8, 256) flat; start (V + 1,),
    photo (T,), code (T, 8) of the segment; number (photos,) of each photo's contents, -1 for one
    that does not count -> how many of feature, content, distance were filled: for each feature and
    photo the nearest entry, in steps of 2^shift of the squared distance, where that is below the
    feature's limit.

    hist (M, steps) counts photos by their distance, limit (M,) is the first distance within which
    more than `most` lie, else the number of steps; both go on from segment to segment. What is
    beyond the limit is not kept, and its counts may be too small; so M times `most` is room enough.
    To work in: products and table (8, 256) flat; seen, touched and nearest (photos,).

    What a code stands for is r = q - w less its centroids, byte by byte, so that its squared length
    is |r|^2 + the sum of |c|^2 - 2 q c + 2 w c: all but the last, once a feature.
    """
    seen[:] = -1
    held = 0
    for m in range(len(query)):
        count, bound, within = 0, limit[m], 0
        for d in range(bound):
            within += hist[m, d]
        farthest = bound << shift
        _products(shares[m], zero[m], centroids, squares, -2, products)
        for p in range(probes.shape[1]):
            word = probes[m, p]
            # unsigned, so that no index is tested for counting from the end
            begin, end = np.uintp(start[word]), np.uintp(start[word + 1])
            if begin == end:
                continue
            _products(word_shares[word], word_zero[word], centroids, products, 2, table)
            rest = np.int32(0)
            for d in range(query.shape[1]):
                apart = np.int32(query[m, d]) - np.int32(words[word, d])
                rest += apart * apart
            for entry in range(begin, end):
                mine = code[entry]
                # all eight: to stop halfway costs more by branches than it saves
                apart = rest + (
                    (
                        (table[mine[0]] + table[256 + mine[1]])
                        + (table[512 + mine[2]] + table[768 + mine[3]])
                    )
                    + (
                        (table[1024 + mine[4]] + table[1280 + mine[5]])
                        + (table[1536 + mine[6]] + table[1792 + mine[7]])
                    )
                )
                if apart >= farthest:
                    continue
                who, steps = photo[entry], apart >> shift
                if number[who] < 0:
                    continue
                if seen[who] != m:
                    seen[who] = m
                    touched[count] = who
                    count += 1
                elif steps < nearest[who]:
                    hist[m, nearest[who]] -= 1
                    within -= nearest[who] < bound
                else:
                    continue
                nearest[who] = steps
                hist[m, steps] += 1
                within += 1
                while within > most:
                    bound -= 1
                    within -= hist[m, bound]
                farthest = bound << shift
        limit[m] = bound
        for t in range(count):
            who = touched[t]
            if nearest[who] < bound:
                feature[held], content[held], distance[held] = m, number[who], nearest[who]
                held += 1
    return held


@numba.njit(nogil=True, error_model="numpy")
def count_votes(feature, content, distance, limit, votes):  # type: ignore[no-untyped-def]
    """Each entry of a walk votes for its content by how much nearer it is than limit (M,) of its
    feature; votes (C,) int32, added to.
    """
    for hit in range(len(feature)):
        nearer = limit[feature[hit]] - np.int32(distance[hit])
        if nearer > 0:
            votes[content[hit]] += nearer
    return 0
