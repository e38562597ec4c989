"""Acceptance as people meet it: at a stated rate, with the expected number of false alarms of every
result, and "nothing here matches".
"""

import itertools
from pathlib import Path
from typing import Any

import pytest
from planted_engine import families, judged
from planted_null import even
from small import answers, shrink

from pipeline import run
from pipeline.gallery.store import read_binding
from pipeline.model.chance import null_to_json
from pipeline.model.weights import open_model, write_model
from pipeline.search.engine import Engine

QUERIES = [f"gallery:{c}/{photo}.png" for c in range(8) for photo in "abc"]


@pytest.fixture(scope="module")
def engine(indexed_photos: Path) -> Engine:
    return families(indexed_photos / "gallery")


@pytest.fixture
def judging(here: Path) -> Path:
    """A gallery whose model has a null by now: it is the same model, as its weights and settings
    are.
    """
    small = open_model(read_binding(here / "gallery").where)
    write_model(
        here / "model",
        small.arrays,
        small.settings,
        {"accept": {"null": null_to_json(even())}},
        "make",
    )
    return here


def look(engine: Engine, rate: float, k: int = 24) -> list[Any]:
    judge = judged(engine, rate, even())
    return [judge.answer(judge.query(name), k) for name in QUERIES]


def test_twins_are_accepted_and_strangers_are_not(engine: Engine) -> None:
    for name, answer in zip(QUERIES, look(engine, 0.1), strict=True):
        family, photo = name.removeprefix("gallery:").removesuffix(".png").split("/")
        wanted = {f"{family}/a.png", f"{family}/b.png"} if photo in "ab" else {f"{family}/c.png"}
        assert {result.image for result in answer.results if result.accepted} == wanted
        assert (answer.accepted, answer.false_alarm, answer.null, answer.fell_back) == (
            len(wanted),
            0.1,
            "model",
            True,
        )
        alarms = [result.false_alarms for result in answer.results]
        assert all(alarm is not None and alarm <= 24 for alarm in alarms)
        assert alarms[: len(wanted)] == sorted(alarms[: len(wanted)])
        assert max(alarms[: len(wanted)]) <= 0.1 < min(alarms[len(wanted) :])


def test_a_larger_rate_never_accepts_fewer(engine: Engine) -> None:
    ladder = [look(engine, rate) for rate in (1e-12, 1e-6, 1e-3, 0.1, 1.0, 5.0, 1e6)]
    for rungs in zip(*ladder, strict=True):  # of one query
        accepted = [{result.image for result in rung.results if result.accepted} for rung in rungs]
        assert all(few <= many for few, many in itertools.pairwise(accepted))
        assert (
            len(
                {
                    tuple(sorted((result.image, result.false_alarms) for result in rung.results))
                    for rung in rungs
                }
            )
            == 1
        )
    totals = [sum(answer.accepted for answer in rung) for rung in ladder]
    assert totals[0] < totals[3] < totals[-1]


def test_nothing_in_this_gallery_matches(judging: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", "model", "--gallery", "gallery"]
    assert run.main(["gallery:a.png", *model, "--false-alarm", "1e-6"]) == 0
    line, _, *rows = capsys.readouterr().out.splitlines()
    assert line.startswith("gallery:a.png: 1 photo matches, ")
    assert line.endswith(
        "1e-06 false alarms per query expected at most; 6 candidates verified; the other places in"
        " coarse order (chance as measured on the model's photos: this gallery's 6 different photos"
        " are too few, 300 are needed)"
    )
    assert [row.split()[-2] == "*" for row in rows] == [True] + [False] * 5
    assert run.main(["gallery:a.png", *model, "--false-alarm", "1e-30"]) == 0
    line, _, *rows = capsys.readouterr().out.splitlines()
    assert line.startswith("gallery:a.png: nothing in this gallery matches")
    assert "1e-30 false alarms per query expected at most; 6 candidates verified; all" in line
    assert [int(row.split()[1]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert run.main(["gallery:a.png", *model, "--false-alarm", "1e-30", "--report", "r.html"]) == 0
    assert "Nothing in this gallery matches" in Path("r.html").read_text("utf-8")


def test_the_json_tells_rate_null_and_expectation(
    judging: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for rate, accepted in (("0.1", 1), ("1e-30", 0)):
        answer = answers(
            capsys,
            judging / "gallery",
            "gallery:a.png",
            "--model",
            "model",
            "--false-alarm",
            rate,
            "-k",
            3,
            "--candidates",
            2,
        )[0]
        assert (
            answer["false_alarm"],
            answer["null"],
            answer["candidates"],
            answer["accepted"],
        ) == (float(rate), "model", 2, accepted)
        assert [type(result["false_alarms"]) for result in answer["results"]] == [
            float,
            float,
            type(None),
        ]
        assert (answer["results"][0]["false_alarms"] <= float(rate)) is bool(accepted)
        assert answer["results"][0]["image"] == "a.png"


def test_a_fixed_count_has_no_expectation(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["gallery:a.png", "--gallery", "gallery", "-k", "2"]) == 0
    out = capsys.readouterr().out
    assert "false-alarm rate as measured" not in out
    model = shrink(Path(read_binding(here / "gallery").where), here / "strict", least=10_000)
    assert (
        run.main(["gallery:a.png", "--gallery", "gallery", "-k", "2", "--model", str(model)]) == 0
    )
    assert "nothing in this gallery matches" in capsys.readouterr().out
