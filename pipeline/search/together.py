"""Several photos of one thing as one query: each asks by itself, and what any of them gets accepted
is found.

The photos share the stated rate of false alarms: of n photos each accepts at an n-th of it, so that
all of them together accept no more unrelated photos than one does. Accepted photos come first, by
the best evidence that one of the photos has; all others follow by the best place that they have in
the first look of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.search.answer import Answer, Result
from pipeline.search.looked import Looked, sharing_the_rate
from pipeline.search.query import Query

if TYPE_CHECKING:
    from pipeline.search.engine import Engine

NAMED = 3  # photos that the query's name lists

Strength = tuple[bool, float]  # found by the photo itself, its evidence: the larger the better


def answer_together(
    engine: Engine,
    queries: Sequence[Query],
    k: int,
    candidates: str | None = None,
    budget_ms: float | None = None,
) -> Answer:
    """The first k places for all of these photos, at least one; budget_ms: for all of them. A
    place's `asked_by` says whose matches, map and place in coarse order it tells.
    """
    shared = sharing_the_rate(engine, 1 / len(queries))
    budget = None if budget_ms is None else budget_ms / len(queries)
    looks = [shared.look(query, k, candidates, 2 * k, budget) for query in queries]
    accepted: dict[str, tuple[Strength, Result]] = {}
    others: dict[str, Result] = {}
    answers = []
    for number, (query, (coarse, looked)) in enumerate(zip(queries, looks, strict=True), 1):
        strength = strengths(looked)
        whole = len(strength) + 2 * k  # where k or more are accepted, the others are not shown
        answer = shared.answer_of(query, whole, coarse, looked)
        answers.append(answer)
        for result in answer.results:
            told = replace(result, asked_by=number)
            if told.accepted:
                mine = strength[engine.gallery.row(told.image)], told
                accepted[told.image] = max(accepted.get(told.image, mine), mine, key=lambda e: e[0])
            else:
                mine_too = others.get(told.image, told)
                others[told.image] = min(mine_too, told, key=lambda each: each.coarse_rank)
    first = [result for _, result in sorted(accepted.values(), key=lambda e: e[0], reverse=True)]
    rest = sorted(
        (result for image, result in others.items() if image not in accepted),
        key=lambda result: result.coarse_rank,
    )
    results = [replace(each, rank=rank) for rank, each in enumerate([*first, *rest][:k], 1)]
    seconds = sum((Counter(answer.seconds) for answer in answers), Counter())
    return replace(
        answers[0],
        query=named(queries),
        k=k,
        candidates=len(np.unique(np.concatenate([seen.candidates.rows[0] for _, seen in looks]))),
        accepted=len(first),
        fell_back=not all(result.accepted for result in results),
        results=tuple(results),
        seconds={stage: round(spent, 6) for stage, spent in seconds.items()},
        box=None,
        features=sum(answer.features for answer in answers),
        together=[
            {"query": query.name, "box": each.box}
            for query, each in zip(queries, answers, strict=True)
        ],
    )


def strengths(looked: Looked) -> dict[int, Strength]:
    """Of the photos that were accepted, by their rows."""
    rows, ranking = looked.candidates.rows[0], looked.ranking
    return {
        int(rows[place]): (
            int(rows[place]) not in looked.through,
            float(ranking.evidence[0, place]),
        )
        for place in np.flatnonzero(ranking.accepted[0]).tolist()
    }


def named(queries: Sequence[Query]) -> str:
    """What the photos together are called."""
    names = [query.name for query in queries[:NAMED]]
    more = [f"{len(queries) - NAMED} more"] if len(queries) > NAMED else []
    return " + ".join([*names, *more])


def of_one(answer: Answer, number: int, query: Query) -> Answer:
    """Of an answer to several photos, what the one of this number found, for drawing."""
    return replace(
        answer,
        query=query.name,
        results=tuple(each for each in answer.results if each.asked_by == number),
        box=None if query.part is None else list(query.part.box),
    )
