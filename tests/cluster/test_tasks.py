"""Workers of a cluster that die, and a scheduler that does: played, so that every order of events
can be had.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.base.errors import UsageError
from pipeline.base.retry import GIVE_UP, TRIES, Died
from pipeline.cluster import connect, tasks
from pipeline.cluster.connect import Cluster, SchedulerLost
from pipeline.cluster.owners import dealt
from pipeline.cluster.tasks import result_of as fetched
from pipeline.cluster.tasks import run_here, run_on

ITEMS = [f"q{i}" for i in range(20)]
CHUNKS = [ITEMS[begin : begin + 4] for begin in range(0, 20, 4)]


class Promise:
    """A future that is kept at once."""

    def __init__(self, status: str, result: Any) -> None:
        self.status, self.kept = status, result

    def add_done_callback(self, tell: Callable[[Any], None]) -> None:
        tell(self)


class Client:
    """Two workers; one dies over a deadly item so many times, and the scheduler after so many
    tasks.
    """

    def __init__(self, deadly: dict[str, int], tasks: int = 10**6) -> None:
        self.deadly, self.tasks, self.status = deadly, tasks, "running"
        self.asked: list[list[str]] = []

    def nthreads(self) -> dict[str, int]:
        return {"a": 1, "b": 1}

    def submit(self, work: Callable[[Sequence[str]], Any], chunk: list[str], pure: bool) -> Promise:
        assert not pure
        self.asked.append(chunk)
        if len(self.asked) > self.tasks:
            self.status = "closed"
            return Promise("cancelled", None)
        for item in chunk:
            if self.deadly.get(item, 0):
                self.deadly[item] -= 1
                return Promise("error", Died(f"worker {len(self.asked)}"))
        return Promise("finished", work(chunk))


def result_of(cluster: Cluster, future: Promise) -> Any:
    if future.status == "cancelled":
        raise cluster.lost()
    if isinstance(future.kept, Exception):
        raise future.kept
    return future.kept


@pytest.fixture(autouse=True)
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "result_of", result_of)


class Future:
    """As Dask's, with what becomes of it while it is fetched."""

    def __init__(self, status: str, kept: Any, then: str = "") -> None:
        self.status, self.kept, self.then = status, kept, then

    def exception(self) -> Exception:
        assert isinstance(self.kept, Exception)
        return self.kept

    def result(self, timeout: float) -> Any:
        if self.then:
            self.status, self.then = self.then, ""
            raise TimeoutError
        if isinstance(self.kept, Exception):
            raise self.kept
        return self.kept


def test_what_a_task_came_to_is_told_apart() -> None:
    distributed = pytest.importorskip("distributed", reason="needs the extra `cluster`")
    killed = distributed.KilledWorker("task", SimpleNamespace(address="tcp://w:1"), 1)
    here = Cluster("tcp://h:1", Client({}), 1)
    assert fetched(here, Future("finished", 5)) == 5
    assert fetched(here, Future("finished", 5, "finished")) == 5  # slow to come
    for lost in (Future("lost", 5), Future("pending", 5), Future("finished", 5, "lost")):
        with pytest.raises(Died):
            fetched(here, lost)
    with pytest.raises(Died, match="tcp://w:1"):
        fetched(here, Future("error", killed))
    with pytest.raises(ConnectionError, match="the work's own"):
        fetched(here, Future("error", ConnectionError("the work's own")))
    for gone in (Future("cancelled", None), Future("finished", ConnectionError("Dask's"))):
        with pytest.raises(SchedulerLost):
            fetched(here, gone)


def test_one_worker_of_many_threads_dies_once() -> None:
    """All that it had in flight fails at once: that is one death, not twenty in a row."""
    client = Client({})
    deaths = iter(range(GIVE_UP + 4))

    def submit(work: Callable[[Sequence[str]], Any], chunk: list[str], pure: bool) -> Promise:
        return (
            Promise("error", Died("tcp://w:1"))
            if next(deaths, None) is not None
            else Promise("finished", work(chunk))
        )

    setattr(client, "submit", submit)  # noqa: B010
    items = [f"q{i}" for i in range(40)]
    found = dict(
        run_on(Cluster("local:2", client, 1), shout, items, [[item] for item in items], Counter())
    )
    assert [found[place] for place in range(40)] == [item.upper() for item in items]


def test_workers_that_join_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "POLL_SECONDS", 0.0)
    client, flight = Client({}), []
    monkeypatch.setattr(
        client, "nthreads", lambda: dict.fromkeys(map(str, range(1 + len(client.asked))), 1)
    )
    monkeypatch.setattr(
        tasks, "next_done", lambda cluster, done: flight.append(done.qsize()) or done.get()
    )
    assert (
        len(
            list(
                run_on(
                    Cluster("tcp://h:1", client, 1),
                    shout,
                    ITEMS,
                    [[item] for item in ITEMS],
                    Counter(),
                )
            )
        )
        == 20
    )
    assert max(flight) > 4  # two, for the one worker of the beginning


def test_parts_are_dealt_evenly_and_stay_where_they_are() -> None:
    alone = dealt(5, {}, ["a"])
    assert alone == dict.fromkeys(range(5), "a")
    both = dealt(5, alone, ["a", "b"])
    assert Counter(both.values()) == {"a": 3, "b": 2}
    assert dealt(5, both, ["b", "a"]) == both
    after = dealt(5, both, ["b", "c"])
    assert Counter(after.values()) == {"b": 3, "c": 2}
    assert all(after[part] == "b" for part in both if both[part] == "b")
    assert dealt(5, after, []) == {}


def shout(items: Sequence[str]) -> list[str]:
    return [item.upper() for item in items]


def spread_over(client: Client, counts: Counter[str]) -> dict[str, str | None]:
    found = list(run_on(Cluster("local:2", client, 1), shout, ITEMS, CHUNKS, counts))
    assert sorted(place for place, _ in found) == list(range(20))
    return {ITEMS[place]: result for place, result in found}


@pytest.mark.parametrize("deaths", [1, TRIES])
def test_what_was_in_flight_at_a_death_is_asked_again_alone(deaths: int) -> None:
    client, counts = Client({"q5": deaths}), Counter[str]()
    assert spread_over(client, counts) == {item: item.upper() for item in ITEMS}
    assert client.asked[:5] == CHUNKS
    assert Counter(item for chunk in client.asked[5:] for item in chunk) == {
        "q4": 1,
        "q5": deaths,
        "q6": 1,
        "q7": 1,
    }
    assert counts == {"retried": 4 + deaths - 1}


def test_an_item_that_no_worker_survives_fails_alone() -> None:
    found = spread_over(Client({"q5": 99, "q11": 99}), Counter())
    assert [item for item, result in found.items() if result is None] == ["q5", "q11"]


def test_workers_that_all_die_end_the_job() -> None:
    client = Client(dict.fromkeys(ITEMS, 99))
    with pytest.raises(
        UsageError,
        match=f"cluster local:2: expected workers that live, got {GIVE_UP} deaths in a row",
    ):
        spread_over(client, Counter())
    assert len(client.asked) <= GIVE_UP + 2


def test_a_lost_scheduler_is_one_line_and_what_is_done_is_handed_out() -> None:
    found = run_on(Cluster("local:2", Client({}, 3), 1), shout, ITEMS, CHUNKS, Counter())
    assert [next(found)[0] for _ in range(12)] == list(range(12))
    with pytest.raises(
        SchedulerLost,
        match=(
            "cluster local:2: expected a scheduler that stays, got none any more; start it anew and"
            " run the same"
        ),
    ):
        next(found)


def test_nobody_to_work_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(tasks, "EMPTY_SECONDS", 0.05)
    client = Client({})
    monkeypatch.setattr(client, "nthreads", dict)
    monkeypatch.setattr(Promise, "add_done_callback", lambda promise, tell: None)
    with pytest.raises(
        UsageError,
        match=f"cluster local:2: expected a worker, got none in {connect.EMPTY_SECONDS:.0f} s",
    ):
        spread_over(client, Counter())


@pytest.mark.parametrize(("deaths", "result"), [(1, "Q3"), (TRIES, "Q3"), (TRIES + 1, None)])
def test_a_query_over_parts_is_asked_again_after_the_others(
    deaths: int, result: str | None
) -> None:
    left, asked, counts = {"q3": deaths}, [], Counter[str]()

    def look(query: str) -> str:
        asked.append(query)
        if left.get(query, 0):
            left[query] -= 1
            raise Died
        return query.upper()

    found = dict(run_here(Cluster("local:2", Client({}), 1), look, ITEMS, counts))
    assert [found[place] for place in range(20)] == [
        "Q0",
        "Q1",
        "Q2",
        result,
        *map(str.upper, ITEMS[4:]),
    ]
    assert asked[20:] == ["q3"] * min(deaths, TRIES)
    assert counts == {"retried": 1}
