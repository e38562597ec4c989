"""Ask the workers of a cluster for many things, a few at once; a worker that dies takes at most what was in flight on it.

As in pipeline/workers.py nobody knows over which item a worker died, so all that it had is asked again, one at a time with nothing
beside it: a death then is that item's own, and after `TRIES` of them it has failed.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from pipeline.cluster import EMPTY_SECONDS, Cluster
from pipeline.flags import UsageError
from pipeline.workers import GIVE_UP, TRIES

Item = TypeVar("Item")
Result = TypeVar("Result")
POLL_SECONDS = 1.0
DIED = f"want a worker that lives through it, got {TRIES} that died; look for what ends them, such as memory"


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
    size = cluster.size()
    while waiting or suspects or flight:
        while waiting and len(flight) < size + max(1, size // 2):  # the next ones lie with the workers before they are through
            places = waiting.popleft()
            flight[_send(cluster, work, [items[place] for place in places], done)] = places, False
        if not flight:
            place = suspects.popleft()
            flight[_send(cluster, work, [items[place]], done)] = range(place, place + 1), True
        future, size = _next(cluster, done)
        places, alone = flight.pop(future)
        results = _result(cluster, future)
        if results is not None:
            in_a_row = 0
            yield from zip(places, results, strict=True)
            continue
        in_a_row += 1
        if in_a_row >= GIVE_UP:
            raise UsageError(f"cluster {cluster.address}: want workers that live, got {in_a_row} deaths in a row; look for what ends them")
        counts["retried"] += len(places)
        deaths.update(places if alone else ())
        if deaths[places[0]] < TRIES:
            suspects.extend(places)
        else:
            yield places[0], None


def _send(cluster: Cluster, work: Callable[[Sequence[Item]], Sequence[Result]], chunk: Sequence[Item], done: SimpleQueue[Any]) -> Any:
    try:
        future = cluster.client.submit(work, chunk, pure=False)
    except Exception:
        if cluster.client.status != "running":
            raise cluster.lost() from None
        raise
    future.add_done_callback(done.put)
    return future


def _next(cluster: Cluster, done: SimpleQueue[Any]) -> tuple[Any, int]:
    """What is done next, and how many tasks run at once by now."""
    since = time.monotonic()
    while True:
        try:
            return done.get(timeout=POLL_SECONDS), max(1, cluster.size())
        except Empty:
            if cluster.size():
                since = time.monotonic()
            if time.monotonic() - since > EMPTY_SECONDS:
                raise cluster.without_workers() from None


def _result(cluster: Cluster, future: Any) -> Any:
    """None where the worker died over it."""
    from distributed import KilledWorker

    if future.status not in ("finished", "error"):  # cancelled or lost: the scheduler forgot it
        raise cluster.lost()
    try:
        return future.result()
    except KilledWorker:
        return None
