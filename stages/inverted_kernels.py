"""The compiled half of `stages/visual_words.py` and `stages/inverted_index.py`: the nearest words
of features, and the walk through inverted lists.
"""

import numba
import numpy as np


@numba.njit(nogil=True, error_model="numpy")
def nearest_words(cost, found, least):  # type: ignore[no-untyped-def]
    """cost (M, V) float32 -> found (M, P) int32, filled: the P least of each row, least first,
    equal ones by number. least (P,) to work in.
    """
    wanted = found.shape[1]
    for m in range(len(cost)):
        held = 0
        for v in range(cost.shape[1]):
            value = cost[m, v]
            if held == wanted and value >= least[wanted - 1]:
                continue
            place = min(held, wanted - 1)
            while place > 0 and least[place - 1] > value:
                least[place], found[m, place] = least[place - 1], found[m, place - 1]
                place -= 1
            least[place], found[m, place] = value, v
            held = min(held + 1, wanted)
    return 0


@numba.njit(nogil=True, error_model="numpy")
def _tabulate(query, word, centroids, table):  # type: ignore[no-untyped-def]
    """query (D,), word (D,) int8, centroids (8, S, 256) -> table (8, 256) int32, filled: the
    squared distance of what the word leaves of the query from each centroid.
    """
    table[:] = 0
    for byte in range(centroids.shape[0]):
        mine = table[byte]
        for s in range(centroids.shape[1]):
            at = s * centroids.shape[0] + byte
            rest = np.int32(query[at]) - np.int32(word[at]) if at < len(query) else np.int32(0)
            centre = centroids[byte, s]
            for c in range(len(mine)):
                apart = rest - np.int32(centre[c])
                mine[c] += apart * apart


@numba.njit(nogil=True, error_model="numpy")
def walk(  # type: ignore[no-untyped-def]
    query,
    probes,
    words,
    centroids,
    start,
    photo,
    code,
    number,
    shift,
    most,
    limit,
    hist,
    table,
    seen,
    touched,
    nearest,
    feature,
    content,
    distance,
):
    """One segment: the query's features (M, D) int8 and the words that each looks into (M, P);
    words (V, D) and centroids (8, S, 256) int8; start (V + 1,), photo (T,), code (T, 8) of the
    segment; number (photos,) of each photo's contents, -1 for one that does not count -> how many
    of feature, content, distance were filled: for each feature and photo the nearest entry, in
    steps of 2^shift of the squared distance, where that is below the feature's limit.

    hist (M, steps) counts photos by their distance, limit (M,) is the first distance within which
    more than `most` lie, else the number of steps; both go on from segment to segment. What is
    beyond the limit is not kept, and its counts may be too small; so M times `most` is room enough.
    To work in: table (8, 256); seen, touched and nearest (photos,).
    """
    seen[:] = -1
    held = 0
    for m in range(len(query)):
        count, bound, within = 0, limit[m], 0
        for d in range(bound):
            within += hist[m, d]
        farthest = bound << shift
        for p in range(probes.shape[1]):
            word = probes[m, p]
            # unsigned, so that no index is tested for counting from the end
            begin, end = np.uintp(start[word]), np.uintp(start[word + 1])
            if begin == end:
                continue
            _tabulate(query[m], words[word], centroids, table)
            for entry in range(begin, end):
                mine = code[entry]
                # all eight: to stop halfway costs more by branches than it saves
                apart = (
                    (table[0, mine[0]] + table[1, mine[1]])
                    + (table[2, mine[2]] + table[3, mine[3]])
                ) + (
                    (table[4, mine[4]] + table[5, mine[5]])
                    + (table[6, mine[6]] + table[7, mine[7]])
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
