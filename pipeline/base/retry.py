"""Work given to processes that may die: what was lost with one is asked again, and an item that
ends several is given up.

Nobody knows over which of its items a process died, so all that it had are asked again, one at a
time with nothing beside them: a death then is that item's own, and after `TRIES` of them it has
failed.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
TRIES = 3  # deaths over one item alone before it is given up
GIVE_UP = 20  # deaths in a row, over any items
DIED = (
    f"expected a worker that lives through it, got {TRIES} that died; look for what ends them, such"
    " as memory"
)


class Died(Exception):
    """A worker ended over a task; says which, where that is known."""


class Workers(Protocol):
    """Processes that can be given tasks: of this machine, or of a cluster."""

    def size(self) -> int:
        """How many tasks run at once now."""

    def submit(self, work: Callable[[Any], Any], some: Any) -> Any:
        """A task that does work(some)."""

    def next_done(self) -> Any:
        """The task that is through next."""

    def result(self, task: Any) -> Any:
        """What it came to. Raises Died where its worker did, and what the work raises."""

    def no_worker_lives(self, deaths: int) -> Exception:
        """What to raise after so many deaths in a row."""


def run_tasks(
    workers: Workers,
    work: Callable[[Sequence[Item]], Sequence[Result]],
    items: Sequence[Item],
    chunks: Iterable[Sequence[Item]],
    counts: Counter[str],
) -> Iterator[tuple[int, Result | None]]:
    """The place of every item and what `work` makes of it in some worker, in any order; None where
    it ended `TRIES` workers.

    chunks: the items again, in order, as they are to be sent; work answers each item of a chunk.
    counts["retried"] says how many were asked again. Raises what `work` raises, and what `workers`
    raise where none is left or none lives.
    """
    waiting, begin = deque[range](), 0
    for chunk in chunks:
        waiting.append(range(begin, begin := begin + len(chunk)))
    suspects: deque[int] = deque()  # in flight at a death
    deaths = Counter[int]()  # over one item alone
    dead = set[str]()  # workers, since the last answer
    # by task: its items, and whether nothing is beside them
    flight: dict[Any, tuple[range, bool]] = {}
    while waiting or suspects or flight:
        size = max(1, workers.size())
        # the next ones lie with the workers before they are through
        while waiting and len(flight) < size + max(1, size // 2):
            places = waiting.popleft()
            flight[workers.submit(work, [items[place] for place in places])] = places, False
        if not flight:
            place = suspects.popleft()
            flight[workers.submit(work, [items[place]])] = range(place, place + 1), True
        task = workers.next_done()
        places, alone = flight.pop(task)
        try:
            yield from zip(places, workers.result(task), strict=True)
            dead.clear()
            continue
        except Died as death:
            dead.add(str(death))
        if len(dead) >= GIVE_UP:
            raise workers.no_worker_lives(len(dead))
        deaths.update(places if alone else ())
        if deaths[places[0]] < TRIES:
            suspects.extend(places)
            counts["retried"] += len(places)
        else:
            yield places[0], None


def with_retries(work: Callable[[], Result], error: Exception) -> Result:
    """`work`, again when a worker died over it. Raises `error` when `TRIES` have."""
    for _ in range(TRIES):
        try:
            return work()
        except Died:
            continue
    raise error
