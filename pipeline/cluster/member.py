"""A gallery of several that a worker of a cluster owns: opened there, searched there, and
verified where its features lie.

Rows are this gallery's own. Every function takes the member first and opens it where it is not open
yet, so that any worker can take over from one that is lost.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import GalleryError
from pipeline.base.install import SOURCES
from pipeline.gallery.binding import Binding
from pipeline.gallery.contents import Contents
from pipeline.gallery.store import Reading, read_gallery
from pipeline.model.codebook import read_codebook
from pipeline.search.code_index import choose
from pipeline.search.open import lack_of_parts
from pipeline.search.process import OPENING, changed, read_program
from stages.gallery import Gallery
from stages.inverted_index import PartsIndex
from stages.records import Candidates, Float32, Int32, Int64, LocalFeatures
from stages.search import search
from stages.verify import Verify

# parts that a worker keeps open; their features are maps, so it is the codes that count
MOST = 1024


@dataclass(frozen=True)
class Member:
    """One of the galleries, as it was when the job began."""

    folder: Path  # absolute, and the same for all workers
    held: str  # `digest` of what it holds
    program: str  # sha256 over the sources
    parts: bool = False  # its index of parts is read, too


@dataclass(frozen=True)
class IndexChoice:
    """What searches the members' codes."""

    index: str  # `--search`
    binary: bool  # codes are compared by their bits
    total: int  # photos of all members, by which `auto` decides, as one process would


@dataclass(frozen=True, eq=False)
class Listing:
    """What the one who joins parts has to know of each: all but pooled vectors and local
    features."""

    names: tuple[str, ...]  # (N,)
    codes: Float32  # (N, D)
    contents: Contents  # (N,) sha256 of each photo's bytes
    count: Int64  # (N,) local features
    size: Int32  # (N, 2) (width, height) px
    null: str  # as the manifest has it
    binding: Binding


def digest(photos: Sequence[tuple[bytes, str]], null: str, binding: Binding) -> str:
    """sha256 over paths and contents, chance as it was measured, and what the numbers were made
    by."""
    return hashlib.sha256(repr((photos, null, binding)).encode()).hexdigest()


def listing(member: Member) -> Listing:
    reading = _held(member)
    return Listing(
        reading.names,
        reading.codes,
        reading.contents,
        reading.features.count,
        reading.features.size,
        reading.null,
        reading.binding,
    )


def shortlist(member: Member, choice: IndexChoice, code: Float32, count: int) -> Candidates:
    """The first look at this member alone: code (D,), K -> (1, K)."""
    return search(code, count, _searched(member, choice))


def index_of(member: Member, choice: IndexChoice) -> tuple[str, float]:
    """Kind and recall of what searches the member's codes; an empty member has the exact tree of
    none.
    """
    index = _searched(member, choice).index
    return ("tree", 1.0) if index is None else (index.kind, index.recall)


@dataclass(frozen=True)
class PartsChoice:
    """What of a member's parts is asked."""

    model: Path  # folder of the model, whose codebook they are indexed by
    total: int  # different photos of all members
    left_out: tuple[int, ...]  # rows whose contents an earlier photo of another row has, ascending


def lack(member: Member, model: Path) -> str:
    """What is wrong with the member's index of parts; nothing where it is whole."""
    codebook = read_codebook(model)
    return "none" if codebook is None else lack_of_parts(_held(member), codebook)


def count_photos(member: Member, choice: PartsChoice, features: LocalFeatures) -> Int32:
    """(M, STEPS) as PartsIndex.counts."""
    return _voted(member, choice).counts(features)


def count_votes(
    member: Member, choice: PartsChoice, features: LocalFeatures, limit: Int32
) -> Int32:
    """(N,) of the rows that are not left out, in their order."""
    return _voted(member, choice).votes(features, limit)


def verify_rows(
    member: Member, verify: Verify, features: LocalFeatures, rows: Int64
) -> tuple[Int32, Int32, Float32]:
    """matches (P,), inliers (P,), affine (P, 2, 3) of a query with these rows (P,)."""
    return verify.many(features, _held(member).features, rows)


def count_inliers(
    member: Member, verify: Verify, asked: Sequence[tuple[LocalFeatures, Int64]]
) -> list[Int32]:
    """The inliers of each query with its rows."""
    return [verify.many(features, _held(member).features, rows)[1] for features, rows in asked]


def features_of(member: Member, rows: Sequence[int]) -> list[LocalFeatures]:
    """The local features of these photos."""
    features = _held(member).features
    return [_copied(features[row]) for row in rows]


def column(member: Member, name: str, start: int, stop: int) -> Any:
    """`xy`, `descriptor` or `score` of one photo, whose features are those from start to stop when
    all photos' stand end to end.
    """
    features = _held(member).features
    ends = np.cumsum(features.count)
    # one without features may be any
    photo = min(int(np.searchsorted(ends, start, "right")), len(features) - 1)
    return np.array(getattr(features[photo], name)[: stop - start])


def _copied(features: LocalFeatures) -> LocalFeatures:
    """Off the memory map, to be sent."""
    return LocalFeatures(
        np.array(features.xy),
        np.array(features.descriptor),
        np.array(features.score),
        features.size,
    )


def _held(member: Member) -> Reading:
    with OPENING:
        return _opened(member)


@lru_cache(MOST)
def _opened(member: Member) -> Reading:
    reading = read_gallery(member.folder, parts=member.parts)
    photos = list(zip(map(os.fsencode, reading.names), reading.contents, strict=True))
    if (digest(photos, reading.null, reading.binding), read_program(SOURCES)) != (
        member.held,
        member.program,
    ):
        raise GalleryError(f"gallery {member.folder}: {changed(member.program)}")
    return reading


def _searched(member: Member, choice: IndexChoice) -> Gallery:
    with OPENING:
        return _indexed(member, choice)


@lru_cache(MOST)
def _indexed(member: Member, choice: IndexChoice) -> Gallery:
    reading = _opened(member)
    return reading.gallery(
        reading.codes, None, choose(choice.index, choice.total, choice.binary, member.folder)
    )


def _voted(member: Member, choice: PartsChoice) -> PartsIndex:
    with OPENING:
        return _counted(member, choice)


@lru_cache(MOST)
def _counted(member: Member, choice: PartsChoice) -> PartsIndex:
    reading, codebook = _opened(member), read_codebook(choice.model)
    if reading.parts is None or codebook is None:
        raise GalleryError(f"gallery {member.folder}: {changed(member.program)}")
    rows = np.setdiff1d(np.arange(len(reading.names)), choice.left_out)
    return reading.parts.index(codebook, reading.contents, rows, total=choice.total)
