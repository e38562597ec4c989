"""The pages of a TIFF, read from its directories without a decoder: which one a person sees, and
whether it is a camera's RAW, whose first page is mostly a thumbnail.

TIFF 6.0 (Adobe, 1992), TIFF/EP (ISO 12234-2), DNG 1.7 (Adobe, 2023), BigTIFF.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_MOST = 64  # directories that are looked at: more are no thumbnail's neighbours
_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_KIND, _OLD_KIND, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC = 254, 255, 256, 257, 259, 262
_SUB_PAGES, _DNG_VERSION = 330, 50706
_SENSOR = (32803, 34892)  # photometric: a colour filter array, linear raw
_CAMERAS = (32767, 32769, 32770, 34713, 65000, 65535)  # compressions of Sony, Samsung, Nikon, ...
_THUMBNAIL = 512  # px, the longest side of a page that may be one though nothing says so
_Tags = dict[int, tuple[int, ...]]


@dataclass(frozen=True)
class Pages:
    raw: bool  # a camera's RAW
    shown: int  # the page a person sees, from 0


def pages(data: bytes) -> Pages:
    """What is to be known before a TIFF is decoded; of one that is damaged, its first page."""
    try:
        found = list(_directories(data))
    except (struct.error, IndexError, OverflowError):
        found = []
    tops = [tags for tags, top in found if top]
    if not tops:
        return Pages(False, 0)
    raw = _DNG_VERSION in tops[0] or any(
        _one(tags, _PHOTOMETRIC) in _SENSOR or _one(tags, _COMPRESSION) in _CAMERAS
        for tags, _ in found
    )
    return Pages(raw, _shown(tops))


def _shown(tops: list[_Tags]) -> int:
    full = [i for i, tags in enumerate(tops) if not _reduced(tags)]
    if not full:  # all say that they are reduced: the largest
        return max(range(len(tops)), key=lambda i: _area(tops[i]))
    first = full[0]
    width, height = _size(tops[first])
    if 0 < max(width, height) <= _THUMBNAIL:
        for i in full[1:]:
            wide, high = _size(tops[i])
            alike = abs(wide * height - high * width) <= 0.03 * wide * height
            if alike and wide >= 4 * width and high >= 4 * height:
                return i
    return first


def _reduced(tags: _Tags) -> bool:
    return bool(_one(tags, _KIND) & 1) or _one(tags, _OLD_KIND) == 2


def _size(tags: _Tags) -> tuple[int, int]:
    return _one(tags, _WIDTH), _one(tags, _HEIGHT)


def _area(tags: _Tags) -> int:
    width, height = _size(tags)
    return width * height


def _one(tags: _Tags, tag: int) -> int:
    return (tags.get(tag) or (0,))[0]


def _directories(data: bytes) -> Iterator[tuple[_Tags, bool]]:
    """The tags of each directory; whether it is a page, not a page within one."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    start, next_at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0], 0
    seen: set[int] = set()
    pending = [(start, True)]
    while pending and len(seen) < _MOST:
        at, top = pending.pop()
        if at == 0 or at in seen or at >= len(data):
            continue
        seen.add(at)
        tags, next_at = _directory(data, at, order, big)
        if top:
            pending.append((next_at, True))
        pending += [(within, False) for within in tags.get(_SUB_PAGES, ())[:_MOST]]
        yield tags, top


def _directory(data: bytes, at: int, order: str, big: bool) -> tuple[_Tags, int]:
    count_as, entry_as, wide = ("Q", "HHQ", 20) if big else ("H", "HHI", 12)
    (count,) = struct.unpack_from(order + count_as, data, at)
    at += struct.calcsize(count_as)
    count = min(count, 4096)
    tags: _Tags = {}
    for entry in range(at, at + count * wide, wide):
        tag, kind, many = struct.unpack_from(order + entry_as, data, entry)
        if tag not in _WANTED or kind not in _TYPES:
            continue
        many = min(many, _MOST)
        values, room = f"{order}{many}{_TYPES[kind]}", wide - struct.calcsize(order + entry_as)
        place = entry + wide - room
        if struct.calcsize(values) > room:
            (place,) = struct.unpack_from(order + ("Q" if big else "I"), data, place)
        tags[tag] = struct.unpack_from(values, data, place)
    (following,) = struct.unpack_from(order + ("Q" if big else "I"), data, at + count * wide)
    return tags, following


_WANTED = (
    _KIND, _OLD_KIND, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _SUB_PAGES, _DNG_VERSION,
)  # fmt: skip
