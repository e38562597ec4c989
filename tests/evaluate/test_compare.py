"""Two ways of searching, paired by query."""

import json
from pathlib import Path

import numpy as np
import pytest
from small import complaint

from pipeline.evaluate.studies import compare

HEAD = "query,AP,hit@1,first_relevant,coarse_AP,coarse_hit@1,coarse_first_relevant,accepted\n"


def write(path: Path, precisions: list[float], first: int = 0) -> str:
    path.write_text(
        HEAD + "".join(f"q{first + i},{ap},1,1,{ap / 2},0,2,1\n" for i, ap in enumerate(precisions))
    )
    return str(path)


def test_differences_are_paired_and_runs_are_averaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = np.random.default_rng(0).random(200)
    low, high = (
        write(tmp_path / f"{name}.csv", (base + more).tolist())
        for name, more in (("low", 0.1), ("high", 0.3))
    )
    assert (
        compare.main([low, high, "--than", write(tmp_path / "base.csv", base.tolist()), "--json"])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["queries"] == 200
    precision = found["measures"]["mAP"]
    assert precision["difference"] == pytest.approx(0.2, abs=1e-5)
    # the same for every query: paired, nothing is left to vary
    assert precision["interval"] == pytest.approx([0.2, 0.2], abs=1e-5)
    assert found["measures"]["mAP, first look"]["difference"] == pytest.approx(0.1, abs=1e-5)
    assert found["measures"]["hit@1"] == {
        "these": 1.0,
        "than": 1.0,
        "difference": 0.0,
        "interval": [0.0, 0.0],
    }


def test_noise_is_not_told_as_a_gain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    sides = [write(tmp_path / f"{i}.csv", rng.random(100).tolist()) for i in range(2)]
    assert compare.main([sides[0], "--than", sides[1]]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("mAP "))
    low, high = (float(end) for end in line.partition("[")[2].rstrip("]").split(","))
    assert low < 0 < high
    assert high - low > 0.05


def test_a_comparison_becomes_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    these, than = write(tmp_path / "a.csv", [0.4, 0.6]), write(tmp_path / "b.csv", [0.2, 0.6])
    results = tmp_path / "results.json"
    given = [these, "--than", than, "--results", str(results)]
    assert compare.main([*given, "--label", "one"]) == compare.main(given) == 0
    file = json.loads(results.read_text())
    assert [row["label"] for row in file["rows"]] == ["one", "a than b"]
    row = file["rows"][0]
    assert (row["queries"], row["mAP"], row["mAP_low"], row["mAP_high"]) == (2, 0.1, 0.0, 0.2)
    assert [one["name"] for one in row["data"]["these"]] == ["a"]
    assert "--label one" in row["command"]
    results.write_text("{}")
    capsys.readouterr()
    assert compare.main(given) == 2
    assert results.read_text() == "{}"
    assert "expected a results file" in complaint(capsys)


def test_other_queries_and_other_files_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = (
        write(tmp_path / "one.csv", [0.5, 0.5]),
        write(tmp_path / "other.csv", [0.5, 0.5], first=1),
    )
    assert compare.main([one, "--than", other]) == 2
    assert (
        complaint(capsys)
        == f"compare: {other}: expected the 2 queries of {one}, got 2, 1 of them the same"
    )
    for text in ("query,AP\nq0,1\n", "", HEAD + "q0,x,1,1,1,1,1,1\n", HEAD):
        (tmp_path / "bad.csv").write_text(text)
        assert compare.main([str(tmp_path / "bad.csv"), "--than", one]) == 2
        assert f"{tmp_path / 'bad.csv'}: expected " in complaint(capsys)
    assert compare.main([str(tmp_path / "none.csv"), "--than", one]) == 2
    assert "none.csv: expected a readable file, got No such file" in complaint(capsys)
