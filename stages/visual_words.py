"""Visual words: a codebook parts the space of local descriptors, and 8 bytes say what a feature
looks like within its word (IVFADC: Jegou, Douze & Schmid 2011, section 4).

Words and centroids are whole numbers, as descriptors are, so that every distance is exact: a
feature has the same word and the same bytes on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stages.compiled import Kernel
from stages.errors import ArrayError
from stages.records import Int8, Int32, UInt8, check_array

BYTES, CENTROIDS = 8, 256  # a feature is so many bytes, each the number of one of so many centroids
ROUNDS = 15  # of k-means
# words; numbers a descriptor, so that sums, of which a half may be left over, stay below 2^23
MOST_WORDS, LONGEST = 1 << 16, 341
# of words that fill the last sixteen: a squared length, and a score that is above theirs
FILLING, NONE = 1 << 30, -(1 << 29)
NEAREST_WORDS = Kernel.of(
    "stages.inverted_kernels",
    "nearest_words",
    "int8[:,:] query, int8[:] flat, int32[:] words, int32[:] length, int32[:,:] found,"
    " int32[:] rows, int32[:,:] best, int32[:] score",
)


@dataclass(frozen=True, eq=False)
class Codebook:
    """Words, and centroids of what is left of a descriptor when its word is taken away. Byte b
    stands for the numbers b, b + 8, b + 16, ... of that rest, beyond D zeros.
    """

    words: Int8  # (V, D)
    centroids: Int8  # (BYTES, S, CENTROIDS), S = D / 8 rounded up

    def __post_init__(self) -> None:
        check_array("Codebook", "words", self.words, np.int8, None, None)
        words, length = self.words.shape
        if not 0 < words <= MOST_WORDS or not 0 < length <= LONGEST:
            raise ArrayError(
                f"Codebook.words: expected 1 to {MOST_WORDS} words of 1 to {LONGEST} numbers, got"
                f" {self.words.shape}"
            )
        share = -(-length // BYTES)
        check_array("Codebook", "centroids", self.centroids, np.int8, BYTES, share, CENTROIDS)

    @classmethod
    def fit(cls, descriptors: Int8, words: int, seed: int = 0) -> Codebook:
        """k-means of descriptors (T, D), T >= words and T >= CENTROIDS, rounded; then of what is
        left of each.
        """
        from sklearn.cluster import KMeans

        if len(descriptors) < (least := max(words, CENTROIDS)):
            raise ValueError(
                f"codebook: expected at least {least} descriptors, got {len(descriptors)}"
            )

        def means(points: np.ndarray, count: int) -> Int8:
            fitted = KMeans(count, init="random", n_init=1, max_iter=ROUNDS, random_state=seed)
            centres = np.rint(fitted.fit(points.astype(np.float32)).cluster_centers_)
            rounded: Int8 = np.clip(centres, -127, 127).astype(np.int8)
            return rounded

        found = means(descriptors, words)
        length = descriptors.shape[1]
        empty = np.zeros((BYTES, -(-length // BYTES), CENTROIDS), np.int8)
        bare = cls(found, empty)
        rest = bare._rest(descriptors, bare.nearest(descriptors, 1)[:, 0])
        centroids = [means(rest[:, byte], CENTROIDS).T for byte in range(BYTES)]
        return cls(found, np.ascontiguousarray(np.stack(centroids)))

    def nearest(self, descriptor: Int8, count: int) -> Int32:
        """(M, D) -> (M, count) the words nearest to each feature, nearest first, equal ones by
        number.
        """
        check_array("Codebook", "descriptor", descriptor, np.int8, None, self.words.shape[1])
        count = min(count, len(self.words))
        found = np.empty((len(descriptor), count), np.int32)
        descriptor = np.ascontiguousarray(descriptor)
        words, length = self._laid
        work = (
            np.empty(4 * -(-descriptor.shape[1] // 4), np.int32),
            np.empty((4, count), np.int32),
            np.empty(16, np.int32),
        )
        NEAREST_WORDS(descriptor, descriptor.reshape(-1), words, length, found, *work)
        return found

    def encode(self, descriptor: Int8, word: Int32) -> UInt8:
        """(M, D), each one's word (M,) -> (M, BYTES): by byte the nearest centroid, of equal ones
        the first.
        """
        rest = self._rest(descriptor, word).astype(np.float32)
        centroids = self.centroids.astype(np.float32)
        half = np.square(centroids).sum(1) / np.float32(2)  # (BYTES, CENTROIDS)
        code = np.empty((len(rest), BYTES), np.uint8)
        for byte in range(BYTES):
            code[:, byte] = (half[byte] - rest[:, byte] @ centroids[byte]).argmin(1)
        return code

    def _rest(self, descriptor: Int8, word: Int32) -> np.ndarray:
        """(M, D), (M,) -> (M, BYTES, S) int16 what the word leaves, as the bytes share it."""
        rest = descriptor.astype(np.int16) - self.words[word]
        share = self.centroids.shape[1]
        padded = np.pad(rest, ((0, 0), (0, BYTES * share - rest.shape[1])))
        return padded.reshape(len(rest), share, BYTES).swapaxes(1, 2)

    @cached_property
    def _laid(self) -> tuple[Int32, Int32]:
        """Words four numbers at a time, sixteen words side by side, as `nearest_words` takes them;
        and the squared length of each.
        """
        words, length = self.words.shape
        whole, wide = -(-words // 16) * 16, -(-length // 4)
        filled = np.zeros((whole, 4 * wide), np.int8)
        filled[:words, :length] = self.words
        lanes = (filled ^ np.int8(-128)).view(np.int32).reshape(-1, 16, wide)
        squared = np.full(whole, FILLING, np.int32)
        squared[:words] = np.square(self.words.astype(np.int32)).sum(1)
        return np.ascontiguousarray(lanes.swapaxes(1, 2)).reshape(-1), squared

    @cached_property
    def by_byte(self) -> tuple[Int8, Int32, Int32, Int32, Int32]:
        """What the walk through inverted lists takes of a codebook: words (V, D) and their
        `shares`; centroids, sixteen of them side by side, four numbers each; their squared lengths,
        flat.
        """
        share = self.centroids.shape[1]
        whole = np.zeros((BYTES, CENTROIDS, 4 * -(-share // 4)), np.int8)
        whole[:, :, :share] = self.centroids.swapaxes(1, 2)
        lanes = (whole ^ np.int8(-128)).view(np.int32).reshape(BYTES, CENTROIDS // 16, 16, -1)
        squares = np.square(self.centroids.astype(np.int32)).sum(1, dtype=np.int32)
        words = np.ascontiguousarray(self.words)
        return (
            words,
            *shares(words),
            np.ascontiguousarray(lanes.swapaxes(2, 3)).reshape(-1),
            squares.reshape(-1),
        )


def shares(vectors: Int8) -> tuple[Int32, Int32]:
    """(R, D) -> (R, BYTES J) the numbers that each byte stands for, four at a time; (R, BYTES) -128
    times their sum.
    """
    rows, length = vectors.shape
    wide = -(-length // (4 * BYTES))
    whole = np.zeros((rows, 4 * wide * BYTES), np.int8)
    whole[:, :length] = vectors
    parted = np.ascontiguousarray(whole.reshape(rows, 4 * wide, BYTES).swapaxes(1, 2))
    zero = -128 * parted.sum(2, dtype=np.int32)
    return parted.view(np.int32).reshape(rows, BYTES * wide), zero.astype(np.int32)
