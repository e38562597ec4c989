"""Pictures of photos: upright JPEGs without the photo's own metadata. Of an indexed photo they are
made of the very bytes that were indexed.
"""

import hashlib
import io
import re
from functools import lru_cache
from pathlib import Path

import PIL.Image

from pipeline.base.errors import ImageError
from pipeline.base.images import decode, read_photo

THUMBNAIL, LARGE = 320, 2048  # px, the longest side
KEPT = 1024  # thumbnails in memory, about 15 KB each
# the formats that browsers show, by their first bytes; any other is theirs to save
SHOWN = {
    "image/jpeg": rb"\xff\xd8\xff",
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/gif": rb"GIF8[79]a",
    "image/webp": rb"RIFF.{4}WEBP",
    "image/bmp": rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "image/avif": rb".{4}ftypavi[fs]",
}


def large(path: Path, sha256: str) -> bytes:
    return jpeg(read_indexed(path, sha256), LARGE)


@lru_cache(maxsize=KEPT)
def thumbnail(path: Path, sha256: str) -> bytes:
    return jpeg(read_indexed(path, sha256), THUMBNAIL)


def read_indexed(path: Path, sha256: str) -> bytes:
    """The bytes of an indexed photo. Raises ImageError when the file is gone, or is another one by
    now: only what was indexed is ever shown.
    """
    data = read_photo(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ImageError("expected the photo as it was indexed, got a file that has changed")
    return data


def kind_of(data: bytes) -> str | None:
    """The content type of a photo that browsers show; None for another."""
    return next((kind for kind, head in SHOWN.items() if re.match(head, data[:32], re.S)), None)


def jpeg(data: bytes, longest: int) -> bytes:
    """Raises ImageError."""
    picture = PIL.Image.fromarray(decode(data, side=longest).pixels)
    picture.thumbnail((longest, longest), PIL.Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()
