"""Photos of known content in every format: planted arrays, the bytes that encode them, and by
formula what they look like.

Lossless formats carry noise and must come back exactly; lossy ones carry a smooth picture that no
turn or flip leaves the same.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image as Pillow

Array = npt.NDArray[Any]
H, W = 40, 56
Y, X = np.mgrid[:H, :W]
# for lossy formats
SMOOTH = np.stack(
    [X * 255 // (W - 1), Y * 255 // (H - 1), 128 + 60 * np.sin(X / 9 + Y / 14)], axis=2
).astype(np.uint8)
RANDOM = np.random.default_rng(7)
NOISE = RANDOM.integers(0, 256, (H, W, 3), dtype=np.uint8)
GREY = NOISE[:, :, 0]
# 16-bit, spread over the whole range
DEEP = np.arange(H * W, dtype=np.uint16).reshape(H, W) * 29 + 131
COLOURS = np.array([[255, 0, 0], [0, 200, 0], [10, 20, 250], [255, 255, 255], [0, 0, 0]], np.uint8)
INDEX = RANDOM.integers(0, 5, (H, W), dtype=np.uint8)
PAINTED = COLOURS[INDEX]
WINDOWED = np.where((INDEX == 2)[:, :, None], 255, PAINTED)  # colour 2 is transparent
PALETTE = Pillow.fromarray(INDEX, "P")
PALETTE.putpalette(COLOURS.tobytes())
BIT = GREY > 127
ALPHA = (X * 255 // (W - 1)).astype(np.uint8)
RGBA, LA = np.dstack([NOISE, ALPHA]), np.dstack([GREY, ALPHA])
DEEP8 = np.repeat(np.rint(DEEP / 257).astype(np.uint8)[:, :, None], 3, axis=2)
CMYK = np.dstack([255 - SMOOTH, (X * 2).astype(np.uint8)])
RGB16 = NOISE.astype(np.uint16) * 257
HUGE = RANDOM.bytes(1000) * 3000  # a colour profile of 3 MB that is none
# Where EXIF says row 0 and column 0 of the stored picture lie in the upright one.
EDGES = {
    2: "top right",
    3: "bottom right",
    4: "bottom left",
    5: "left top",
    6: "right top",
    7: "right bottom",
    8: "left bottom",
}


@dataclass(frozen=True, eq=False)
class Kind:
    """One file: how it is made and what must become of it."""

    name: str  # relative to the root, '/' between folders
    make: bytes | Callable[[Path], object]
    pixels: Array | None = None  # (H, W, 3) uint8 RGB upright; None: refused
    tolerance: int = 0  # grey levels, of the largest difference
    reason: str = ""  # part of the refusal
    found: bool = True  # the walk lists it


def rgb(grey: Array) -> Array:
    """(H, W) -> (H, W, 3)"""
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


def over_white(colour: Array, alpha: Array) -> Array:
    a = alpha.astype(float)[:, :, None] / 255
    return np.rint(colour * a + 255 * (1 - a)).astype(np.uint8)


def stored(upright: Array, orientation: int) -> Array:
    """The rows and columns a camera stores, so that EXIF `orientation` shows `upright`."""
    row, column = EDGES.get(orientation, "top left").split()
    sides = upright if row in ("top", "bottom") else upright.transpose(1, 0, 2)
    sides = sides[::-1] if row in ("bottom", "right") else sides
    return np.ascontiguousarray(sides[:, ::-1] if column in ("right", "bottom") else sides)


def ink(cmyk: Array) -> Array:
    """(H, W, 4) ink -> RGB, the plain product of what each ink lets through."""
    through = 255 - cmyk.astype(float)
    shown: Array = np.rint(through[:, :, :3] * through[:, :, 3:] / 255).astype(np.uint8)
    return shown


def save(pixels: Array | Pillow.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    (Pillow.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels).save(
        out, kind, **options
    )
    return out.getvalue()


def pages(first: Array, kind: str, **options: Any) -> bytes:
    return save(
        first,
        kind,
        save_all=True,
        append_images=[Pillow.fromarray(a) for a in (255 - NOISE, NOISE[::-1].copy())],
        **options,
    )


def exif(orientation: int) -> bytes:
    tags = Pillow.Exif()
    tags[274] = orientation
    return tags.tobytes()


def tiff(pixels: Array, **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, metadata=None, **options)
    return out.getvalue()


def plain_tiff(data: bytes, *tags: tuple[int, int]) -> bytes:
    """A little-endian TIFF of one strip with these (tag, value), for what no writer offers."""
    rows = sorted(
        [(256, W), (257, H), (259, 1), (273, 8), (277, 1), (278, H), (279, len(data)), *tags]
    )
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in rows)
    return (
        struct.pack("<2sHI", b"II", 42, 8 + len(data))
        + data
        + struct.pack("<H", len(rows))
        + entries
        + bytes(4)
    )


def png(
    width: int,
    height: int,
    bits: int,
    colour: int,
    rows: bytes,
    *chunks: tuple[bytes, bytes],
    interlace: int = 0,
) -> bytes:
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace))
    packed = [header, *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in packed
    )


def scanlines(rows: Array) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in rows)


def interlaced() -> bytes:
    passes = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    return png(
        W, H, 8, 2, b"".join(scanlines(NOISE[y::dy, x::dx]) for y, x, dy, dx in passes), interlace=1
    )


def ycck() -> tuple[bytes, Array]:
    """A JPEG of luminance, chroma and black: saved as CMYK, then its Adobe marker renamed. Adobe
    stores ink inverted.
    """
    luma = cv2.cvtColor(CMYK[:, :, :3].copy(), cv2.COLOR_RGB2YCrCb)[:, :, [0, 2, 1]]
    data = save(
        Pillow.fromarray(255 - np.dstack([luma, 255 - CMYK[:, :, 3]]), "CMYK"), "JPEG", quality=98
    )
    at = data.index(b"Adobe")
    return data[: at + 11] + b"\x02" + data[at + 12 :], ink(CMYK)


def lab() -> tuple[bytes, Array]:
    """CIE L*a*b* (D50) of mild colours, and the sRGB they stand for."""
    light, a, b = 20 + X * 1.2, (Y - 20.0) * 0.5, 12 * np.sin(X / 9)
    coded = np.stack([np.rint(light * 2.55), np.rint(a) % 256, np.rint(b) % 256], axis=2).astype(
        np.uint8
    )
    f = (light + 16) / 116
    t = np.stack([f + np.rint(a) / 500, f, f - np.rint(b) / 200], axis=2)
    xyz = np.where(t > 6 / 29, t**3, (t - 4 / 29) * 3 * (6 / 29) ** 2) * [0.96422, 1, 0.82521]
    linear = (
        xyz
        @ np.array(
            [
                [3.1338561, -1.6168667, -0.4906146],
                [-0.9787684, 1.9161415, 0.033454],
                [0.0719453, -0.2289914, 1.4052427],
            ]
        ).T
    )
    linear = linear.clip(0, 1)
    return tiff(coded, photometric="cielab"), np.rint(
        255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    )


def flipped(data: bytes, place: float) -> bytes:
    at = int(len(data) * place)
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def declared(data: bytes, at: int, fields: str, *values: int) -> bytes:
    size = struct.pack(fields, *values)
    return data[:at] + size + data[at + len(size) :]
