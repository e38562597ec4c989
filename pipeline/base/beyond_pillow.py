"""Decoders that are no part of Pillow: HEIC by libheif, JPEG XL by libjxl, camera RAW by LibRaw.

Each opens a file's bytes to the size that it claims, before anything is decoded, and to what
decodes it, upright. The last two are the extra `formats`.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import JpegImagePlugin

from pipeline.base.errors import ImageError
from pipeline.base.formats import EXTRA
from pipeline.base.pixels import Decoded

PREVIEW = 1024  # px, the longest side from which a RAW's own JPEG is what is looked at


@dataclass(frozen=True)
class Opened:
    """A photo whose pixels are not decoded yet."""

    size: tuple[int, int]  # (width, height) px
    held: int  # bytes a pixel that the decoder takes, its result among them
    decode: Callable[[], Decoded | bytes]  # bytes: a JPEG, which is the photo


def heic(data: bytes) -> Opened:
    """The primary picture. libheif turns it as the file's own properties say; what its EXIF says of
    orientation is for information alone (ISO 23008-12) and would turn it twice.
    """
    # pi_heif's own opener reads the metadata first, which crashes where they are damaged
    import _pi_heif

    threads, to_8_bits, bgr, tight, to_16_bits, decoder, unbounded = (
        4,
        True,
        False,
        True,
        True,
        "",
        False,
    )
    held = _pi_heif.load_file(data, threads, to_8_bits, bgr, tight, to_16_bits, decoder, unbounded)
    pictures = [picture for picture in held if picture is not None]
    picture = next((picture for picture in pictures if picture.primary), pictures[0])
    (width, height), mode = picture.size_mode

    def decoded() -> Decoded:
        rows = np.frombuffer(picture.data, np.uint8)
        (width, height), _ = picture.size_mode  # known for certain only now
        pixels = rows.reshape(height, width, len(mode))
        return Decoded(pixels[:, :, 0] if len(mode) == 1 else pixels)

    return Opened((width, height), 5, decoded)


def jpeg_xl(data: bytes) -> Opened:
    try:
        import imagecodecs
    except ImportError:
        raise _missing("JPEG XL") from None
    return Opened(
        jxl_size(data), 6, lambda: Decoded(_eight_bits(imagecodecs.jpegxl_decode(data, index=0)))
    )


def camera_raw(data: bytes) -> Opened:
    """The JPEG that the camera made beside its sensor's numbers, where it is large enough; else
    those, developed with the camera's white balance.
    """
    try:
        import rawpy
    except ImportError:
        raise _missing("camera RAW") from None
    with rawpy.imread(io.BytesIO(data)) as file:
        size = (file.sizes.iwidth, file.sizes.iheight)
        preview = _preview(file, rawpy)
    if preview is not None:
        with JpegImagePlugin.JpegImageFile(io.BytesIO(preview)) as photo:
            longest = max(photo.size)
        if longest >= min(PREVIEW, max(size)):
            return Opened(size, 0, lambda: preview)

    def developed() -> Decoded:
        with rawpy.imread(io.BytesIO(data)) as file:
            half = max(size) >= 2 * PREVIEW  # four sensor cells one pixel: nothing is made up
            return Decoded(file.postprocess(use_camera_wb=True, half_size=half, output_bps=8))

    return Opened(size, 10, developed)


def jxl_size(data: bytes) -> tuple[int, int]:
    """(width, height) px that a JPEG XL claims (ISO 18181-1, SizeHeader). Raises ImageError."""
    start = data[:2] if data[:2] == b"\xff\x0a" else _codestream(data)
    head = data[2:16] if start == data[:2] else start[2:16]
    bits = int.from_bytes(head.ljust(14, b"\0"), "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
    wide = take(3)
    width = side() if wide == 0 else height * ratio[wide - 1][0] // ratio[wide - 1][1]
    return width, height


def _codestream(data: bytes) -> bytes:
    """The first bytes of a container's picture."""
    at = 0
    while at + 16 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        head = 16 if length == 1 else 8
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if kind in (b"jxlc", b"jxlp"):
            at += head + (4 if kind == b"jxlp" else 0)
            return data[at : at + 32]
        if length < head:
            break
        at += length
    raise ImageError("expected a JPEG XL that holds a picture, got none")


def _eight_bits(array: Any) -> Any:
    """uint8, of 16-bit numbers or of floats with white at 1."""
    if array.dtype == np.uint8:
        whole = array
    else:
        scale = 1 / 257 if array.dtype == np.uint16 else 255
        whole = np.empty(array.shape, np.uint8)
        for row, values in zip(whole, array, strict=True):
            row[:] = np.rint(np.nan_to_num(values.astype(np.float32) * scale).clip(0, 255))
    if whole.ndim == 3 and whole.shape[2] == 1:
        return whole[:, :, 0]
    if whole.ndim == 3 and whole.shape[2] == 2:  # grey and alpha
        return whole[:, :, [0, 0, 0, 1]]
    return whole


def _preview(file: Any, rawpy: Any) -> bytes | None:
    """The largest JPEG inside."""
    try:
        thumbnail = file.extract_thumb()
    except rawpy.LibRawError:
        return None
    return bytes(thumbnail.data) if thumbnail.format == rawpy.ThumbFormat.JPEG else None


def _missing(kind: str) -> ImageError:
    from pipeline.base.install import add_extra

    return ImageError(
        f"expected the extra `{EXTRA}`, which reads {kind} files, got none; run {add_extra(EXTRA)}"
    )
