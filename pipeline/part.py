"""A gallery of several that a worker of a cluster owns: opened there, shortlisted there, and looked at twice where its features lie.

Rows are this gallery's own. Every function takes the part first and opens it where it is not open yet, so that any worker can take
over from one that is lost.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.gallery import Binding, GalleryError, Reading, read_gallery
from pipeline.searching import choose
from pipeline.workers import OPENING, SOURCES, changed, read_program
from stages.records import Candidates, Float32, Gallery, Int32, Int64, LocalFeatures, UInt16
from stages.verify import Verify

MOST = 1024  # parts that a worker keeps open; their features are maps, so it is the codes that count

Pack = Callable[[Float32], UInt16] | None
Search = Callable[[Float32, int, Gallery], Candidates]


@dataclass(frozen=True)
class Part:
    """One of the galleries, as it was when the job began."""

    folder: Path  # absolute, and the same for all workers
    held: str  # `digest` of what it holds
    program: str  # sha256 over the sources


@dataclass(frozen=True)
class How:
    """What searches the parts."""

    search: Search  # the recipe's stage
    pack: Pack
    on: str  # `--search`
    total: int  # photos of all parts, by which `auto` decides, as one process would


@dataclass(frozen=True, eq=False)
class Listing:
    """What the one who joins parts has to know of each: all but pooled vectors and local features."""

    names: tuple[str, ...]  # (N,)
    codes: Float32  # (N, D)
    contents: tuple[str, ...]  # (N,) sha256 of each photo's bytes
    count: Int64  # (N,) local features
    size: Int32  # (N, 2) (width, height) px
    null: str  # as the manifest has it
    binding: Binding


@dataclass(frozen=True)
class Index:
    """What FAISS searches a part's codes with, as stages/neighbours.py has it."""

    kind: str
    recall: float


def digest(photos: Sequence[tuple[bytes, str]], null: str, binding: Binding) -> str:
    """sha256 over paths and contents, chance as it was measured, and what the numbers were made by."""
    return hashlib.sha256(repr((photos, null, binding)).encode()).hexdigest()


def listing(part: Part) -> Listing:
    reading = _held(part)
    return Listing(reading.names, reading.codes, reading.contents, reading.features.count, reading.features.size, reading.null, reading.binding)


def shortlist(part: Part, how: How, code: Float32, count: int) -> Candidates:
    """The first look at this part alone: code (D,), K -> (1, K)."""
    return how.search(code, count, _searched(part, how))


def plant(part: Part, how: How) -> Index | None:
    """What the part is searched with; None: the ball tree, or what compares bits."""
    index = _searched(part, how).index
    return None if index is None else Index(index.kind, index.recall)


def look_twice(part: Part, verify: Verify, features: LocalFeatures, rows: Int64) -> tuple[Int32, Int32, Float32]:
    """matches (P,), inliers (P,), affine (P, 2, 3) of a query with these rows (P,)."""
    return verify.many(features, _held(part).features, rows)


def count_inliers(part: Part, verify: Verify, asked: Sequence[tuple[LocalFeatures, Int64]]) -> list[Int32]:
    """The inliers of each query with its rows."""
    return [verify.many(features, _held(part).features, rows)[1] for features, rows in asked]


def described(part: Part, rows: Sequence[int]) -> list[LocalFeatures]:
    """The local features of these photos."""
    features = _held(part).features
    return [_copied(features[row]) for row in rows]


def column(part: Part, name: str, start: int, stop: int) -> Any:
    """`xy`, `descriptor` or `score` of one photo, whose features are those from start to stop when all photos' stand end to end."""
    features = _held(part).features
    ends = np.cumsum(features.count)
    photo = min(int(np.searchsorted(ends, start, "right")), len(features) - 1)  # one without features may be any
    return np.array(getattr(features[photo], name)[: stop - start])


def _copied(features: LocalFeatures) -> LocalFeatures:
    """Off the memory map, to be sent."""
    return LocalFeatures(np.array(features.xy), np.array(features.descriptor), np.array(features.score), features.size)


def _held(part: Part) -> Reading:
    with OPENING:
        return _opened(part)


@lru_cache(MOST)
def _opened(part: Part) -> Reading:
    reading = read_gallery(part.folder)
    photos = list(zip(map(os.fsencode, reading.names), reading.contents, strict=True))
    if (digest(photos, reading.null, reading.binding), read_program(SOURCES)) != (part.held, part.program):
        raise GalleryError(f"gallery {part.folder}: {changed(part.program)}")
    return replace(reading, pooled=np.empty((len(reading.names), 2, 0), np.float16))  # most of the memory, and nobody asks for it


def _searched(part: Part, how: How) -> Gallery:
    with OPENING:
        return _planted(part, how)


@lru_cache(MOST)
def _planted(part: Part, how: How) -> Gallery:
    reading = _opened(part)
    return reading.gallery(reading.codes, None, how.pack, choose(how.on, how.total, how.pack is not None, part.folder))
