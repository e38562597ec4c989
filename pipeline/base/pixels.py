"""From what a decoder made to upright 8-bit RGB: depth, palette, transparency, orientation.

Band by band, so that beside the decoder's picture only the result is ever whole in memory.
"""

import contextlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from stages.records import UInt8

_TURN = Pillow.Transpose
TURNS = {
    2: _TURN.FLIP_LEFT_RIGHT, 3: _TURN.ROTATE_180, 4: _TURN.FLIP_TOP_BOTTOM, 5: _TURN.TRANSPOSE,
    6: _TURN.ROTATE_270, 7: _TURN.TRANSVERSE, 8: _TURN.ROTATE_90,
}  # fmt: skip
_ORIENTATION, _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 274, 258, 262, 339  # EXIF and TIFF tags
_BROKEN_EXIF = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)
_BAND = 1 << 20  # pixels converted at a time
# 16-bit numbers that hold no more than so many bits are of a sensor or of an 8-bit picture, and
# this is their white. A photo in which nothing is brighter than a sixteenth of white would be
# black to the eye, so none is taken for one; 14 bits, a quarter of white, may be a dark photo.
_WHITES = (255, 1023, 4095)


@dataclass(frozen=True, eq=False)
class Decoded:
    """An array that a decoder made, (H, W), (H, W, 3) or (H, W, 4) of uint8, read as a Pillow
    image is.
    """

    array: npt.NDArray[Any]
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def mode(self) -> str:
        return {2: "L", 3: "RGB", 4: "RGBA"}[self.array.shape[-1] if self.array.ndim == 3 else 2]

    @property
    def size(self) -> tuple[int, int]:
        return self.array.shape[1], self.array.shape[0]

    def crop(self, box: tuple[int, int, int, int]) -> Pillow.Image:
        band = self.array[box[1] : box[3], box[0] : box[2]]
        return Pillow.fromarray(np.ascontiguousarray(band))


def orientation(photo: Pillow.Image) -> int:
    """EXIF's, or XMP's where EXIF has none: 1 to 8. A photo whose EXIF is broken is still one."""
    with contextlib.suppress(*_BROKEN_EXIF):
        found = photo.getexif().get(_ORIENTATION, 1)
        if found in TURNS:
            return int(found)
    return 1


def to_rgb(
    photo: Pillow.Image | Decoded,
    turn: int = 1,
    each: int = 1,
    low_bytes: Pillow.Image | None = None,
) -> UInt8:
    """(H, W, 3), turned upright.

    each: so many px by so many px become one, their mean. low_bytes: of a 16-bit RGB photo, whose
    high bytes alone are in `photo`.
    """
    tags: Any = getattr(photo, "tag_v2", {})
    key = photo.info.get("transparency")
    # of a 16-bit PNG, of which Pillow keeps the high bytes
    if isinstance(key, tuple) and max(key) > 255:
        photo.info["transparency"] = tuple(k >> 8 for k in key)
    boxes = _bands(photo.size, each)
    low, high = (0.0, 4095.0) if tags.get(_BITS) == (12,) else (0.0, 65535.0)
    if photo.mode in ("I", "F"):
        low, high = _span(_values(photo.crop(box), tags) for box in boxes)
    elif photo.mode.startswith("I;16") and high == 65535:
        high = white(max(int(np.asarray(photo.crop(box)).max()) for box in boxes))
    elif low_bytes is not None:
        high = white(max(int(_deep(photo, low_bytes, box).max()) for box in boxes))
    width, height = (-(-length // each) for length in photo.size)
    pixels = np.empty((height, width, 3), np.uint8)
    for box in boxes:
        if low_bytes is not None:
            rows = np.rint(_deep(photo, low_bytes, box) * (255 / high)).astype(np.uint8)
        else:
            rows = _rows(photo, box, tags, key, low, high)
        if each > 1:
            rows = np.asarray(Pillow.fromarray(rows).reduce(each))
        pixels[box[1] // each : box[1] // each + len(rows)] = rows
    if turn in TURNS:
        pixels = np.array(Pillow.fromarray(pixels).transpose(TURNS[turn]))
    return pixels


def white(brightest: int) -> float:
    """What 16-bit numbers up to `brightest` have for white."""
    return float(next((white for white in _WHITES if brightest <= white), 65535))


def _bands(size: tuple[int, int], each: int) -> list[tuple[int, int, int, int]]:
    width, height = size
    rows = max(1, _BAND // width // each) * each
    return [(0, top, width, min(height, top + rows)) for top in range(0, height, rows)]


def _rows(
    photo: Pillow.Image | Decoded, box: tuple[int, int, int, int], tags: Any, key: Any, low: float,
    high: float,
) -> UInt8:  # fmt: skip
    band = photo.crop(box)
    if band.mode[0] not in "IF":
        return np.asarray(_over_white(band))
    values = _values(band, tags)
    scaled = (values.astype(np.float64) - low) * (255 / ((high - low) or 1))
    grey = np.rint(np.nan_to_num(scaled).clip(0, 255)).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero: Pillow heeds it up to 8 bits only
        grey = 255 - grey
    if isinstance(key, int):
        grey[values == key] = 255
    return np.repeat(grey[:, :, None], 3, axis=2)


def _deep(
    high: Pillow.Image | Decoded, low: Pillow.Image, box: tuple[int, int, int, int]
) -> npt.NDArray[np.uint16]:
    """(H, W, 3) of 16 bits, from their bytes."""
    deep = np.asarray(low.crop(box)).astype(np.uint16)
    deep += np.asarray(high.crop(box)) * np.uint16(256)
    return deep


def _over_white(band: Pillow.Image) -> Pillow.Image:
    if band.mode == "La":  # premultiplied grey, which Pillow converts to LA alone
        band = band.convert("LA")
    if band.has_transparency_data:
        band = Pillow.alpha_composite(Pillow.new("RGBA", band.size, "white"), band.convert("RGBA"))
    return band if band.mode == "RGB" else band.convert("RGB")


def _values(band: Pillow.Image, tags: Any) -> npt.NDArray[Any]:
    """The numbers of a 16-bit, 32-bit or float photo: (H, W)."""
    values = np.asarray(band)
    unsigned = (
        band.mode == "I" and tags.get(_BITS) == (32,) and tags.get(_SAMPLE_FORMAT, (1,)) == (1,)
    )
    return values.view(np.uint32) if unsigned else values  # Pillow's I is signed


def _span(bands: Iterable[npt.NDArray[Any]]) -> tuple[float, float]:
    """The values that become black and white."""
    ends = [(known.min(), known.max()) for band in bands if (known := band[np.isfinite(band)]).size]
    low, high = (
        float(min((low for low, _ in ends), default=0)),
        float(max((high for _, high in ends), default=1)),
    )
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
