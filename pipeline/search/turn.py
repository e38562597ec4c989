"""How a photo is turned or mirrored, and where its points lie then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.records import Float32, Float64


@dataclass(frozen=True)
class Turn:
    """How a query was changed before it was looked at: first mirrored, then turned."""

    quarters: int = 0  # of a circle, clockwise
    mirrored: bool = False  # left and right exchanged


AS_IT_IS = Turn()


def back(xy: Float64, size: tuple[int, int], quarters: int) -> Float64:
    """Points (M, 2) px of a photo (width, height) px that was turned clockwise -> before that."""
    for _ in range(quarters):
        xy = np.stack([xy[:, 1], size[0] - 1 - xy[:, 0]], 1)
        size = size[1], size[0]
    return xy.copy()


def mirror_of(size: tuple[int, int]) -> Float32:
    """(2, 3) px -> px: left and right of a photo (width, height) exchanged."""
    return np.array([[-1, 0, size[0] - 1], [0, 1, 0]], np.float32)


def upright(size: tuple[int, int], turn: Turn) -> Float64:
    """(2, 3): points of a photo (width, height) px -> where they lie once it is mirrored and
    turned.
    """
    width, height = size
    there = np.array([[-1, 0, width - 1], [0, 1, 0]] if turn.mirrored else np.eye(2, 3), np.float64)
    for _ in range(turn.quarters):
        there = np.array([-there[1] + [0, 0, height - 1], there[0]])
        width, height = height, width
    return there


def nearest_turn(turned: int | None, mirrored: bool) -> Turn:
    """The quarters of a circle that come nearest to so many degrees."""
    return Turn(round((turned or 0) / 90) % 4, mirrored)


def composed(first: Float32, second: Float32) -> Float32:
    """(2, 3) each -> the map that goes by the first, then by the second."""
    linear = second[:, :2] @ first[:, :2]
    moved = second[:, :2] @ first[:, 2] + second[:, 2]
    whole: Float32 = np.concatenate([linear, moved[:, None]], 1).astype(np.float32)
    return whole


def mirrored_points(xy: Float32, size: tuple[int, int]) -> Float32:
    """Points (M, 2) px of a photo (width, height) px -> where they lie in a mirror."""
    there: Float32 = xy * np.array([-1, 1], np.float32) + np.array([size[0] - 1, 0], np.float32)
    return there


def turn_by(affine: Sequence[Sequence[float]]) -> tuple[int, bool]:
    """A map (2, 3) of the query -> by how many degrees, clockwise, from -179 to 180, the query is
    to be turned to lie as it maps it, nearest in the sense of least squares; and whether it is to
    be mirrored before.
    """
    linear = np.array(affine, np.float64)[:, :2]
    mirrored = bool(np.linalg.det(linear) < 0)
    if mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    angle = np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))
    degrees = round(float(angle))
    return (180 if degrees == -180 else degrees), mirrored
