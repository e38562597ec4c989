"""The second look in torch, for a GPU: the candidates of all queries are matched and fitted
together, a few launches a chunk of them.

Matches are exactly those of stages/match.py. Inliers are counted by the operations of
stages/affine.py in float32, so a count differs only where a device rounds otherwise and a match at
the threshold moves: in at most 3 % of pairs, by more than max(2, 5 %) in at most 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.affine import ROUNDS, RobustAffine, draws, inverse
from stages.match import LONGEST, WHO, Nearest
from stages.records import Float32, Int8, Int32, Int64, LocalFeatures, PackedFeatures

BUDGET = 1 << 30  # bytes that the largest arrays of a chunk may take
WORTH = 1 << 26  # bytes: to pad less than these costs a GPU less than another chunk's launches
RANK = 7  # bits of a key that say who
FAR = 1 << 22  # squared length of the padding's descriptors


@dataclass(frozen=True, eq=False)
class Resident:
    """Local features of many photos end to end on a device; a gallery's may stay there from query
    to query.
    """

    xy: Tensor  # (T, 2) float32 px
    descriptor: Tensor  # (T, D) int8
    start: Int64  # (N,) photo n's first row
    count: Int64  # (N,) its number of features
    size: Int32  # (N, 2) (width, height) px

    @classmethod
    def of(cls, photos: PackedFeatures, rows: Int64, device: str) -> Resident:
        """Photo n is photos[rows[n]]. Blocks are read in the order in which they lie on disk, and
        copied in one piece.
        """
        order = np.lexsort((photos.start[rows], photos.block[rows]))
        count, start = photos.count[rows], np.empty(len(rows), np.int64)
        ends = np.cumsum(np.append(0, count[order]))
        start[order] = ends[:-1]
        at = np.arange(ends[-1]) + np.repeat((photos.start[rows] - start)[order], count[order])
        wide, pinned = (
            photos.blocks[0][1].shape[1] if photos.blocks else 0,
            torch.device(device).type == "cuda",
        )
        xy, descriptor = (
            torch.empty((len(at), n), dtype=kind, pin_memory=pinned)
            for n, kind in ((2, torch.float32), (wide, torch.int8))
        )
        cuts = ends[np.searchsorted(photos.block[rows[order]], np.arange(len(photos.blocks) + 1))]
        for b in np.flatnonzero(np.diff(cuts)):
            # "clip" writes straight to `out`; "raise" would take a copy first
            here = slice(cuts[b], cuts[b + 1])
            whole_xy, whole_descriptor, _ = photos.blocks[int(b)]
            np.take(whole_xy, at[here], 0, out=xy.numpy()[here], mode="clip")
            np.take(whole_descriptor, at[here], 0, out=descriptor.numpy()[here], mode="clip")
        return cls(
            xy.to(device, non_blocking=True),
            descriptor.to(device, non_blocking=True),
            start,
            count,
            photos.size[rows],
        )


def verify_on(
    query: LocalFeatures,
    photos: PackedFeatures,
    rows: Int64,
    match: Nearest,
    fit: RobustAffine,
    seed: int,
    device: str,
) -> tuple[Int32, Int32, Float32]:
    """`Verify.many` on a torch device: a query with the photos of these rows (P,) -> matches (P,),
    inliers (P,), affine (P, 2, 3).
    """
    kept, photo = np.unique(rows, return_inverse=True)
    on, count, size = (
        torch.device(device),
        np.array([len(query)], np.int64),
        np.array([query.size], np.int32),
    )
    queries = Resident(
        _on(query.xy, on), _on(query.descriptor, on), np.zeros(1, np.int64), count, size
    )
    return verify_pairs(
        queries,
        Resident.of(photos, kept, device),
        np.stack([np.zeros_like(photo), photo], 1),
        match,
        fit,
        seed,
    )


@torch.inference_mode()
def verify_pairs(
    queries: Resident,
    photos: Resident,
    pairs: Int64,
    match: Nearest,
    fit: RobustAffine,
    seed: int,
    budget: int = BUDGET,
) -> tuple[Int32, Int32, Float32]:
    """Pairs (P, 2) of (query, photo) -> matches (P,), inliers (P,), affine (P, 2, 3) query px ->
    candidate px, NaN where none.
    """
    offset, matched = match_pairs(queries, photos, pairs, match, budget)
    device, first, count = matched.device, offset[:-1], np.diff(offset)
    inliers, affine = (
        np.zeros(len(pairs), np.int32),
        np.full((len(pairs), 2, 3), np.nan, np.float32),
    )
    pair = torch.repeat_interleave(_on(count, device), output_size=len(matched))
    start = _on(np.stack([queries.start[pairs[:, 0]], photos.start[pairs[:, 1]]]), device)
    sides = queries.xy[start[0, pair] + matched[:, 0]], photos.xy[start[1, pair] + matched[:, 1]]
    points = torch.cat(sides[::-1] if fit.backward else sides, 1)
    # what is beyond a pair's last: NaN agrees with no map
    points = torch.nn.functional.pad(points, (0, 0, 0, 1), value=math.nan)
    # (P, 4) the first match of each: squares of what is left keep their digits
    centre = points[_on(first, device)]
    points[:-1] -= centre[pair]
    points, centre = points.T.contiguous(), centre.T.reshape(2, 2, -1)  # each coordinate for itself
    reach = (
        fit.relative * photos.size[pairs[:, 1]].max(1)
        if fit.threshold is None
        else np.full(len(pairs), fit.threshold)
    ).astype(np.float32)
    own, size = queries.size[pairs[:, 0]].max(1), photos.size[pairs[:, 1]].max(1)
    # as `RobustAffine.ratio`
    ratio = np.square(own / size).astype(np.float32) if fit.symmetric else np.ones_like(reach)
    # trial 16 t + lane
    table = draws(fit.trials, seed).reshape(-1, 3, 16).transpose(1, 0, 2).reshape(3, 1, -1)
    left = np.argsort(-count, kind="stable")[: np.count_nonzero(count >= max(3, fit.least))]
    while len(left):
        # bytes: of all hypotheses, of the polishing
        room = max(128 * table.shape[2], (260 + 24 * fit.polish) * int(count[left[0]]))
        now, left = np.split(left, [max(1, budget // room)])
        padded = points[:, _rows(first[now], count[now], int(count[now[0]]), len(matched), device)]
        found, maps = _fit(
            padded,
            count[now],
            _on(np.stack([reach[now] * reach[now], ratio[now]]), device),
            _on(table, device),
            fit,
            budget,
        )
        query, photo = centre[..., _on(now, device)]
        maps[2] += photo - maps[0] * query[0] - maps[1] * query[1]
        inliers[now] = found.cpu().numpy()
        affine[now] = maps.where(found > 0, math.nan).permute(2, 1, 0).cpu().numpy()
    return count.astype(np.int32), inliers, inverse(affine) if fit.backward else affine


def match_pairs(
    queries: Resident, photos: Resident, pairs: Int64, match: Nearest, budget: int = BUDGET
) -> tuple[Int64, Tensor]:
    """`Nearest.block` for pairs (P, 2) of (query, photo) -> offset (P + 1,), (n, 2) int64 on the
    device, by candidate feature.
    """
    device, many, of = (
        photos.descriptor.device,
        queries.count[pairs[:, 0]],
        photos.count[pairs[:, 1]],
    )
    if (most := max(many.max(initial=0), of.max(initial=0))) > 1 << WHO:
        raise ValueError(f"match: expected at most {1 << WHO} features a photo, got {most}")
    if len(pairs) and queries.descriptor.shape[1] != photos.descriptor.shape[1]:
        raise ValueError(
            f"match: expected descriptors of one length, got {queries.descriptor.shape[1]} and"
            f" {photos.descriptor.shape[1]}"
        )
    begin = np.cumsum(np.append(0, of))  # of each pair's candidate features, end to end
    # the last is where the padding goes
    partner = torch.full((int(begin[-1]) + 1,), -1, device=device)
    longest = torch.zeros((), device=device)
    for now in _chunks(many, of, 6, budget):
        q, c = pairs[now].T
        # one query is laid out once for all its candidates
        query, query_squared = _laid(queries, q[:1] if (q == q[0]).all() else q)
        photo, photo_squared = _laid(photos, c)
        score, who = _best(query, query_squared, photo)
        near = photo_squared - score < math.ceil((match.distance * 127) ** 2)
        if match.mutual:
            near &= _best(photo, photo_squared, query)[1].gather(1, who) == torch.arange(
                who.shape[1], device=device
            )
        partner[_rows(begin[now], of[now], who.shape[1], int(begin[-1]), device)] = who.where(
            near, -1
        )
        longest = torch.stack(
            [
                longest,
                *(
                    squared.where(squared < FAR, 0).max()
                    for squared in (query_squared, photo_squared)
                ),
            ]
        ).max()
    if longest > LONGEST:
        raise ValueError(
            "match: expected descriptors of 127 x a unit vector, got one longer than"
            f" {math.isqrt(LONGEST)}"
        )
    places, starts = (partner[:-1] >= 0).nonzero()[:, 0], _on(begin, device)
    own = places - starts[torch.searchsorted(starts, places, right=True) - 1]
    return torch.searchsorted(places, starts).cpu().numpy(), torch.stack([partner[places], own], 1)


def _on(array: Int8 | Int32 | Int64 | Float32, device: torch.device) -> Tensor:
    # a copy: what is read-only makes torch warn
    return torch.from_numpy(np.array(array)).to(device)


def _chunks(a: Int64, b: Int64, each: int, budget: int) -> Iterator[Int64]:
    """Places of products a x b, which will be padded to the largest a and b among them: `each`
    bytes a number, `budget` in all, and more padding than numbers only where it is not WORTH
    another chunk. Empty products are left out.
    """
    order = np.lexsort((b, np.frexp(a)[1]))[::-1]  # alike in a within a factor of 2, then by b
    order = order[a[order] * b[order] > 0]
    while len(order):
        padded = (
            np.maximum.accumulate(a[order])
            * np.maximum.accumulate(b[order])
            * np.arange(1, len(order) + 1)
        )
        stop = (each * padded > budget) | (
            (padded > 2 * np.cumsum(a[order] * b[order])) & (each * padded > WORTH)
        )
        now, order = np.split(order, [max(1, int(stop.argmax())) if stop.any() else len(order)])
        yield now


def _rows(start: Int64, count: Int64, width: int, blank: int, device: torch.device) -> Tensor:
    """(B,), (B,) -> (B, width) rows `start` to `start + count`, then `blank`."""
    ends, at = _on(np.stack([start, count])[..., None], device), torch.arange(width, device=device)
    return torch.where(at < ends[1], ends[0] + at, blank)


def _laid(photos: Resident, of: Int64) -> tuple[Tensor, Tensor]:
    """Descriptors (B, M, D) float32 and their squared lengths (B, M), FAR beyond a photo's last; M
    is a multiple of its groups.
    """
    count = photos.count[of]
    groups = -(-int(count.max()) >> RANK)
    rows = _rows(
        photos.start[of],
        count,
        -(-int(count.max()) // groups) * groups,
        -1,
        photos.descriptor.device,
    )
    descriptor = photos.descriptor[rows.clamp(min=0)].float()
    return descriptor, (descriptor * descriptor).sum(2).where(rows >= 0, FAR)


def _best(among: Tensor, squared: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
    """Each feature's nearest, the first of those at one distance: (B, M, D), squared lengths (B,
    M), of (B, N, D) -> score 2 a.o - |a|^2 (B, N), who (B, N) int64. Either side may be one for all
    pairs, (1, M, D).

    The product itself makes the key: the score, then the rank in a group of at most 2^RANK, by
    three more columns. Its sums stay below 2^24 up to LONGEST (3 x 2^15 x 2^7) and its factors have
    at most eight significant bits: float32, TF32 and bfloat16 with float32 sums are all exact, so
    it does not matter what the process has allowed.
    """
    groups = -(-among.shape[1] >> RANK)
    size, high = among.shape[1] // groups, (squared / 128).floor()
    rank = (
        torch.arange(size - 1, -1, -1, dtype=torch.float32, device=of.device)
        .repeat(groups)
        .expand(squared.shape)
    )
    spare = -(among.shape[2] + 3) % 4  # columns of whole 16 bytes
    left = torch.cat(
        [
            among * (2 << RANK),
            torch.stack([high * 128, (squared - high * 128) * 128, rank, *[0 * rank] * spare], 2),
        ],
        2,
    )
    right = torch.cat(
        [of, of.new_tensor([-128, -1, 1, *[0] * spare]).expand(*of.shape[:2], -1)], 2
    ).mT
    best = (left @ right).view(-1, groups, size, of.shape[1]).amax(2).long()
    rank = (best & ((1 << RANK) - 1)) + size * torch.arange(groups - 1, -1, -1, device=of.device)[
        :, None
    ]
    best = (((best >> RANK) << WHO) + rank).amax(1)
    return best >> WHO, among.shape[1] - 1 - (best & ((1 << WHO) - 1))


def _fit(
    points: Tensor, count: Int64, limit: Tensor, table: Tensor, fit: RobustAffine, budget: int
) -> tuple[Tensor, Tensor]:
    """Matches (4, B, n) of x, y, u, v, count (B,), squared reach and ratio (2, B), draws (3, 1, H)
    -> how many agree (B,), 0 where there is no map; maps (3, 2, B): u, v = maps[0] x + maps[1] y +
    maps[2].
    """
    maps = _hypotheses(points, _on(count, points.device).int()[:, None], table)
    # each lane's best, the first of equals; then the best lanes
    turns, lane = table.shape[2] // 16, torch.arange(16, device=points.device)
    best = _tally(points, count, limit, maps, fit, budget).view(-1, turns, 16) * turns
    best = (best + torch.arange(turns - 1, -1, -1, device=points.device)[:, None]).amax(1)
    chosen = (best // turns * 16 + 15 - lane).topk(min(16, max(1, fit.polish)), 1).values
    trial = 16 * (turns - 1 - best.gather(1, 15 - chosen % 16) % turns) + 15 - chosen % 16
    agree, maps = _polish(
        points, limit, chosen // 16, maps.gather(3, trial.expand(3, 2, -1, -1)), fit
    )
    place = (agree * 16 + 15 - lane[: agree.shape[1]]).argmax(1, keepdim=True)  # no two are equal
    found = agree.gather(1, place)[:, 0]
    return found * (found >= fit.least), maps.gather(3, place.expand(3, 2, -1, -1))[..., 0]


def _hypotheses(points: Tensor, count: Tensor, table: Tensor) -> Tensor:
    """Maps (3, 2, B, H), each through three different matches; three of one line give NaN or
    infinity, which no match fits.
    """
    i, j, k = table[0] * count >> 16, table[1] * (count - 1) >> 16, table[2] * (count - 2) >> 16
    j = j + (j >= i)  # of the others
    k = k + (k >= torch.minimum(i, j)).int() + (k + 1 >= torch.maximum(i, j))
    p, p1, p2 = (points.gather(2, at.long().expand(4, -1, -1)) for at in (i, j, k))  # (4, B, H)
    (x1, y1, *_), (x2, y2, *_), uv1, uv2 = p1 - p, p2 - p, p1[2:] - p[2:], p2[2:] - p[2:]
    over = 1 / (x1 * y2 - x2 * y1)
    by_x, by_y = (uv1 * y2 - uv2 * y1) * over, (uv2 * x1 - uv1 * x2) * over
    return torch.stack([by_x, by_y, p[2:] - (by_y * p[1]).addcmul_(by_x, p[0])])


def _credible(maps: Tensor, ratio: Tensor, fit: RobustAffine) -> Tensor:
    """(3, 2, B, H), (B,) -> (B, H): whether a map of the plane is one that a camera's move can
    make.
    """
    a, d, b, e, scale, stretch = (
        maps[0, 0],
        maps[0, 1],
        maps[1, 0],
        maps[1, 1],
        fit.largest_scale**2,
        fit.largest_stretch,
    )
    det, square = a * e - b * d, a * a + b * b + d * d + e * e
    size = det * ratio[:, None]
    return (
        (size >= 1 / scale) & (size <= scale) & (square <= det * (stretch + 1 / stretch))
        if stretch
        else square >= 1e-20
    )


def _within(maps: Tensor, points: Tensor, limit: Tensor, fit: RobustAffine) -> Tensor:
    """Maps (3, 2, B, H), points (4, B, n), squared reach and ratio (2, B) -> (B, H, n): who agrees.
    No matrix product: a process may allow them TF32.
    """
    reach = limit[0, :, None].expand(maps.shape[2:])
    if fit.symmetric:
        det = maps[0, 0] * maps[1, 1] - maps[0, 1] * maps[1, 0]
        reach = torch.minimum(reach, reach * limit[1, :, None] * det)
    maps, points = maps[..., None], points[:, :, None]
    miss = (maps[2] - points[2:]).addcmul_(maps[1], points[1]).addcmul_(maps[0], points[0])
    return miss[1].square_().addcmul_(miss[0], miss[0]) <= reach[..., None]


def _tally(
    points: Tensor, count: Int64, limit: Tensor, maps: Tensor, fit: RobustAffine, budget: int
) -> Tensor:
    """How many matches agree with each map (B, H); 0 for those that are not credible. These, most
    of all, are not even tried.
    """
    credible = _credible(maps, limit[1], fit)
    # the credible first
    tried, trials = credible.sum(1).cpu().numpy(), credible.byte().argsort(1, descending=True)
    tally = torch.zeros_like(trials)
    for now in _chunks(count, tried, 12, budget):
        at = _on(now, points.device)
        these = trials[at, : int(tried[now].max())]
        agree = _within(
            maps[:, :, at].gather(3, these.expand(3, 2, -1, -1)),
            points[:, at, : int(count[now].max())],
            limit[:, at],
            fit,
        ).sum(2)
        tally[at[:, None], these] = agree * credible[at].gather(1, these)
    return tally


def _polish(
    points: Tensor, limit: Tensor, agree: Tensor, maps: Tensor, fit: RobustAffine
) -> tuple[Tensor, Tensor]:
    """Least squares over the inliers of each map (3, 2, B, L), again and again while no fewer agree
    than before (B, L).
    """
    # in float64 a sum is the same to 1e-16, whatever the padding and the order: far below what
    # could show in a float32 map
    terms = torch.nn.functional.pad(  # (B, n, 5) of 1, x, y, u, v
        points.nan_to_num().double(), (0, 0, 0, 0, 1, 0), value=1.0
    ).permute(1, 2, 0)
    products = (terms[:, :, :3, None] * terms[:, :, None]).flatten(2)  # (B, n, 15)
    better, live = maps, agree >= 3
    for turn in range(1 + (ROUNDS if fit.polish else 0)):  # the first finds the inliers again
        inside = _within(better, points, limit, fit)
        now = inside.sum(2)
        live = live & _credible(better, limit[1], fit) & (now >= agree)
        more = (now > agree) | (turn < 2)
        maps, agree = better.where(live, maps), now.where(live, agree)
        sums = torch.bmm(inside.double(), products).view(*agree.shape, 3, 5)
        mean = sums / sums[..., :1, :1]
        # covariances with x, y, u, v
        by_x, by_y = (mean[..., 1:, 1:] - mean[..., 1:, :1] * mean[..., :1, 1:]).permute(2, 3, 0, 1)
        xx, xy, yy, mean = by_x[0], by_x[1], by_y[1], mean[..., 0, :].movedim(2, 0)
        det, flat = xx * yy - xy * xy, 1e-6 if fit.largest_stretch else 1e-9
        of_x, of_y = (by_x[2:] * yy - by_y[2:] * xy) / det, (by_y[2:] * xx - by_x[2:] * xy) / det
        better = torch.stack([of_x, of_y, mean[3:] - of_x * mean[1] - of_y * mean[2]]).float()
        live = live & more & (det > flat * (xx + yy) * (xx + yy))
        # where inliers lie on one line, there is no map at all
        agree = agree if turn else agree * live
    return agree, maps
