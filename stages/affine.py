"""Point pairs -> the affine map that most of them agree on: RANSAC over three pairs at a time
(Fischler & Bolles 1981), the best hypotheses polished by least squares over their inliers (local
optimisation, Chum, Matas & Kittler 2003).

Sixteen hypotheses are solved and scored at once. The draws are one table for all pairs, scaled to
the number of matches, so that a count depends on the matches alone.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from stages.compiled import Kernel
from stages.match import WHO
from stages.records import Bool, Float32, Int32, Int64, UInt8

FIT = Kernel.of(
    "stages.affine_kernels",
    "fit",
    "float32[:,:] query, float32[:,:] xy, int64[:] start, int64[:] offset, int32[:,:] pairs,"
    " float32[:] reach, float32[:] ratio, bool symmetric, int32[:] table, int64 polish,"
    " int64 least, float64[:] bounds, bool backward, float32[:] points, float32[:] columns,"
    " float32[:] floats, int32[:] rows, float32[:,:] affine, uint8[:] inlier",
)
ROUNDS = 8  # of least squares at most
FLOATS, ROWS = 408, 80  # room that FIT works in


@dataclass(frozen=True)
class RobustAffine:
    """Point pairs -> an affine map and who agrees with it.

    A map that mirrors, or shrinks, stretches or shears beyond `largest_scale` and
    `largest_stretch`, or rests on points of one line, is no photograph of the same thing: it is not
    considered.
    """

    # how far an inlier may lie, in each of the two photos, as a share of its longest side
    # (symmetric: Hartley & Zisserman 2004, section 4.2.2). In the candidate alone, a map that
    # shrinks the query would gather whatever lies near: of unrelated photos one in 40 has 10
    # inliers then, and one in 450 now, while the right ones of hard photographs keep theirs
    relative: float = 0.015
    threshold: float | None = None  # px, in the candidate alone, instead
    trials: int = 2000  # hypotheses
    polish: int = 4  # of the sixteen lanes' best hypotheses, so many are polished
    least: int = 4  # inliers below which there is no map
    # of lengths, as shares of the photos' longest sides, either way; with a threshold, of px
    largest_scale: float = 10.0
    # ratio of the two singular values; None: any map at all, mirrored too
    largest_stretch: float | None = 4.0
    # fit candidate px -> query px, `threshold` in the query; what is returned is the inverse
    backward: bool = False

    def __post_init__(self) -> None:
        if self.backward and self.threshold is None:
            raise ValueError(
                "RobustAffine.threshold: expected px of the query for a backward fit, got None"
            )

    @property
    def symmetric(self) -> bool:
        """Whether inliers lie near in both photos."""
        return self.threshold is None and self.largest_stretch is not None

    def ratio(self, own: tuple[int, int], size: Int32) -> Float32:
        """The query's size, those of the candidates (P, 2) -> (P,) how many times as large the
        square around the query is, where maps are measured by the photos.
        """
        if not self.symmetric:
            return np.ones(len(size), np.float32)
        ratio: Float32 = np.square(max(own) / size.max(1)).astype(np.float32)
        return ratio

    def __call__(
        self,
        query: Float32,
        candidate: Float32,
        size: tuple[int, int],
        seed: int,
        own: tuple[int, int] | None = None,
    ) -> tuple[Float32, Bool]:
        """(n, 2), (n, 2) px, the candidate's size, the query's where it is another -> affine (2,
        3), NaN where none; inliers (n,).
        """
        pairs = np.repeat(np.arange(len(query), dtype=np.int32)[:, None], 2, 1)
        offset = np.array([0, len(query)], np.int64)
        affine, inlier = self.block(
            query,
            candidate,
            np.zeros(1, np.int64),
            np.array([size], np.int32),
            offset,
            pairs,
            seed,
            own or size,
        )
        return affine[0], inlier.astype(np.bool_)

    def block(
        self,
        query: Float32,
        xy: Float32,
        start: Int64,
        size: Int32,
        offset: Int64,
        pairs: Int32,
        seed: int,
        own: tuple[int, int],
    ) -> tuple[Float32, UInt8]:
        """One query with many candidates, as `Nearest.block` matched them.

        (Mq, 2) px, (T, 2) px, (P,), (P, 2) px, (P + 1,), (n, 2), the query's size -> affine (P, 2,
        3) query px -> candidate px, NaN where none; 1 for each match that agrees (n,).
        """
        if (most := int(np.diff(offset).max(initial=0))) > 1 << WHO:
            raise ValueError(f"affine: expected at most {1 << WHO} matches a pair, got {most}")
        reach = (
            self.relative * size.max(1)
            if self.threshold is None
            else np.full(len(size), self.threshold)
        )
        bounds = np.array(
            [self.largest_scale, 0 if self.largest_stretch is None else self.largest_stretch],
            np.float64,
        )
        flat, inlier = np.empty((len(start), 6), np.float32), np.empty(len(pairs), np.uint8)
        FIT(
            *(np.ascontiguousarray(query), xy, start, offset, pairs),
            *(reach.astype(np.float32), self.ratio(own, size), self.symmetric),
            draws(self.trials, seed),
            *(self.polish, self.least, bounds, self.backward),
            *(np.empty(4 * (-(-most // 16) * 16), np.float32) for _ in range(2)),
            *(np.empty(FLOATS, np.float32), np.empty(ROWS, np.int32)),
            *(flat, inlier),
        )
        affine = flat.reshape(-1, 2, 3)
        return inverse(affine) if self.backward else affine, inlier


def inverse(affine: Float32) -> Float32:
    """(P, 2, 3) the other way round; NaN where a map has folded the plane onto a line."""
    linear, shift = affine[:, :, :2].astype(np.float64), affine[:, :, 2:].astype(np.float64)
    back = np.full(linear.shape, np.nan)
    whole = np.abs(linear[:, 0, 0] * linear[:, 1, 1] - linear[:, 0, 1] * linear[:, 1, 0]) > 1e-12
    back[whole] = np.linalg.inv(linear[whole])
    return np.concatenate([back, -back @ shift], 2).astype(np.float32)


@functools.lru_cache(maxsize=8)
def draws(trials: int, seed: int) -> Int32:
    """(T, 3, 16) numbers below 2^16, flat, from which hypothesis 16 t + lane takes its three
    matches; T is `trials` / 16, rounded up.
    """
    table = np.random.default_rng([seed, 0x3A7]).integers(
        0, 1 << 16, -(-trials // 16) * 48, dtype=np.int32
    )
    table.flags.writeable = False
    return table
