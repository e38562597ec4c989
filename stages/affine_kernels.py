"""The compiled half of `stages/affine.py`: sixteen hypotheses solved and scored at once, the best
of them polished.
"""

import numba
import numpy as np

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

# of stages/simd.py: what numba keeps on the disk knows this file's changes alone, so a change there
# has to show here
SIMD = "2ce630945d79"
ROUNDS = 8  # of least squares at most


@numba.njit(nogil=True, cache=True)
def _hypotheses(points, n, table, t, rows):  # type: ignore[no-untyped-def]
    """Sixteen maps (a, b, c, d, e, f): x' = a x + b y + c, y' = d x + e y + f, each through three
    different matches.

    points (n, 4) flat; table (T, 3, 16) flat; rows (16,) to work in. Three points of one line give
    NaN or infinity, which no match fits.
    """
    one, two = splat(numba.int32(1)), splat(numba.int32(2))
    i = shift_right(mul(load(table, 48 * t), splat(numba.int32(n))), numba.int32(16))
    j = shift_right(mul(load(table, 48 * t + 16), splat(numba.int32(n - 1))), numba.int32(16))
    k = shift_right(mul(load(table, 48 * t + 32), splat(numba.int32(n - 2))), numba.int32(16))
    j = add(j, where_more(i, j, splat(numba.int32(0)), one))  # of the others
    low, high = where_more(i, j, j, i), larger(i, j)
    k = add(k, where_more(low, k, splat(numba.int32(0)), where_more(high, add(k, one), one, two)))
    store(rows, 0, i)
    x0, y0, u0, v0 = gather_points(points, rows)
    store(rows, 0, j)
    x1, y1, u1, v1 = gather_points(points, rows)
    store(rows, 0, k)
    x2, y2, u2, v2 = gather_points(points, rows)
    x1, y1, u1, v1 = sub(x1, x0), sub(y1, y0), sub(u1, u0), sub(v1, v0)
    x2, y2, u2, v2 = sub(x2, x0), sub(y2, y0), sub(u2, u0), sub(v2, v0)
    over = div(splat(numba.float32(1)), sub(mul(x1, y2), mul(x2, y1)))
    a, b = mul(sub(mul(u1, y2), mul(u2, y1)), over), mul(sub(mul(u2, x1), mul(u1, x2)), over)
    d, e = mul(sub(mul(v1, y2), mul(v2, y1)), over), mul(sub(mul(v2, x1), mul(v1, x2)), over)
    return a, b, sub(u0, fma(a, x0, mul(b, y0))), d, e, sub(v0, fma(d, x0, mul(e, y0)))


@numba.njit(nogil=True, cache=True)
def _credible(a, b, d, e, bounds):  # type: ignore[no-untyped-def]
    """Whether a map of the plane is one that a camera's move can make."""
    # sum of squares, product of the singular values
    square, det, scale = a * a + b * b + d * d + e * e, a * e - b * d, bounds[0] ** 2
    if bounds[1] == 0:
        return square >= 1e-20
    return det >= 1 / scale and det <= scale and square <= det * (bounds[1] + 1 / bounds[1])


@numba.njit(nogil=True, cache=True)
def _tally(points, n, table, t, reach, bounds, rows):  # type: ignore[no-untyped-def]
    """Sixteen hypotheses and how many matches agree with each; those that are not credible have
    none.
    """
    a, b, c, d, e, f = _hypotheses(points, n, table, t, rows)
    never, square = splat(numba.float32(np.nan)), fma(a, a, fma(b, b, fma(d, d, mul(e, e))))
    # many matches of one feature would send everything to that one point
    c = where_within(splat(numba.float32(1e-20)), square, c, never)
    if bounds[1] > 0:
        det, scale = sub(mul(a, e), mul(b, d)), numba.float32(bounds[0] ** 2)
        c = where_within(splat(1 / scale), det, c, never)
        c = where_within(det, splat(scale), c, never)
        c = where_within(
            square, mul(det, splat(numba.float32(bounds[1] + 1 / bounds[1]))), c, never
        )
    limit = splat(numba.float32(reach * reach))
    count = splat(numba.int32(0))
    for p in range(n):
        x, y = splat(points[4 * p]), splat(points[4 * p + 1])
        over, down = sub(c, splat(points[4 * p + 2])), sub(f, splat(points[4 * p + 3]))
        over, down = fma(a, x, fma(b, y, over)), fma(d, x, fma(e, y, down))
        count = count_within(count, fma(over, over, mul(down, down)), limit)
    return a, b, c, d, e, f, count


@numba.njit(nogil=True, cache=True)
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


@numba.njit(nogil=True, cache=True)
def _agree(columns, n, map, reach):  # type: ignore[no-untyped-def]
    limit = splat(numba.float32(reach * reach))
    count = splat(numba.int32(0))
    for p in range(0, n, 16):
        count = count_within(count, _misses(columns, p, map), limit)
    return total(count)


@numba.njit(nogil=True, cache=True)
def _refit(columns, n, map, reach, flat, better):  # type: ignore[no-untyped-def]
    """Least squares over the inliers of `map` into `better`; False where they do not span the
    plane: where the smaller variance of their query points is below `flat` of the larger.
    """
    limit, zero, one = (
        splat(numba.float32(reach * reach)),
        splat(numba.float32(0)),
        splat(numba.float32(1)),
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
    xx, xy, yy = numba.float64(total(sxx)), numba.float64(total(sxy)), numba.float64(total(syy))
    xu, yu, xv, yv = total(sxu), total(syu), total(sxv), total(syv)
    det = xx * yy - xy * xy
    if not det > flat * (xx + yy) * (xx + yy):
        return False
    a, b = (xu * yy - yu * xy) / det, (yu * xx - xu * xy) / det
    d, e = (xv * yy - yv * xy) / det, (yv * xx - xv * xy) / det
    better[0], better[1], better[2] = a, b, mu - a * mx - b * my
    better[3], better[4], better[5] = d, e, mv - d * mx - e * my
    return True


@numba.njit(nogil=True, cache=True)
def _search(points, columns, n, table, reach, polish, least, bounds, best):  # type: ignore[no-untyped-def]
    """The best map of one pair of photos into `best` (6,); returns how many agree, 0 where there is
    no map.
    """
    zero = splat(numba.float32(0))
    a, b, c, d, e, f = zero, zero, zero, zero, zero, zero
    most = splat(numba.int32(0))
    rows = np.empty(16, np.int32)
    for t in range(len(table) // 48):
        a1, b1, c1, d1, e1, f1, count = _tally(points, n, table, t, reach, bounds, rows)
        a, b, c = (
            where_more(count, most, a1, a),
            where_more(count, most, b1, b),
            where_more(count, most, c1, c),
        )
        d, e, f = (
            where_more(count, most, d1, d),
            where_more(count, most, e1, e),
            where_more(count, most, f1, f),
        )
        most = larger(count, most)
    maps, counts = np.empty(96, np.float32), np.empty(16, np.int32)
    store(counts, 0, most)
    store(maps, 0, a)
    store(maps, 16, b)
    store(maps, 32, c)
    store(maps, 48, d)
    store(maps, 64, e)
    store(maps, 80, f)
    flat = 1e-6 if bounds[1] > 0 else 1e-9
    found = 0
    now, next = np.empty(6, np.float32), np.empty(6, np.float32)
    for _ in range(max(1, polish)):
        lane = counts.argmax()
        count = counts[lane]
        counts[lane] = 0
        if count < 3:
            break
        for k in range(6):
            now[k] = maps[16 * k + lane]
        spans = _refit(columns, n, now, reach, flat, next)
        if not spans:
            continue
        for turn in range(ROUNDS if polish else 0):
            agree = _agree(columns, n, next, reach)
            if (
                not spans
                or agree < count
                or not _credible(next[0], next[1], next[3], next[4], bounds)
            ):
                break
            settled = agree == count and turn > 0
            count = agree
            now[:] = next
            if settled:
                break
            spans = _refit(columns, n, now, reach, flat, next)
        if count > found:
            found = count
            best[:] = now
    return found if found >= least else 0


@numba.njit(nogil=True, cache=True)
def fit_block(query, xy, start, offset, pairs, reach, table, polish, least, bounds, backward):  # type: ignore[no-untyped-def]
    """`RobustAffine.block`: affine (P, 6), NaN where none, and 1 for each match that agrees
    (n,)."""
    room = 0
    for p in range(len(start)):
        room = max(room, offset[p + 1] - offset[p])
    room = (room + 15) // 16 * 16
    points, columns = np.empty(4 * room, np.float32), np.empty(4 * room, np.float32)
    affine, inlier = np.full((len(start), 6), np.nan, np.float32), np.zeros(len(pairs), np.uint8)
    best = np.empty(6, np.float32)
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
        if _search(points, columns, n, table, reach[p], polish, least, bounds, best) == 0:
            continue
        limit = numba.float32(reach[p] * reach[p])
        misses = np.empty(16, np.float32)
        for m in range(0, n, 16):
            store(misses, 0, _misses(columns, m, best))
            for k in range(min(16, n - m)):
                inlier[first + m + k] = misses[k] <= limit
        affine[p] = best
        affine[p, 2] += c0[0] - best[0] * q0[0] - best[1] * q0[1]
        affine[p, 5] += c0[1] - best[3] * q0[0] - best[4] * q0[1]
    return affine, inlier
