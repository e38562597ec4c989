"""Shortlists re-ranked by processes of this machine: each opens the gallery once, its features a
memory map that all share.

What is answered depends on the query alone, so neither the number of processes nor the death of one
shows in the answers.
"""

import os
import select
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any

from pipeline.base.errors import UsageError
from pipeline.base.retry import DIED, Died, run_tasks
from pipeline.search.process import Opening
from pipeline.search.shortlists import Failed, Reranked, Shortlist, in_chunks, rerank_lists


def rerank_all(
    opening: Opening, lists: Sequence[Shortlist], jobs: int, counts: Counter[str]
) -> Iterator[Reranked | Failed]:
    """Every shortlist re-ranked, in any order, by `jobs` processes; one works in this process.
    counts["retried"] says how many were asked again because a process died.
    """
    if jobs == 1:
        for each in lists:
            yield from rerank_lists(opening, [each])
        return
    with Processes(jobs) as processes:
        for place, answer in run_tasks(
            processes, partial(rerank_lists, opening), lists, in_chunks(lists), counts
        ):
            query = lists[place].query
            yield Failed(query, f"{query}: {DIED}") if answer is None else answer


@dataclass(frozen=True)
class Task:
    """What was submitted, and to which of the pools that followed each other."""

    future: Any
    pool: int


@dataclass(eq=False)
class Processes:
    """joblib's processes as `Workers`: when one dies its pool is broken, and all that was in flight
    is lost with it.
    """

    jobs: int
    executor: Any = None
    pool: int = 0  # how many were made
    done: SimpleQueue[Task] = field(default_factory=SimpleQueue)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def size(self) -> int:
        return self.jobs

    def submit(self, work: Callable[[Any], Any], some: Any) -> Task:
        """Raises nothing where the pool broke a moment ago: a new one is made."""
        from joblib.externals.loky import ProcessPoolExecutor

        while True:
            if self.executor is None:
                self.pool += 1
                self.executor = ProcessPoolExecutor(
                    self.jobs, initializer=stay_with, initargs=(os.getpid(),)
                )
            try:
                task = Task(self.executor.submit(work, some), self.pool)
            except (BrokenProcessPool, RuntimeError):
                self._end()
                continue
            task.future.add_done_callback(lambda _, task=task: self.done.put(task))
            return task

    def next_done(self) -> Task:
        return self.done.get()

    def result(self, task: Task) -> Any:
        try:
            return task.future.result()
        except BrokenProcessPool:
            if task.pool == self.pool:
                self._end()
            raise Died(f"pool {task.pool}") from None

    def no_worker_lives(self, deaths: int) -> UsageError:
        return UsageError(
            f"workers: expected one that lives, got {deaths} that died in a row; run again with"
            " fewer `--jobs`"
        )

    def _end(self) -> None:
        if self.executor is not None:
            self.executor.shutdown(wait=True, kill_workers=True)
            self.executor = None


def stay_with(parent: int) -> None:
    """Make this process end with its parent, however that ends, and leave Ctrl-C to it.

    A worker without work would wait for five minutes otherwise, its memory held.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        watched = os.pidfd_open(parent)
    except ProcessLookupError:
        os._exit(1)
    if os.getppid() != parent:  # it was gone already, and its number given to another
        os._exit(1)

    def wait() -> None:
        select.select([watched], [], [])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
