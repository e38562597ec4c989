"""The index of parts on the disk: immutable segments beside the shards, each with the inverted
lists of some photos, known by their contents.

It is derived data: whatever of it is missing, damaged or of another codebook is made again from the
local features that the gallery stores, without reading a photo.
"""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.gallery.shards import map_shard, write_shard
from pipeline.model.codebook import ModelCodebook
from stages.inverted_index import MOST_PHOTOS, PartsIndex, Segment
from stages.records import Int64, LocalFeatures, UInt8

FOLDER = "parts"
# a table of its own: earlier versions go on reading the manifest
SCHEMA = """
CREATE TABLE IF NOT EXISTS parts (id INTEGER PRIMARY KEY AUTOINCREMENT, file TEXT NOT NULL UNIQUE,
                                  sha256 TEXT NOT NULL, photos INTEGER NOT NULL,
                                  codebook TEXT NOT NULL)
"""
MEND = "two-look parts --gallery"  # then the folder


@dataclass(frozen=True, eq=False)
class Stored:
    """One segment, and which photos it holds."""

    contents: UInt8  # (P, 32) sha256 of each photo's bytes
    segment: Segment


@dataclass(frozen=True, eq=False)
class PartsReading:
    """The segments of a gallery, or of several."""

    codebook: str  # sha256
    stored: tuple[Stored, ...]

    def covers(self, contents: Collection[str]) -> int:
        """How many of these contents lie in a segment."""
        held = {digest for each in self.stored for digest in digests_of(each.contents)}
        return sum(digest in held for digest in map(bytes.fromhex, contents))

    def index(
        self,
        codebook: ModelCodebook,
        contents: Sequence[str],
        order: Int64,
        threads: int = 1,
        total: int | None = None,
    ) -> PartsIndex:
        """Over the photos of these contents (sha256) in this order; total: as PartsIndex has it.
        What several photos or several segments hold counts once.
        """
        whole = as_bytes([contents[row] for row in order])
        unique, content = np.unique(_keys(whole), return_inverse=True)
        taken = np.zeros(len(unique), np.bool_)
        numbers = []
        for each in self.stored:
            keys = _keys(each.contents)
            place = np.searchsorted(unique, keys)
            live = place < len(unique)
            live[live] = (unique[place[live]] == keys[live]) & ~taken[place[live]]
            taken[place[live]] = True
            numbers.append(np.where(live, place, -1).astype(np.int32))
        segments = tuple(each.segment for each in self.stored)
        return PartsIndex(
            codebook.codebook,
            segments,
            tuple(numbers),
            content.astype(np.int32),
            len(unique) if total is None else total,
            threads,
        )


def joined_parts(readings: Sequence[PartsReading | None]) -> PartsReading | None:
    """Those of several galleries as one; None where one has none, or they differ in codebook."""
    known = [each for each in readings if each is not None]
    if len(known) < len(readings) or len({each.codebook for each in known}) != 1:
        return None
    return PartsReading(
        known[0].codebook, tuple(itertools.chain.from_iterable(each.stored for each in known))
    )


def as_bytes(contents: Sequence[str]) -> UInt8:
    """Hexadecimal sha256 each -> (P, 32)."""
    whole = b"".join(map(bytes.fromhex, contents))
    return np.frombuffer(whole, np.uint8).reshape(len(contents), 32)


def digests_of(contents: UInt8) -> list[bytes]:
    """(P, 32) -> P; a memory map gives its rows one by one a hundred times slower."""
    whole = contents.tobytes()
    return [whole[begin : begin + 32] for begin in range(0, len(whole), 32)]


def _keys(contents: UInt8) -> np.ndarray:
    """(P, 32) -> (P,) that sort and compare."""
    return np.ascontiguousarray(contents).view("S32").reshape(len(contents))


def write_segment(path: Path, contents: UInt8, segment: Segment) -> str:
    """Write and return the sha256."""
    arrays: dict[str, np.ndarray] = {
        "contents": contents,
        "start": segment.start,
        "photo": segment.photo,
        "code": segment.code,
    }
    return write_shard(path, arrays)


def map_segment(path: Path) -> Stored:
    """A segment whose sha256 was checked, as memory maps."""
    arrays = map_shard(path)
    contents = arrays["contents"]
    return Stored(
        contents, Segment(arrays["start"], arrays["photo"], arrays["code"], len(contents))
    )


def merged(parts: Sequence[Stored], keep: set[bytes], words: int) -> Iterator[Stored]:
    """Segments of at most MOST_PHOTOS photos that hold what these did, without photos whose
    contents are not to be kept, each once.
    """
    seen: set[bytes] = set()
    contents: list[UInt8] = []
    entries: list[tuple[np.ndarray, ...]] = []
    held = 0
    for part in parts:
        digests = digests_of(part.contents)
        kept = np.array(
            [digest in keep and digest not in seen for digest in digests], np.bool_
        ).reshape(len(digests))
        seen.update(digests)
        if held + int(kept.sum()) > MOST_PHOTOS:
            yield _whole(contents, entries, words)
            contents, entries, held = [], [], 0
        number = np.where(kept, np.cumsum(kept) - 1 + held, -1)
        who = number[part.segment.photo]
        live = who >= 0
        entries.append(
            (part.segment.word[live], who[live].astype(np.uint16), part.segment.code[live])
        )
        contents.append(part.contents[kept])
        held += int(kept.sum())
    if held:
        yield _whole(contents, entries, words)


def _whole(contents: list[UInt8], entries: list[tuple[np.ndarray, ...]], words: int) -> Stored:
    word, photo, code = (np.concatenate(arrays) for arrays in zip(*entries, strict=True))
    whole = np.concatenate(contents)
    return Stored(whole, Segment.from_entries(word, photo, code, words, len(whole)))


def worth_merging(sizes: Mapping[int, int]) -> list[int]:
    """Which segments (id -> photos) to make one of: the smaller ones, as many as there may be of
    which the largest has no more photos than the others together. So few are left, and a photo is
    rewritten only into a segment at least twice as large as its own.
    """
    order = sorted(sizes, key=lambda each: (sizes[each], each))
    total, count = 0, 0
    for place, segment in enumerate(order):
        if total + sizes[segment] > MOST_PHOTOS:
            break
        if sizes[segment] <= total:
            count = place + 1
        total += sizes[segment]
    return order[:count]


def segment_of(
    codebook: ModelCodebook, contents: Sequence[str], photos: Sequence[LocalFeatures]
) -> Stored:
    """What one batch of photos becomes."""
    return Stored(as_bytes(contents), Segment.of(codebook.codebook, photos))
