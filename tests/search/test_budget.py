"""A second look within a time: the best candidates first, in steps, and what was looked at is
judged as if nothing else were there.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_engine import Watched, altered, crowd, judged
from planted_null import even
from small import answers

from pipeline.search import engine as engines
from pipeline.search.engine import FIRST_STEP, Engine
from pipeline.search.query import Query
from stages.records import Matches, Ranking

PHOTOS = 300
QUERY = "gallery:007.png"


@pytest.fixture(scope="module")
def whole(indexed_photos: Path) -> Engine:
    return judged(crowd(indexed_photos / "gallery", PHOTOS), 0.1, even())


@pytest.fixture
def watched(whole: Engine, monkeypatch: pytest.MonkeyPatch) -> tuple[Engine, list[list[int]]]:
    """An engine on a clock that goes on by a millisecond for every pair, and by nothing else; and
    the steps it takes.
    """
    steps: list[list[int]] = []
    monkeypatch.setattr(
        "pipeline.search.engine.time.perf_counter", lambda: sum(map(len, steps)) / 1000
    )
    return altered(whole, matches=lambda stage: Watched(stage, steps.append)), steps


def same(got: Matches | Ranking, wanted: Matches | Ranking) -> None:
    for name, array in vars(wanted).items():
        np.testing.assert_array_equal(getattr(got, name), array, err_msg=name)


@pytest.mark.parametrize("milliseconds", [1e-6, 5, 16, 40, 100, 299])
def test_the_best_are_looked_at_first_and_in_time(
    watched: tuple[Engine, list[list[int]]], milliseconds: float
) -> None:
    engine, steps = watched
    query = engine.query(QUERY)
    coarse = engine.coarse(query, PHOTOS)
    matches, ranking = engine.refine_within(query, coarse, milliseconds)
    looked = sum(map(len, steps))
    # the first step is taken whatever comes, and no other one that would be late
    assert looked == max(FIRST_STEP, milliseconds)
    assert [*itertools.chain(*steps)] == coarse.rows[0, :looked].tolist()
    assert matches.inliers.shape == ranking.order.shape == (1, looked)
    alone = engine.refine(query, coarse.part(0, looked))
    same(matches, alone[0])
    same(ranking, alone[1])


def test_the_steps_grow_and_then_shrink(watched: tuple[Engine, list[list[int]]]) -> None:
    engine, steps = watched
    query = engine.query(QUERY)
    engine.refine_within(query, engine.coarse(query, PHOTOS), 250)
    sizes = [len(step) for step in steps]
    assert sizes[:2] == [16, 64]
    assert sizes[2] in (84, 85)  # at most four times as many, at most half of what would fit
    assert sizes[2:] == sorted(sizes[2:], reverse=True)
    assert sizes[-1] == 1
    assert len(sizes) < 16


def test_a_pace_that_changes_costs_at_most_one_step(
    whole: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first hundred every pair takes five times as long."""
    clock, steps = [0.0], []

    def tell(rows: list[int]) -> None:
        steps.append(
            sum(
                0.001 if place < 100 else 0.005
                for place in range(sum(counts), sum(counts) + len(rows))
            )
        )
        counts.append(len(rows))
        clock[0] += steps[-1]

    counts: list[int] = []
    monkeypatch.setattr("pipeline.search.engine.time.perf_counter", lambda: clock[0])
    engine = altered(whole, matches=lambda stage: Watched(stage, tell))
    query = engine.query(QUERY)
    engine.refine_within(query, engine.coarse(query, PHOTOS), 200)
    assert sum(steps[:-1]) < 0.2
    assert sum(counts) < 140
    assert sum(steps) < 0.32  # half of 120 ms were planned for, at a fifth of what they cost


def test_no_time_looks_at_nothing(watched: tuple[Engine, list[list[int]]]) -> None:
    engine, steps = watched
    query = engine.query(QUERY)
    matches, ranking = engine.refine_within(query, engine.coarse(query, PHOTOS), 0)
    assert (steps, matches.inliers.shape, ranking.order.shape) == ([], (1, 0), (1, 0))
    answer = engine.answer(query, 5, budget_ms=0)
    assert (answer.candidates, answer.accepted, answer.fell_back) == (0, 0, True)
    assert [result.coarse_rank for result in answer.results] == [1, 2, 3, 4, 5]
    assert {
        (r.matches, r.inliers, r.affine, r.false_alarms, r.accepted) for r in answer.results
    } == {(0, 0, None, None, False)}


def test_time_enough_is_no_budget(whole: Engine) -> None:
    query = whole.query(QUERY)
    coarse = whole.coarse(query, PHOTOS)
    for got, wanted in zip(
        whole.refine_within(query, coarse, 1e7), whole.refine(query, coarse), strict=True
    ):
        same(got, wanted)
    without, within = (told(whole.answer(query, 50, budget_ms=budget)) for budget in (None, 1e7))
    assert within == without
    assert without["accepted"] == PHOTOS // 10


def told(answer: Any) -> dict[str, Any]:
    return {key: value for key, value in answer.to_json().items() if key != "seconds"}


def test_behind_what_was_looked_at_follows_the_first_look(
    watched: tuple[Engine, list[list[int]]],
) -> None:
    engine, _ = watched
    query: Query = engine.query(QUERY)
    answer = told(engine.answer(query, PHOTOS, budget_ms=100))
    assert answer["candidates"] == 100
    places = [result["coarse_rank"] for result in answer["results"]]
    assert sorted(places) == list(range(1, PHOTOS + 1))
    assert places[100:] == list(range(101, PHOTOS + 1))
    assert places[answer["accepted"] : 100] == sorted(places[answer["accepted"] : 100])
    assert answer["accepted"] == sum(result["accepted"] for result in answer["results"][:100]) > 3
    assert {result["false_alarms"] for result in answer["results"][100:]} == {None}


def test_the_command_says_how_many_it_looked_at(
    indexed_photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    query, gallery = "gallery:b.png", indexed_photos / "gallery"
    everything = answers(capsys, gallery, query)
    assert everything[0]["candidates"] == 6
    assert answers(capsys, gallery, query, "--budget-ms", "1e7") == everything
    assert answers(capsys, gallery, query, "--budget-ms", "1e-9")[0]["candidates"] == 0
    monkeypatch.setattr(engines, "FIRST_STEP", 2)
    ticks = itertools.count()
    # a second at every look
    monkeypatch.setattr("pipeline.search.engine.time.perf_counter", lambda: float(next(ticks)))
    assert answers(capsys, gallery, query, "--budget-ms", "2500")[0]["candidates"] == 2
