"""A cluster of two processes answers to the byte as this process does, also where one of them is
killed; what cannot be had is one line.
"""

import builtins
import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from planted_codebook import give_codebook
from planted_gallery import planted, related, taken
from planted_null import even
from small import answers, complaint, indexed, rows

from pipeline.bench.cluster import bench_cluster
from pipeline.cli import joined_cluster
from pipeline.cluster import connect
from pipeline.commands import evaluate, rerank, sweep
from pipeline.gallery import chance, partition
from pipeline.gallery.store import read_gallery
from pipeline.model.chance import null_to_json
from pipeline.model.weights import open_model, write_model

PHOTOS = 40
ON = ("--cluster", "local:2")
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::DeprecationWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def name(seed: int) -> str:
    return f"{'abc'[seed % 3]}/{seed:03d}{'é' if seed % 7 else chr(0xDCE9)}.jpg"


@pytest.fixture(scope="module")
def work(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `whole` gallery, `parts` of it, and `run.csv` where twenty photos ask. Not to be
    changed."""
    folder, small = tmp_path_factory.mktemp("cluster"), open_model(small_model)
    write_model(
        folder / "model",
        small.arrays,
        small.settings,
        {"accept": {"null": null_to_json(even())}},
        "make",
    )
    worded = give_codebook(shutil.copytree(folder / "model", folder / "worded"))
    planted(folder / "whole", folder / "model", [taken(name(seed), seed) for seed in range(PHOTOS)])
    # photos that show some of the same things, and copies; a third gallery holds copies alone
    planted(folder / "alike", worded, [related(name(s), s % 24) for s in range(30)])
    for where, parts in (("whole", "3"), ("alike", "2")):
        there = "parts" if where == "whole" else "two"
        flags = ["--parts", parts, "--out", str(folder / there)]
        assert partition.main(["--gallery", str(folder / where), *flags]) == 0
    copies = [related(f"z/{seed}.jpg", seed) for seed in (3, 8)]
    planted(folder / "copies", worded, copies)
    shutil.copytree(folder / "alike", folder / "all")
    planted(folder / "all", worded, copies)
    names = read_gallery(folder / "whole").names
    lines = [f"gallery:{query},{image}\n" for query in names[:20] for image in names]
    (folder / "run.csv").write_bytes(
        ("query,image\n" + "".join(lines)).encode("utf-8", "surrogateescape")
    )
    return folder


@pytest.fixture(scope="module")
def processes() -> Iterator[Any]:
    """Two, for all tests of this file: to start them is most of the time."""
    pytest.importorskip("distributed", reason="needs the extra `cluster`")
    with connect._local(2) as local:
        yield local


@pytest.fixture
def two(processes: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What `--cluster local:2` finds."""
    deadline = time.monotonic() + 60
    while not all(
        nanny.pid and nanny.worker_address in processes.scheduler.workers
        for nanny in processes.workers.values()
    ):
        assert time.monotonic() < deadline, "a worker that was killed has not come back"
        time.sleep(0.05)
    monkeypatch.setattr(connect, "_local", lambda count: contextlib.nullcontext(processes))
    return processes


def jobs(work: Path, where: str, out: Path, *more: str) -> list[bytes]:
    """What rerank, evaluate and sweep write; sweep's seconds are left out."""
    out.mkdir()
    here = ["--gallery", str(work / where)]
    assert (
        rerank.main(
            [
                *here,
                "--candidates",
                str(work / "run.csv"),
                "--out",
                str(out / "out.csv"),
                "--jobs",
                "1",
                *more,
            ]
        )
        == 0
    )
    labels = [*here, "--labels", "folder", "--allow-self", *more]
    assert evaluate.main([*labels, "--per-query", str(out / "queries.csv")]) == 0
    assert sweep.main([*labels, "--candidates", "5", str(PHOTOS), "--out", str(out / "sweep")]) == 0
    swept = [line.split(b",") for line in (out / "sweep/sweep.csv").read_bytes().splitlines()]
    kept = [place for place, column in enumerate(swept[0]) if not column.startswith(b"seconds")]
    return [
        (out / "out.csv").read_bytes(),
        (out / "queries.csv").read_bytes(),
        *(b",".join(row[place] for place in kept) for row in swept),
    ]


@pytest.mark.usefixtures("two")
def test_a_cluster_answers_as_one_process(work: Path, tmp_path: Path) -> None:
    alone = jobs(work, "whole", tmp_path / "alone")
    assert jobs(work, "whole", tmp_path / "cluster", *ON) == alone
    assert jobs(work, "parts", tmp_path / "parts", *ON) == alone


@pytest.mark.usefixtures("two")
def test_parts_with_their_owners_are_the_whole(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chance, "FEWEST", 40)  # so that chance is measured, too: over all parts
    names = read_gallery(work / "whole").names
    queries = [f"gallery:{names[place]}" for place in (0, 11, 39)]
    wanted = answers(capsys, work / "parts", *queries, "-k", PHOTOS)
    assert {answer["null"] for answer in wanted} == {"gallery"}
    assert answers(capsys, work / "parts", *queries, "-k", PHOTOS, *ON) == wanted
    assert answers(
        capsys, work / "parts", queries[0], "-k", 3, "--recipe", "seed004", *ON
    ) == answers(capsys, work / "parts", queries[0], "-k", 3, "--recipe", "seed004")
    assert answers(capsys, work / "parts", "nothing.jpg", *ON, code=2) == []
    pytest.importorskip("faiss", reason="needs the extra `faiss`")
    found = answers(capsys, work / "parts", queries[0], "-k", 3, "--search", "faiss", *ON)
    assert found == answers(capsys, work / "parts", queries[0], "-k", 3, "--search", "faiss")
    assert found[0]["first_look"] == {"index": "flat", "recall": 1.0}


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("kind", ["both", "parts"])
def test_owners_count_votes_as_one_gallery_does(
    kind: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where all that a third one holds are copies of the others' photos."""
    names = read_gallery(work / "alike").names
    asked = (*(f"gallery:{names[place]}" for place in (0, 7, 29)), "--candidates", 9, "-k", 32)
    asked = (*asked, "--shortlist", kind)
    for whole, several in (("alike", ["two"]), ("all", ["two", "copies"])):
        more = [word for each in several[1:] for word in ("--gallery", work / each)]
        wanted = answers(capsys, work / whole, *asked)
        found = answers(capsys, work / several[0], *asked, *more, *ON)
        assert found == wanted
        by = {result["found_by"] for answer in found for result in answer["results"]}
        assert by >= ({"both", "global", "parts"} if kind == "both" else {"parts"})


@pytest.mark.usefixtures("two")
def test_photos_are_encoded_there_and_committed_here(
    indexed_photos: Path, small_model: Path, tmp_path: Path
) -> None:
    shutil.copytree(indexed_photos / "photos", tmp_path / "photos")
    (tmp_path / "photos/bad.jpg").write_bytes(b"no photo")
    assert indexed(tmp_path / "photos", tmp_path / "gallery", "--model", small_model, *ON) == 0
    assert rows(tmp_path / "gallery") == rows(indexed_photos / "gallery")
    assert "bad.jpg" in (tmp_path / "gallery/errors.jsonl").read_text()


@pytest.mark.usefixtures("two")
def test_the_bench_runs_both_ways_and_compares_them(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = []

    def run(command: list[str], **more: object) -> subprocess.CompletedProcess[str]:
        ways.append(next(flag for flag in command if flag in ("--jobs", "--cluster")))
        return subprocess.CompletedProcess(command, rerank.main(command[3:]), "", "")

    monkeypatch.setattr(subprocess, "run", run)
    found = bench_cluster(work / "whole", None, 4, 20, 2, 0)
    assert ways == ["--jobs", "--cluster", "--cluster", "--jobs"]
    assert (found["queries"], found["pairs"], found["identical"]) == (4, 80, True)
    assert found["ratio"] == found["joblib_seconds"] / found["cluster_seconds"] > 0


@pytest.mark.parametrize("where", ["whole", "parts"])
def test_a_worker_that_is_killed_changes_nothing(
    where: str, work: Path, two: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = ["--gallery", str(work / where), "--candidates", str(work / "run.csv")]
    assert rerank.main([*here, "--out", str(tmp_path / "one.csv"), "--jobs", "1"]) == 0
    victim = two.workers[0].pid

    def kill() -> None:
        """While it has work, for sure: it is stopped first, and what it said before has arrived."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if at_work():
                os.kill(victim, signal.SIGSTOP)
                time.sleep(0.1)
                if at_work():
                    break
                os.kill(victim, signal.SIGCONT)
            time.sleep(0.001)
        os.kill(victim, signal.SIGKILL)

    def at_work() -> bool:
        return bool(two.scheduler.workers[two.workers[0].worker_address].processing)

    thread = threading.Thread(target=kill)
    thread.start()
    capsys.readouterr()
    assert rerank.main([*here, "--out", str(tmp_path / "two.csv"), *ON]) == 0
    thread.join()
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    told = capsys.readouterr().out
    assert ", 0 failed; " in told
    # over parts it may have died while they were opened
    assert where == "parts" or ", 0 retried, " not in told


def test_without_the_extra_one_line_names_it(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name == "distributed":
            raise ImportError
        return known(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert evaluate.main(["--gallery", str(work / "whole"), "--labels", "folder", *ON]) == 2
    assert (
        complaint(capsys)
        == "evaluate: --cluster local:2: expected the package distributed, got none; run `pip"
        " install -e '.[cluster]'`"
    )


def test_a_scheduler_that_is_not_there_is_one_line(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("distributed", reason="needs the extra `cluster`")
    monkeypatch.setattr(connect, "CONNECT_SECONDS", 1)
    assert (
        evaluate.main(
            [
                "--gallery",
                str(work / "whole"),
                "--labels",
                "folder",
                "--cluster",
                "tcp://127.0.0.1:9",
            ]
        )
        == 2
    )
    assert complaint(capsys).startswith(
        "evaluate: cluster tcp://127.0.0.1:9: expected a Dask scheduler, got "
    )


@pytest.mark.parametrize(
    "text", ["local", "local:0", "local:x", "tcp:host:1", "tcp://host", "http://host:1", "tls://:1"]
)
def test_an_address_that_is_none_is_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        evaluate.main(["--labels", "folder", "--cluster", text])
    assert stop.value.code == 2
    assert f"expected local:N, tcp://HOST:PORT or tls://HOST:PORT, got {text}" in complaint(capsys)


def test_no_flag_is_no_cluster() -> None:
    with joined_cluster(None) as none:
        assert none is None
