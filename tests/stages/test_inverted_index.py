"""Votes for photos against plain arithmetic, however the photos are dealt out to segments."""

import re
from collections.abc import Sequence

import numpy as np
import pytest
from planted_codebook import planted_codebook
from planted_features import described, unrelated

from stages.inverted_index import (
    KEEP,
    LEAST,
    PROBES,
    SHIFT,
    STEPS,
    VOTES,
    PartsIndex,
    Segment,
    limits,
)
from stages.records import Int8, LocalFeatures
from stages.visual_words import BYTES, Codebook

LENGTH = 11  # numbers a descriptor: few, and no multiple of eight
CODEBOOK = planted_codebook(length=LENGTH)


def look(rng: np.random.Generator, count: int) -> LocalFeatures:
    """Features that are near those of many other photos, so that most of them get no vote."""
    return described(np.zeros((count, 2)), rng.integers(-35, 36, (count, LENGTH)).astype(np.int8))


def photos(count: int, seed: int = 0) -> list[LocalFeatures]:
    """Of 0 to 20 features each."""
    rng = np.random.default_rng(seed)
    return [look(rng, int(rng.integers(0, 21))) for _ in range(count)]


def indexed(
    parts: Sequence[Sequence[int]],
    seen: Sequence[LocalFeatures],
    content: Sequence[int] | None = None,
    total: int | None = None,
    threads: int = 1,
    codebook: Codebook = CODEBOOK,
) -> PartsIndex:
    """Segments of these photos each; the number of a photo's contents is its own."""
    return PartsIndex(
        codebook,
        tuple(Segment.of(codebook, [seen[photo] for photo in part]) for part in parts),
        tuple(np.array(part, np.int32) for part in parts),
        np.array(range(len(seen)) if content is None else content, np.int32),
        len(seen) if total is None else total,
        threads,
    )


def distances(codebook: Codebook, query: Int8, photo: Int8, probes: int) -> np.ndarray:
    """(M,) in steps, of the nearest entry of this photo in the words that each feature looks
    into; STEPS where there is none nearer.
    """
    found = np.full(len(query), STEPS)
    words = np.square(query[:, None].astype(int) - codebook.words[None]).sum(2)
    looked = np.argsort(words, axis=1, kind="stable")[:, :probes]
    word = codebook.nearest(photo, 1)[:, 0]
    for entry, code in zip(word.tolist(), codebook.encode(photo, word), strict=True):
        centre = np.stack([codebook.centroids[b][:, code[b]] for b in range(BYTES)], 1).ravel()
        rest = np.zeros((len(query), len(centre)), int)
        rest[:, : query.shape[1]] = query.astype(int) - codebook.words[entry]
        steps = np.square(rest - centre).sum(1) >> SHIFT
        found = np.where((looked == entry).any(1), np.minimum(found, steps), found)
    return found


def plain_votes(
    query: LocalFeatures, seen: Sequence[LocalFeatures], probes: int, codebook: Codebook = CODEBOOK
) -> list[int]:
    steps = np.stack(
        [distances(codebook, query.descriptor, p.descriptor[:KEEP], probes) for p in seen]
    )
    ranked = np.sort(steps, axis=0)
    limit = ranked[VOTES] if len(seen) > VOTES else np.full(len(query), STEPS)
    votes: list[int] = np.maximum(0, limit - steps).sum(1).tolist()
    return votes


@pytest.mark.parametrize(("total", "probes"), [(40, 16), (200, 8), (300, 6), (100_000, 4)])
def test_votes_are_those_of_plain_arithmetic(total: int, probes: int) -> None:
    seen, query = photos(40), look(np.random.default_rng(99), 25)
    index = indexed([range(40)], seen, total=total)
    assert min(index.probes, 16) == probes
    wanted = plain_votes(query, seen, probes)
    assert index.votes(query).tolist() == wanted
    assert sum(vote > 0 for vote in wanted) > 20
    votes = index.votes(query)
    assert (votes.dtype, votes.shape) == (np.int32, (40,))


@pytest.mark.parametrize("count", [0, 1, VOTES, VOTES + 1])
def test_few_photos_all_get_votes(count: int) -> None:
    """Up to VOTES of them the limit is the farthest that is looked at."""
    seen, query = photos(count, seed=1), look(np.random.default_rng(1), 9)
    index = indexed([range(count)], seen)
    assert index.votes(query).tolist() == (plain_votes(query, seen, 16) if count else [])
    assert limits(index.counts(query)).min() == STEPS or count > VOTES


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("pieces", [1, 2, 5, 40])
def test_segments_their_order_and_threads_change_nothing(pieces: int, threads: int) -> None:
    seen, query = photos(40), look(np.random.default_rng(7), 25)
    wanted = plain_votes(query, seen, 16)
    rng = np.random.default_rng(pieces)
    for _ in range(3):
        parts = [part.tolist() for part in np.array_split(rng.permutation(40), pieces)]
        assert indexed(parts, seen, threads=threads).votes(query).tolist() == wanted


@pytest.mark.parametrize("threads", [1, 3])
def test_a_query_of_hardly_a_feature(threads: int) -> None:
    """Fewer features than threads, and none at all."""
    seen, rng = photos(20), np.random.default_rng(3)
    index = indexed([range(20)], seen, threads=threads)
    for count in (0, 1, 2):
        query = look(rng, count)
        assert index.votes(query).tolist() == plain_votes(query, seen, 16)


def test_halves_that_are_told_each_others_counts_are_the_whole() -> None:
    """As on a cluster: each counts its own photos, and votes within what the counts say."""
    seen, query = photos(40), look(np.random.default_rng(8), 25)
    wanted = indexed([range(40)], seen, total=900).votes(query)
    for cut in (0, 3, 20, 39):
        own = [list(range(cut)), list(range(cut, 40))]
        halves = [
            indexed([range(len(rows))], [seen[row] for row in rows], total=900) for rows in own
        ]
        counts = [half.counts(query) for half in halves]
        assert all(each.shape == (25, STEPS) for each in counts)
        limit = limits(np.sum(counts, 0, dtype=np.int32))
        found = np.concatenate([half.votes(query, limit) for half in halves])
        np.testing.assert_array_equal(found, wanted)


def test_limits_of_planted_counts() -> None:
    """Within steps 0 and 4 lie VOTES, the next photo at 9; everything in the first; too few."""
    counts = np.zeros((3, STEPS), np.int32)
    counts[0, [0, 4, 9]] = VOTES - 1, 1, 1
    counts[1, 0] = VOTES + 1
    counts[2, STEPS - 1] = VOTES
    assert limits(counts).tolist() == [9, 0, STEPS]


def test_far_photos_change_no_votes() -> None:
    """Whatever else a gallery holds: unlike descriptors are beyond the last step."""
    rng = np.random.default_rng(5)
    codebook = planted_codebook()
    seen, far = [unrelated(rng, 30) for _ in range(4)], [unrelated(rng, 30) for _ in range(30)]
    query = described(np.zeros((60, 2)), np.concatenate([p.descriptor[:15] for p in seen]))
    near = indexed([range(4)], seen, codebook=codebook).votes(query)
    assert (near > 1000).all()
    whole = indexed([range(4), range(4, 34)], [*seen, *far], codebook=codebook).votes(query)
    assert plain_votes(query, [*seen, *far], 16, codebook) == whole.tolist()
    np.testing.assert_array_equal(whole[:4], near)


def test_the_strongest_features_are_kept() -> None:
    rng = np.random.default_rng(6)
    long, query = look(rng, KEEP + 40), look(rng, 9)
    cut = described(np.zeros((KEEP, 2)), long.descriptor[:KEEP])
    assert len(Segment.of(CODEBOOK, [long]).photo) == KEEP
    assert indexed([[0]], [long]).votes(query).tolist() == plain_votes(query, [cut], 16)


def test_photos_without_features_get_no_votes_and_take_none() -> None:
    seen, query = photos(15, seed=2), look(np.random.default_rng(2), 9)
    nothing = look(np.random.default_rng(0), 0)
    votes = indexed([range(17)], [nothing, *seen, nothing]).votes(query)
    assert votes.tolist() == [0, *plain_votes(query, seen, 16), 0]
    alone = Segment.of(CODEBOOK, [nothing, nothing])
    assert (len(alone.photo), alone.photos, alone.start.tolist()) == (0, 2, [0] * 17)


def test_photos_that_are_gone_do_not_count() -> None:
    seen, query = photos(30, seed=3), look(np.random.default_rng(3), 20)
    whole = indexed([range(15), range(15, 30)], seen)
    kept = [photo for photo in range(30) if photo % 3]
    number = [
        np.array([kept.index(p) if p % 3 else -1 for p in part], np.int32)
        for part in (range(15), range(15, 30))
    ]
    thinned = PartsIndex(CODEBOOK, whole.segments, tuple(number), np.arange(20, dtype=np.int32), 20)
    assert thinned.votes(query).tolist() == plain_votes(query, [seen[p] for p in kept], 16)


def test_rows_of_equal_contents_get_equal_votes_and_count_once() -> None:
    seen, query = photos(20, seed=4), look(np.random.default_rng(4), 20)
    content = [0, 0, *range(20), 7, 7, 7]
    votes = indexed([range(20)], seen, content).votes(query).tolist()
    wanted = plain_votes(query, seen, 16)
    assert votes == [wanted[each] for each in content]


@pytest.mark.parametrize(
    ("total", "probes"), [(0, 32), (1, 32), (13, 32), (14, 31), (200, 8), (10**6, 4)]
)
def test_fewer_words_are_looked_into_where_lists_are_long(total: int, probes: int) -> None:
    assert (PROBES, LEAST) == (32, 4)
    assert indexed([], [], total=total).probes == probes


WRONG: list[tuple[dict[str, object], str]] = [
    ({"start": np.array([0, 1, 3])}, "start: expected int32 (*), got int64 (3,)"),
    ({"start": np.array([], np.int32)}, "start: expected 0 to the number of entries, ascending"),
    ({"start": np.array([1, 2, 3], np.int32)}, "start: expected 0 to the number of entries"),
    ({"start": np.array([0, 2, 2], np.int32)}, "start: expected 0 to the number of entries"),
    ({"start": np.array([0, 4, 3], np.int32)}, "start: expected 0 to the number of entries"),
    ({"photo": np.array([0, 1, 1], np.int32)}, "photo: expected uint16 (*), got int32 (3,)"),
    ({"photo": np.array([0, 2, 1], np.uint16)}, "photo: expected photos below 2, got 2"),
    ({"code": np.zeros((2, 8), np.uint8)}, "code: expected uint8 (3, 8), got uint8 (2, 8)"),
    ({"code": np.zeros((3, 8), np.int8)}, "code: expected uint8 (3, 8), got int8 (3, 8)"),
    ({"photos": -1}, "photos: expected at most 65536, got -1"),
    ({"photos": 65537}, "photos: expected at most 65536, got 65537"),
]
RIGHT: dict[str, object] = {
    "start": np.array([0, 1, 3], np.int32),
    "photo": np.array([0, 0, 1], np.uint16),
    "code": np.zeros((3, 8), np.uint8),
    "photos": 2,
}


@pytest.mark.parametrize(("changed", "message"), WRONG)
def test_a_wrong_segment_is_refused_by_name(changed: dict[str, object], message: str) -> None:
    Segment(**RIGHT)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"^Segment.{re.escape(message)}"):
        Segment(**{**RIGHT, **changed})  # type: ignore[arg-type]


def test_segments_of_other_words_or_photos_are_refused() -> None:
    right = Segment(**RIGHT)  # type: ignore[arg-type]
    two, content = np.zeros(2, np.int32), np.zeros(1, np.int32)
    query = look(np.random.default_rng(0), 3)
    with pytest.raises(
        ValueError, match=r"^PartsIndex.segments: expected lists of 16 words, got 2"
    ):
        PartsIndex(CODEBOOK, (right,), (two,), content, 1).votes(query)
    with pytest.raises(ValueError, match=r"^PartsIndex.number: expected int32 \(2\), got int32"):
        PartsIndex(CODEBOOK, (right,), (np.zeros(3, np.int32),), content, 1).votes(query)
    with pytest.raises(ValueError, match=r"^PartsIndex.content: expected int32"):
        PartsIndex(CODEBOOK, (), (), np.zeros(1), 1)


def test_entries_come_back_from_a_segment() -> None:
    """Lists of words, each by photo; the words are told again."""
    word, photo = np.array([1, 0, 1, 1, 0], np.int32), np.array([0, 0, 1, 1, 2], np.uint16)
    code = np.arange(40, dtype=np.uint8).reshape(5, 8)
    segment = Segment.from_entries(word, photo, code, 3, 4)
    assert segment.start.tolist() == [0, 2, 5, 5]
    assert segment.photo.tolist() == [0, 2, 0, 1, 1]
    assert segment.word.tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_array_equal(segment.code, code[[1, 4, 0, 2, 3]])
