"""The graph computes what lies between the given and the asked, once, and refuses a table that does
not fit together.
"""

import re
import threading
from collections import Counter
from pathlib import Path

import pytest
from planted_null import even

from pipeline.graph import Graph, Node
from pipeline.model.chance import null_to_json
from pipeline.model.weights import open_model, write_model
from pipeline.recipes import RECIPES
from stages.gallery import Gallery
from stages.records import Candidates, Image, LocalFeatures, Matches, Ranking

CALLS: Counter[str] = Counter()


def double(x: int) -> int:
    CALLS["double"] += 1
    return 2 * x


def text(x: int) -> str:
    CALLS["text"] += 1
    return f"<{x}>"


def join(x: int, y: str) -> str:
    CALLS["join"] += 1
    return f"{x}{y}"


class Power:
    def __call__(self, x: int, exponent: int) -> int:
        CALLS["power"] += 1
        return x**exponent


@pytest.fixture
def graph() -> Graph:
    CALLS.clear()
    return Graph(
        ("a", "e"),
        [
            Node("b", double, "a"),
            Node("c", text, "b"),
            Node("d", join, "b", "c"),
            Node("p", Power(), "b", "e"),
        ],
    )


@pytest.mark.parametrize(
    ("given", "asked", "answer", "calls"),
    [
        ({"a": 3}, ["b"], 6, {"double": 1}),
        ({"a": 3}, ["c"], "<6>", {"double": 1, "text": 1}),
        # b is read twice and made once
        ({"a": 3}, ["d"], "6<6>", {"double": 1, "text": 1, "join": 1}),
        ({"a": 3, "e": 2}, ["p"], 36, {"double": 1, "power": 1}),
        ({"b": 7}, ["c"], "<7>", {"text": 1}),
        ({"b": 7, "c": "!"}, ["d"], "7!", {"join": 1}),
        ({"a": 3, "b": 7}, ["c"], "<7>", {"text": 1}),  # what is given is not made again
        ({"a": 3, "c": "!"}, ["d"], "6!", {"double": 1, "join": 1}),
        ({"b": 7}, ["b"], 7, {}),
        ({"a": 3}, ["a"], 3, {}),
        ({"a": 3}, ["d", "b"], ("6<6>", 6), {"double": 1, "text": 1, "join": 1}),
        # given zeros are given
        ({"b": 0, "e": 0}, ["p", "c"], (1, "<0>"), {"power": 1, "text": 1}),
    ],
)
def test_only_what_lies_between_is_computed(
    graph: Graph, given: dict[str, object], asked: list[str], answer: object, calls: dict[str, int]
) -> None:
    assert graph(given, *asked) == answer
    assert calls == CALLS


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_rows_side_by_side_are_the_same_rows(graph: Graph, threads: int) -> None:
    every = [node.output for node in graph.rows]
    alone = graph({"a": 3, "e": 2}, *every)
    assert graph({"a": 3, "e": 2}, *every, threads=threads) == alone
    assert set(CALLS.values()) == {2}


def test_rows_that_do_not_wait_for_each_other_run_at_once() -> None:
    """Each waits until the other has begun."""
    both = threading.Barrier(2, timeout=20)

    def one(x: int) -> int:
        return x + both.wait() * 0

    def other(x: int) -> int:
        return 2 * x + both.wait() * 0

    def add(x: int, y: int) -> int:
        return x + y

    rows = [Node("b", one, "a"), Node("c", other, "a"), Node("d", add, "b", "c")]
    seconds: dict[str, float] = {}
    assert Graph(("a",), rows)({"a": 5}, "d", threads=2, seconds=seconds) == 15
    assert seconds.keys() == {"one", "other", "add"}


def test_what_a_row_raises_beside_others_is_raised() -> None:
    def fail(x: int) -> int:
        raise ZeroDivisionError(x)

    rows = [Node("b", fail, "a"), Node("c", double, "a"), Node("d", double, "b")]
    with pytest.raises(ZeroDivisionError):
        Graph(("a",), rows)({"a": 5}, "c", "d", threads=2)


def test_a_row_that_is_not_there_has_no_stage(graph: Graph) -> None:
    assert (graph.stage("b"), graph.stage("z")) == (double, None)


def test_what_is_given_stays_as_it_was(graph: Graph) -> None:
    given = {"a": 3}
    graph(given, "d")
    assert given == {"a": 3}


@pytest.mark.parametrize(
    ("given", "asked", "message"),
    [
        ({"a": 3}, ["z"], "graph: expected one of a, b, c, d, e, p, got z"),
        ({"z": 3}, ["b"], "graph: expected one of a, b, c, d, e, p, got z"),
        ({"a": 3}, ["p"], "graph: expected e given for p, got a"),
        ({}, ["p", "d"], "graph: expected a, e given for p, d, got nothing"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(
    graph: Graph, given: dict[str, object], asked: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        graph(given, *asked)
    assert not CALLS


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [Node("b", double, "a"), Node("c", text, "b"), Node("d", double, "c")],
            "row d: expected c as <class 'int'>, got <class 'str'>",
        ),
        (
            [Node("b", double, "a"), Node("c", join, "a", "a")],
            "row c: expected a as <class 'str'>, got <class 'int'>",
        ),
        ([Node("b", double, "c")], "row b: expected an input or a row above, got c"),
        ([Node("b", double, "b")], "row b: expected an input or a row above, got b"),
        (
            [Node("c", text, "b"), Node("b", double, "a")],
            "row c: expected an input or a row above, got b",
        ),
        (
            [Node("b", double, "a"), Node("b", text, "a")],
            "row b: expected a new name, got one that is there already",
        ),
        ([Node("a", double, "a")], "row a: expected a new name, got one that is there already"),
        ([Node("b", join, "a")], "row b: expected 2 inputs for join, got 1"),
        ([Node("b", Power(), "a", "a", "a")], "row b: expected 2 inputs for power, got 3"),
    ],
)
def test_a_table_that_does_not_fit_together_is_refused(rows: list[Node], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Graph(("a",), rows)


def test_time_is_reported_by_stage(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    seconds = {"text": 10.0}
    graph({"a": 3, "e": 1}, "d", "p", seconds=seconds)
    assert seconds == {"double": 1, "text": 11, "join": 1, "power": 1}


@pytest.mark.parametrize("calibrated", [False, True])
# tests/training/test_hash_recipes.py runs the others
@pytest.mark.parametrize("name", ["two_stage", "seed004"])
def test_the_recipes_tables_fit_together(
    name: str, calibrated: bool, tiny_model: Path, tmp_path: Path
) -> None:
    model = open_model(tiny_model)
    if calibrated:
        write_model(
            tmp_path / "m",
            model.arrays,
            model.settings,
            {"accept": {"null": null_to_json(even())}},
            "make",
        )
        model = open_model(tmp_path / "m")
    recipe = RECIPES[name](model)
    assert recipe.name == name
    assert recipe.encode.inputs == ("image",)
    kinds = {
        node.output: node.types() for graph in (recipe.encode, recipe.answer) for node in graph.rows
    }
    assert kinds["features"] == ([Image], LocalFeatures)
    assert kinds["matches"] == ([LocalFeatures, Candidates, Gallery], Matches)
    assert kinds["ranking"] == ([LocalFeatures, Candidates, Matches, Gallery], Ranking)
    assert {"pca", "embedding", "logits"} <= kinds.keys()
