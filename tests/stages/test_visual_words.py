"""Words and bytes of local features against plain arithmetic in whole numbers."""

import re

import numpy as np
import pytest
from planted_codebook import planted_codebook
from planted_features import directions, rounded

from stages.records import Int8, Int32, UInt8
from stages.visual_words import BYTES, CENTROIDS, LONGEST, Codebook


def plain_nearest(codebook: Codebook, descriptor: Int8, count: int) -> np.ndarray:
    """By squared distance, then by number."""
    apart = descriptor[:, None].astype(np.int64) - codebook.words[None]
    return np.argsort(np.square(apart).sum(2), axis=1, kind="stable")[:, :count]


def plain_encode(codebook: Codebook, descriptor: Int8, word: Int32) -> np.ndarray:
    """Byte b of numbers b, b + 8, b + 16, ...: the centroid nearest to what the word leaves."""
    share = codebook.centroids.shape[1]
    rest = np.zeros((len(descriptor), share * BYTES), np.int64)
    rest[:, : descriptor.shape[1]] = descriptor.astype(np.int64) - codebook.words[word]
    code = np.empty((len(descriptor), BYTES), np.int64)
    for byte in range(BYTES):
        mine = rest[:, byte::BYTES]
        apart = mine[:, :, None] - codebook.centroids[byte][None].astype(np.int64)
        code[:, byte] = np.square(apart).sum(1).argmin(1)
    return code


def anything(rng: np.random.Generator, *shape: int) -> Int8:
    return rng.integers(-128, 128, shape).astype(np.int8)


def random_codebook(rng: np.random.Generator, words: int, length: int) -> Codebook:
    share = -(-length // BYTES)
    return Codebook(anything(rng, words, length), anything(rng, BYTES, share, CENTROIDS))


@pytest.mark.parametrize("length", [1, 7, 8, 13, 40, 128, LONGEST])
def test_words_and_bytes_are_the_nearest(length: int) -> None:
    """Of whatever length; what is missing to a multiple of eight is zeros."""
    rng = np.random.default_rng(length)
    codebook, descriptor = random_codebook(rng, 16, length), anything(rng, 50, length)
    for count in (1, 5, 16):
        found = codebook.nearest(descriptor, count)
        np.testing.assert_array_equal(found, plain_nearest(codebook, descriptor, count))
        assert found.dtype == np.int32
    word = codebook.nearest(descriptor, 1)[:, 0]
    code = codebook.encode(descriptor, word)
    np.testing.assert_array_equal(code, plain_encode(codebook, descriptor, word))
    assert (code.dtype, code.shape) == (np.uint8, (50, BYTES))


def test_of_equal_words_and_bytes_the_first_is_taken() -> None:
    rng = np.random.default_rng(0)
    few = random_codebook(rng, 4, 16)
    # every word three times, every centroid twice
    centroids = np.ascontiguousarray(np.tile(few.centroids[:, :, :128], (1, 1, 2)))
    codebook = Codebook(np.tile(few.words, (3, 1)), centroids)
    descriptor = anything(rng, 60, 16)
    found = codebook.nearest(descriptor, 12)
    np.testing.assert_array_equal(found, plain_nearest(codebook, descriptor, 12))
    np.testing.assert_array_equal(found[:, 1::3] - found[:, ::3], 4)
    np.testing.assert_array_equal(found[:, 2::3] - found[:, ::3], 8)
    assert codebook.encode(descriptor, found[:, 0]).max() < 128


@pytest.mark.parametrize("length", [40, LONGEST])
def test_the_largest_numbers_are_exact(length: int) -> None:
    """Words one apart in one number of many, as far from the descriptor as can be."""
    words = np.full((9, length), 127, np.int8)
    words[np.arange(9), np.arange(9) % length] -= np.array([0, 3, 1, 2, 1, 0, 4, 5, 1], np.int8)
    words[5:, 0] = -128
    centroids = np.full((BYTES, -(-length // BYTES), CENTROIDS), 127, np.int8)
    centroids[:, 0] = np.arange(CENTROIDS) - 128
    codebook = Codebook(words, centroids)
    descriptor = np.stack([np.full(length, value, np.int8) for value in (-128, -127, 0, 126, 127)])
    found = codebook.nearest(descriptor, 9)
    np.testing.assert_array_equal(found, plain_nearest(codebook, descriptor, 9))
    crowd = (127 - np.random.default_rng(1).integers(0, 3, (500, length))).astype(np.int8)
    crowded, descriptor[:, ::5] = Codebook(crowd, centroids), -126
    np.testing.assert_array_equal(
        crowded.nearest(descriptor, 500), plain_nearest(crowded, descriptor, 500)
    )
    for place in range(9):
        np.testing.assert_array_equal(
            codebook.encode(descriptor, found[:, place]),
            plain_encode(codebook, descriptor, found[:, place]),
        )


def test_many_features_are_coded_as_one_is() -> None:
    rng = np.random.default_rng(2)
    codebook, descriptor = planted_codebook(), rounded(directions(rng, 2057))
    found = codebook.nearest(descriptor, 3)
    for some in (slice(0, 1), slice(2047, 2049), slice(2056, None)):
        np.testing.assert_array_equal(codebook.nearest(descriptor[some], 3), found[some])


def test_more_words_than_there_are_is_all_of_them() -> None:
    found = planted_codebook().nearest(rounded(directions(np.random.default_rng(3), 4)), 99)
    np.testing.assert_array_equal(np.sort(found), np.tile(np.arange(16), (4, 1)))


def test_a_photo_without_features_has_no_words() -> None:
    codebook, nothing = planted_codebook(), np.empty((0, 40), np.int8)
    assert codebook.nearest(nothing, 5).shape == (0, 5)
    assert codebook.encode(nothing, np.empty(0, np.int32)).shape == (0, BYTES)


@pytest.mark.parametrize("length", [0, 39, 41, 48])
def test_descriptors_of_another_length_are_refused(length: int) -> None:
    wrong = f"Codebook.descriptor: expected int8 (*, 40), got int8 (3, {length})"
    with pytest.raises(ValueError, match=f"^{re.escape(wrong)}$"):
        planted_codebook().nearest(np.zeros((3, length), np.int8), 1)


WRONG: list[tuple[dict[str, np.ndarray], str]] = [
    ({"words": np.zeros((2, 40), np.float32)}, "words: expected int8 (*, *), got float32 (2, 40)"),
    ({"words": np.zeros((0, 40), np.int8)}, "words: expected 1 to 65536 words of 1 to 341 numbers"),
    ({"words": np.zeros((2, 0), np.int8)}, "words: expected 1 to 65536 words of 1 to 341 numbers"),
    ({"words": np.zeros((2, 342), np.int8)}, "words: expected 1 to 65536 words of 1 to 341 n"),
    ({"words": np.zeros((2, 41), np.int8)}, "centroids: expected int8 (8, 6, 256), got int8 (8, 5"),
    ({"centroids": np.zeros((8, 5, 255), np.int8)}, "centroids: expected int8 (8, 5, 256), got"),
    ({"centroids": np.zeros((8, 5, 256), np.uint8)}, "centroids: expected int8 (8, 5, 256), got"),
]


@pytest.mark.parametrize(("changed", "message"), WRONG)
def test_a_wrong_codebook_is_refused_by_name(changed: dict[str, np.ndarray], message: str) -> None:
    right = {"words": np.zeros((2, 40), np.int8), "centroids": np.zeros((8, 5, 256), np.int8)}
    Codebook(**right)
    with pytest.raises(ValueError, match=f"^Codebook.{re.escape(message)}"):
        Codebook(**{**right, **changed})


def test_fit_finds_planted_clusters() -> None:
    """Two clouds of 24 numbers: the words are their middles, and the bytes say where in its cloud
    a feature lies to a third of what the words alone leave open.
    """
    rng = np.random.default_rng(4)
    middle = np.array([[60] * 24, [-50] * 24])
    which = rng.integers(0, 2, 700)
    descriptor = (middle[which] + rng.integers(-25, 26, (700, 24))).astype(np.int8)
    codebook = Codebook.fit(descriptor, 2, seed=1)
    order = np.argsort(-codebook.words[:, 0])
    assert np.abs(codebook.words[order] - middle).max() <= 3
    word = codebook.nearest(descriptor, 1)[:, 0]
    np.testing.assert_array_equal(word, order[which])
    left = descriptor - codebook.words[word].astype(int)
    shown = decoded(codebook, codebook.encode(descriptor, word), 24)
    assert np.square(left - shown).sum() < np.square(left).sum() / 9
    again = Codebook.fit(descriptor, 2, seed=1)
    np.testing.assert_array_equal(again.words, codebook.words)
    np.testing.assert_array_equal(again.centroids, codebook.centroids)


def decoded(codebook: Codebook, code: UInt8, length: int) -> np.ndarray:
    """(M, BYTES) -> (M, length) the centroids' numbers, back in their places."""
    chosen = np.stack([codebook.centroids[b][:, code[:, b]] for b in range(BYTES)])  # (8, S, M)
    return chosen.transpose(2, 1, 0).reshape(len(code), -1)[:, :length].astype(int)


@pytest.mark.parametrize(("words", "least"), [(2, 256), (300, 300)])
def test_too_few_descriptors_are_no_codebook(words: int, least: int) -> None:
    with pytest.raises(ValueError, match=f"^codebook: expected at least {least} descriptors, got"):
        Codebook.fit(np.zeros((least - 1, 8), np.int8), words)
