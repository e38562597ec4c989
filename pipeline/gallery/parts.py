"""The index of parts on the disk: immutable segments beside the shards, each with the inverted
lists of some photos, known by their contents.

It is derived data: whatever of it is missing, damaged or of another codebook is made again from the
local features that the gallery stores, without reading a photo.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import overload

import numpy as np

from pipeline.base.errors import GalleryError
from pipeline.gallery.contents import Contents, rows_of
from pipeline.gallery.shards import Shard, map_shard, write_shard
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
    make: Callable[[], Segment]

    @cached_property
    def segment(self) -> Segment:
        """Its lists, their bytes checked where that is still to be done. Raises GalleryError."""
        return self.make()


@dataclass(frozen=True, eq=False)
class PartsReading:
    """The segments of a gallery, or of several."""

    codebook: str  # sha256
    stored: tuple[Stored, ...]

    def lacks(self, contents: Contents) -> int:
        """How many different ones of these contents lie in no segment."""
        held = np.concatenate([_keys(each.contents) for each in self.stored])
        return len(np.setdiff1d(_keys(contents.digests), held))

    def index(
        self,
        codebook: ModelCodebook,
        contents: Contents,
        order: Int64,
        threads: int = 1,
        total: int | None = None,
    ) -> PartsIndex:
        """Over the photos of these contents (sha256) in this order; total: as PartsIndex has it.
        What several photos or several segments hold counts once.
        """
        unique, content = np.unique(_keys(contents.digests[order]), return_inverse=True)
        taken = np.zeros(len(unique), np.bool_)
        numbers = []
        for each in self.stored:
            keys = _keys(each.contents)
            place = np.searchsorted(unique, keys)
            live = place < len(unique)
            live[live] = (unique[place[live]] == keys[live]) & ~taken[place[live]]
            taken[place[live]] = True
            numbers.append(np.where(live, place, -1).astype(np.int32))
        return PartsIndex(
            codebook.codebook,
            Segments(self.stored),
            tuple(numbers),
            content.astype(np.int32),
            len(unique) if total is None else total,
            threads,
        )


@dataclass(frozen=True, eq=False)
class Segments(Sequence[Segment]):
    """Those that are stored, each read when it is asked for."""

    stored: tuple[Stored, ...]

    def __len__(self) -> int:
        return len(self.stored)

    @overload
    def __getitem__(self, place: int) -> Segment: ...
    @overload
    def __getitem__(self, place: slice) -> "Segments": ...
    def __getitem__(self, place: int | slice) -> "Segment | Segments":
        if isinstance(place, slice):
            return Segments(self.stored[place])
        return self.stored[place].segment


def joined_parts(readings: Sequence[PartsReading | None]) -> PartsReading | None:
    """Those of several galleries as one; None where one has none, or they differ in codebook."""
    known = [each for each in readings if each is not None]
    if len(known) < len(readings) or len({each.codebook for each in known}) != 1:
        return None
    return PartsReading(
        known[0].codebook, tuple(itertools.chain.from_iterable(each.stored for each in known))
    )


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
    return Stored(arrays["contents"], partial(_segment, arrays))


def stored_in(shard: Shard) -> Stored:
    """A segment whose sha256 is checked before its lists are read; its photos' contents are not
    waited for. Raises GalleryError, ValueError or LookupError.
    """

    def make() -> Segment:
        shard.check()
        try:
            return _segment(shard.arrays)
        except (ValueError, LookupError) as error:  # the manifest vouches for what is no segment
            raise GalleryError(
                f"gallery {shard.what} {shard.path}: expected a segment, got {error}; run"
                f" {shard.mend}"
            ) from None

    contents = shard.arrays["contents"]
    if contents.dtype != np.uint8 or contents.ndim != 2 or contents.shape[1] != 32:
        raise ValueError(f"contents {contents.shape} of {contents.dtype}")
    return Stored(contents, make)


def _segment(arrays: Mapping[str, np.ndarray]) -> Segment:
    return Segment(arrays["start"], arrays["photo"], arrays["code"], len(arrays["contents"]))


def merged(parts: Sequence[Stored], keep: set[bytes], words: int) -> Iterator[Stored]:
    """Segments of at most MOST_PHOTOS photos that hold what these did, without photos whose
    contents are not to be kept, each once.
    """
    seen: set[bytes] = set()
    contents: list[UInt8] = []
    entries: list[tuple[np.ndarray, ...]] = []
    held = 0
    for part in parts:
        digests = list(rows_of(part.contents))
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
    segment = Segment.from_entries(word, photo, code, words, len(whole))
    return Stored(whole, lambda: segment)


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
    return Stored(Contents.of(contents).digests, partial(Segment.of, codebook.codebook, photos))
