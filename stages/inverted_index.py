"""The parts index: which photos hold local features like the query's, whatever is around them.

Every feature of a photo is one entry in the inverted list of its visual word, with 8 bytes of what
it looks like there. A query's feature walks the lists of the words nearest to it and votes for the
photos of its nearest entries, each by how much nearer it is than the nearest photo that gets no
vote of it: a feature that everything has says nothing. Geometry is not asked.

Photos lie in segments that never change, each with lists of its own, so that what is added touches
nothing that is there. Entries belong to a photo's contents, not to its path or row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from stages.compiled import Kernel
from stages.errors import ArrayError
from stages.records import Int8, Int32, Int64, LocalFeatures, UInt8, UInt16, check_array
from stages.visual_words import BYTES, CENTROIDS, Codebook, shares

KEEP = 290  # features of an indexed photo, the strongest; a query asks with all of its own
# words that a query's feature looks into; where words have more entries in the mean than LIST, as
# many fewer as the square root of the ratio says, but LEAST of them. Of 160 strongly changed views
# of training photos among 100,000 photos, 2, 4, 8, 17 and 64 words have .58, .63, .64, .66 and .68
# within 40 candidates, .62, .66, .69, .69 and .71 within 200
PROBES, LIST, LEAST = 32, 250, 4
VOTES = 10  # photos that one feature may vote for
# of squared distances between descriptors, unit vectors x 127; a vote counts them
SHIFT, STEPS = 6, 255
MOST_PHOTOS = 1 << 16  # of a segment

WALK = Kernel.of(
    "stages.inverted_kernels",
    "walk",
    "int8[:,:] query, int32[:,:] shares, int32[:,:] zero, int32[:,:] probes, int8[:,:] words,"
    " int32[:,:] word_shares, int32[:,:] word_zero, int32[:] centroids, int32[:] squares,"
    " int32[:] start, uint16[:] photo, uint8[:,:] code, int32[:] number, int64 shift, int64 most,"
    " int32[:] limit, int32[:,:] hist, int32[:] products, int32[:] table, int32[:] seen,"
    " int32[:] touched, uint8[:] nearest, int32[:] feature, int32[:] content, uint8[:] distance",
)
COUNT_VOTES = Kernel.of(
    "stages.inverted_kernels",
    "count_votes",
    "int32[:] feature, int32[:] content, uint8[:] distance, int32[:] limit, int32[:] votes",
)
Hits = tuple[Int32, Int32, UInt8]  # feature (H,), content (H,), distance (H,) in steps


@dataclass(frozen=True, eq=False)
class Segment:
    """Inverted lists of photos; arrays may be memory maps."""

    start: Int32  # (V + 1,) where each word's entries begin
    photo: UInt16  # (T,) whose the entry is, ascending within a word
    code: UInt8  # (T, BYTES)
    photos: int

    def __post_init__(self) -> None:
        check_array("Segment", "start", self.start, np.int32, None)
        check_array("Segment", "photo", self.photo, np.uint16, None)
        check_array("Segment", "code", self.code, np.uint8, len(self.photo), BYTES)
        if not 0 <= self.photos <= MOST_PHOTOS:
            raise ArrayError(f"Segment.photos: expected at most {MOST_PHOTOS}, got {self.photos}")
        ends = (self.start[:1].tolist(), self.start[-1:].tolist())
        if ends != ([0], [len(self.photo)]) or (np.diff(self.start) < 0).any():
            raise ArrayError("Segment.start: expected 0 to the number of entries, ascending")
        if len(self.photo) and int(self.photo.max()) >= self.photos:
            raise ArrayError(
                f"Segment.photo: expected photos below {self.photos}, got {self.photo.max()}"
            )

    @classmethod
    def of(cls, codebook: Codebook, photos: Sequence[LocalFeatures]) -> Segment:
        """The strongest KEEP features of each photo."""
        kept = [photo.descriptor[:KEEP] for photo in photos]
        whole = np.concatenate([*kept, np.empty((0, codebook.words.shape[1]), np.int8)])
        word = codebook.nearest(whole, 1)[:, 0]
        who = np.repeat(np.arange(len(kept)), [len(each) for each in kept])
        entries = word, who.astype(np.uint16), codebook.encode(whole, word)
        return cls.from_entries(*entries, len(codebook.words), len(kept))

    @classmethod
    def from_entries(
        cls, word: Int32, photo: UInt16, code: UInt8, words: int, photos: int
    ) -> Segment:
        """word (T,), photo (T,), code (T, BYTES), of one photo after the other."""
        order = np.argsort(word.astype(np.uint16), kind="stable")
        start = np.searchsorted(word[order], np.arange(words + 1)).astype(np.int32)
        return cls(start, photo[order], code[order], photos)

    @property
    def word(self) -> Int32:
        """(T,) whose list each entry is in."""
        return np.repeat(np.arange(len(self.start) - 1, dtype=np.int32), np.diff(self.start))


@dataclass(frozen=True, eq=False)
class PartsIndex:
    """Segments, and the photos of a gallery whose contents they hold."""

    codebook: Codebook
    segments: Sequence[Segment]  # each read when it is first walked
    # of each segment's photos (P,): the number of its contents; -1 where no photo has them now
    number: tuple[Int32, ...]
    content: Int32  # (N,) of each row of the gallery: the number of its contents
    total: int  # different contents, also those that others hold where this is a part of a whole
    threads: int = 1  # change how long it takes and nothing else

    def __post_init__(self) -> None:
        check_array("PartsIndex", "content", self.content, np.int32, None)

    @property
    def probes(self) -> int:
        """Words that a query's feature looks into: fewer where lists are long."""
        length = max(1, self.total * KEEP // len(self.codebook.words))
        return min(PROBES, max(LEAST, math.isqrt(PROBES * PROBES * LIST // length)))

    def votes(self, features: LocalFeatures, limit: Int32 | None = None) -> Int32:
        """(N,) of every row of the gallery. limit (M,): within which a photo gets votes of each
        feature, where others hold the rest of the photos: `limits` of all their counts.
        """

        def share(rows: Int64) -> Int32:
            hits, own, _ = self._walked(features.descriptor[rows])
            votes = np.zeros(int(self.content.max(initial=-1)) + 1, np.int32)
            for hit in hits:
                COUNT_VOTES(*hit, own if limit is None else limit[rows], votes)
            return votes

        shares = np.array_split(np.arange(len(features)), self.threads)
        if self.threads == 1:
            total = share(shares[0])
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                total = np.sum(list(pool.map(share, shares)), 0, dtype=np.int32)
        return total[self.content]

    def counts(self, features: LocalFeatures) -> Int32:
        """(M, STEPS) photos by their distance from each feature, as far as they decide `limits`."""
        return self._walked(features.descriptor)[2]

    def _walked(self, descriptor: Int8) -> tuple[list[Hits], Int32, Int32]:
        """descriptor (M, D) -> hits of each segment, limit (M,) and counts by distance (M, STEPS),
        as `walk` has them.
        """
        limit = np.full(len(descriptor), STEPS, np.int32)
        hist = np.zeros((len(descriptor), STEPS), np.int32)
        probes = self.codebook.nearest(descriptor, self.probes)
        hits: list[Hits] = []
        tables = [np.empty(BYTES * CENTROIDS, np.int32) for _ in range(2)]
        asked = descriptor, *shares(descriptor)
        for segment, number in zip(self.segments, self.number, strict=True):
            check_array("PartsIndex", "number", number, np.int32, segment.photos)
            if len(segment.start) != len(self.codebook.words) + 1:
                raise ArrayError(
                    f"PartsIndex.segments: expected lists of {len(self.codebook.words)} words, got"
                    f" {len(segment.start) - 1}"
                )
            photos = len(number)
            work = *tables, *(np.empty(photos, dtype) for dtype in (np.int32, np.int32, np.uint8))
            room = len(descriptor) * min(VOTES, photos)
            feature, content = np.empty(room, np.int32), np.empty(room, np.int32)
            distance = np.empty(room, np.uint8)
            held = WALK(
                *asked,
                probes,
                *self.codebook.by_byte,
                segment.start,
                segment.photo,
                segment.code,
                number,
                SHIFT,
                VOTES,
                limit,
                hist,
                *work,
                feature,
                content,
                distance,
            )
            hits.append((feature[:held], content[:held], distance[:held]))
        return hits, limit, hist


def limits(counts: Int32) -> Int32:
    """counts (M, STEPS), photos by their distance from each feature -> (M,) the distance of the
    nearest photo that gets no vote, STEPS where all do.
    """
    more = np.cumsum(counts, 1) > VOTES
    return np.where(more.any(1), more.argmax(1), STEPS).astype(np.int32)
