"""The one image decoder: a photo's bytes, recognised by content, become upright 8-bit RGB or are
refused in one line.

Nothing trusts a file's name, header or size. Embedded colour profiles are ignored on purpose: a
foreign profile would be one more parser to attack, and what a photo is found by does not change
with them. Queries in the numbers of Display P3, Adobe RGB and ProPhoto are found as often among
photos in sRGB as their originals are (docs/limits.md has the figures).
"""

import contextlib
import ctypes
import io
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL import Image as Pillow

from pipeline.base import beyond_pillow, jpeg
from pipeline.base.errors import ImageError
from pipeline.base.formats import recognise, refusal
from pipeline.base.pixels import Decoded, orientation, to_rgb
from pipeline.base.tiff_pages import pages
from stages.records import Image, UInt8

MAX_PIXELS = 250_000_000
WHOLE = 100_000_000  # pixels of a photo that may be read whole; of larger ones at most half a side
MEMORY = 1_050_000_000  # bytes that decoders hold at a time, beside the files themselves
_MMAP_THRESHOLD = -3  # of glibc's mallopt
_LARGE = 200_000_000  # bytes: before so many are taken, the allocator gives back what it can
# Pillow's readers are called by name, so that no other format's parser is ever reached
_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
_BEYOND_PILLOW = {
    "HEIC": beyond_pillow.heic,
    "JPEG XL": beyond_pillow.jpeg_xl,
    "camera RAW": beyond_pillow.camera_raw,
}
# bytes a pixel that Pillow's decoders take, their result among them, where it is more than that
_HELD = {"WebP": 16, "AVIF": 10}
# pixels that a byte of the file stands for at most: a bit a block of 64; and deflate's ratio
_DENSEST_JPEG, _DENSEST_DEFLATE = 512, 1032
_BITS, _ROWS_A_STRIP = 258, 278  # TIFF tags
_PLANES = ("R", "G", "B")
_DARK = 15  # of 255: 16-bit numbers that use 12 bits at most
# of what was turned so: whether width and height changed places; whether x and y run backwards
_ON_ITS_SIDE = (5, 6, 7, 8)
_MIRRORED = {
    2: (True, False), 3: (True, True), 4: (False, True),
    6: (True, False), 7: (True, True), 8: (False, True),
}  # fmt: skip
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
# 64 MB: the default refuses a photo for a colour profile above 1 MB
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
# otherwise what it logs about strange TIFFs lands on stderr
logging.getLogger("PIL").addHandler(logging.NullHandler())
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_room = threading.Condition()
_taken: list[int] = []  # bytes, of each decoder at work


def decode(data: bytes, max_pixels: int = MAX_PIXELS, side: int = 0) -> Image:
    """Decode a photo's bytes: first frame, orientation applied, alpha over white.

    side: where not 0, of a JPEG only as much is decoded as leaves its longest side at least so many
    px: a half, a quarter or an eighth of it, by the means of its own cosine transform. Of a photo
    above WHOLE pixels no more than half of its sides is kept, whatever its format: as little as
    `side` allows, or a quarter.

    16-bit numbers are divided by 257, or scaled so that 255, 1,023 or 4,095 is white where none is
    above. 32-bit and float grey is multiplied by 255 where all values lie in [0, 1] and stretched
    from minimum to maximum otherwise; NaN is black.
    """
    name = recognise(data)
    if name is None:
        raise ImageError(refusal(data))
    # once a process: `catch_warnings` is not safe beside other threads
    if _QUIET not in warnings.filters[:1]:
        warnings.filterwarnings("ignore", module=r"PIL\.")
    page = 0
    if name == "TIFF":
        found = pages(data)
        name, page = ("camera RAW", 0) if found.raw else ("TIFF", found.shown)
    try:
        if name in _BEYOND_PILLOW:
            return _decode_beyond_pillow(name, data, max_pixels, side)
        return _decode_pillow(name, data, page, max_pixels, side)
    except ImageError:
        raise
    except Pillow.DecompressionBombError as error:
        raise ImageError(
            f"expected at most 178,956,970 pixels in a {name}, which is Pillow's limit, got more;"
            " save it as a JPEG or PNG"
        ) from error
    except Exception as error:  # hostile bytes raise anything: SyntaxError, TypeError, MemoryError
        raise ImageError(
            f"expected a whole {name} of a supported kind, got: {words(error)}"
        ) from error


def _decode_beyond_pillow(name: str, data: bytes, max_pixels: int, side: int) -> Image:
    opened = _BEYOND_PILLOW[name](data)
    _refuse_large(opened.size, max_pixels)
    each = _fewer(opened.size, side)
    with _reserved(name, opened.size, opened.held, each):
        made = opened.decode()
        if isinstance(made, Decoded):
            _refuse_large(made.size, max_pixels)  # again: the file may have lied
            return _placed(to_rgb(made, each=each), each, made.size, 1)
    return decode(made, max_pixels, side)


def _decode_pillow(name: str, data: bytes, page: int, max_pixels: int, side: int) -> Image:
    data = jpeg.trimmed(data) if name == "JPEG" else data
    with _READERS[name](io.BytesIO(data)) as photo:
        if page:
            photo.seek(page)
        if isinstance(photo, TiffImagePlugin.TiffImageFile):
            _deep_planes(photo)
        size = photo.size
        _refuse_large(size, max_pixels)
        _refuse_hollow(name, photo, data)
        if name == "PNG":  # Pillow decodes pixels without a look at their checksums
            PngImagePlugin.PngImageFile(io.BytesIO(data)).verify()
        each, extra = _fewer(size, side), 0
        if isinstance(photo, JpegImagePlugin.JpegImageFile):
            extra = jpeg.held(photo, data)
            least = min(side or max(size), max(size) // each) if each > 1 else side
            each = _reduce(photo, least) if least else 1
        # what the decoder leaves to do
        rest = 1 if name == "JPEG" else each
        with _reserved(name, photo.size, _bytes_a_pixel(name, photo), rest, extra):
            try:
                photo.load()
            except OSError as error:
                if name != "JPEG" or "truncated" not in str(error):
                    raise
                draft = (size[0] // each, size[1] // each) if each > 1 else None
                photo = jpeg.nearly_whole(data, draft)
            turn = orientation(photo)
            pixels = to_rgb(photo, turn, rest, _low_bytes(name, data, page, photo))
            return _placed(pixels, each, size, turn)


def from_pillow(photo: Pillow.Image) -> Image:
    """A Pillow image as `decode` makes one of a file: EXIF orientation applied, alpha over white.
    Raises ImageError.
    """
    try:
        photo.load()
        return Image(to_rgb(photo, orientation(photo)))
    except Exception as error:  # a lazily opened file raises what `decode` meets
        raise ImageError(
            f"expected a Pillow image that can be converted to RGB, got: {words(error)}"
        ) from error


def words(error: Exception) -> str:
    """What an error says, without a path."""
    first = error.args[0] if error.args else ""
    if isinstance(first, bytes):  # LibRaw's
        return first.decode("ascii", "replace")
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _refuse_large(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise ImageError(f"expected at most {max_pixels:,} pixels, got {size[0]} x {size[1]}")


def _refuse_hollow(name: str, photo: ImageFile.ImageFile, data: bytes) -> None:
    """A header that claims more than the file can hold would only cost memory."""
    pixels = photo.size[0] * photo.size[1]
    if name == "JPEG":
        full = pixels <= _DENSEST_JPEG * len(data) or jpeg.is_arithmetic(data)
    elif name == "PNG":
        bits = 1 if photo.mode in ("1", "P", "L") else 8 * len(photo.getbands())
        full = pixels * bits <= 8 * _DENSEST_DEFLATE * len(data)
    else:
        return
    if not full:
        raise ImageError(
            f"expected a whole {name}, got {photo.size[0]} x {photo.size[1]} pixels in"
            f" {len(data):,} bytes, too few to hold them; copy it again"
        )


def _fewer(size: tuple[int, int], side: int) -> int:
    """How many px by how many become one of a photo too large to be read whole."""
    if size[0] * size[1] <= WHOLE:
        return 1
    return next((each for each in (8, 4) if max(size) >= each * side), 2) if side else 4


def _bytes_a_pixel(name: str, photo: ImageFile.ImageFile) -> int:
    if name in _HELD:
        return _HELD[name]
    wide = 1 if photo.mode in ("1", "L", "P") else 2 if photo.mode.startswith("I;16") else 4
    strip = photo.size[0] * int(getattr(photo, "tag_v2", {}).get(_ROWS_A_STRIP, 0))
    # libtiff unpacks a strip whole
    return wide + (3 if name == "TIFF" and strip * 4 > photo.size[0] * photo.size[1] else 0)


@contextlib.contextmanager
def _reserved(
    name: str, size: tuple[int, int], bytes_a_pixel: int, each: int, extra: int = 0
) -> Iterator[None]:
    """Wait until the memory that a decoder takes is free; one that needs more than all decodes
    alone, up to WHOLE pixels, and is refused beyond.
    """
    pixels = size[0] * size[1]
    need = pixels * bytes_a_pixel + 3 * pixels // each**2 + extra
    if need > MEMORY and (pixels > WHOLE or extra > MEMORY):
        raise ImageError(
            f"expected a {name} that decodes in {MEMORY:,} bytes of memory, got"
            f" {size[0]} x {size[1]} pixels, which take {need:,}; save it smaller, or as a JPEG"
            " that is not progressive"
        )
    with _room:
        _room.wait_for(lambda: not _taken or sum(_taken) + need <= MEMORY)
        _taken.append(need)
    if need > _LARGE:
        _give_back()
    try:
        yield
    finally:
        with _room:
            _taken.remove(need)
            _room.notify_all()


def _give_back() -> None:
    """Have glibc's allocator return what earlier photos left in its heaps, and from now on map and
    unmap large blocks: it would learn to keep them.
    """
    c = ctypes.CDLL(None)
    if trim := getattr(c, "malloc_trim", None):
        c.mallopt(_MMAP_THRESHOLD, 1 << 20)
        trim(0)


def _low_bytes(
    name: str, data: bytes, page: int, photo: ImageFile.ImageFile
) -> ImageFile.ImageFile | None:
    """Of a 16-bit RGB photo that is nearly black in the bytes that Pillow keeps, the other bytes:
    the same decoder is told that each number's bytes stand the other way round.
    """
    if name not in ("PNG", "TIFF") or photo.mode != "RGB" or photo.size[0] * photo.size[1] > WHOLE:
        return None
    with _READERS[name](io.BytesIO(data)) as other:
        other.seek(page)
        if isinstance(other, TiffImagePlugin.TiffImageFile):
            _deep_planes(other)
        swapped = [tile._replace(args=_swapped(tile.args)) for tile in other.tile]
        if swapped == other.tile or not np.max(photo.getextrema()) <= _DARK:
            return None
        other.tile = swapped
        other.load()
        return other


def _deep_planes(photo: TiffImagePlugin.TiffImageFile) -> None:
    """Of 16-bit RGB whose colours lie apart and bare, have each number's high byte read: Pillow
    forgets that there are two.
    """
    order = "L" if photo.tag_v2.prefix[:1] == b"I" else "B"
    if photo.tag_v2.get(_BITS) == (16, 16, 16):
        photo.tile = [
            tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:]))
            if tile.codec_name == "raw" and isinstance(tile.args, tuple) and tile.args[0] in _PLANES
            else tile
            for tile in photo.tile
        ]


def _swapped(how: Any) -> Any:
    """A tile's arguments for Pillow's decoder, of 16-bit RGB with the bytes in the other order."""
    first, *others = how if isinstance(how, tuple) else (how,)
    other = first[:-1] + _OTHER_ORDER[first[-1]] if first[-4:-1] == ";16" else first
    return (other, *others) if isinstance(how, tuple) else other


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
