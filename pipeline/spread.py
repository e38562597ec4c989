"""Ask the workers of a cluster for many things, a few at once; a worker that dies takes at most what was in flight on it.

As in pipeline/workers.py nobody knows over which item a worker died, so all that it had is asked again, one at a time with nothing
beside it: a death then is that item's own, and after `TRIES` of them it has failed.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from pipeline.cluster import EMPTY_SECONDS, Cluster
from pipeline.engine import QueryError
from pipeline.flags import UsageError
from pipeline.workers import GIVE_UP, TRIES

Item = TypeVar("Item")
Result = TypeVar("Result")
POLL_SECONDS = 1.0
DIED = f"want a worker that lives through it, got {TRIES} that died; look for what ends them, such as memory"


class Died(Exception):
    """A worker ended over a task."""


def spread(
    cluster: Cluster,
    work: Callable[[Sequence[Item]], Sequence[Result]],
    items: Sequence[Item],
    chunks: Iterable[Sequence[Item]],
    counts: Counter[str],
) -> Iterator[tuple[int, Result | None]]:
    """The place of every item and what `work` makes of it on some worker, in any order; None where it ended `TRIES` workers.

    chunks: the items again, in order, as they are to be sent; work answers each item of a chunk. counts["retried"] says how many were
    asked again. Raises what `work` raises, SchedulerLost, or UsageError where no worker is left or none lives.
    """
    waiting, begin = deque[range](), 0
    for chunk in chunks:
        waiting.append(range(begin, begin := begin + len(chunk)))
    suspects: deque[int] = deque()  # in flight at a death
    deaths = Counter[int]()  # over one item alone
    in_a_row = 0  # deaths since the last answer
    flight: dict[Any, tuple[range, bool]] = {}  # by future: its items, and whether nothing is beside them
    done: SimpleQueue[Any] = SimpleQueue()
    size = max(1, cluster.size())
    while waiting or suspects or flight:
        while waiting and len(flight) < size + max(1, size // 2):  # the next ones lie with the workers before they are through
            places = waiting.popleft()
            flight[send(cluster, done, work, [items[place] for place in places])] = places, False
        if not flight:
            place = suspects.popleft()
            flight[send(cluster, done, work, [items[place]])] = range(place, place + 1), True
        future, seen = next_done(cluster, done)
        size = seen or size
        places, alone = flight.pop(future)
        try:
            yield from zip(places, result_of(cluster, future), strict=True)
            in_a_row = 0
            continue
        except Died:
            in_a_row += 1
        if in_a_row >= GIVE_UP:
            raise UsageError(f"cluster {cluster.address}: want workers that live, got {in_a_row} deaths in a row; look for what ends them")
        counts["retried"] += len(places)
        deaths.update(places if alone else ())
        if deaths[places[0]] < TRIES:
            suspects.extend(places)
        else:
            yield places[0], None


def send(cluster: Cluster, done: SimpleQueue[Any], work: Callable[..., Any], *arguments: Any, owner: str = "") -> Any:
    """A worker's promise of work(*arguments), put into `done` when it is kept; by the owner, unless that one is lost. Raises SchedulerLost."""
    preferred = {"workers": [owner], "allow_other_workers": True} if owner else {}
    try:
        future = cluster.client.submit(work, *arguments, pure=False, **preferred)
    except Exception:
        if cluster.client.status != "running":
            raise cluster.lost() from None
        raise
    future.add_done_callback(done.put)
    return future


def next_done(cluster: Cluster, done: SimpleQueue[Any]) -> tuple[Any, int]:
    """What is done next, and how many tasks ran at once when last asked, 0 where that is not known. Raises SchedulerLost, or UsageError
    where no worker is left."""
    empty, size = 0.0, 0
    while True:
        try:
            return done.get(timeout=POLL_SECONDS), size
        except Empty:
            size = cluster.size()
            empty = 0.0 if size else empty + POLL_SECONDS
            if empty > EMPTY_SECONDS:
                raise cluster.without_workers() from None


def result_of(cluster: Cluster, future: Any) -> Any:
    """What the work came to. Raises Died where its worker did, SchedulerLost, and what the work raises."""
    from distributed import KilledWorker

    if future.status not in ("finished", "error"):  # cancelled or lost: the scheduler forgot it
        raise cluster.lost()
    try:
        return future.result()
    except KilledWorker:
        raise Died from None


def tried(work: Callable[[], Result], error: Exception | None = None) -> Result:
    """`work`, again when a worker died over it. Raises `error` when `TRIES` have."""
    for _ in range(TRIES):
        try:
            return work()
        except Died:
            continue
    raise error or UsageError(f"cluster: {DIED}")


def survived(query: str, ask: Callable[[], Result]) -> Result:
    """What is asked about one query. Raises QueryError where no worker survives it."""
    return tried(ask, QueryError(f"{query}: {DIED}"))


def in_turns(cluster: Cluster, work: Callable[[Item], Result], items: Sequence[Item], counts: Counter[str]) -> Iterator[tuple[int, Result | None]]:
    """The place of every item and what `work` makes of it here, a few at once; None where it ended `TRIES` workers that were asked.

    Those that were at work when a worker died are asked again alone, after all others, as pipeline/spread.py does.
    """
    threads = cluster.size() + 1
    suspects: list[int] = []
    with ThreadPoolExecutor(threads) as pool:
        flight: dict[Future[Result], int] = {}
        waiting = iter(range(len(items)))
        try:
            while True:
                for place in waiting:
                    flight[pool.submit(work, items[place])] = place
                    if len(flight) == threads:
                        break
                if not flight:
                    break
                for future in wait(flight, return_when=FIRST_COMPLETED).done:
                    place = flight.pop(future)
                    try:
                        yield place, future.result()
                    except Died:
                        suspects.append(place)
        finally:
            for future in flight:
                future.cancel()
    for place in suspects:
        counts["retried"] += 1
        try:
            yield place, tried(partial(work, items[place]), Died())
        except Died:
            yield place, None
