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
from stages.records import Float32, Int8, Int32, UInt8, check_array

BYTES, CENTROIDS = 8, 256  # a feature is so many bytes, each the number of one of so many centroids
ROUNDS = 15  # of k-means
# words; numbers a descriptor, so that sums, of which a half may be left over, stay below 2^23
MOST_WORDS, LONGEST = 1 << 16, 341
AT_ONCE = 2048  # features whose distances from all words are in memory together: 64 MB
NEAREST_WORDS = Kernel.of(
    "stages.inverted_kernels",
    "nearest_words",
    "float32[:,:] cost, int32[:,:] found, float32[:] least",
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
        for begin in range(0, len(descriptor), AT_ONCE):
            some = descriptor[begin : begin + AT_ONCE].astype(np.float32)
            # half of the squared distance, but for the feature's own length; exact
            cost = self._half - some @ self._words.T
            NEAREST_WORDS(cost, found[begin : begin + AT_ONCE], np.empty(count, np.float32))
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
    def _words(self) -> Float32:
        return self.words.astype(np.float32)

    @cached_property
    def _half(self) -> Float32:
        """(V,) half of each word's squared length."""
        half: Float32 = np.square(self._words).sum(1) / np.float32(2)
        return half
