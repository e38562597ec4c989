"""The records that flow between stages. Each checks its own shapes and types, so that a wrong array
is named where it is made.

B queries in a batch, K candidates of a query, N photos in the gallery, M local features of a photo,
D dimensions. Points are (x, y) in pixels of the original upright photo, pixel centres at integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.errors import ArrayError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]
Bool = npt.NDArray[np.bool_]


def check_array(record: str, name: str, array: Any, dtype: type, *shape: int | None) -> None:
    """Raise ArrayError unless `array` has this dtype and shape (None: any length)."""
    ok = isinstance(array, np.ndarray) and array.dtype == dtype and array.ndim == len(shape)
    if not (ok and all(s is None or s == n for s, n in zip(shape, array.shape, strict=True))):
        wanted = "(" + ", ".join("*" if s is None else str(s) for s in shape) + ")"
        got = (
            f"{array.dtype} {array.shape}"
            if isinstance(array, np.ndarray)
            else type(array).__name__
        )
        raise ArrayError(f"{record}.{name}: expected {np.dtype(dtype).name} {wanted}, got {got}")


@dataclass(frozen=True, eq=False)
class Image:
    """A decoded photo, or one whose decoder has made every `each` x `each` px one pixel."""

    pixels: UInt8  # (H, W, 3) RGB, upright
    each: int = 1  # px of the photo along a pixel's side
    # (width, height) px of the photo, where the pixels at its edge stand for fewer
    whole: tuple[int, int] | None = None
    left_top: tuple[int, int] = (0, 0)  # px of the photo at which the first pixel begins, 0 or less

    def __post_init__(self) -> None:
        check_array("Image", "pixels", self.pixels, np.uint8, None, None, 3)
        if 0 in self.pixels.shape:
            raise ArrayError(f"Image.pixels: expected at least one pixel, got {self.pixels.shape}")
        lacks = [most - length for most, length in zip(self._covered, self.size, strict=True)]
        if self.each < 1 or not all(0 <= lack < self.each for lack in lacks):
            raise ArrayError(
                f"Image.whole: expected a photo that {self.each} x {self.each} px a pixel cover,"
                f" got {self.size[0]} x {self.size[1]} for {self.pixels.shape[:2]} rows and columns"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px of the photo."""
        return self.whole or self._covered

    @property
    def _covered(self) -> tuple[int, int]:
        return self.pixels.shape[1] * self.each, self.pixels.shape[0] * self.each

    def place(self, xy: np.ndarray, width: int, height: int) -> Float32:
        """Points (M, 2) px of the pixels as width x height -> (M, 2) px of the photo."""
        scale = np.array(self._covered) / (width, height)
        placed = (xy + 0.5) * scale - 0.5 + self.left_top
        return np.ascontiguousarray(placed, np.float32)


@dataclass(frozen=True, eq=False)
class LocalFeatures:
    """The attentive local features of one photo, strongest first. None at all is a valid answer."""

    xy: Float32  # (M, 2) px
    # (M, D) round(127 x unit vector): exact integer products, equal on every device
    descriptor: Int8
    score: Float32  # (M,) attention, descending
    size: tuple[int, int]  # (width, height) px of the photo the points lie in

    def __post_init__(self) -> None:
        check_array("LocalFeatures", "descriptor", self.descriptor, np.int8, None, None)
        check_array("LocalFeatures", "xy", self.xy, np.float32, len(self.descriptor), 2)
        check_array("LocalFeatures", "score", self.score, np.float32, len(self.descriptor))

    def __len__(self) -> int:
        return len(self.descriptor)

    @property
    def unit(self) -> Float32:
        """(M, D) the descriptors as unit vectors, but for their rounding."""
        return self.descriptor.astype(np.float32) / np.float32(127)


@dataclass(frozen=True, eq=False)
class PackedFeatures:
    """The local features of many photos end to end, in one or more blocks that may be memory
    maps."""

    # per block: xy (T, 2) px, descriptor (T, D), score (T,); one that has to be looked at before it
    # is read says how long they are: `lengths`
    blocks: Sequence[tuple[Float32, Int8, Float32]]
    block: Int32  # (N,) the block photo n lies in
    start: Int64  # (N,) its first row there
    count: Int64  # (N,) its number of features
    size: Int32  # (N, 2) (width, height) px

    def __post_init__(self) -> None:
        n = len(self.block)
        check_array("PackedFeatures", "block", self.block, np.int32, None)
        check_array("PackedFeatures", "start", self.start, np.int64, n)
        check_array("PackedFeatures", "count", self.count, np.int64, n)
        check_array("PackedFeatures", "size", self.size, np.int32, n, 2)
        if n and not (self.block.min() >= 0 and self.block.max() < len(self.blocks)):
            raise ArrayError(
                f"PackedFeatures.block: expected blocks 0 to {len(self.blocks) - 1}, got"
                f" {self.block.min()} to {self.block.max()}"
            )
        lengths = getattr(self.blocks, "lengths", None)
        if lengths is None:
            lengths = [min(len(array) for array in arrays) for arrays in self.blocks]
        ends = np.array(lengths, np.int64)
        if n and (
            self.start.min() < 0
            or self.count.min() < 0
            or (self.start + self.count > ends[self.block]).any()
        ):
            raise ArrayError(
                "PackedFeatures.start: expected rows inside their block, got rows beyond it"
            )

    @classmethod
    def of(cls, photos: Sequence[LocalFeatures]) -> PackedFeatures:
        """At least one photo, in one block."""
        count = np.array([len(photo) for photo in photos], np.int64)
        block = tuple(
            np.concatenate([getattr(photo, name) for photo in photos])
            for name in ("xy", "descriptor", "score")
        )
        size = np.array([photo.size for photo in photos], np.int32)
        return cls((block,), np.zeros(len(photos), np.int32), np.cumsum(count) - count, count, size)  # type: ignore[arg-type]

    def part(self, rows: Int64) -> PackedFeatures:
        """These photos alone, in this order, in the same blocks."""
        return PackedFeatures(
            self.blocks, self.block[rows], self.start[rows], self.count[rows], self.size[rows]
        )

    def __len__(self) -> int:
        return len(self.block)

    def __getitem__(self, photo: int) -> LocalFeatures:
        xy, descriptor, score = self.blocks[self.block[photo]]
        rows = slice(int(self.start[photo]), int(self.start[photo] + self.count[photo]))
        width, height = self.size[photo]
        return LocalFeatures(xy[rows], descriptor[rows], score[rows], (int(width), int(height)))


@dataclass(frozen=True, eq=False)
class Candidates:
    """The first look's answer: photos of the gallery, ordered by (distance, path)."""

    rows: Int64  # (B, K) gallery rows
    # (B, K) ascending: of the codes; or what else orders them, as the stage that made them says
    distance: Float32
    # (B, K, 2) of a shortlist from two lists: the place in the first, by codes, and in the second,
    # by votes, from 1; 0 beyond the list
    places: Int32 | None = None
    # (B, K) photos of the gallery at least as near by their codes, itself among them; where the
    # distance is that of the codes it says so
    near: Int32 | None = None
    # (B, K) the share of the gallery's photos that `near` would count, where the order is another's
    share: Float64 | None = None

    def part(self, start: int, stop: int) -> Candidates:
        """The places from start to stop alone."""
        return Candidates(
            self.rows[:, start:stop],
            self.distance[:, start:stop],
            None if self.places is None else self.places[:, start:stop],
            None if self.near is None else self.near[:, start:stop],
            None if self.share is None else self.share[:, start:stop],
        )

    def __post_init__(self) -> None:
        check_array("Candidates", "rows", self.rows, np.int64, None, None)
        check_array("Candidates", "distance", self.distance, np.float32, *self.rows.shape)
        if self.places is not None:
            check_array("Candidates", "places", self.places, np.int32, *self.rows.shape, 2)
        if self.near is not None:
            check_array("Candidates", "near", self.near, np.int32, *self.rows.shape)
        if self.share is not None:
            check_array("Candidates", "share", self.share, np.float64, *self.rows.shape)
        if (np.diff(self.distance, axis=1) < 0).any():
            raise ArrayError("Candidates.distance: expected ascending, got a descent")


@dataclass(frozen=True, eq=False)
class Matches:
    """The second look's evidence for every candidate."""

    matches: Int32  # (B, K) descriptor pairs that were matched
    inliers: Int32  # (B, K) of them, those that agree with the affine map
    affine: Float32  # (B, K, 2, 3) query px -> candidate px, NaN where none

    @classmethod
    def none(cls, candidates: int = 0) -> Matches:
        """Of no candidate, or no evidence of so many."""
        nothing = np.zeros((1, candidates), np.int32)
        return cls(nothing, nothing, np.full((1, candidates, 2, 3), np.nan, np.float32))

    @classmethod
    def join(cls, parts: Sequence[Matches]) -> Matches:
        """Shortlists that follow each other, as one."""
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts], 1)
                for name in ("matches", "inliers", "affine")
            )
        )

    def __post_init__(self) -> None:
        check_array("Matches", "matches", self.matches, np.int32, None, None)
        check_array("Matches", "inliers", self.inliers, np.int32, *self.matches.shape)
        check_array("Matches", "affine", self.affine, np.float32, *self.matches.shape, 2, 3)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The order of the candidates: accepted ones by evidence, then the rest as they were proposed.
    `stages/order.py` puts the whole gallery in order by it.
    """

    order: Int64  # (B, K) places in the shortlist, best first: a permutation of 0..K-1
    accepted: Bool  # (B, K) by place in the shortlist
    # (B, K) by place: what accepted ones are ordered by, the more the better; equal ones are tied
    evidence: Float64
    # (B, K) by place: how many unrelated photos are expected to look as good; NaN where nobody
    # calibrated
    false_alarms: Float64

    def __post_init__(self) -> None:
        check_array("Ranking", "order", self.order, np.int64, None, None)
        check_array("Ranking", "evidence", self.evidence, np.float64, *self.order.shape)
        check_array("Ranking", "false_alarms", self.false_alarms, np.float64, *self.order.shape)
        check_array("Ranking", "accepted", self.accepted, np.bool_, *self.order.shape)
        if (np.sort(self.order, axis=1) != np.arange(self.order.shape[1])).any():
            raise ArrayError(
                "Ranking.order: expected a permutation of the shortlist, got something else"
            )
