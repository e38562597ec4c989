"""The compiled half of `stages/affine.py`: sixteen hypotheses solved and scored at once, the best
of them polished.
"""

import numba
import numpy as np

from stages.affine import ROUNDS
from stages.simd import (
    add,
    count_within,
    div,
    fma,
    gather_points,
    larger,
    load,
    mul,
    shift_right,
    splat,
    store,
    sub,
    total,
    where_more,
    where_within,
)


@numba.njit(nogil=True, error_model="numpy")
def _hypotheses(points, n, table, t, rows):  # type: ignore[no-untyped-def]
    """Sixteen maps (a, b, c, d, e, f): x' = a x + b y + c, y' = d x + e y + f, each through three
    different matches.

    points (n, 4) flat; table (T, 3, 16) flat; rows (16,) to work in. Three points of one line give
    NaN or infinity, which no match fits.
    """
    one, two = splat(np.int32(1)), splat(np.int32(2))
    i = shift_right(mul(load(table, 48 * t), splat(np.int32(n))), np.int32(16))
    j = shift_right(mul(load(table, 48 * t + 16), splat(np.int32(n - 1))), np.int32(16))
    k = shift_right(mul(load(table, 48 * t + 32), splat(np.int32(n - 2))), np.int32(16))
    j = add(j, where_more(i, j, splat(np.int32(0)), one))  # of the others
    low, high = where_more(i, j, j, i), larger(i, j)
    k = add(k, where_more(low, k, splat(np.int32(0)), where_more(high, add(k, one), one, two)))
    store(rows, 0, i)
    x0, y0, u0, v0 = gather_points(points, rows)
    store(rows, 0, j)
    x1, y1, u1, v1 = gather_points(points, rows)
    store(rows, 0, k)
    x2, y2, u2, v2 = gather_points(points, rows)
    x1, y1, u1, v1 = sub(x1, x0), sub(y1, y0), sub(u1, u0), sub(v1, v0)
    x2, y2, u2, v2 = sub(x2, x0), sub(y2, y0), sub(u2, u0), sub(v2, v0)
    over = div(splat(np.float32(1)), sub(mul(x1, y2), mul(x2, y1)))
    a, b = mul(sub(mul(u1, y2), mul(u2, y1)), over), mul(sub(mul(u2, x1), mul(u1, x2)), over)
    d, e = mul(sub(mul(v1, y2), mul(v2, y1)), over), mul(sub(mul(v2, x1), mul(v1, x2)), over)
    return a, b, sub(u0, fma(a, x0, mul(b, y0))), d, e, sub(v0, fma(d, x0, mul(e, y0)))


@numba.njit(nogil=True, error_model="numpy")
def _credible(a, b, d, e, bounds, ratio):  # type: ignore[no-untyped-def]
    """Whether a map of the plane is one that a camera's move can make. ratio: of the areas of two
    squares as large as the photos, the query's to the candidate's.
    """
    # sum of squares, product of the singular values
    square, det, scale = a * a + b * b + d * d + e * e, a * e - b * d, bounds[0] ** 2
    if bounds[1] == 0:
        return square >= 1e-20
    size = det * ratio
    return size >= 1 / scale and size <= scale and square <= det * (bounds[1] + 1 / bounds[1])


@numba.njit(nogil=True, error_model="numpy")
def _believed(a, b, c, d, e, bounds, ratio):  # type: ignore[no-untyped-def]
    """c of sixteen maps, NaN where `_credible` says no, so that nothing agrees with them."""
    never, square = splat(np.float32(np.nan)), fma(a, a, fma(b, b, fma(d, d, mul(e, e))))
    # many matches of one feature would send everything to that one point
    c = where_within(splat(np.float32(1e-20)), square, c, never)
    if bounds[1] > 0:
        det, scale = sub(mul(a, e), mul(b, d)), np.float32(bounds[0] ** 2)
        size = mul(det, splat(ratio))
        c = where_within(splat(1 / scale), size, c, never)
        c = where_within(size, splat(scale), c, never)
        c = where_within(square, mul(det, splat(np.float32(bounds[1] + 1 / bounds[1]))), c, never)
    return c


@numba.njit(nogil=True, error_model="numpy")
def _tally(points, n, a, b, c, d, e, f, reach, ratio, symmetric):  # type: ignore[no-untyped-def]
    """How many matches agree with each of sixteen maps."""
    limit = splat(np.float32(reach * reach))
    if symmetric:
        own = mul(sub(mul(a, e), mul(b, d)), splat(np.float32(reach * reach) * ratio))
        limit = where_within(own, limit, own, limit)
    count = splat(np.int32(0))
    for p in range(n):
        x, y = splat(points[4 * p]), splat(points[4 * p + 1])
        over, down = sub(c, splat(points[4 * p + 2])), sub(f, splat(points[4 * p + 3]))
        over, down = fma(a, x, fma(b, y, over)), fma(d, x, fma(e, y, down))
        count = count_within(count, fma(over, over, mul(down, down)), limit)
    return count


@numba.njit(nogil=True, error_model="numpy")
def _tally_waiting(points, n, reach, ratio, symmetric, waiting, of_lane, held, maps, counts, rows):  # type: ignore[no-untyped-def]
    """The first sixteen of the maps that wait, of which `held` are there: each is the best so far
    of its lane if more agree with it. What is left moves up.
    """
    for m in range(held, 16):
        waiting[64 + m] = np.nan
    count = _tally(
        points,
        n,
        load(waiting, 0),
        load(waiting, 32),
        load(waiting, 64),
        load(waiting, 96),
        load(waiting, 128),
        load(waiting, 160),
        reach,
        ratio,
        symmetric,
    )
    store(rows, 0, count)
    for m in range(min(held, 16)):
        lane = of_lane[m]
        if rows[m] > counts[lane]:
            counts[lane] = rows[m]
            for k in range(6):
                maps[16 * k + lane] = waiting[32 * k + m]
    for m in range(16, held):
        of_lane[m - 16] = of_lane[m]
        for k in range(6):
            waiting[32 * k + m - 16] = waiting[32 * k + m]


@numba.njit(nogil=True, error_model="numpy")
def _misses(columns, p, map):  # type: ignore[no-untyped-def]
    """The squared residuals of matches p to p + 15. columns (4, n') flat of x, y, u, v, NaN beyond
    the last match.
    """
    room = len(columns) // 4
    x, y = load(columns, p), load(columns, room + p)
    over = fma(
        splat(map[0]), x, fma(splat(map[1]), y, sub(splat(map[2]), load(columns, 2 * room + p)))
    )
    down = fma(
        splat(map[3]), x, fma(splat(map[4]), y, sub(splat(map[5]), load(columns, 3 * room + p)))
    )
    return fma(over, over, mul(down, down))


@numba.njit(nogil=True, error_model="numpy")
def _limit(map, reach, ratio, symmetric):  # type: ignore[no-untyped-def]
    """The squared residual that an inlier of `map` may have: `reach` px in the candidate, and,
    where it is symmetric, the same share of the query's size in the query.
    """
    limit = np.float32(reach * reach)
    if symmetric:
        limit = min(limit, limit * ratio * (map[0] * map[4] - map[1] * map[3]))
    return limit


@numba.njit(nogil=True, error_model="numpy")
def _agree(columns, n, map, reach, ratio, symmetric):  # type: ignore[no-untyped-def]
    limit = splat(_limit(map, reach, ratio, symmetric))
    count = splat(np.int32(0))
    for p in range(0, n, 16):
        count = count_within(count, _misses(columns, p, map), limit)
    return total(count)


@numba.njit(nogil=True, error_model="numpy")
def _refit(columns, n, map, reach, ratio, symmetric, flat, better):  # type: ignore[no-untyped-def]
    """Least squares over the inliers of `map` into `better`; False where they do not span the
    plane: where the smaller variance of their query points is below `flat` of the larger.
    """
    limit, zero, one = (
        splat(_limit(map, reach, ratio, symmetric)),
        splat(np.float32(0)),
        splat(np.float32(1)),
    )
    room = len(columns) // 4
    sn, sx, sy, su, sv = zero, zero, zero, zero, zero
    for p in range(0, n, 16):
        miss = _misses(columns, p, map)
        sn = add(sn, where_within(miss, limit, one, zero))
        sx = add(sx, where_within(miss, limit, load(columns, p), zero))
        sy = add(sy, where_within(miss, limit, load(columns, room + p), zero))
        su = add(su, where_within(miss, limit, load(columns, 2 * room + p), zero))
        sv = add(sv, where_within(miss, limit, load(columns, 3 * room + p), zero))
    count = total(sn)
    if count < 3:
        return False
    mx, my, mu, mv = total(sx) / count, total(sy) / count, total(su) / count, total(sv) / count
    # a second pass keeps the digits of small objects
    around_x, around_y, around_u, around_v = splat(mx), splat(my), splat(mu), splat(mv)
    sxx, sxy, syy, sxu, syu, sxv, syv = zero, zero, zero, zero, zero, zero, zero
    for p in range(0, n, 16):
        miss = _misses(columns, p, map)
        x = where_within(miss, limit, sub(load(columns, p), around_x), zero)
        y = where_within(miss, limit, sub(load(columns, room + p), around_y), zero)
        u = where_within(miss, limit, sub(load(columns, 2 * room + p), around_u), zero)
        v = where_within(miss, limit, sub(load(columns, 3 * room + p), around_v), zero)
        sxx, sxy, syy = fma(x, x, sxx), fma(x, y, sxy), fma(y, y, syy)
        sxu, syu, sxv, syv = fma(x, u, sxu), fma(y, u, syu), fma(x, v, sxv), fma(y, v, syv)
    xx, xy, yy = np.float64(total(sxx)), np.float64(total(sxy)), np.float64(total(syy))
    xu, yu, xv, yv = total(sxu), total(syu), total(sxv), total(syv)
    det = xx * yy - xy * xy
    if not det > flat * (xx + yy) * (xx + yy):
        return False
    a, b = (xu * yy - yu * xy) / det, (yu * xx - xu * xy) / det
    d, e = (xv * yy - yv * xy) / det, (yv * xx - xv * xy) / det
    better[0], better[1], better[2] = a, b, mu - a * mx - b * my
    better[3], better[4], better[5] = d, e, mv - d * mx - e * my
    return True


@numba.njit(nogil=True, error_model="numpy")
def _best_of_lanes(points, n, table, reach, ratio, symmetric, bounds, maps, counts, floats, rows):  # type: ignore[no-untyped-def]
    """Fill maps (6, 16) flat and counts (16,): of each lane's hypotheses the first with which most
    matches agree, and how many do; those that are not credible have none.

    Most of what chance makes is not credible: it is left out, and what is left shares the sixteen
    lanes in which matches are counted.
    """
    counts[:] = 0
    maps[:] = 0
    waiting, credible, of_lane, held = floats[:192], floats[192:208], rows[16:48], 0
    for t in range(len(table) // 48):
        a, b, c, d, e, f = _hypotheses(points, n, table, t, rows)
        c = _believed(a, b, c, d, e, bounds, ratio)
        store(credible, 0, c)
        if bounds[1] > 0:
            store(floats, 208, a)
            store(floats, 224, b)
            store(floats, 240, d)
            store(floats, 256, e)
            store(floats, 272, f)
            for lane in range(16):
                if credible[lane] == credible[lane]:
                    of_lane[held] = lane
                    waiting[held] = floats[208 + lane]
                    waiting[32 + held] = floats[224 + lane]
                    waiting[64 + held] = credible[lane]
                    waiting[96 + held] = floats[240 + lane]
                    waiting[128 + held] = floats[256 + lane]
                    waiting[160 + held] = floats[272 + lane]
                    held += 1
            if held >= 16:
                _tally_waiting(
                    points, n, reach, ratio, symmetric, waiting, of_lane, held, maps, counts, rows
                )
                held -= 16
        else:  # nearly all are credible
            most, count = (
                load(counts, 0),
                _tally(points, n, a, b, c, d, e, f, reach, ratio, symmetric),
            )
            store(maps, 0, where_more(count, most, a, load(maps, 0)))
            store(maps, 16, where_more(count, most, b, load(maps, 16)))
            store(maps, 32, where_more(count, most, c, load(maps, 32)))
            store(maps, 48, where_more(count, most, d, load(maps, 48)))
            store(maps, 64, where_more(count, most, e, load(maps, 64)))
            store(maps, 80, where_more(count, most, f, load(maps, 80)))
            store(counts, 0, larger(count, most))
    if held:
        _tally_waiting(
            points, n, reach, ratio, symmetric, waiting, of_lane, held, maps, counts, rows
        )


@numba.njit(nogil=True, error_model="numpy")
def _search(  # type: ignore[no-untyped-def]
    points, columns, n, table, reach, ratio, symmetric, polish, least, bounds, floats, rows
):
    """The best map of one pair of photos into the first six of `floats`; returns how many agree, 0
    where there is no map.
    """
    best, now, next = floats[:6], floats[8:14], floats[16:22]
    maps, counts = floats[24:120], rows[:16]
    _best_of_lanes(
        points, n, table, reach, ratio, symmetric, bounds, maps, counts, floats[120:], rows[16:]
    )
    flat = 1e-6 if bounds[1] > 0 else 1e-9
    found = 0
    for _ in range(max(1, polish)):
        lane = 0
        for other in range(1, 16):
            if counts[other] > counts[lane]:
                lane = other
        count = counts[lane]
        counts[lane] = 0
        if count < 3:
            break
        for k in range(6):
            now[k] = maps[16 * k + lane]
        spans = _refit(columns, n, now, reach, ratio, symmetric, flat, next)
        if not spans:
            continue
        for turn in range(ROUNDS if polish else 0):
            agree = _agree(columns, n, next, reach, ratio, symmetric)
            if (
                not spans
                or agree < count
                or not _credible(next[0], next[1], next[3], next[4], bounds, ratio)
            ):
                break
            settled = agree == count and turn > 0
            count = agree
            for k in range(6):
                now[k] = next[k]
            if settled:
                break
            spans = _refit(columns, n, now, reach, ratio, symmetric, flat, next)
        if count > found:
            found = count
            for k in range(6):
                best[k] = now[k]
    return found if found >= least else 0


@numba.njit(nogil=True, error_model="numpy")
def fit(  # type: ignore[no-untyped-def]
    query,
    xy,
    start,
    offset,
    pairs,
    reach,
    ratio,
    symmetric,
    table,
    polish,
    least,
    bounds,
    backward,
    points,
    columns,
    floats,
    rows,
    affine,
    inlier,
):
    """`RobustAffine.block`: fill affine (P, 6), NaN where none, and inlier (n,), 1 for each match
    that agrees. Room to work in: points and columns (4 n') each, n' the most matches of a pair and
    a multiple of 16; floats (408,), rows (80,) int32.
    """
    room = len(points) // 4
    for p in range(len(start)):
        for k in range(6):
            affine[p, k] = np.nan
    for m in range(len(inlier)):
        inlier[m] = 0
    for p in range(len(start)):
        first, n = offset[p], offset[p + 1] - offset[p]
        if n < max(3, least):
            continue
        # around the first match, so that squares of coordinates keep their digits
        q0, c0 = query[pairs[first, 0]], xy[start[p] + pairs[first, 1]]
        if backward:
            q0, c0 = c0, q0
        for m in range(n):
            q, c = query[pairs[first + m, 0]], xy[start[p] + pairs[first + m, 1]]
            if backward:
                q, c = c, q
            points[4 * m], points[4 * m + 1], points[4 * m + 2], points[4 * m + 3] = (
                q[0] - q0[0],
                q[1] - q0[1],
                c[0] - c0[0],
                c[1] - c0[1],
            )
            for k in range(4):
                columns[k * room + m] = points[4 * m + k]
        for m in range(n, (n + 15) // 16 * 16):
            for k in range(4):
                columns[k * room + m] = np.nan
        if (
            _search(
                points,
                columns,
                n,
                table,
                reach[p],
                ratio[p],
                symmetric,
                polish,
                least,
                bounds,
                floats,
                rows,
            )
            == 0
        ):
            continue
        limit = _limit(floats[:6], reach[p], ratio[p], symmetric)
        best, misses = floats[:6], floats[24:40]
        for m in range(0, n, 16):
            store(misses, 0, _misses(columns, m, best))
            for k in range(min(16, n - m)):
                inlier[first + m + k] = misses[k] <= limit
        for k in range(6):
            affine[p, k] = best[k]
        affine[p, 2] += c0[0] - best[0] * q0[0] - best[1] * q0[1]
        affine[p, 5] += c0[1] - best[3] * q0[0] - best[4] * q0[1]
    return 1
