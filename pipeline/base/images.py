"""The one image loader: a photo's bytes are read once, recognised by content and decoded to upright
8-bit RGB, or refused in one line.

Nothing trusts a file's name, header or size. Embedded colour profiles are ignored on purpose: query
and gallery are treated alike, and a foreign profile would be one more parser to attack.
"""

import contextlib
import io
import logging
import os
import re
import stat
import struct
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL import Image as Pillow

from pipeline.base.errors import ImageError
from stages.records import Image, UInt8

MAX_PIXELS = 100_000_000  # Pillow's own ceiling, 178 million, stands above it
MAX_BYTES = 512 << 20
# but never in silence: people keep photos so
_REFUSED = (".heic", ".heif", ".avif", ".jxl", ".jp2")
SUFFIXES = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".apng",
        ".webp",
        ".tif",
        ".tiff",
        ".bmp",
        ".dib",
        ".gif",
        *_REFUSED,
    )
)
_HEAD = 32  # bytes, enough to recognise a format
# Pillow's readers are called by name, so that no other format's parser is ever reached. BMP's two
# letters also begin English words.
_READERS: tuple[tuple[str, bytes, type[ImageFile.ImageFile]], ...] = (
    ("JPEG", rb"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    ("PNG", rb"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    ("WebP", rb"RIFF.{4}WEBP", WebPImagePlugin.WebPImageFile),
    ("TIFF", rb"II[*+]\0|MM\0[*+]", TiffImagePlugin.TiffImageFile),
    ("BMP", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", BmpImagePlugin.BmpImageFile),
    ("GIF", rb"GIF8[79]a", GifImagePlugin.GifImageFile),
)
_TURN = Pillow.Transpose
_TURNS = {
    2: _TURN.FLIP_LEFT_RIGHT, 3: _TURN.ROTATE_180, 4: _TURN.FLIP_TOP_BOTTOM, 5: _TURN.TRANSPOSE,
    6: _TURN.ROTATE_270, 7: _TURN.TRANSVERSE, 8: _TURN.ROTATE_90,
}  # fmt: skip
# of what was turned so: whether width and height changed places; whether x and y run backwards
_ON_ITS_SIDE = (5, 6, 7, 8)
_MIRRORED = {
    2: (True, False), 3: (True, True), 4: (False, True),
    6: (True, False), 7: (True, True), 8: (False, True),
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
# pixels converted at a time: only the decoded photo and the result are ever whole in memory
_BAND = 1 << 20
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
# 64 MB: the default refuses a photo for a colour profile above 1 MB
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
# otherwise what it logs about strange TIFFs lands on stderr
logging.getLogger("PIL").addHandler(logging.NullHandler())


def load_image(source: Path | bytes, max_pixels: int = MAX_PIXELS, side: int = 0) -> Image:
    """Decode a file, or bytes that are one, as `decode` does. Raises ImageError and nothing
    else.
    """
    return decode(source if isinstance(source, bytes) else read_photo(source), max_pixels, side)


def read_photo(path: Path, max_bytes: int = MAX_BYTES, head: int | None = None) -> bytes:
    """Read a regular file whole, or its first `head` bytes. Never blocks on a FIFO, never wakes a
    device.
    """
    try:
        _refuse_irregular(os.stat(path).st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            _refuse_irregular(status.st_mode)  # again: the path may have become a FIFO since
            if head is not None:
                return file.read(head)
            if status.st_size > max_bytes:
                raise ImageError(f"expected at most {max_bytes:,} bytes, got {status.st_size:,}")
            data = file.read(status.st_size + 1)
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ImageError(f"expected a readable file, got: {words_of(error)}") from error
    if len(data) > status.st_size:
        raise ImageError("expected a file at rest, got one that grew while it was read")
    return data


def decode(data: bytes, max_pixels: int = MAX_PIXELS, side: int = 0) -> Image:
    """Decode a photo's bytes: first frame, EXIF orientation applied, alpha over white.

    side: where not 0, of a JPEG only as much is decoded as leaves its longest side at least so many
    px: a half, a quarter or an eighth of it, by the means of its own cosine transform.

    16-bit grey is divided by 257. 32-bit and float grey is multiplied by 255 where all values lie
    in [0, 1] and stretched from minimum to maximum otherwise; NaN is black.
    """
    kind = _recognise(data[:_HEAD])
    if kind is None:
        got = f"a file that begins {data[:12]!r}" if data else "an empty file"
        raise ImageError(f"expected a JPEG, PNG, WebP, TIFF, BMP or GIF, got {got}")
    name, reader = kind
    # once a process: `catch_warnings` is not safe beside other threads
    if _QUIET not in warnings.filters[:1]:
        warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        with reader(io.BytesIO(data)) as photo:
            width, height = photo.size
            if width * height > max_pixels:
                raise ImageError(f"expected at most {max_pixels:,} pixels, got {width} x {height}")
            if name == "PNG":  # Pillow decodes pixels without a look at their checksums
                PngImagePlugin.PngImageFile(io.BytesIO(data)).verify()
            each = _reduce(photo, side) if name == "JPEG" and side else 1
            photo.load()
            pixels, turn = _to_rgb(photo)
            return _placed(pixels, each, (width, height), turn)
    except ImageError:
        raise
    except Exception as error:  # hostile bytes raise anything: SyntaxError, TypeError, MemoryError
        raise ImageError(
            f"expected a whole {name} of a supported kind, got: {words_of(error)}"
        ) from error


def from_pillow(photo: Pillow.Image) -> Image:
    """A Pillow image as `decode` makes one of a file: EXIF orientation applied, alpha over white.
    Raises ImageError.
    """
    try:
        photo.load()
        return Image(_to_rgb(photo)[0])
    except Exception as error:  # a lazily opened file raises what `decode` meets
        raise ImageError(
            f"expected a Pillow image that can be converted to RGB, got: {words_of(error)}"
        ) from error


def _refuse_irregular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        raise ImageError(f"expected a regular file, got {kinds.get(stat.S_IFMT(mode), 'a device')}")


def words_of(error: Exception) -> str:
    """What went wrong, without the path."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def is_photo(path: Path) -> bool:
    """By its first bytes; a file that cannot be read is none."""
    with contextlib.suppress(ImageError):
        return _recognise(read_photo(path, head=_HEAD)) is not None
    return False


def _recognise(head: bytes) -> tuple[str, type[ImageFile.ImageFile]] | None:
    return next(
        (
            (name, reader)
            for name, signature, reader in _READERS
            if re.match(signature, head, re.DOTALL)
        ),
        None,
    )


def _reduce(photo: Pillow.Image, side: int) -> int:
    """Have the decoder make so many px by so many px one pixel: how many it is going to."""
    longest = max(photo.size)
    wanted = next((each for each in (8, 4, 2) if longest >= each * side), 1)
    if wanted > 1:
        width, height = (max(1, length // wanted) for length in photo.size)
        photo.draft(None, (width, height))
    return round(longest / max(photo.size))


def _placed(pixels: UInt8, each: int, size: tuple[int, int], turn: int) -> Image:
    """size: (width, height) px of the photo before it was turned upright."""
    if each == 1:
        return Image(pixels)
    whole = size[::-1] if turn in _ON_ITS_SIDE else size
    # what the last pixels of a mirrored axis lack of a whole one, its first lack
    left, top = (
        min(0, length - count * each) if mirrored else 0
        for length, count, mirrored in zip(
            whole, pixels.shape[1::-1], _MIRRORED.get(turn, (False, False)), strict=True
        )
    )
    return Image(pixels, each, whole, (left, top))


def _to_rgb(photo: Pillow.Image) -> tuple[UInt8, int]:
    """(H, W, 3), and the EXIF orientation that it was turned by."""
    tags: Any = getattr(photo, "tag_v2", {})
    orientation = 1
    with contextlib.suppress(*_BROKEN_EXIF):  # a photo whose EXIF is broken is still a photo
        found = photo.getexif().get(_ORIENTATION, 1)
        if (turn := _TURNS.get(found)) is not None:
            photo, orientation = photo.transpose(turn), found
    key = photo.info.get("transparency")
    # of a 16-bit PNG, of which Pillow keeps the high bytes
    if isinstance(key, tuple) and max(key) > 255:
        photo.info["transparency"] = tuple(k >> 8 for k in key)
    width, height = photo.size
    rows = max(1, _BAND // width)
    boxes = [(0, top, width, min(height, top + rows)) for top in range(0, height, rows)]
    low, high = (0.0, 4095.0) if tags.get(_BITS) == (12,) else (0.0, 65535.0)
    if photo.mode in ("I", "F"):
        low, high = _span(_values(photo.crop(box), tags) for box in boxes)
    pixels = np.empty((height, width, 3), np.uint8)
    for box in boxes:
        band = photo if len(boxes) == 1 else photo.crop(box)
        out = pixels[box[1] : box[3]]
        if photo.mode[0] not in "IF":
            out[:] = np.asarray(_over_white(band))
            continue
        values = _values(band, tags)
        scaled = (values.astype(np.float64) - low) * (255 / ((high - low) or 1))
        out[:] = np.rint(np.nan_to_num(scaled).clip(0, 255))[:, :, None]
        if tags.get(_PHOTOMETRIC) == 0:  # white is zero: Pillow heeds it up to 8 bits only
            out[:] = 255 - out
        if isinstance(key, int):
            out[values == key] = 255
    return pixels, orientation


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
