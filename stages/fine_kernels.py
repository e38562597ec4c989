"""The compiled part of `stages/fine_quantised.py`: what a map says at points."""

import numba
import numpy as np


@numba.njit(nogil=True, error_model="numpy")
def sample(channels, xy, height, width, begin, out, corner, share):  # type: ignore[no-untyped-def]
    """channels (C, h, w) float32 of a photo of height x width px, points (M, 2) px of it -> the C
    columns of out (M, ...) from `begin`, filled: bilinear between the middles of the map's cells,
    beyond the outermost as there. To work in: corner (2, M) int32, share (2, M) float32.
    """
    rows, columns = channels.shape[1], channels.shape[2]
    points = len(xy)
    left, above, across, down = corner[0], corner[1], share[0], share[1]
    for m in range(points):
        x = (xy[m, 0] + np.float32(0.5)) * np.float32(columns / width) - np.float32(0.5)
        y = (xy[m, 1] + np.float32(0.5)) * np.float32(rows / height) - np.float32(0.5)
        x = min(max(x, np.float32(0)), np.float32(columns - 1))
        y = min(max(y, np.float32(0)), np.float32(rows - 1))
        left[m], above[m] = int(x), int(y)
        across[m], down[m] = x - np.float32(left[m]), y - np.float32(above[m])
    for c in range(len(channels)):  # a channel at a time stays in the cache
        each = channels[c]
        for m in range(points):
            x, y = left[m], above[m]
            right, below = min(x + 1, columns - 1), min(y + 1, rows - 1)
            top = each[y, x] + (each[y, right] - each[y, x]) * across[m]
            bottom = each[below, x] + (each[below, right] - each[below, x]) * across[m]
            out[m, begin + c] = top + (bottom - top) * down[m]
    return 0
