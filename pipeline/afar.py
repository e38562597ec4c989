"""The jobs of a cluster: shortlists re-ranked and queries measured by workers that each open the gallery once.

What comes back depends on the query alone, as it does with processes of one machine.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from pipeline.cluster import Cluster
from pipeline.engine import Engine
from pipeline.flags import UsageError
from pipeline.runs import Reranked, Shortlist
from pipeline.spread import DIED, spread
from pipeline.truth import Case
from pipeline.workers import Failed, Opening, in_chunks, opened, second_look

Outcome = TypeVar("Outcome")


def answer_afar(cluster: Cluster, opening: Opening, lists: Sequence[Shortlist], counts: Counter[str]) -> Iterator[Reranked | Failed]:
    """Every shortlist answered, in any order; as pipeline/workers.py `answer_all`."""
    for place, answer in spread(cluster, partial(second_look, opening), lists, in_chunks(lists), counts):
        yield Failed(lists[place].query, f"{lists[place].query}: {DIED}") if answer is None else answer


def measured_afar(cluster: Cluster, opening: Opening, look: Callable[[Engine, Case], Outcome], cases: Sequence[Case]) -> Iterator[Outcome]:
    """What `look` makes of every case, in their order. Raises what it raises, and UsageError over a query that no worker survives."""
    ready: dict[int, Outcome] = {}
    turn = 0
    for place, outcome in spread(cluster, partial(_look_all, opening, look), cases, ([case] for case in cases), Counter()):
        if outcome is None:
            raise UsageError(f"{cases[place].query}: {DIED}")
        ready[place] = outcome
        while turn in ready:
            yield ready.pop(turn)
            turn += 1


def _look_all(opening: Opening, look: Callable[[Engine, Case], Outcome], cases: Sequence[Case]) -> list[Outcome]:
    engine = opened(opening)
    return [look(engine, case) for case in cases]
