"""A sweep's every size against the same size run alone, every pair verified once, and its files."""

import csv
import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from planted_engine import Watched, altered, families
from small import NAMES, complaint

from pipeline.base.classes import read_labels
from pipeline.commands import sweep
from pipeline.commands.evaluate import evaluate
from pipeline.commands.sweep import count_sizes, summarise
from pipeline.evaluate.ground_truth import Case, label_cases
from pipeline.evaluate.sweep import Outcome, Size, sweep_query
from pipeline.report.plots import plot_sweep
from pipeline.search.engine import Engine
from stages.gallery import Gallery
from stages.metrics import Quality
from stages.records import Candidates, LocalFeatures, Matches, Ranking

MEASURES = ("mAP", "precision@1", "precision@10", "hit@1", "hit@10", "hit@100")


@pytest.fixture(scope="module")
def engine(indexed_photos: Path) -> Engine:
    return families(indexed_photos / "gallery")


@dataclass(frozen=True)
class Crowded:
    """A verdict that depends on how many were looked at: the last third of them is accepted, the
    last one first.
    """

    def __call__(
        self, features: LocalFeatures, candidates: Candidates, matches: Matches, gallery: Gallery
    ) -> Ranking:
        places = candidates.rows.shape[1]
        place = np.arange(places)[None]
        accepted = place >= places - (places + 1) // 3
        order = np.argsort(np.where(accepted, -place, 1), kind="stable").astype(np.int64)
        return Ranking(
            order,
            accepted,
            place.astype(np.float64),
            np.full(order.shape, np.nan),
        )


@pytest.mark.parametrize("crowded", [False, True])
def test_every_size_is_as_if_run_alone(engine: Engine, crowded: bool) -> None:
    if crowded:
        engine = altered(engine, ranking=lambda _: Crowded())
    cases, sizes = (
        label_cases(read_labels(engine.gallery.names, "folder", "")),
        count_sizes(["1", "2", "5", "12", "24"], 10, 24),
    )
    (first, *rows), _ = summarise([sweep_query(engine, case, sizes) for case in cases], sizes, 0)
    for row in rows:
        alone: Any = evaluate(engine, cases, 10, str(row["candidates"]))
        assert {name: row[name] for name in MEASURES} == {name: alone[name] for name in MEASURES}
        assert {name: first[name] for name in MEASURES} == {
            name: alone["coarse"][name] for name in MEASURES
        }
        assert alone["gain"]["interval"]["mAP"] == [row["mAP_gain_low"], row["mAP_gain_high"]]
    # one candidate is the query itself, which is left out
    assert len({row["mAP"] for row in rows}) >= 4
    if not crowded:
        # two of three photos have a twin
        assert rows[-1]["hit@1"] == pytest.approx(16 / 24, abs=1 / 24)
        assert rows[-1]["hit@1_gain_low"] > 0.2


def test_every_pair_is_verified_once(engine: Engine) -> None:
    seen: list[int] = []
    watched = altered(engine, matches=lambda stage: Watched(stage, seen.extend))
    case = label_cases(read_labels(engine.gallery.names, "folder", ""))[4]
    sweep_query(watched, case, count_sizes(["3", "7", "12", "20"], 10, 24))
    assert seen == engine.coarse(engine.query(case.query), 20).rows[0].tolist()


def test_seconds_add_up_the_slices(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that goes on by one for every pair, and by nothing else."""
    pairs: list[int] = []
    monkeypatch.setattr("pipeline.graph.time.perf_counter", lambda: float(len(pairs)))
    watched = altered(engine, matches=lambda stage: Watched(stage, pairs.extend))
    outcomes = sweep_query(
        watched,
        label_cases(read_labels(engine.gallery.names, "folder", ""))[0],
        count_sizes(["3", "7", "12"], 10, 24),
    )
    assert [outcome.seconds for outcome in outcomes] == [0, 3, 7, 12]


def test_the_first_look_alone_does_not_pay_for_local_features(
    engine: Engine, indexed_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock by which every stage takes one: the smallest size adds describe and, but for the
    two that find candidates, the whole answer.
    """
    case = Case(str(indexed_photos / "photos" / "a.png"), frozenset({"0/a.png"}))
    ticks = itertools.count()
    monkeypatch.setattr("pipeline.graph.time.perf_counter", lambda: float(next(ticks)))
    first, small, large = sweep_query(engine, case, count_sizes(["3", "7"], 10, 24))
    assert small.seconds - first.seconds == 1 + len(engine.recipe.answer.rows) - 2
    assert large.seconds - small.seconds == 1  # one more slice verified


def test_ceiling_and_accepted_leave_the_query_out(engine: Engine) -> None:
    """The query itself is the first candidate: at one candidate no answer can be there, and nothing
    is accepted.
    """
    found = [
        sweep_query(engine, case, count_sizes(["1", "24"], 10, 24))
        for case in label_cases(read_labels(engine.gallery.names, "folder", ""))
    ]
    assert [(one.shortlisted, one.accepted) for _, one, _ in found] == [(False, 0)] * 24
    assert all(everything.shortlisted for _, _, everything in found)
    assert [everything.accepted for _, _, everything in found] == [1, 1, 0] * 8


def test_matches_are_cut_and_joined_whole(engine: Engine) -> None:
    query = engine.query("gallery:0/a.png")
    shortlist = engine.coarse(query, 24)
    whole, _ = engine.refine(query, shortlist)
    cuts = ((0, 5), (5, 6), (6, 6), (6, 24))
    parts = [engine.refine(query, shortlist.part(begin, end))[0] for begin, end in cuts]
    for joined in (
        Matches.join(parts),
        Matches.join(
            [
                Matches(*(array[:, begin:end] for array in vars(whole).values()))
                for begin, end in cuts
            ]
        ),
        Matches.join([Matches.none(), whole]),
    ):
        for name, array in vars(joined).items():
            np.testing.assert_array_equal(array, getattr(whole, name))


def test_sizes_are_capped_and_each_once() -> None:
    assert count_sizes(["4000", "40", "4x", "10", "9999", "10"], 10, 50) == [
        Size("10", 10),
        Size("40=4x", 40),
        Size("4000=9999", 50),
    ]


def outcomes(first: float, *sizes: float, queries: int = 10) -> list[list[Outcome]]:
    return [
        [
            Outcome(Quality(q, q, q / 10, q, q, q), True, 1, 0.1 * (i + 1))
            for i, q in enumerate((first, *sizes))
        ]
        for _ in range(queries)
    ]


@pytest.mark.parametrize(
    ("curve", "wanted"),
    [((0.5, 0.4, 0.8, 0.8), 20), ((0.5, 0.4, 0.5, 0.3), 0), ((0.5, 0.6, 0.5, 0.3), 10)],
)
def test_the_recommended_size(curve: tuple[float, ...], wanted: int) -> None:
    rows, recommended = summarise(
        outcomes(*curve), [Size("10", 10), Size("2x", 20), Size("40", 40)], 0
    )
    assert recommended == wanted
    assert [row["mAP"] for row in rows] == list(curve)
    assert [row["mAP_gain"] for row in rows] == pytest.approx(
        [0, *(q - curve[0] for q in curve[1:])]
    )
    assert [(row["label"], row["candidates"], row["seconds_median"]) for row in rows[:3]] == [
        ("coarse", 0, 0.1),
        ("10", 10, 0.2),
        ("2x", 20, 0.3),
    ]
    result = {
        "recipe": "r",
        "model": "m",
        "queries": 10,
        "photos": 99,
        "recommended": recommended,
        "rows": rows,
    }
    assert plot_sweep(result).startswith(b"\x89PNG")
    said = sweep.table(result).splitlines()
    assert len(said) == 2 + 4 + 1
    assert said[-1].startswith(
        f"recommended: {wanted} candidates"
        if wanted
        else "recommended: 0 candidates, the second look does not help here"
    )


@pytest.fixture
def truth(indexed_photos: Path, tmp_path: Path) -> list[str]:
    """A command over the six photos as their own queries."""
    lines = [(str(indexed_photos / "photos" / name), name) for name in NAMES if name.isascii()]
    with (tmp_path / "truth.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("query", "relevant"), *lines])
    out = str(tmp_path / "made" / "out")
    return [
        "--gallery",
        str(indexed_photos / "gallery"),
        "--truth",
        str(tmp_path / "truth.csv"),
        "--out",
        out,
        "--allow-self",
    ]


def test_files_and_json(
    truth: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        sweep.main([*truth, "-k", "1", "--candidates", "2", "1", "4x", "4000", "4", "--json"]) == 0
    )
    out, err = capsys.readouterr()
    result, folder = json.loads(out), tmp_path / "made" / "out"
    assert result == json.loads((folder / "sweep.json").read_text())
    assert {
        "command",
        "recipe",
        "model",
        "identity",
        "seed",
        "photos",
        "queries",
        "recommended",
        "rule",
        "rows",
    } <= set(result)
    assert (result["queries"], result["photos"], result["command"].split()[:2]) == (
        4,
        6,
        ["python", "scripts/sweep.py"],
    )
    with (folder / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    spread = [name + end for name in MEASURES for end in ("", "_low", "_high")]
    gains = [f"{name}_gain{end}" for name in ("mAP", "hit@1") for end in ("", "_low", "_high")]
    figures = [*spread, *gains, "ceiling", "seconds_mean", "seconds_median", "accepted_mean"]
    assert list(rows[0]) == ["label", "candidates", "queries", *figures]
    assert [(row["label"], row["candidates"]) for row in rows] == [
        ("coarse", "0"),
        ("1", "1"),
        ("2", "2"),
        ("4x=4", "4"),
        ("4000", "6"),
    ]
    assert [
        [None if cell == "" else float(cell) for cell in (row[name] for name in figures)]
        for row in rows
    ] == [[row[name] for name in figures] for row in result["rows"]]
    assert rows[0]["ceiling"] == ""
    # every photo finds itself
    assert result["rows"][-1]["hit@1"] == result["rows"][-1]["ceiling"] == 1.0
    with Pillow.open(folder / "sweep.png") as png:
        assert min(png.size) > 600
        assert len(png.convert("RGB").getcolors(1 << 20) or ()) > 50
    assert sorted(path.name for path in folder.iterdir()) == [
        "sweep.csv",
        "sweep.json",
        "sweep.png",
    ]
    assert "wrote" in err


def test_a_sweep_writes_rows_that_stand_alone(truth: list[str], tmp_path: Path) -> None:
    wanted = [
        *truth,
        "-k",
        "1",
        "--candidates",
        "2",
        "4",
        "--results",
        str(tmp_path / "r.json"),
        "--label",
        "self",
    ]
    assert sweep.main(wanted) == 0
    file = json.loads((tmp_path / "r.json").read_text())
    assert [row["label"] for row in file["rows"]] == ["self, coarse", "self, 2", "self, 4"]
    assert {
        (row["recipe"], row["command"], row["data"]["truth"]["name"]) for row in file["rows"]
    } == {("two_stage", file["command"], "truth.csv")}
    assert sweep.main(wanted) == 0
    assert len(json.loads((tmp_path / "r.json").read_text())["rows"]) == 3


def test_a_sweep_refuses_a_query_that_is_in_the_gallery(
    truth: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.main(truth[:-1]) == 2
    assert "got the bytes of a.png" in complaint(capsys)


def test_a_sweep_by_folder_prints_a_table(
    truth: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        sweep.main([*truth[:2], *truth[4:-1], "--labels", "parent", "--candidates", "1", "3", "6"])
        == 0
    )
    out = capsys.readouterr().out
    assert re.search(r"^ +3 +3 +\d\.\d{4} \[", out, re.MULTILINE)
    assert "one-standard-error rule" in out


@pytest.mark.parametrize("size", ["0", "x", "-1", "4y", "1.5x", ""])
def test_a_size_that_is_none_is_a_mistake(
    size: str, truth: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        sweep.main([*truth, "--candidates", "10", size])
    assert stop.value.code == 2
    complaint(capsys)


def test_a_query_that_cannot_be_read_is_a_mistake(
    truth: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "truth.csv").write_text("query,relevant\nnone.png,a.png\n")
    assert sweep.main([*truth, "--candidates", "2"]) == 2
    assert "none.png: expected a" in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_that_cannot_be_made_is_a_mistake(
    truth: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "made").write_text("a file")
    assert sweep.main(truth) == 2
    assert "expected a folder, got" in complaint(capsys)


def test_one_size_and_one_query_are_a_sweep() -> None:
    rows, recommended = summarise(outcomes(0.5, 1.0, queries=1), [Size("1", 1)], 0)
    assert recommended == 1
    assert plot_sweep(
        {"recipe": "r", "model": "m", "queries": 1, "photos": 1, "recommended": 1, "rows": rows}
    ).startswith(b"\x89PNG")
