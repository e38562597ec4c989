"""JPEGs of which a part is decoded: what is seen in it lies where it does in the whole photo."""

import io

import numpy as np
import pytest
from PIL import Image as Pillow

from pipeline.base.images import decode
from stages.records import Image

SPOTS = ((61, 45), (701, 233), (930, 700), (402, 641))  # x, y px
RADIUS = 9


def spotted(width: int, height: int, orientation: int = 1, **how: object) -> bytes:
    """A JPEG of bright spots on black, each of its own brightness."""
    y, x = np.mgrid[:height, :width]
    pixels = np.zeros((height, width), np.uint8)
    for i, (left, top) in enumerate(SPOTS):
        pixels[np.hypot(x - left, y - top) < RADIUS] = 90 + 50 * i
    exif = Pillow.Exif()
    exif[274] = orientation
    out = io.BytesIO()
    Pillow.fromarray(pixels).convert("RGB").save(out, "JPEG", quality=95, exif=exif, **how)
    return out.getvalue()


def spots(image: Image) -> np.ndarray:
    """(4, 2) px of the photo, darkest first: the middle of each spot."""
    height, width = image.pixels.shape[:2]
    y, x = np.mgrid[:height, :width]
    found, bright = [], image.pixels[:, :, 0].astype(float)
    reach = 2 * RADIUS / image.each
    for _ in SPOTS:
        top, left = np.unravel_index(bright.argmax(), bright.shape)
        for _ in range(3):
            near = np.where(np.hypot(x - left, y - top) < reach, bright, 0)
            left, top = (near * x).sum() / near.sum(), (near * y).sum() / near.sum()
        found.append((left, top))
        bright[np.hypot(x - left, y - top) < reach] = 0
    return image.place(np.array(found[::-1]), width, height)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("width", "height"), [(1000, 776), (1003, 777), (1007, 773)])
def test_points_are_where_they_are_in_the_whole_photo(
    orientation: int, width: int, height: int
) -> None:
    data = spotted(width, height, orientation)
    whole = decode(data)
    for side, each in ((126, 4), (501, 2), (101, 8)):
        part = decode(data, side=min(side, max(width, height) // each))
        assert part.each == each
        assert part.size == whole.size
        assert part.pixels.size * each * each < 1.1 * whole.pixels.size
        assert np.abs(spots(part) - spots(whole)).max() < 0.5


def test_no_more_is_left_out_than_leaves_the_side() -> None:
    data = spotted(1000, 776)
    assert [decode(data, side=side).each for side in (0, 1000, 501, 500, 250, 125, 1)] == [
        1, 1, 1, 2, 4, 8, 8,
    ]  # fmt: skip
    for how in ({"progressive": True}, {"subsampling": 2}):
        assert decode(spotted(1000, 776, **how), side=250).each == 4


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (3000, 5), (9, 9)])
def test_narrow_photos_keep_their_size(size: tuple[int, int]) -> None:
    data = spotted(*size)
    part = decode(data, side=300)
    assert part.size == size
    assert max(part.pixels.shape) >= min(300, max(size))


def test_other_formats_are_decoded_whole() -> None:
    out = io.BytesIO()
    Pillow.new("RGB", (900, 600)).save(out, "PNG")
    image = decode(out.getvalue(), side=100)
    assert (image.each, image.size, image.pixels.shape) == (1, (900, 600), (600, 900, 3))
