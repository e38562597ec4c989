"""Indexes of parts of any number of photos for `scripts/bench.py parts`, from entries that are made
once.

Generated photos stand on top of real ones. Each has as many entries as a real photo that is drawn;
the word of each entry is that of a real entry that is drawn, so that lists grow as those of real
photos would; its 8 bytes are those of another real entry that is drawn. What it looks like within
its word is thereby as likely as it is anywhere, and no more like a query than chance has it.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from tqdm import tqdm

from pipeline.bench.parts_photos import Photos
from stages.gallery import Gallery
from stages.inverted_index import KEEP, MOST_PHOTOS, PartsIndex, Segment
from stages.records import Int64, LocalFeatures, PackedFeatures, UInt8, UInt16
from stages.tree_index import TreeIndex
from stages.visual_words import BYTES, Codebook

AT_ONCE = 250  # photos whose entries are made together
# photos, and the words of their entries end to end
Joined = Callable[[Sequence[LocalFeatures], UInt16], None]
DIGEST = 32  # bytes of a photo's contents in a segment's file


@dataclass(eq=False)
class Entries:
    """The entries of the first photos of an order, photo after photo, strongest first; more join
    as they are needed.
    """

    codebook: Codebook
    count: Int64 = field(default_factory=lambda: np.empty(0, np.int64))  # (P,) of each photo
    word: UInt16 = field(default_factory=lambda: np.empty(0, np.uint16))  # (T,)
    code: UInt8 = field(default_factory=lambda: np.empty((0, BYTES), np.uint8))  # (T, BYTES)

    def extend(self, photos: Photos, size: int, threads: int, also: Joined | None = None) -> None:
        """Until they are those of so many photos; also: what learns of each batch in turn."""
        have = len(self.count)
        batches = photos.batches(have, size, AT_ONCE)
        made: list[tuple[Int64, UInt16, UInt8]] = []
        with (
            ThreadPoolExecutor(threads) as pool,
            tqdm(
                total=size - have, desc="parts", unit="photo", disable=None, mininterval=0.5
            ) as bar,
        ):
            # few at once are in memory
            while some := list(itertools.islice(batches, 2 * threads)):
                for batch, entries in zip(some, pool.map(self._encoded, some), strict=True):
                    made.append(entries)
                    if also is not None:
                        also(batch, entries[1])
                    bar.update(len(batch))
        if made:
            counts, words, codes = zip(*made, strict=True)
            self.count = np.concatenate([self.count, *counts])
            self.word = np.concatenate([self.word, *words])
            self.code = np.concatenate([self.code, *codes])

    def _encoded(self, photos: Sequence[LocalFeatures]) -> tuple[Int64, UInt16, UInt8]:
        """As Segment.of has them, but in the photos' order."""
        kept = [photo.descriptor[:KEEP] for photo in photos]
        whole = np.concatenate(kept)
        word = self.codebook.nearest(whole, 1)[:, 0]
        count = np.array([len(each) for each in kept], np.int64)
        return count, word.astype(np.uint16), self.codebook.encode(whole, word)

    def segments(self, size: int, keep: int = KEEP, codes: UInt8 | None = None) -> list[Segment]:
        """Of the first photos and the strongest `keep` features of each, in as few segments as
        there may be; codes: others than their own.
        """
        codes = self.code if codes is None else codes
        ends = np.cumsum(self.count)
        found = []
        for begin, end in cut(size):
            first, last = int(ends[begin] - self.count[begin]), int(ends[end - 1])
            count = self.count[begin:end]
            photo = np.repeat(np.arange(end - begin), count)
            place = np.arange(first, last) - np.repeat(ends[begin:end] - count, count)
            kept = place < keep
            entries = (
                self.word[first:last][kept].astype(np.int32),
                photo[kept].astype(np.uint16),
                codes[first:last][kept],
            )
            found.append(Segment.from_entries(*entries, len(self.codebook.words), end - begin))
        return found

    def generated(self, photos: int, seed: int) -> Iterator[Segment]:
        """Segments of so many photos that nobody took."""
        for begin, end in cut(photos):
            rng = np.random.default_rng([seed, begin])
            count = rng.choice(self.count, end - begin)
            total = int(count.sum())
            word = self.word[rng.integers(0, len(self.word), total)].astype(np.int32)
            code = self.code[rng.integers(0, len(self.word), total)]
            photo = np.repeat(np.arange(end - begin, dtype=np.uint16), count)
            yield Segment.from_entries(word, photo, code, len(self.codebook.words), end - begin)


def cut(photos: int) -> list[tuple[int, int]]:
    """(begin, end) of each of the segments that so many photos fill evenly."""
    parts = np.array_split(np.arange(photos), -(-photos // MOST_PHOTOS)) if photos else []
    return [(int(part[0]), int(part[-1]) + 1) for part in parts]


@dataclass(frozen=True, eq=False)
class Asked:
    """An index and the gallery through which it is asked. The photos' rows are drawn, so that among
    photos of equal votes none that is relevant comes first for its row.
    """

    gallery: Gallery
    index: PartsIndex
    place: Int64  # (N,) of each row: the photo's place in the order

    @classmethod
    def of(cls, codebook: Codebook, segments: Sequence[Segment], seed: int) -> "Asked":
        sizes = [segment.photos for segment in segments]
        ends = np.cumsum(sizes)
        number = tuple(
            np.arange(end - size, end, dtype=np.int32)
            for end, size in zip(ends.tolist(), sizes, strict=True)
        )
        photos = int(ends[-1])
        place = np.random.default_rng([seed, photos]).permutation(photos)
        index = PartsIndex(codebook, tuple(segments), number, place.astype(np.int32), photos)
        return cls(as_gallery(index, photos), index, place)

    def with_threads(self, threads: int) -> Gallery:
        return replace(self.gallery, parts=replace(self.index, threads=threads))

    @property
    def entries(self) -> int:
        return sum(len(segment.photo) for segment in self.index.segments)

    def bytes(self, a_code: int = BYTES) -> int:
        """That the segments' files would have, but for their headers; a_code: bytes of a code."""
        each = (
            DIGEST * segment.photos
            + segment.start.nbytes
            + len(segment.photo) * (segment.photo.itemsize + a_code)
            for segment in self.index.segments
        )
        return sum(each)

    def walked(self, features: LocalFeatures) -> int:
        """Entries in the lists that a query looks into."""
        words = self.index.codebook.nearest(features.descriptor, self.index.probes)
        length = sum(np.diff(segment.start).astype(np.int64) for segment in self.index.segments)
        return int(np.asarray(length)[words].sum())


def as_gallery(index: PartsIndex, photos: int) -> Gallery:
    """One of which nothing but its index of parts can be asked."""
    codes = np.zeros((photos, 1), np.float32)
    none = np.zeros(photos, np.int64)
    block = np.empty((0, 2), np.float32), np.empty((0, 1), np.int8), np.empty(0, np.float32)
    size = np.ones((photos, 2), np.int32)
    features = PackedFeatures((block,), none.astype(np.int32), none, none, size)
    names = tuple(f"{row:09d}" for row in range(photos))
    return Gallery(names, codes, features, TreeIndex.build(codes[:1]), None, index)


def build_seconds(codebook: Codebook, photos: Sequence[LocalFeatures]) -> float:
    """Of one thread's processor time, a photo."""
    Segment.of(codebook, photos[:1])  # what is compiled is compiled
    began = time.thread_time()
    Segment.of(codebook, photos)
    return (time.thread_time() - began) / len(photos)


def halved(codebook: Codebook, code: UInt8) -> tuple[Codebook, UInt8]:
    """What 4 bytes a feature, every second one, say: the other numbers of a descriptor are taken to
    be its word's.
    """
    centroids = codebook.centroids.copy()
    centroids[1::2] = 0
    fewer = code.copy()
    fewer[:, 1::2] = 0
    return Codebook(codebook.words, centroids), fewer
