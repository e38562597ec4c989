"""Workers of a cluster that die, and a scheduler that does: played, so that every order of events can be had."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pipeline import cluster, spread
from pipeline.cluster import Cluster, SchedulerLost
from pipeline.flags import UsageError
from pipeline.spread import Died, in_turns
from pipeline.workers import GIVE_UP, TRIES

ITEMS = [f"q{i}" for i in range(20)]
CHUNKS = [ITEMS[begin : begin + 4] for begin in range(0, 20, 4)]


class Promise:
    """A future that is kept at once."""

    def __init__(self, status: str, result: Any) -> None:
        self.status, self.kept = status, result

    def add_done_callback(self, tell: Callable[[Any], None]) -> None:
        tell(self)


class Client:
    """Two workers; one dies over a deadly item so many times, and the scheduler after so many tasks."""

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
                return Promise("error", Died())
        return Promise("finished", work(chunk))


def result_of(cluster: Cluster, future: Promise) -> Any:
    if future.status == "cancelled":
        raise cluster.lost()
    if isinstance(future.kept, Exception):
        raise future.kept
    return future.kept


@pytest.fixture(autouse=True)
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "result_of", result_of)


def shout(items: Sequence[str]) -> list[str]:
    return [item.upper() for item in items]


def spread_over(client: Client, counts: Counter[str]) -> dict[str, str | None]:
    found = list(spread.spread(Cluster("local:2", client, 1), shout, ITEMS, CHUNKS, counts))
    assert sorted(place for place, _ in found) == list(range(20))
    return {ITEMS[place]: result for place, result in found}


@pytest.mark.parametrize("deaths", [1, TRIES])
def test_what_was_in_flight_at_a_death_is_asked_again_alone(deaths: int) -> None:
    client, counts = Client({"q5": deaths}), Counter[str]()
    assert spread_over(client, counts) == {item: item.upper() for item in ITEMS}
    assert client.asked[:5] == CHUNKS
    assert Counter(item for chunk in client.asked[5:] for item in chunk) == {"q4": 1, "q5": deaths, "q6": 1, "q7": 1}
    assert counts == {"retried": 4 + deaths - 1}


def test_an_item_that_no_worker_survives_fails_alone() -> None:
    found = spread_over(Client({"q5": 99, "q11": 99}), Counter())
    assert [item for item, result in found.items() if result is None] == ["q5", "q11"]


def test_workers_that_all_die_end_the_job() -> None:
    client = Client(dict.fromkeys(ITEMS, 99))
    with pytest.raises(UsageError, match=f"cluster local:2: want workers that live, got {GIVE_UP} deaths in a row"):
        spread_over(client, Counter())
    assert len(client.asked) <= GIVE_UP + 2


def test_a_lost_scheduler_is_one_line_and_what_is_done_is_handed_out() -> None:
    found = spread.spread(Cluster("local:2", Client({}, 3), 1), shout, ITEMS, CHUNKS, Counter())
    assert [next(found)[0] for _ in range(12)] == list(range(12))
    with pytest.raises(SchedulerLost, match="cluster local:2: want a scheduler that stays, got none any more; start it anew and run the same"):
        next(found)


def test_nobody_to_work_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(spread, "EMPTY_SECONDS", 0.05)
    client = Client({})
    monkeypatch.setattr(client, "nthreads", dict)
    monkeypatch.setattr(Promise, "add_done_callback", lambda promise, tell: None)
    with pytest.raises(UsageError, match=f"cluster local:2: want a worker, got none in {cluster.EMPTY_SECONDS:.0f} s"):
        spread_over(client, Counter())


@pytest.mark.parametrize(("deaths", "result"), [(1, "Q3"), (TRIES, "Q3"), (TRIES + 1, None)])
def test_a_query_over_parts_is_asked_again_after_the_others(deaths: int, result: str | None) -> None:
    left, asked, counts = {"q3": deaths}, [], Counter[str]()

    def look(query: str) -> str:
        asked.append(query)
        if left.get(query, 0):
            left[query] -= 1
            raise Died
        return query.upper()

    found = dict(in_turns(Cluster("local:2", Client({}), 1), look, ITEMS, counts))
    assert [found[place] for place in range(20)] == ["Q0", "Q1", "Q2", result, *map(str.upper, ITEMS[4:])]
    assert asked[20:] == ["q3"] * min(deaths, TRIES)
    assert counts == {"retried": 1}
