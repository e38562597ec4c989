"""Two views of one photo, as two cameras at two hours of the day might have it, and where its
points lie in both: what the fine local features learn from.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.records import Float32, Float64, UInt8

# how the second view differs from the first: logarithm of the scale, degrees, and how far a corner
# of the view wanders, as a share of its side; spread, then most
ZOOM, TURN, LEAN = (0.35, 0.75), (18.0, 50.0), 0.14
SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
MOST = 1.3  # times that the first view may enlarge a large photo


@dataclass(frozen=True, eq=False)
class View:
    """A square cut-out of a photo."""

    pixels: UInt8  # (px, px, 3)
    went: Float64  # (3, 3) where a pixel of the photo lies in it


def two_views(pixels: UInt8, px: int, rng: np.random.Generator) -> tuple[View, View]:
    """(h, w, 3) -> a view that is nearly upright in nearly its own light, and another one of about
    the same place: turned up to 50 degrees, in perspective, nearer or farther, in another light.
    """
    height, width = pixels.shape[:2]
    shorter, size = min(height, width), np.array([width, height])
    farthest, nearest = max(0.6, 0.8 * px / shorter), max(MOST, 1.6 * px / shorter)
    zoom = np.exp(rng.uniform(np.log(farthest), np.log(nearest)))
    turn = np.clip(rng.normal(0, 8), -20, 20)
    room = np.maximum(0, size - px / zoom) / 2
    centre = size / 2 + rng.uniform(-1, 1, 2) * room
    corners = SQUARE * (1 + rng.uniform(-0.04, 0.04, (4, 2)))
    first = _cut(pixels, px, centre, zoom, turn, corners, 0.5, rng)
    centre = centre + rng.uniform(-0.12, 0.12, 2) * px / zoom
    zoom = zoom * np.exp(np.clip(rng.normal(0, ZOOM[0]), -ZOOM[1], ZOOM[1]))
    turn = turn + np.clip(rng.normal(0, TURN[0]), -TURN[1], TURN[1])
    corners = SQUARE * (1 + rng.uniform(-LEAN, LEAN, (4, 2)))
    corners[:, rng.integers(2)] *= np.exp(rng.uniform(-0.3, 0.3))
    return first, _cut(pixels, px, centre, zoom, turn, corners, 1.0, rng)


def _cut(
    pixels: UInt8,
    px: int,
    centre: Float64,
    zoom: float,
    turn: float,
    corners: Float64,
    harm: float,
    rng: np.random.Generator,
) -> View:
    """corners: (4, 2) of the view, in halves of its side, before it is turned by `turn` degrees."""
    cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    turned = corners @ np.array([[cos, sin], [-sin, cos]])
    source = turned * px / zoom / 2 + centre - 0.5
    target = np.array([[0, 0], [px, 0], [px, px], [0, px]], np.float32) - 0.5
    went = cv2.getPerspectiveTransform(source.astype(np.float32), target)
    # warping alone would alias
    whole = cv2.GaussianBlur(pixels, (0, 0), 0.5 / zoom) if zoom < 0.75 else pixels
    seen = cv2.warpPerspective(
        whole, went, (px, px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return View(harmed(seen.astype(np.uint8), harm, rng), went.astype(np.float64))


def harmed(pixels: UInt8, harm: float, rng: np.random.Generator) -> UInt8:
    """(h, w, 3) -> the same in another light, through another camera: shadow, glare, exposure,
    night, colour, blur, noise, JPEG. harm: how much of it, 0 to 1.
    """
    seen = pixels.astype(np.float32) / 255
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]] / max(pixels.shape[:2])
    if rng.random() < 0.3 * harm:  # the edge of a shadow, sharp or soft
        way = rng.uniform(0, 2 * np.pi)
        edge = (x - 0.5) * np.cos(way) + (y - 0.5) * np.sin(way) + rng.uniform(-0.4, 0.4)
        light, dark = 1 / (1 + np.exp(-edge * rng.uniform(4, 40))), rng.uniform(0.2, 0.7)
        seen *= (dark + (1 - dark) * light)[..., None].astype(np.float32)
    if rng.random() < 0.2 * harm:  # the reflection of a lamp
        (left, top), radius = rng.uniform(0, 1, 2), rng.uniform(0.05, 0.3)
        far = (x - left) ** 2 + (y - top) ** 2 * rng.uniform(0.3, 1)
        glare = rng.uniform(0.2, 1) * np.exp(-far / (2 * radius * radius))
        seen += glare[..., None].astype(np.float32)
    seen = np.clip(seen, 0, 1) ** np.float32(np.exp(rng.uniform(-0.7, 0.7) * harm))
    gain = np.exp(rng.uniform(-0.5, 0.3) * harm) * np.exp(rng.uniform(-0.15, 0.15, 3) * harm)
    seen *= gain.astype(np.float32)
    if rng.random() < 0.2 * harm:
        seen *= rng.uniform(0.08, 0.4)
    if rng.random() < 0.25:
        seen = np.repeat(seen.mean(2, keepdims=True), 3, 2)
    if rng.random() < 0.5 * harm:  # out of focus
        seen = np.asarray(cv2.GaussianBlur(seen, (0, 0), rng.uniform(0.4, 1.6)), np.float32)
    elif rng.random() < 0.25 * harm:  # a moved camera
        length = int(rng.integers(3, 8))
        streak = np.zeros((length, length), np.float32)
        begin, end = (int(rng.integers(length)) for _ in range(2))
        cv2.line(streak, (0, begin), (length - 1, end), 1)
        streak = (streak if rng.random() < 0.5 else streak.T) / streak.sum()
        seen = np.asarray(cv2.filter2D(seen, -1, streak), np.float32)
    seen += rng.normal(0, 1, seen.shape).astype(np.float32) * (rng.uniform(0, 0.04) * harm)
    shown = np.clip(seen * 255, 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 96))]
        coded = cv2.imencode(".jpg", shown, quality)[1]
        shown = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return shown


def moved(xy: Float32 | Float64, went: Float64) -> Float64:
    """Points (M, 2) px of the photo -> where they lie in a view."""
    ends = np.concatenate([xy, np.ones((len(xy), 1))], 1) @ went.T
    there: Float64 = ends[:, :2] / ends[:, 2:]
    return there
