"""Batch re-ranking: what comes out, what is refused before work starts, and that stops and kills
cost nothing.
"""

import csv
import json
import os
import random
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import complaint
from tqdm import tqdm

from pipeline.commands import rerank
from pipeline.rerank import jobs
from pipeline.rerank.journal import Journal
from pipeline.search import process
from tests.stress.kill_rerank import FAMILY, finished, plant_gallery

PHOTOS, DEPTH = 40, 12


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `gallery` of families that share features, `run.csv` where every photo asks and its family
    stands last, and `whole.csv`, re-ranked.
    """
    folder = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(0)
    plant_gallery(folder / "gallery", PHOTOS, rng)
    with (folder / "run.csv").open("w") as file:
        file.write("query,image\n")
        for number in rng.permutation(PHOTOS):
            family = [number - number % FAMILY + i for i in range(FAMILY)]
            others = [int(other) for other in rng.permutation(PHOTOS) if other not in family]
            file.writelines(
                f"gallery:{number:05d}.jpg,{image:05d}.jpg\n"
                for image in (others + family)[-DEPTH:]
            )
    assert job(folder, "whole.csv") == 0
    return folder


@pytest.fixture
def work(planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to change, as the working directory."""
    shutil.copytree(planted, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def job(folder: Path, out: str = "out.csv", *more: str, candidates: str = "run.csv") -> int:
    files = [
        "--gallery",
        str(folder / "gallery"),
        "--candidates",
        str(folder / candidates),
        "--out",
        str(folder / out),
    ]
    return rerank.main([*files, "--jobs", "1", *more])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def stop_after(queries: int, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A job that ends with so many queries finished."""
    add, added = Journal.add, []

    def add_or_stop(self: Journal, answer: Any) -> int:
        if len(added) == queries:
            raise KeyboardInterrupt
        added.append(answer)
        return add(self, answer)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", add_or_stop)
        assert job(folder) == 130


def summary(capsys: pytest.CaptureFixture[str], work: Path) -> dict[str, Any]:
    capsys.readouterr()
    assert job(work, "out.csv", "--json") == 0
    return dict(json.loads(capsys.readouterr().out))


def test_the_family_comes_first_by_evidence_and_the_others_stay_as_given(planted: Path) -> None:
    given, out = table(planted / "run.csv"), table(planted / "whole.csv")
    assert list(out[0]) == [
        "query",
        "image",
        "rank",
        "coarse_rank",
        "matches",
        "inliers",
        "false_alarms",
        "accepted",
    ]
    assert len(out) == len(given) == PHOTOS * DEPTH
    for begin in range(0, len(out), DEPTH):
        listed, ranked = given[begin : begin + DEPTH], out[begin : begin + DEPTH]
        assert {row["query"] for row in (*listed, *ranked)} == {listed[0]["query"]}
        assert [int(row["rank"]) for row in ranked] == list(range(1, DEPTH + 1))
        assert [listed[int(row["coarse_rank"]) - 1]["image"] for row in ranked] == [
            row["image"] for row in ranked
        ]
        assert [row["accepted"] for row in ranked] == ["1"] * FAMILY + ["0"] * (DEPTH - FAMILY)
        assert {row["image"] for row in ranked[:FAMILY]} == {
            row["image"] for row in listed[-FAMILY:]
        }
        assert [row["image"] for row in ranked[FAMILY:]] == [
            row["image"] for row in listed[:-FAMILY]
        ]
        assert f"gallery:{ranked[0]['image']}" == ranked[0]["query"]
        alarms = [float(row["false_alarms"]) for row in ranked]
        assert max(alarms[:FAMILY]) <= 0.1 < min(alarms[FAMILY:])
        assert all(int(row["matches"]) >= int(row["inliers"]) for row in ranked)


def test_a_trec_run_in_and_out_says_the_same(work: Path) -> None:
    rows = [
        (row["query"], row["image"], rank, "0.5", "theirs")
        for rank, row in enumerate(table(work / "run.csv"), 1)
    ]
    # the ranks say what the order of the lines does not
    last = sorted(rows, key=lambda row: row[1], reverse=True)
    (work / "run.trec").write_text(
        "".join(
            f"{query} Q0 {image} {rank} {score} {tag}\n" for query, image, rank, score, tag in last
        )
    )
    assert job(work, "out.run", candidates="run.trec") == 0
    out = [line.split() for line in (work / "out.run").read_text().splitlines()]
    assert all(
        int(rank) + int(score) == DEPTH + 1 and tag == "two_stage" for *_, rank, score, tag in out
    )
    assert sorted((query, rank, image) for query, _, image, rank, _, _ in out) == sorted(
        (row["query"], row["rank"], row["image"]) for row in table(work / "whole.csv")
    )


def test_ids_and_paths_of_another_engine_come_out_as_they_went_in(work: Path) -> None:
    """A run of ids and of images below another folder, a map of the ids as Excel writes it, and the
    answers of the plain run.
    """
    rows = table(work / "run.csv")
    ids = {query: f"topic-{n}" for n, query in enumerate(dict.fromkeys(r["query"] for r in rows))}
    (work / "run.trec").write_text(
        "".join(
            f"{ids[row['query']]} Q0 img/{row['image']} 0 {-rank / 3} tag\n"
            for rank, row in enumerate(rows)
        )
    )
    lines = [f"{query};{key}" for query, key in ids.items()]
    (work / "map.csv").write_bytes("\r\n".join(["Path;ID", *lines]).encode("utf-8-sig"))
    how = ("--queries-map", str(work / "map.csv"), "--prefix", "img=")
    assert job(work, "out.run", *how, candidates="run.trec") == 0
    out = [line.split() for line in (work / "out.run").read_text().splitlines()]
    assert sorted((query, rank, image) for query, _, image, rank, _, _ in out) == sorted(
        (ids[row["query"]], row["rank"], f"img/{row['image']}") for row in table(work / "whole.csv")
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,path\n1,gallery:00000.jpg\n", "line 1: expected an id of --queries-map, got gallery:"),
        ("id,path\n1,a\n1,b\n", "map.csv: line 3: expected one path an id, got 1 again"),
        ("query,path\n", "map.csv: expected a header with id,path, got query,path"),
        ("id,path\n1,\n", "map.csv: line 2: expected an id and a path, got '1', ''"),
    ],
)
def test_a_map_that_is_wrong_ends_the_job(
    text: str, said: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "map.csv").write_text(text)
    (work / "run.trec").write_text("gallery:00001.jpg Q0 00002.jpg 1 1 t\n")
    capsys.readouterr()
    assert job(work, "o.run", "--queries-map", str(work / "map.csv"), candidates="run.trec") == 2
    assert said in complaint(capsys)


def test_a_stopped_job_goes_on_where_it_was(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_after(23, monkeypatch, work)
    assert not (work / "out.csv").exists()
    look, looked = jobs.rerank_lists, []
    monkeypatch.setattr(
        jobs, "rerank_lists", lambda opening, lists: looked.extend(lists) or look(opening, lists)
    )
    told = summary(capsys, work)
    assert (told["queries"], told["pairs"], told["resumed"], told["retried"], told["failed"]) == (
        PHOTOS,
        PHOTOS * DEPTH,
        23,
        0,
        0,
    )
    assert len(looked) == PHOTOS - 23
    assert (work / "out.csv").read_bytes() == (work / "whole.csv").read_bytes()
    assert not (work / "out.csv.part").exists()


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_last_line_is_asked_again(
    cut: int, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_after(5, monkeypatch, work)
    whole = (work / "out.csv.part").read_bytes()
    (work / "out.csv.part").write_bytes(whole[:-cut])
    assert summary(capsys, work)["resumed"] == 4
    assert (work / "out.csv").read_bytes() == (work / "whole.csv").read_bytes()


@pytest.mark.parametrize(
    "tail",
    [
        b"\0" * 99,
        b'{"query": "x"}\n',
        b"[]\n",
        b'{"query":"gallery:00000.jpg","stamp":null,"places":[0],"evidence":{}}\n',
    ],
)
def test_a_line_that_is_no_answer_is_cut_off(
    tail: bytes, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_after(5, monkeypatch, work)
    with (work / "out.csv.part").open("ab") as file:
        file.write(tail)
    assert summary(capsys, work)["resumed"] == 5
    assert (work / "out.csv").read_bytes() == (work / "whole.csv").read_bytes()


def test_kills_lose_nothing_and_change_nothing(work: Path) -> None:
    """Forks of this process, which has torch loaded, killed when the journal has grown by a random
    number of bytes.
    """
    journal, kills, before, draw = work / "out.csv.part", 0, set[str](), random.Random(0)
    for _ in range(30):
        size = journal.stat().st_size if journal.exists() else 0
        pid = os.fork()
        if pid == 0:
            # forks share its default lock: killed with it, one would stop all that come after
            tqdm.set_lock(threading.RLock())
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os._exit(job(work))
        more, deadline = draw.randrange(4000), time.monotonic() + 60
        while (ended := os.waitpid(pid, os.WNOHANG)[0]) == 0 and (
            not journal.exists() or journal.stat().st_size < size + more
        ):
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        if ended:
            break
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        kills += 1
        there = finished(work / "out.csv")
        assert len(there) == len(set(there))
        assert before <= set(there)
        before = set(there)
    assert (kills >= 2, (work / "out.csv").read_bytes()) == (
        True,
        (work / "whole.csv").read_bytes(),
    )


def other_candidates(work: Path, _: pytest.MonkeyPatch) -> None:
    with (work / "run.csv").open("a") as file:
        file.write("\n")


def other_gallery(work: Path, _: pytest.MonkeyPatch) -> None:
    shutil.rmtree(work / "gallery")
    plant_gallery(work / "gallery", PHOTOS + 1, np.random.default_rng(0))


def other_program(work: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(process, "SOURCES", work)


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        (other_candidates, (), "with candidates "),
        (other_gallery, (), "with gallery "),
        (other_program, (), "with program "),
        (None, ("--seed", "1"), "with seed 1, got one with 0; "),
        (None, ("--recipe", "seed004"), "with recipe seed004, got one with two_stage; "),
    ],
)
def test_another_jobs_journal_is_refused(
    change: Any,
    more: tuple[str, ...],
    said: str,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stop_after(2, monkeypatch, work)
    before = (work / "out.csv.part").read_bytes()
    if change:
        change(work, monkeypatch)
    capsys.readouterr()
    assert job(work, "out.csv", *more) == 2
    line = complaint(capsys)
    assert f"out.csv.part: expected the journal of a job {said}" in line
    assert "out.csv.part` to begin anew, or run with another `--out`" in line
    assert (work / "out.csv.part").read_bytes() == before
    assert job(work, "other.csv", *more) == 0


def test_a_file_that_is_no_journal_is_left_alone(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "out.csv.part").write_text("mine\n")
    capsys.readouterr()
    assert job(work) == 2
    assert "expected this job's journal, got another file" in complaint(capsys)
    assert (work / "out.csv.part").read_text() == "mine\n"


def test_two_jobs_do_not_write_one_output(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add, codes = Journal.add, []

    def add_beside_another(self: Journal, answer: Any) -> int:
        if not codes:
            codes.append(job(work))
        return add(self, answer)

    monkeypatch.setattr(Journal, "add", add_beside_another)
    assert job(work) == 0
    assert codes == [2]
    assert (
        "expected to be the only job that writes it, got another one at work"
        in capsys.readouterr().err
    )
    assert (work / "out.csv").read_bytes() == (work / "whole.csv").read_bytes()


def test_a_gallery_that_changes_as_the_job_begins_ends_it(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opens = process.open_engine

    def open_late(*arguments: Any) -> Any:
        other_gallery(work, monkeypatch)
        return opens(*arguments)

    monkeypatch.setattr(process, "open_engine", open_late)
    assert job(work) == 2
    assert (
        "expected it and its model as they were when the job began, got another version"
        in capsys.readouterr().err
    )
    assert not (work / "out.csv.part").exists()


def test_a_finished_output_is_replaced_by_running_again(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "out.csv").write_text("old")
    assert summary(capsys, work)["resumed"] == 0
    assert summary(capsys, work)["resumed"] == 0
    assert (work / "out.csv").read_bytes() == (work / "whole.csv").read_bytes()
