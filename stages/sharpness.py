"""How sharp a photo is: the variance of its Laplacian (Pech-Pacheco et al. 2000), grey, at most
LONGEST px wide or high, so that the noise of large photos counts for little.
"""

import cv2
import numpy as np

from stages.records import Image

LONGEST = 1024  # px


def sharpness(photo: Image) -> float:
    """0 of a plain one, the more the sharper; to be compared among photos of one thing."""
    grey = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2GRAY)
    scale = LONGEST / max(grey.shape)
    if scale < 1:
        size = max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return float(np.var(cv2.Laplacian(grey, cv2.CV_32F), dtype=np.float64))
