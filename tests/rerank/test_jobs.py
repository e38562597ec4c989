"""The processes behind batch re-ranking: their number and their deaths do not show in what comes
out, and none outlives its job.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from joblib.externals import loky
from pictures import ROOT

from pipeline.base.errors import UsageError
from pipeline.base.retry import GIVE_UP, TRIES
from pipeline.commands import rerank
from pipeline.rerank import jobs
from pipeline.rerank.jobs import rerank_all
from pipeline.search.shortlists import Failed, Reranked, Shortlist, in_chunks
from tests.stress.kill_rerank import Tally, look, plant_gallery, session

OPENING: Any = None  # of the tests whose second look is played
QUERIES = [f"q{i}" for i in range(40)]
LISTS = [Shortlist(query, query, np.arange(3)) for query in QUERIES]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A `gallery` and a `run.csv` of it."""
    plant_gallery(tmp_path / "gallery", 60, np.random.default_rng(0))
    rows = [
        f"gallery:{query:05d}.jpg,{(query + step) % 60:05d}.jpg\n"
        for query in range(60)
        for step in range(60)
    ]
    (tmp_path / "run.csv").write_text("query,image\n" + "".join(rows))
    return tmp_path


def command(work: Path, out: str, jobs: int) -> list[str]:
    return [
        "--gallery",
        str(work / "gallery"),
        "--candidates",
        str(work / "run.csv"),
        "--out",
        str(work / out),
        "--jobs",
        str(jobs),
    ]


def workers_of(pid: int) -> list[int]:
    """The worker processes that a process has started."""
    children = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [
        int(child)
        for child in children.split()
        if b"LokyProcess" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def test_neither_the_number_of_workers_nor_a_death_shows(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The death comes while the workers open the gallery, which is most of this test's time;
    tests/stress/kill_rerank.py kills them at work, too.
    """
    assert rerank.main(command(work, "one.csv", 1)) == 0
    killed: list[int] = []

    def kill_one() -> None:
        deadline = time.monotonic() + 60
        while len(found := workers_of(os.getpid())) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        killed.append(found[0])
        os.kill(found[0], signal.SIGKILL)

    thread = threading.Thread(target=kill_one)
    thread.start()
    capsys.readouterr()
    assert rerank.main(command(work, "two.csv", 2)) == 0
    thread.join()
    assert (work / "two.csv").read_bytes() == (work / "one.csv").read_bytes()
    assert len(killed) == 1
    told = re.search(r"; 0 resumed, (\d+) retried, 0 failed; ", capsys.readouterr().out)
    assert told is not None
    assert int(told[1]) > 0


def test_workers_end_with_their_job(work: Path) -> None:
    arguments = [sys.executable, str(ROOT / "scripts/rerank.py"), *command(work, "out.csv", 2)]
    job = subprocess.Popen(
        arguments,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        deadline = time.monotonic() + 60
        while sum(worker for _, worker in session(job.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(list(session(job.pid))) >= 3
    finally:
        job.kill()
        job.wait()
    tally = Tally()
    look(job, work / "out.csv", 0, set(), tally)
    assert (tally.orphans, tally.bad) == (0, 0)


def play(monkeypatch: pytest.MonkeyPatch, deadly: dict[str, int]) -> list[list[str]]:
    """Joblib without processes: a worker dies over a deadly query so many times, and its pool with
    it. Returns the queries sent at once, in turn.
    """
    asked: list[list[str]] = []

    def look_once(opening: Any, lists: list[Shortlist]) -> list[Reranked | Failed]:
        asked.append([each.query for each in lists])
        for each in lists:
            if deadly.get(each.query, 0):
                deadly[each.query] -= 1
                raise BrokenProcessPool
        return [Reranked(each.query, None, [2, 1, 0], {}) for each in lists]

    class Pool:
        """Two chunks at work, the later one answered first; the others wait for these."""

        def __init__(self, workers: int, **options: Any) -> None:
            assert (workers, options["initializer"]) == (2, jobs.stay_with)
            self.waiting: list[tuple[Future[Any], Callable[[Any], Any], Any]] = []
            self.at_work: list[tuple[Future[Any], Callable[[Any], Any], Any]] = []
            self.broken = False

        def submit(self, work: Callable[[Any], Any], some: Any) -> Future[Any]:
            assert not self.broken
            self.waiting.append((Future(), work, some))
            return self.waiting[-1][0]

        def go_on(self) -> None:
            if not self.at_work:
                self.at_work, self.waiting = self.waiting[:2], self.waiting[2:]
            future, work, some = self.at_work.pop()
            try:
                future.set_result(work(some))
            except BrokenProcessPool as death:
                self.broken = True
                for each in (future, *(lost for lost, _, _ in self.at_work + self.waiting)):
                    each.set_exception(death)

        def shutdown(self, wait: bool, kill_workers: bool) -> None:
            assert (wait, kill_workers) == (True, True)

    class Played(jobs.Processes):
        def next_done(self) -> jobs.Task:
            if self.done.empty():
                self.executor.go_on()
            return super().next_done()

    monkeypatch.setattr(jobs, "rerank_lists", look_once)
    monkeypatch.setattr(loky, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(jobs, "Processes", Played)
    return asked


@pytest.mark.parametrize("deaths", [1, TRIES])
def test_a_death_is_tried_again_alone(deaths: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, counts = play(monkeypatch, {"q3": deaths}), Counter[str]()
    answers = list(rerank_all(OPENING, LISTS, 2, counts))
    assert sorted(answer.query for answer in answers) == sorted(QUERIES)
    assert all(isinstance(answer, Reranked) for answer in answers)
    assert asked[:2] == [QUERIES[8:16], QUERIES[:8]]
    # what lay with the pool when it broke: those of the dead worker, and those that waited
    lost = [*QUERIES[:8], *QUERIES[16:32]]
    assert asked[2:] == [QUERIES[32:], *([query] for query in lost), *[["q3"]] * (deaths - 1)]
    assert counts == {"retried": len(lost) + deaths - 1}


def test_a_query_that_no_worker_survives_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, {"q3": 99, "q20": 99})
    answers = {answer.query: answer for answer in rerank_all(OPENING, LISTS, 2, Counter())}
    assert set(answers) == set(QUERIES)
    failed = [answer for answer in answers.values() if isinstance(answer, Failed)]
    assert [answer.query for answer in failed] == ["q3", "q20"]
    assert (
        failed[0].reason
        == "q3: expected a worker that lives through it, got 3 that died; look for what ends them,"
        " such as memory"
    )


def test_workers_that_all_die_end_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = play(monkeypatch, dict.fromkeys(QUERIES, 99))
    with pytest.raises(
        UsageError,
        match=(
            "workers: expected one that lives, got 20 that died in a row; run again with fewer"
            " `--jobs`"
        ),
    ):
        list(rerank_all(OPENING, LISTS, 2, Counter()))
    assert len(asked) == GIVE_UP


@pytest.mark.parametrize(
    ("lengths", "chunks"), [([3] * 20, [8, 8, 4]), ([600, 400, 1, 5000, 1], [2, 1, 1, 1]), ([], [])]
)
def test_a_chunk_is_a_few_queries_and_not_many_pairs(lengths: list[int], chunks: list[int]) -> None:
    lists = [Shortlist(str(i), str(i), np.arange(length)) for i, length in enumerate(lengths)]
    found = list(in_chunks(lists))
    assert [len(chunk) for chunk in found] == chunks
    assert [each for chunk in found for each in chunk] == lists


def test_the_judge_of_kills_finds_what_is_lost_or_done_twice(tmp_path: Path) -> None:
    job = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    job.wait()
    (tmp_path / "out.csv.part").write_text(
        '{}\n{"query": "a"}\n{"query": "b"}\n{"query": "b"}\n{"qu'
    )
    tally = Tally()
    assert look(job, tmp_path / "out.csv", 2, {"a"}, tally) == {"a", "b"}
    assert (tally.checked, tally.lost, tally.repeated, tally.orphans) == (2, 0, 1, 0)
    look(job, tmp_path / "out.csv", 3, {"a", "c"}, tally)
    assert (tally.checked, tally.lost, tally.repeated) == (5, 1, 2)
