"""A photo as it might come back: hung on a wall, held before another photo, a little from the side,
or cut out of itself.

Training on pairs (photo, scene) teaches the first look that a picture and a photograph of that
picture are one thing, which no crop does: the picture never fills such a photograph, and most of
its pixels are something else. Where each pixel went is known, which teaches the second look where
to look.
"""

import cv2
import numpy as np

from stages.records import Float32, UInt8
from stages.trunk import resize

# share of the scene's side that the photo takes at least, the range of pictures shot on a wall
SMALLEST = 0.45
LEAN = 0.08  # of the photo's side: how far a corner may wander
# the smallest crop, a share of the photo's area; the largest logarithm of its change in shape
CUT, STRETCH = 0.3, 0.22


def again(
    pixels: UInt8, backdrop: UInt8, px: int, rng: np.random.Generator
) -> tuple[UInt8, Float32]:
    """(h, w, 3) uint8 and another photo -> the first as it may come back (px, px, 3), and where
    each of its px went (3, 3).

    A scene one time in two, else a crop of a third of it or more.
    """
    if rng.random() < 0.5:
        return placed(pixels, backdrop, px, rng)
    h, w = pixels.shape[:2]
    share, stretch = np.sqrt(rng.uniform(CUT, 1)), np.exp(rng.uniform(-STRETCH, STRETCH) / 2)
    tall, wide = min(h, round(h * share / stretch)), min(w, round(w * share * stretch))
    top, left = rng.integers(0, h - tall + 1), rng.integers(0, w - wide + 1)
    x, y = px / wide, px / tall
    went = np.array(
        [[x, 0, (0.5 - left) * x - 0.5], [0, y, (0.5 - top) * y - 0.5], [0, 0, 1]], np.float32
    )
    return relit(resize(pixels[top : top + tall, left : left + wide], px, px), rng), went


def scene(pixels: UInt8, backdrop: UInt8, px: int, rng: np.random.Generator) -> UInt8:
    """(h, w, 3) uint8 and another photo -> (px, px, 3) uint8: the first in perspective, framed,
    before a wall or the other, relit.
    """
    return placed(pixels, backdrop, px, rng)[0]


def placed(
    pixels: UInt8, backdrop: UInt8, px: int, rng: np.random.Generator
) -> tuple[UInt8, Float32]:
    """A scene, and where each px of the photo went (3, 3)."""
    h, w = pixels.shape[:2]
    scale = rng.uniform(SMALLEST, 0.95) * px / max(h, w)
    corners = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2
    place = (corners + rng.uniform(-LEAN, LEAN, (4, 2)) * (w, h)) * scale
    room = np.maximum(0, px / 2 - np.abs(place).max(0))
    centre = px / 2 + rng.uniform(-1, 1, 2) * room
    target = (place + centre).astype(np.float32)
    out = wall(backdrop, px, rng)
    if rng.random() < 0.5:
        frame = place * rng.uniform(1.02, 1.15) + centre
        cv2.fillConvexPoly(out, np.rint(frame).astype(np.int32), rng.integers(0, 256, 3).tolist())
    # warping alone would alias
    smaller = resize(pixels, max(1, round(w * scale)), max(1, round(h * scale)))
    tall, wide = smaller.shape[:2]
    source = np.array([[0, 0], [wide, 0], [wide, tall], [0, tall]], np.float32) - 0.5
    map_ = cv2.getPerspectiveTransform(source, target)
    cv2.warpPerspective(
        smaller, map_, (px, px), dst=out, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
    )
    x, y = wide / w, tall / h
    shrunk = np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5], [0, 0, 1]])
    return relit(out, rng), (map_ @ shrunk).astype(np.float32)


def wall(backdrop: UInt8, px: int, rng: np.random.Generator) -> UInt8:
    """(px, px, 3) uint8: another photo, out of focus, under a wash of one colour that may cover it
    altogether.
    """
    behind = cv2.GaussianBlur(resize(backdrop, px, px), (0, 0), rng.uniform(0.5, 0.05 * px))
    wash = rng.uniform(0, 1) if rng.random() < 0.7 else 0.0
    washed: UInt8 = np.clip(behind * (1 - wash) + rng.uniform(0, 255, 3) * wash, 0, 255).astype(
        np.uint8
    )
    return np.ascontiguousarray(washed)


def relit(pixels: UInt8, rng: np.random.Generator) -> UInt8:
    """Exposure and white balance, each within what cameras differ by."""
    light = rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3)
    return np.clip(pixels * light, 0, 255).astype(np.uint8)
