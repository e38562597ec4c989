"""Batch re-ranking of photos, and of what is none: mistakes end a job before it begins, a query
that cannot be read only its own list.
"""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from pictures import picture, write_picture
from small import NAMES, complaint

from pipeline.commands import rerank
from pipeline.rerank.journal import Journal
from pipeline.search import process


@pytest.fixture
def asked(here: Path) -> Path:
    """`lists/run.csv`: an indexed photo, a photo beside the file and one by its absolute path ask
    about all six, last name first.
    """
    write_picture(here / "lists/beside.png", picture(1, 61, 40))  # small.NAMES[1] itself
    write_picture(here / "absolute.png", picture(3, 63, 40))
    write_lists(here, f"gallery:{NAMES[2]}", "beside.png", str(here / "absolute.png"))
    return here


def write_lists(here: Path, *queries: str) -> None:
    (here / "lists").mkdir(exist_ok=True)
    with open(
        here / "lists/run.csv", "w", newline="", encoding="utf-8", errors="surrogateescape"
    ) as file:
        csv.writer(file).writerows(
            [
                ("query", "image"),
                *((query, image) for query in queries for image in reversed(NAMES)),
            ]
        )


def job(*more: str, candidates: str = "lists/run.csv", out: str = "out.csv") -> int:
    return rerank.main(
        ["--gallery", "gallery", "--candidates", candidates, "--out", out, "--jobs", "1", *more]
    )


def rows(out: str = "out.csv") -> dict[str, list[dict[str, str]]]:
    """By query, in the order of their first rows."""
    found: dict[str, list[dict[str, str]]] = {}
    with open(out, newline="", encoding="utf-8", errors="surrogateescape") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["query"], []).append(row)
    return found


def test_photos_and_names_of_any_bytes(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert job() == 0
    told = capsys.readouterr().out
    assert told.startswith("out.csv: 3 queries, 18 pairs; 0 resumed, 0 retried, 0 failed; ")
    found = rows()
    assert list(found) == [f"gallery:{NAMES[2]}", "beside.png", str(asked / "absolute.png")]
    assert [ranked[0]["image"] for ranked in found.values()] == [NAMES[2], NAMES[1], NAMES[3]]
    assert all({row["image"] for row in ranked} == set(NAMES) for ranked in found.values())


def test_a_query_that_cannot_be_read_keeps_its_list(
    asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lists(asked, "none.png", "beside.png", "broken.png")
    (asked / "lists/broken.png").write_bytes(b"no photo")
    assert job("--json") == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["failed"] == 2
    said = [line for line in err.splitlines() if line.startswith("rerank: /")]
    assert [line.split(": ")[1] for line in said] == [
        str(asked / "lists/none.png"),
        str(asked / "lists/broken.png"),
    ]
    assert all(line.endswith("; its list stays as it was") for line in said)
    found = rows()
    for query in ("none.png", "broken.png"):
        assert [(row["image"], row["rank"], row["coarse_rank"]) for row in found[query]] == [
            (name, str(rank), str(rank)) for rank, name in enumerate(reversed(NAMES), 1)
        ]
        assert {
            row[column] for row in found[query] for column in ("matches", "inliers", "accepted")
        } == {""}
    assert found["beside.png"][0]["accepted"] == "1"
    assert not Path("out.csv.part").exists()


def test_when_no_query_can_be_read_nothing_is_written(
    asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lists(asked, "none.png", "nor\0this.png")
    assert job() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert (
        err.count("expected a readable file, got: ") == err.count("; its list is not written") == 2
    )
    assert err.count("--queries-map") == 1
    assert not list(Path().glob("out.csv*"))


def test_a_failed_query_and_a_changed_one_are_asked_again(
    asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed after three of four queries, of which one was broken and another is an other photo by
    now.
    """
    write_lists(asked, "broken.png", "beside.png", f"gallery:{NAMES[0]}", f"gallery:{NAMES[5]}")
    (asked / "lists/broken.png").write_bytes(b"no photo")
    add = Journal.add

    def stop(self: Journal, answer: Any) -> int:
        if len(self.done) == 2:
            raise KeyboardInterrupt
        return add(self, answer)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", stop)
        assert job() == 130
    for name, seed in (("broken.png", 3), ("beside.png", 0)):
        write_picture(asked / "lists" / name, picture(seed, 60 + seed, 40))
    capsys.readouterr()
    assert job("--json") == 0
    assert json.loads(capsys.readouterr().out)["resumed"] == 1
    assert [ranked[0]["image"] for ranked in rows().values()] == [
        NAMES[3],
        NAMES[0],
        NAMES[0],
        NAMES[5],
    ]


BAD = "query,image\nq.png,a.png\nq.png,none.png\n\nq.png,a.png\n,b.png\n"


def test_mistakes_end_the_job_before_it_begins(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(process, "open_engine", None)
    Path("run.csv").write_text(BAD)
    assert job(candidates="run.csv") == 2
    assert (
        complaint(capsys)
        == "rerank: run.csv: line 3: expected an indexed photo, got none.png; index it, or correct"
        " the path (and 2 more mistakes); nothing is done; --skip-bad leaves such rows out"
    )
    assert not list(Path().glob("out.csv*"))


def test_bad_rows_can_be_left_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.csv").write_text(BAD)
    write_picture(Path("q.png"), picture(0, 60, 40))
    assert job("--skip-bad", candidates="run.csv") == 0
    assert [
        line.split(": ")[2]
        for line in capsys.readouterr().err.splitlines()
        if line.endswith("; left out")
    ] == ["line 3", "line 5", "line 6"]
    assert [(row["image"], row["rank"]) for row in rows()["q.png"]] == [("a.png", "1")]
    Path("run.csv").write_text("query,image\nq.png,none.png\n")
    assert job("--skip-bad", candidates="run.csv") == 2
    assert "line 2: expected an indexed photo, got none.png" in complaint(capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"out": "none/out.csv"},
            (
                "--out none/out.csv: expected a file in an existing folder, got none; run `mkdir -p"
                " none`"
            ),
        ),
        ({"out": "lists"}, "--out lists: expected a file, got a folder"),
        (
            {"out": "./lists/../lists/run.csv"},
            "expected another file than --candidates, got the same",
        ),
        (
            {"candidates": "none.csv"},
            "none.csv: expected a readable file, got No such file or directory",
        ),
        (
            {"candidates": "photos/a.png"},
            (
                "photos/a.png: expected .csv, .trec, .run or .txt, got another name; run with"
                " `--format csv`"
            ),
        ),
        (
            {"out": "out.trec"},
            (
                "expected paths without spaces for a TREC run, got 'my photo.png'; run with `--out"
                " out.csv`"
            ),
        ),
    ],
)
def test_a_mistake_in_the_flags_is_one_line(
    arguments: dict[str, str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lists(here, "my photo.png")
    assert job(**arguments) == 2
    assert said.replace("'my photo.png'", "my photo.png") in complaint(capsys)
    assert not list(Path().glob("out*"))


def test_the_format_can_be_said(here: Path) -> None:
    Path("lists.dat").write_text(
        f"gallery:{NAMES[0]} Q0 b.png 2 1 t\ngallery:{NAMES[0]} Q0 a.png 1 1 t\n"
    )
    assert job("--format", "trec", candidates="lists.dat", out="again.dat") == 0
    assert (
        Path("again.dat").read_text()
        == "gallery:a.png Q0 a.png 1 2 two_stage\ngallery:a.png Q0 b.png 2 1 two_stage\n"
    )


def test_another_model_or_no_gallery_is_one_line(
    asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job("--model", "two_stage") == 2
    assert "expected model small (" in capsys.readouterr().err
    assert not list(Path().glob("out.csv*"))
    os.rename("gallery", "moved")
    assert job() == 2
    assert "gallery gallery: expected a folder with manifest.sqlite, got none" in complaint(capsys)
