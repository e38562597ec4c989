"""The named baseline of `scripts/bench.py parts`: the same entries in FAISS's IndexIVFPQ, over the
same words, and the same votes from the nearest entries that it finds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.inverted_index import KEEP, SHIFT, STEPS, VOTES
from stages.records import Float32, Int8, Int32, Int64, LocalFeatures, UInt16
from stages.search import most_voted
from stages.visual_words import BYTES, Codebook

NEAREST = 120  # entries of a feature, from which photos get votes
LEARNS, LEARNED = 256, 256 * 256  # features that its own centroids are learned from


class FaissParts:
    """Photos join in batches, as they do in `Entries`."""

    def __init__(self, codebook: Codebook, photos: Sequence[LocalFeatures]) -> None:
        """photos: real ones, from which the centroids are learned."""
        import faiss

        faiss.omp_set_num_threads(1)
        words = padded(codebook.words)
        quantizer = faiss.IndexFlatL2(words.shape[1])
        quantizer.add(words)
        self.index: Any = faiss.IndexIVFPQ(quantizer, words.shape[1], len(words), BYTES, 8)
        self.index.train(_whole(photos)[:LEARNED])
        self.photos = 0
        self.owner: Int32 = np.empty(0, np.int32)  # (T,) whose each entry is

    def add(self, photos: Sequence[LocalFeatures], word: UInt16) -> None:
        """word (T,): of the strongest KEEP features of each."""
        import faiss

        kept = [min(KEEP, len(photo)) for photo in photos]
        who = np.repeat(np.arange(self.photos, self.photos + len(photos)), kept)
        whole, lists = _whole(photos), word.astype(np.int64)
        ids = np.arange(len(self.owner), len(self.owner) + len(who), dtype=np.int64)
        self.index.add_core(len(ids), *map(faiss.swig_ptr, (whole, ids, lists)))
        self.owner = np.concatenate([self.owner, who.astype(np.int32)])
        self.photos += len(photos)

    def search(self, features: LocalFeatures, probes: int, count: int, place: Int64) -> Int64:
        """(count,) the photos with most votes, by place in the order in which they joined; equal
        ones as place (N,) has them.
        """
        self.index.nprobe = probes
        apart, entry = self.index.search(padded(features.descriptor), NEAREST)
        votes = count_nearest(apart, np.where(entry < 0, -1, self.owner[entry]), self.photos)
        return place[most_voted(votes[place], count)]


def count_nearest(apart: Float32, photo: Int32, photos: int) -> Int32:
    """Squared distances (M, K) of each feature's nearest entries, ascending, and whose they are
    (M, K), -1 for none -> votes (photos,) as `stages/inverted_index.py` counts them. Where fewer
    photos than decide the limit are among the K, the last entry's distance is it.
    """
    features, most = apart.shape
    step = np.minimum(apart, float(STEPS << SHIFT)).astype(np.int32) >> SHIFT
    row = np.repeat(np.arange(features), most)
    key = row * (photos + 1) + photo.ravel() + 1
    first = np.sort(np.unique(key, return_index=True)[1])  # a photo's nearest entry
    first = first[photo.ravel()[first] >= 0]
    row, who, step_of = row[first], photo.ravel()[first], step.ravel()[first]
    begin = np.searchsorted(row, np.arange(features))
    rank = np.arange(len(row)) - begin[row]
    limit = np.where(photo[:, -1] < 0, STEPS, step[:, -1])
    limit[row[rank == VOTES]] = step_of[rank == VOTES]
    gap = np.maximum(limit[row] - step_of, 0)
    return np.bincount(who, gap, photos).astype(np.int32)


def padded(descriptor: Int8) -> Float32:
    """(M, D) -> as many numbers as bytes can share evenly, beyond D zeros."""
    more = -descriptor.shape[1] % BYTES
    return np.pad(descriptor, ((0, 0), (0, more))).astype(np.float32)


def _whole(photos: Sequence[LocalFeatures]) -> Float32:
    return padded(np.concatenate([photo.descriptor[:KEEP] for photo in photos]))
