"""Ask the workers of a cluster for many things, a few at once; a worker that dies takes at most
what was in flight on it.
"""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from pipeline.base.errors import QueryError, UsageError
from pipeline.base.retry import DIED, Died, run_tasks, with_retries
from pipeline.cluster.connect import EMPTY_SECONDS, Cluster

Item = TypeVar("Item")
Result = TypeVar("Result")
POLL_SECONDS = 1.0
FETCH_SECONDS = 60.0  # for a result to come, before it is asked whether anybody is still there
MOST = 256  # queries asked at once, whatever the number of workers


@dataclass(eq=False)
class DaskWorkers:
    """A cluster's workers, as `pipeline.base.retry.Workers`."""

    cluster: Cluster
    done: SimpleQueue[Any] = field(default_factory=SimpleQueue)
    sizes: Iterator[int] | None = None

    def size(self) -> int:
        """Raises SchedulerLost."""
        self.sizes = self.sizes or _sizes(self.cluster)
        return next(self.sizes)

    def submit(self, work: Callable[[Any], Any], some: Any) -> Any:
        return send(self.cluster, self.done, work, some)

    def next_done(self) -> Any:
        return next_done(self.cluster, self.done)

    def result(self, task: Any) -> Any:
        return result_of(self.cluster, task)

    def no_worker_lives(self, deaths: int) -> UsageError:
        return UsageError(
            f"cluster {self.cluster.address}: expected workers that live, got {deaths} deaths in a"
            " row; look for what ends them"
        )


def run_on(
    cluster: Cluster,
    work: Callable[[Sequence[Item]], Sequence[Result]],
    items: Sequence[Item],
    chunks: Iterable[Sequence[Item]],
    counts: Counter[str],
) -> Iterator[tuple[int, Result | None]]:
    """`run_tasks` on the cluster's workers. Raises SchedulerLost too."""
    return run_tasks(DaskWorkers(cluster), work, items, chunks, counts)


def _sizes(cluster: Cluster) -> Iterator[int]:
    """How many tasks run at once, asked once a second: workers come and go. Raises
    SchedulerLost.
    """
    size, checked = 0, -POLL_SECONDS
    while True:
        if time.monotonic() - checked >= POLL_SECONDS:
            size, checked = cluster.size() or size, time.monotonic()
        yield max(1, size)


def send(
    cluster: Cluster,
    done: SimpleQueue[Any],
    work: Callable[..., Any],
    *arguments: Any,
    owner: str = "",
) -> Any:
    """A worker's promise of work(*arguments), put into `done` when it is kept; by the owner, unless
    that one is lost. Raises SchedulerLost.
    """
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
    """What the work came to. Raises Died where its worker did, SchedulerLost, and what the work
    raises.
    """
    from distributed import KilledWorker

    while True:
        if future.status == "error":
            error = future.exception()
            raise (
                Died(error.last_worker.address) if isinstance(error, KilledWorker) else error
            ) from None
        if future.status == "cancelled":  # the scheduler forgot it
            raise cluster.lost()
        if future.status != "finished":  # its worker went with the result before that was fetched
            raise Died
        try:
            return future.result(timeout=FETCH_SECONDS)
        except TimeoutError:
            # whether the scheduler is still there; then what became of it is asked again
            cluster.size()
        except (OSError, CancelledError, KilledWorker):
            if future.status == "finished":
                raise cluster.lost() from None


def retried(work: Callable[[], Result]) -> Result:
    """`work`, again when a worker died over it. Raises UsageError where none survives it."""
    return with_retries(work, UsageError(f"cluster: {DIED}"))


def retried_query(query: str, ask: Callable[[], Result]) -> Result:
    """What is asked about one query. Raises QueryError where no worker survives it."""
    return with_retries(ask, QueryError(f"{query}: {DIED}"))


def run_here(
    cluster: Cluster, work: Callable[[Item], Result], items: Sequence[Item], counts: Counter[str]
) -> Iterator[tuple[int, Result | None]]:
    """The place of every item and what `work` makes of it here, a few at once; None where it ended
    `TRIES` workers that were asked.

    Those that were at work when a worker died are asked again alone, after all others, as
    `run_tasks` does.
    """
    sizes = _sizes(cluster)
    suspects: list[int] = []
    with ThreadPoolExecutor(MOST) as pool:
        flight: dict[Future[Result], int] = {}
        waiting = iter(range(len(items)))
        try:
            while True:
                for place in itertools.islice(
                    waiting, max(0, min(MOST, next(sizes) + 1) - len(flight))
                ):
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
            yield place, with_retries(partial(work, items[place]), Died())
        except Died:
            yield place, None
