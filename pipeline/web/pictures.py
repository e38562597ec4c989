"""Pictures of indexed photos: upright JPEGs without the photo's own metadata, made of the very
bytes that were indexed.
"""

import hashlib
import io
from functools import lru_cache
from pathlib import Path

import PIL.Image

from pipeline.base.errors import ImageError
from pipeline.base.images import decode, read_photo

THUMBNAIL, LARGE = 320, 2048  # px, the longest side
KEPT = 1024  # thumbnails in memory, about 15 KB each


def large(path: Path, sha256: str) -> bytes:
    return jpeg(path, sha256, LARGE)


@lru_cache(maxsize=KEPT)
def thumbnail(path: Path, sha256: str) -> bytes:
    return jpeg(path, sha256, THUMBNAIL)


def jpeg(path: Path, sha256: str, longest: int) -> bytes:
    """Raises ImageError when the file is gone, or is another one by now: only what was indexed is
    ever shown.
    """
    data = read_photo(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ImageError("expected the photo as it was indexed, got a file that has changed")
    picture = PIL.Image.fromarray(decode(data).pixels)
    picture.thumbnail((longest, longest), PIL.Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()
