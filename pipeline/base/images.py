"""Finding photos in a folder, and reading a photo's bytes once: whatever lies there, nothing blocks
and every refusal is one line. `pipeline.base.decode` makes pixels of the bytes.
"""

import contextlib
import os
import stat
from pathlib import Path

from pipeline.base.decode import MAX_PIXELS, words
from pipeline.base.decode import decode as decode
from pipeline.base.decode import from_pillow as from_pillow
from pipeline.base.errors import ImageError
from pipeline.base.formats import HEAD, recognise
from stages.records import Image

MAX_BYTES = 512 << 20


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
        raise ImageError(f"expected a readable file, got: {words(error)}") from error
    if len(data) > status.st_size:
        raise ImageError("expected a file at rest, got one that grew while it was read")
    return data


def is_photo(path: Path) -> bool:
    """By its first bytes; a file that cannot be read is none."""
    with contextlib.suppress(ImageError):
        return recognise(read_photo(path, head=HEAD)) is not None
    return False


def _refuse_irregular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        raise ImageError(f"expected a regular file, got {kinds.get(stat.S_IFMT(mode), 'a device')}")
