"""The jobs of a cluster. Of one gallery: shortlists and queries are sent to workers that each open it whole. Of several: each worker
opens those it owns (pipeline/parts.py), and the queries are looked at here.

What comes back depends on the query alone, as it does with processes of one machine.
"""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from pipeline.cluster import Cluster
from pipeline.engine import ASKING, INDEXED, Engine, engine_of, open_engine
from pipeline.flags import UsageError
from pipeline.many import Galleries, members
from pipeline.models import find_model
from pipeline.parts import assemble
from pipeline.runs import Reranked, Shortlist
from pipeline.spread import DIED, in_turns, spread
from pipeline.truth import Case
from pipeline.workers import Failed, Opening, in_chunks, look_again, opened, read_version, second_look, want_version

Outcome = TypeVar("Outcome")


def assembling(cluster: Cluster | None, where: Galleries) -> Callable[..., Engine]:
    """What `open_engine` joins these galleries with: where there are several and a cluster, with their owners."""
    return partial(assemble, cluster) if cluster and len(members(where)) > 1 else engine_of


def answer_afar(cluster: Cluster, opening: Opening, lists: Sequence[Shortlist], counts: Counter[str]) -> Iterator[Reranked | Failed]:
    """Every shortlist answered, in any order; as pipeline/workers.py `answer_all`."""
    if len(opening.gallery) > 1:
        how = partial(assemble, cluster)
        engine = open_engine(opening.gallery, opening.recipe, opening.model, None, opening.device, opening.seed, opening.false_alarm, assemble=how)
        want_version(opening.gallery, opening.model, opening.version)  # whose rows the lists are
        answers: Iterator[tuple[int, Reranked | Failed | None]] = in_turns(cluster, partial(look_again, engine), lists, counts)
    else:
        answers = spread(cluster, partial(second_look, opening), lists, in_chunks(lists), counts)
    for place, answer in answers:
        yield Failed(lists[place].query, f"{lists[place].query}: {DIED}") if answer is None else answer


def opening_of(cluster: Cluster | None, args: argparse.Namespace) -> Opening | None:
    """How the workers are to open what these flags name, as it is now; None without a cluster."""
    if cluster is None:
        return None
    model = None if args.model is None else str(find_model(args.model))
    where = tuple(folder.resolve() for folder in members(args.gallery))
    asking = None if args.queries is None else (args.queries.resolve(), read_version(args.queries, model)[1])
    version = read_version(args.gallery, model)[1]
    return Opening(where, args.recipe, model, args.device, args.seed, args.false_alarm, version, cluster.threads, args.code, args.search, asking)


def measured(
    cluster: Cluster | None, opening: Opening | None, engine: Engine, look: Callable[[Engine, Case], Outcome], cases: Sequence[Case]
) -> Iterator[Outcome]:
    """What `look` makes of every case, in their order; opening: as `opening_of` had it before `engine` was opened. On a cluster `look` and
    what it returns are sent.

    Raises what `look` raises, and UsageError over a query that no worker survives.
    """
    if cluster is None or opening is None:
        yield from (look(engine, case) for case in cases)
        return
    counts: Counter[str] = Counter()
    if len(opening.gallery) > 1:
        found: Iterator[tuple[int, Outcome | None]] = in_turns(cluster, partial(look, engine), cases, counts)
    else:
        sent = [replace(case, query=_absolute(case.query)) for case in cases]
        found = spread(cluster, partial(_look_all, opening, look), sent, ([case] for case in sent), counts)
    ready: dict[int, Outcome] = {}
    turn = 0
    for place, outcome in found:
        if outcome is None:
            raise UsageError(f"{cases[place].query}: {DIED}")
        ready[place] = outcome
        while turn in ready:
            yield ready.pop(turn)
            turn += 1


def _look_all(opening: Opening, look: Callable[[Engine, Case], Outcome], cases: Sequence[Case]) -> list[Outcome]:
    engine = opened(opening)
    return [look(engine, case) for case in cases]


def _absolute(query: str) -> str:
    return query if query.startswith((INDEXED, ASKING)) else os.path.join(os.getcwd(), query)  # abspath would cut `link/..`
