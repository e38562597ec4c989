"""Ask the workers of a cluster for many things, a few at once; a worker that dies takes at most what was in flight on it.

As in pipeline/workers.py nobody knows over which item a worker died, so all that it had is asked again, one at a time with nothing
beside it: a death then is that item's own, and after `TRIES` of them it has failed.
"""

import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
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
FETCH_SECONDS = 60.0  # for a result to come, before it is asked whether anybody is still there
MOST = 256  # queries looked at at once, whatever the number of workers
DIED = f"want a worker that lives through it, got {TRIES} that died; look for what ends them, such as memory"


class Died(Exception):
    """A worker ended over a task; says which, where that is known."""


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
    sizes = _sizes(cluster)
    waiting, begin = deque[range](), 0
    for chunk in chunks:
        waiting.append(range(begin, begin := begin + len(chunk)))
    suspects: deque[int] = deque()  # in flight at a death
    deaths = Counter[int]()  # over one item alone
    dead = set[str]()  # workers, since the last answer
    flight: dict[Any, tuple[range, bool]] = {}  # by future: its items, and whether nothing is beside them
    done: SimpleQueue[Any] = SimpleQueue()
    while waiting or suspects or flight:
        size = next(sizes)
        while waiting and len(flight) < size + max(1, size // 2):  # the next ones lie with the workers before they are through
            places = waiting.popleft()
            flight[send(cluster, done, work, [items[place] for place in places])] = places, False
        if not flight:
            place = suspects.popleft()
            flight[send(cluster, done, work, [items[place]])] = range(place, place + 1), True
        future = next_done(cluster, done)
        places, alone = flight.pop(future)
        try:
            yield from zip(places, result_of(cluster, future), strict=True)
            dead.clear()
            continue
        except Died as death:
            dead.add(str(death))
        if len(dead) >= GIVE_UP:
            raise UsageError(f"cluster {cluster.address}: want workers that live, got {len(dead)} deaths in a row; look for what ends them")
        counts["retried"] += len(places)
        deaths.update(places if alone else ())
        if deaths[places[0]] < TRIES:
            suspects.extend(places)
        else:
            yield places[0], None


def _sizes(cluster: Cluster) -> Iterator[int]:
    """How many tasks run at once, looked at once a second: workers come and go. Raises SchedulerLost."""
    size, looked = 0, -POLL_SECONDS
    while True:
        if time.monotonic() - looked >= POLL_SECONDS:
            size, looked = cluster.size() or size, time.monotonic()
        yield max(1, size)


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


def next_done(cluster: Cluster, done: SimpleQueue[Any]) -> Any:
    """What is done next. Raises SchedulerLost, or UsageError where no worker is left."""
    empty = 0.0
    while True:
        try:
            return done.get(timeout=POLL_SECONDS)
        except Empty:
            empty = 0.0 if cluster.size() else empty + POLL_SECONDS
            if empty > EMPTY_SECONDS:
                raise cluster.without_workers() from None


def result_of(cluster: Cluster, future: Any) -> Any:
    """What the work came to. Raises Died where its worker did, SchedulerLost, and what the work raises."""
    from distributed import KilledWorker

    while True:
        if future.status == "error":
            error = future.exception()
            raise (Died(error.last_worker.address) if isinstance(error, KilledWorker) else error) from None
        if future.status == "cancelled":  # the scheduler forgot it
            raise cluster.lost()
        if future.status != "finished":  # its worker went with the result before that was fetched
            raise Died
        try:
            return future.result(timeout=FETCH_SECONDS)
        except TimeoutError:
            cluster.size()  # whether the scheduler is still there; then it is looked at again what became of it
        except (OSError, CancelledError, KilledWorker):
            if future.status == "finished":
                raise cluster.lost() from None


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
    sizes = _sizes(cluster)
    suspects: list[int] = []
    with ThreadPoolExecutor(MOST) as pool:
        flight: dict[Future[Result], int] = {}
        waiting = iter(range(len(items)))
        try:
            while True:
                for place in itertools.islice(waiting, max(0, min(MOST, next(sizes) + 1) - len(flight))):
                    flight[pool.submit(work, items[place])] = place
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
