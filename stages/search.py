"""The first look's search: the nearest codes, in an order that nothing but distance and path
decides.
"""

import numpy as np

from stages.gallery import Gallery
from stages.records import Candidates, Float32, check_array


def search(code: Float32, count: int, gallery: Gallery) -> Candidates:
    """code (D,), K, gallery -> Candidates (1, K), the whole gallery where that is smaller than K.

    Photos at equal distance are ordered by path, also across the cut.
    """
    check_array(
        "search", "code", code, np.float32, gallery.codes.shape[1] if len(gallery) else None
    )
    if not np.isfinite(code).all():
        raise ValueError("search.code: expected finite numbers, got NaN or infinity")
    count = min(count, len(gallery))
    if gallery.index is None or count == 0:
        return Candidates(np.empty((1, 0), np.int64), np.empty((1, 0), np.float32))
    return gallery.index.nearest(code, count)
