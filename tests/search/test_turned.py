"""Turned and mirrored queries: found, by the right map, within the stated rate, and only where the
query as it is finds nothing.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_dots import HEIGHT, SIZE, WIDTH, Describe, dotted, engine

from pipeline.base.errors import QueryError, UsageError
from pipeline.base.options import SearchOptions
from pipeline.gallery.binding import Binding
from pipeline.gallery.roots import Roots
from pipeline.search.open import open_engine
from pipeline.search.turn import AS_IT_IS, Turn, back, mirrored_points, turn_by, upright
from pipeline.search.turned import first_share, turned_back, turned_image, turns_of
from stages.kinds import join_kinds, with_first
from stages.records import Image, LocalFeatures

TURNS = [Turn(quarters, mirrored) for quarters in range(4) for mirrored in (False, True)]


@pytest.mark.parametrize("turn", TURNS)
def test_points_go_where_the_pixels_go(turn: Turn) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
    seen = turned_image(Image(pixels), turn)
    y, x = np.mgrid[:5, :8].reshape(2, -1)
    there = np.stack([x, y], 1) @ upright((8, 5), turn)[:, :2].T + upright((8, 5), turn)[:, 2]
    column, row = there.round().astype(int).T
    np.testing.assert_array_equal(seen.pixels[row, column], pixels[y, x])
    again = back(there, seen.size, turn.quarters)
    if turn.mirrored:
        again = mirrored_points(again.astype(np.float32), (8, 5)).astype(np.float64)
    np.testing.assert_allclose(again, np.stack([x, y], 1))


@pytest.mark.parametrize("turn", TURNS)
def test_a_map_tells_the_turn(turn: Turn) -> None:
    degrees, mirrored = turn_by(upright((8, 5), turn).tolist())
    assert (degrees % 360, mirrored) == (90 * turn.quarters, turn.mirrored)
    aslant = np.array([[0.8, -0.3, 0], [0.5, 0.9, 0]])
    assert turn_by(aslant.tolist()) == (25, False)


def test_features_lie_where_they_lie_in_the_photo_as_it_is() -> None:
    """Also where a decoder made every four pixels one, and the first ones are cut."""
    reduced = Image(dotted(0), 2, (2 * WIDTH - 1, 2 * HEIGHT - 1), (-1, 0))
    plain = Describe()(reduced)
    for turn in (Turn(1), Turn(2), Turn(3)):
        seen = turned_image(reduced, turn)
        found = turned_back(Describe()(seen), reduced, seen, turn)
        order, own = (np.lexsort(each.xy.T) for each in (found, plain))
        np.testing.assert_allclose(found.xy[order], plain.xy[own], atol=1e-4)
        assert found.size == plain.size
    seen = turned_image(reduced, Turn(0, True))
    found = turned_back(Describe()(seen), reduced, seen, Turn(0, True))
    there = mirrored_points(found.xy, found.size)
    np.testing.assert_allclose(
        there[np.lexsort(there.T)], plain.xy[np.lexsort(plain.xy.T)], atol=1e-4
    )


@pytest.mark.parametrize("turn", [each for each in TURNS if each != AS_IT_IS])
def test_what_is_turned_or_mirrored_is_found_by_the_right_map(turn: Turn) -> None:
    asked = turned_image(Image(dotted(3)), turn)
    assert engine(Describe()).answer(engine(Describe()).encode("q", asked), 6).accepted == 0
    looking, began = engine(Describe(), turns="auto", mirror=turn.mirrored), time.perf_counter()
    query = looking.encode("q", asked)
    found = looking.answer(query, 6)
    assert sum(found.seconds.values()) <= time.perf_counter() - began + 1e-4  # none counted twice
    best = found.results[0]
    assert (found.accepted, best.image, best.accepted, best.inliers) == (1, "3.png", True, 60)
    assert best.mirrored == turn.mirrored
    assert best.turned is not None
    there = np.linalg.inv(np.vstack([upright(SIZE, turn), [0, 0, 1]]))[:2]
    np.testing.assert_allclose(best.affine, there, atol=0.05)
    shown = looking.evidence(query, best)
    assert shown is not None
    assert shown.inliers == 60
    went = shown.query_xy @ np.array(best.affine)[:, :2].T + np.array(best.affine)[:, 2]
    np.testing.assert_allclose(went, shown.candidate_xy, atol=0.5)
    assert {"turns"} <= query.seconds.keys()
    # what is not found stays as the first look has it
    assert [result.image for result in found.results[1:]] == [f"{n}.png" for n in (1, 0, 2, 4, 5)]
    if turn.mirrored:
        nobody = engine(Describe(), turns="auto")
        assert nobody.answer(nobody.encode("q", asked), 6).accepted == 0


def test_an_upright_query_costs_nothing_more_and_a_turned_one_three_looks() -> None:
    for pixels, looks in ((dotted(2), 1), (dotted(77), 4)):
        describe = Describe()
        looking = engine(describe, turns="auto")
        looking.answer(looking.encode("q", Image(pixels)), 6)
        assert describe.asked == looks
    describe = Describe()
    looking = engine(describe, turns="all")
    query = looking.encode("q", Image(dotted(2)))
    assert looking.answer(query, 6).results[0].query_turned == 0
    looking.answer(query, 6)  # what was encoded is kept
    assert describe.asked == 4


def test_all_looks_share_the_rate() -> None:
    plain, mirrored = turns_of("auto", False), turns_of("auto", True)
    assert (len(plain), len(mirrored), turns_of("none", False)) == (3, 7, ())
    assert turns_of("none", True) == (Turn(0, True),)
    assert first_share("auto", plain) == 0.8
    assert first_share("all", mirrored) == 1 / 8
    assert first_share("auto", ()) == 1
    alone, shared, every = (engine(Describe(), turns=turns) for turns in ("none", "auto", "all"))
    alarms = [
        each.answer(each.encode("q", Image(dotted(2))), 6).results[0].false_alarms
        for each in (alone, shared, every)
    ]
    np.testing.assert_allclose(np.array(alarms[1:]) / alarms[0], [1 / 0.8, 4], rtol=1e-4)


def test_an_indexed_photo_asks_turned_where_its_file_is(tmp_path: Path) -> None:
    looking = engine(Describe(), turns="auto")
    gone = replace(looking, binding=Binding("planted", "", "", Roots.of(str(tmp_path))))
    assert gone.answer(gone.query("gallery:3.png"), 6).results[0].image == "3.png"
    for how in ({"turns": "all"}, {"mirror": True}):
        asked = replace(gone, **how)
        with pytest.raises(
            QueryError, match=r"^gallery:3\.png: expected its photo where .*, got none"
        ):
            asked.answer(asked.query("gallery:3.png"), 6)


def test_who_accepts_by_a_fixed_count_is_not_turned(indexed_photos: Path) -> None:
    gallery = indexed_photos / "gallery"
    assert open_engine(gallery, SearchOptions(recipe="seed004", device="cpu")).turns == "none"
    for how in ({"turns": "all"}, {"mirror": True}):
        with pytest.raises(UsageError, match="expected a recipe that accepts at a stated rate"):
            open_engine(gallery, SearchOptions(recipe="seed004", device="cpu", **how))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="turns: expected one of auto, none, all, got 'some'"):
        SearchOptions(turns="some")


def test_others_of_the_first_kind_take_its_place() -> None:
    rng = np.random.default_rng(0)

    def kind(count: int) -> LocalFeatures:
        raw = rng.normal(size=(count, 39))
        unit = np.rint(127 * raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.int8)
        xy = rng.uniform(0, 60, (count, 2)).astype(np.float32)
        return LocalFeatures(xy, unit, np.linspace(1, 0.1, count, dtype=np.float32), SIZE)

    first, other, second = kind(20), kind(12), kind(15)
    changed = with_first(join_kinds((first, second), 100), other, 100)
    wanted = join_kinds((other, second), 100)
    for name in ("xy", "descriptor", "score"):
        np.testing.assert_array_equal(getattr(changed, name), getattr(wanted, name))
