"""The compiled half of `stages/hashing.py`: one pass over packed codes that keeps what can still be
among the nearest.
"""

from typing import Any

import numba
from numba.extending import intrinsic

from stages.hashing import BLOCK


@intrinsic  # type: ignore[untyped-decorator]
def popcount(typing: Any, word: Any) -> Any:
    """The number of ones; a row of words becomes one instruction of the machine where it has it
    (AVX-512 BITALG).
    """
    return word(word), lambda context, builder, signature, args: builder.ctpop(args[0])


@numba.njit(nogil=True, error_model="numpy")
def nearest(words, query, count, rows, distance, of_distance, block):  # type: ignore[no-untyped-def]
    """words (W, N) uint16, query (W,), 1 <= count <= N -> how many of rows (2 count + 2 BLOCK,)
    int64, ascending, and distance uint16 were filled: among them are the `count` nearest, of equal
    ones those of lower rows. To work in: of_distance (16 W + 1,), block (BLOCK,).

    `bound` is the distance of the `count`-th nearest code so far: what lies beyond is never written
    down. Whenever the notes are full, what the bound has overtaken is struck out.
    """
    deepest = 16 * len(words)
    held, bound = 0, deepest
    of_distance[:] = 0  # codes held, by distance
    for base in range(0, words.shape[1], BLOCK):
        size = min(BLOCK, words.shape[1] - base)
        block[:] = 0
        for w in range(len(words)):
            mine, word = words[w, base : base + size], query[w]
            for i in range(size):
                block[i] += popcount(mine[i] ^ word)
        for start in range(0, size, 64):
            stop = min(start + 64, size)
            least = block[start]
            for i in range(start, stop):
                least = min(least, block[i])
            if least <= bound:
                for i in range(start, stop):
                    if block[i] <= bound:
                        rows[held], distance[held] = base + i, block[i]
                        of_distance[block[i]] += 1
                        held += 1
        seen = 0
        for d in range(bound + 1):
            if seen + of_distance[d] >= count:
                bound = d
                break
            seen += of_distance[d]
        if held > len(rows) - BLOCK:  # the bound holds: there are more than `count`
            room, kept = count - seen, 0
            for i in range(held):
                if distance[i] < bound or (distance[i] == bound and room > 0):
                    room -= distance[i] == bound
                    rows[kept], distance[kept] = rows[i], distance[i]
                    kept += 1
            of_distance[bound:] = 0
            of_distance[bound] = count - seen
            held = kept
    return held
