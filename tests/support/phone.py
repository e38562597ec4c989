"""Files as phones and cameras write them, which no library at hand does: a HEIC of tiles, a JPEG
with a gain map, a motion photo, a camera's RAW.
"""

import io
import struct
from typing import Any

import numpy as np
import pillow_heif
import tifffile
from PIL import Image as Pillow
from planted import Array, save

MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0\0\x20\0mdat" + bytes(8184)
_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
    ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
    ' xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"'
    ' xmlns:tiff="http://ns.adobe.com/tiff/1.0/"{more}/></rdf:RDF></x:xmpmeta>'
)


def xmp(orientation: int | None = None) -> bytes:
    more = f' tiff:Orientation="{orientation}"' if orientation else ""
    return _XMP.format(more=more).encode()


def heic(pixels: Array, **options: Any) -> bytes:
    out = io.BytesIO()
    options = {"quality": 90, "enc_params": {"preset": "ultrafast"}} | options
    pillow_heif.from_pillow(Pillow.fromarray(pixels)).save(out, **options)
    return out.getvalue()


def ultra_hdr(pixels: Array, **options: Any) -> bytes:
    """A JPEG whose gain map, a smaller one, follows it (Multi-Picture Format)."""
    photo = Pillow.fromarray(pixels)
    small = photo.convert("L").resize((max(1, photo.width // 4), max(1, photo.height // 4)))
    return save(photo, "MPO", save_all=True, append_images=[small], xmp=xmp(), **options)


def motion(photo: bytes) -> bytes:
    """A photo with its video behind it; of a HEIC in a box of its own, as Samsung does."""
    if photo[4:8] == b"ftyp":
        return photo + struct.pack(">I", 8 + len(MP4)) + b"mpvd" + MP4
    return photo + MP4


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def _full(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *parts)


def tiled_heic(tile: Array, across: int, down: int, quarter_turns: int = 0) -> bytes:
    """A HEIC of across x down tiles, all of them `tile`, whose coded bytes are there once, turned
    counter-clockwise by irot (ISO 23008-12, `grid`).
    """
    coded = heic(tile)
    at = coded.index(b"hvcC") - 4
    settings = coded[at : at + int.from_bytes(coded[at : at + 4], "big")]
    at = coded.index(b"mdat") - 4
    stream = coded[at + 8 : at + int.from_bytes(coded[at : at + 4], "big")]
    height, width = tile.shape[:2]
    count = across * down
    grid = struct.pack(">BBBBII", 0, 1, down - 1, across - 1, across * width, down * height)
    items = range(2, 2 + count)
    infos = [(1, b"grid"), *((item, b"hvc1") for item in items)]
    properties = _box(
        b"ipco",
        settings,
        _full(b"ispe", struct.pack(">II", width, height)),
        _full(b"ispe", struct.pack(">II", across * width, down * height)),
        _box(b"irot", bytes([quarter_turns])),
    )
    owned = struct.pack(">HBBB", 1, 2, 3, 0x84)
    owned += b"".join(struct.pack(">HBBB", item, 2, 0x81, 2) for item in items)

    def meta(offset: int) -> bytes:
        places = struct.pack(">BBH", 0x44, 0, 1 + count)
        places += struct.pack(">HHHHII", 1, 1, 0, 1, 0, len(grid))
        for item in items:
            places += struct.pack(">HHHHII", item, 0, 0, 1, offset, len(stream))
        return _full(
            b"meta",
            _full(b"hdlr", bytes(4), b"pict", bytes(13)),
            _full(b"pitm", struct.pack(">H", 1)),
            _full(b"iloc", places, version=1),
            _full(
                b"iinf",
                struct.pack(">H", len(infos)),
                *(
                    _full(b"infe", struct.pack(">HH4sB", item, 0, kind, 0), version=2)
                    for item, kind in infos
                ),
            ),
            _full(b"iref", _box(b"dimg", struct.pack(f">HH{count}H", 1, count, *items))),
            _box(b"iprp", properties, _full(b"ipma", struct.pack(">I", 1 + count), owned)),
            _box(b"idat", grid),
        )

    head = _box(b"ftyp", b"heic\0\0\0\0mif1heic")
    offset = len(head) + len(meta(0)) + 8
    return head + meta(offset) + _box(b"mdat", stream)


def raw(pixels: Array, preview: bytes | None = None, dng: bool = True, turn: int = 1) -> bytes:
    """A camera's RAW, a TIFF: a thumbnail first, the sensor's numbers and a JPEG preview within."""
    sensor = np.empty(pixels.shape[:2], np.uint16)
    for top, left, colour in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        sensor[top::2, left::2] = pixels[top::2, left::2, colour].astype(np.uint16) * 16
    thumbnail = np.ascontiguousarray(pixels[:: max(1, len(pixels) // 120)][:, ::8])
    version = [
        (50706, "B", 4, (1, 4, 0, 0), True),
        (50708, "s", 0, "Planted Camera", True),
        (50721, "2i", 9, (3, 1, -1, 1, 0, 1, -1, 1, 2, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),
        (50778, "H", 1, 21, True),
    ]
    filters = [
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, (0, 1, 1, 2), True),
        (50714, "H", 1, 0, True),
        (50717, "H", 1, 4095, True),
    ]
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as file:
        file.write(
            thumbnail,
            photometric="rgb",
            subfiletype=1,
            subifds=1 + (preview is not None),
            metadata=None,
            software=False,
            extratags=[
                (271, "s", 0, "NIKON CORPORATION", True),
                (272, "s", 0, "NIKON D1", True),
                (274, "H", 1, turn, True),
                *(version if dng else []),
            ],
        )
        file.write(sensor, photometric="cfa", subfiletype=0, metadata=None, extratags=filters)
        if preview is not None:
            with Pillow.open(io.BytesIO(preview)) as shown:
                size = shown.size
            # one strip that is a whole JPEG
            file.write(
                iter([preview]),
                shape=(size[1], size[0], 3),
                dtype=np.uint8,
                photometric="ycbcr",
                compression="jpeg",
                subfiletype=1,
                rowsperstrip=size[1],
                metadata=None,
            )
    return out.getvalue()
