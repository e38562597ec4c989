"""What Pillow does not say of a JPEG: what its decoder will hold, and how much one lacks that ends
early.

A file that lost its last bytes, by a copy or a card that failed, is still the photo that a person
sees; one that lost more shows grey where it ends.
"""

import io
from collections.abc import Iterator

import numpy as np
from PIL import JpegImagePlugin

from pipeline.base.errors import ImageError

END = b"\xff\xd9"
LOST = 0.05  # the share of pixels that may be missing
# what no camera wrote where the data ends: coded bits of some blocks
_NOISE = bytes(np.random.default_rng(0).integers(1, 255, 4096, np.uint8)) + END
_SCAN = 0xDA
# markers without a body, and 0xff bytes that are none
_ALONE = {0x00, 0x01, 0xFF, *range(0xD0, 0xD9)}


def trimmed(data: bytes) -> bytes:
    """Without the zeros that an interrupted download leaves where the rest should be."""
    return data.rstrip(b"\0") if data[-64:] == bytes(64) else data


def held(photo: JpegImagePlugin.JpegImageFile, data: bytes) -> int:
    """Bytes of coefficients that the decoder keeps until it has seen all scans, whatever the size
    that it decodes to: none where one scan holds everything.
    """
    scan = next(_scans(data), None)
    if not photo.info.get("progressive") and scan and len(scan[0]) == len(photo.layer):
        return 0
    across = max((h for _, h, _, _ in photo.layer), default=1) or 1
    down = max((v for _, _, v, _ in photo.layer), default=1) or 1
    samples = sum(h * v for _, h, v, _ in photo.layer) / (across * down)
    return int(2 * samples * photo.size[0] * photo.size[1])


def nearly_whole(data: bytes, draft: tuple[int, int] | None) -> JpegImagePlugin.JpegImageFile:
    """The photo of a file that ends early, loaded; draft: the size asked of the decoder. Raises
    ImageError where too much is missing.
    """
    data = data.rstrip(b"\xff")  # half a marker
    photo = _loaded(data + END, draft)
    if not _has_begun_all(data, photo.layer):
        lost = 1.0
    else:
        lost = 0.0 if photo.info.get("progressive") else _lost(photo, _loaded(data + _NOISE, draft))
    if lost > LOST:
        part = f"the last {lost:.0%} of its pixels" if lost < 1 else "a part of its data"
        raise ImageError(f"expected a whole JPEG, got one cut short by {part}; copy it again")
    return photo


def _loaded(data: bytes, draft: tuple[int, int] | None) -> JpegImagePlugin.JpegImageFile:
    photo = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    if draft:
        photo.draft(None, draft)
    photo.load()
    return photo


def _lost(photo: JpegImagePlugin.JpegImageFile, other: JpegImagePlugin.JpegImageFile) -> float:
    """The share of pixels after the first that depends on what follows the data: from there on
    nothing of the photo is there.
    """
    width, height = photo.size
    each = photo.decoderconfig[0] if photo.decoderconfig else 1
    block = max(1, 8 * max((v for _, _, v, _ in photo.layer), default=1) // each)
    for top in range(0, height, block):
        box = (0, top, width, min(height, top + block))
        differ = np.asarray(photo.crop(box)) != np.asarray(other.crop(box))
        if differ.any():
            left = int(differ.reshape(len(differ), width, -1).any(axis=(0, 2)).argmax())
            rows = box[3] - top
            return (rows * (width - left) + (height - top - rows) * width) / (width * height)
    return 0.0


def _has_begun_all(data: bytes, layers: list[tuple[int, int, int, int]]) -> bool:
    """Whether each component's last scan has begun, that of its lowest bits: what a progressive
    JPEG then lacks is the finest detail of a part of the photo.
    """
    fine = {
        (component, coefficient)
        for components, first, last, low in _scans(data)
        for component in components
        for coefficient in range(first, last + 1)
        if low == 0
    }
    return len(fine) == 64 * len(layers)


def is_arithmetic(data: bytes) -> bool:
    """Coded arithmetically: not even a bit a block is certain."""
    for marker, _ in _segments(data):
        if marker in (*range(0xC0, 0xC4), *range(0xC9, 0xCC), _SCAN):
            return marker >= 0xC9 and marker != _SCAN
    return False


def _scans(data: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """Of each scan: its components, the first and last coefficient, the lowest bit."""
    for marker, body in _segments(data):
        if marker == _SCAN and body and len(body) >= 4 + 2 * body[0]:
            first, last, bits = body[1 + 2 * body[0] : 4 + 2 * body[0]]
            yield body[1 : 1 + 2 * body[0] : 2], first, min(last, 63), bits & 15


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment up to the end; the coded data between them is passed over."""
    at = 2
    while 0 <= at < len(data) - 3:
        marker = data[at + 1]
        if data[at] != 0xFF or marker in _ALONE:
            at = data.find(b"\xff", at + 1)
        elif marker == END[1]:
            return
        else:
            length = max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
            yield marker, data[at + 4 : at + 2 + length]
            at += 2 + length
