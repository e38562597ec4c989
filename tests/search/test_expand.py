"""Accepted photos ask again: what that finds, and that nothing but geometry accepts."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.gallery.binding import Binding
from pipeline.gallery.roots import Roots
from pipeline.graph import Graph
from pipeline.recipes import Recipe, answer
from pipeline.search.engine import Engine
from pipeline.search.expand import inside_query
from pipeline.search.query import Query
from pipeline.search.turn import composed
from stages.affine import RobustAffine
from stages.gallery import Gallery
from stages.match import Nearest
from stages.rank import FixedCount
from stages.records import Int8, LocalFeatures, PackedFeatures
from stages.verify import Verify

SIZE = (400, 300)
RNG = np.random.default_rng(3)


def descriptors(count: int) -> Int8:
    raw = RNG.normal(size=(count, 40))
    return np.rint(127 * raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.int8)


def photo(*things: tuple[Int8, np.ndarray]) -> LocalFeatures:
    """Descriptors and their places, each thing's."""
    xy = np.concatenate([places for _, places in things]).astype(np.float32)
    whole = np.concatenate([each for each, _ in things])
    return LocalFeatures(xy, whole, np.ones(len(xy), np.float32), SIZE)


LEFT, RIGHT, FAR = descriptors(40), descriptors(40), descriptors(40)
AT_LEFT, AT_RIGHT = (
    RNG.uniform((10, 10), (180, 290), (40, 2)),
    RNG.uniform((220, 10), (390, 290), (40, 2)),
)
OUTSIDE = AT_RIGHT + np.array((400, 0))  # beyond the query's frame in the photo that sees more
NOISE = [(descriptors(60), RNG.uniform(0, 300, (60, 2))) for _ in range(4)]

QUERY = photo((LEFT, AT_LEFT), NOISE[0])  # something stands before its right half
WHOLE = photo((LEFT, AT_LEFT + 5), (RIGHT, AT_RIGHT + 5), (FAR, OUTSIDE + 5))
RIGHT_ONLY = photo((RIGHT, AT_RIGHT * 0.5), NOISE[1])
FAR_ONLY = photo((FAR, OUTSIDE - (380, 0)), NOISE[2])  # shares what lies beyond the query
UNRELATED = photo(NOISE[3])


def engine(*, expand: bool) -> Engine:
    names = ("far.jpg", "right.jpg", "unrelated.jpg", "whole.jpg")
    features = PackedFeatures.of([FAR_ONLY, RIGHT_ONLY, UNRELATED, WHOLE])
    gallery = Gallery.from_arrays(names, np.eye(4, dtype=np.float32), features)
    verify = Verify(Nearest(), RobustAffine())
    recipe = Recipe("two_stage", Graph(("image",), ()), answer(verify, FixedCount(20)), "4")
    binding = Binding("planted", "", "", Roots())
    return Engine(recipe, gallery, binding, "code", expand=expand)


def ask(*, expand: bool) -> dict[str, tuple[bool, str | None]]:
    query = Query("q.jpg", np.ones(4, np.float32), QUERY, {})
    found = engine(expand=expand).answer(query, 4)
    return {result.image: (result.accepted, result.through) for result in found.results}


def test_a_photo_of_what_is_hidden_in_the_query_is_found_through_another() -> None:
    assert {name for name, (accepted, _) in ask(expand=False).items() if accepted} == {"whole.jpg"}
    assert ask(expand=True) == {
        "whole.jpg": (True, None),
        "right.jpg": (True, "whole.jpg"),
        "far.jpg": (False, None),  # what it shares lies outside the query
        "unrelated.jpg": (False, None),
    }


def test_what_came_through_another_stands_behind_and_maps_from_the_query() -> None:
    query = Query("q.jpg", np.ones(4, np.float32), QUERY, {})
    first, second, *_ = engine(expand=True).answer(query, 4).results
    assert (first.image, second.image) == ("whole.jpg", "right.jpg")
    np.testing.assert_allclose(second.affine, [[0.5, 0, 0], [0, 0.5, 0]], atol=0.5)
    assert second.inliers >= 20


def test_nothing_accepted_asks_nothing() -> None:
    bare = Query("q.jpg", np.ones(4, np.float32), UNRELATED, {})
    here, more = (engine(expand=expand).answer(replace(bare), 4) for expand in (False, True))
    accepted = [[r.image for r in each.results if r.accepted] for each in (here, more)]
    assert accepted == [["unrelated.jpg"], ["unrelated.jpg"]]


def test_only_what_lies_in_the_query_asks() -> None:
    affine = np.array([[1, 0, 5], [0, 1, 5]], np.float32)
    inside = inside_query(WHOLE, affine, SIZE)
    assert inside is not None
    assert len(inside) == 80
    flat = np.array([[1, 0, 0], [0, 0, 0]], np.float32)
    assert inside_query(WHOLE, flat, SIZE) is None
    assert inside_query(WHOLE, np.full((2, 3), np.nan, np.float32), SIZE) is None


@pytest.mark.parametrize("seed", range(3))
def test_maps_follow_each_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, two = rng.normal(size=(2, 2, 3)).astype(np.float32)
    point = rng.normal(size=2)
    there = two[:, :2] @ (one[:, :2] @ point + one[:, 2]) + two[:, 2]
    both = composed(one, two)
    np.testing.assert_allclose(both[:, :2] @ point + both[:, 2], there, rtol=1e-4, atol=1e-5)
