"""What one query of `scripts/sweep.py` comes to at every number of candidates, from one
verification.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.base.errors import UsageError
from pipeline.evaluate.ground_truth import Case

if TYPE_CHECKING:
    from pipeline.search.engine import Engine
    from stages.metrics import Quality


@dataclass(frozen=True)
class Size:
    """So many candidates."""

    label: str  # as the caller wrote it, "40=4x" where two came to the same
    candidates: int


@dataclass(frozen=True)
class Outcome:
    """What one query came to at one size; 0 candidates are the first look alone."""

    quality: "Quality"
    shortlisted: bool  # an answer is among the candidates
    accepted: int  # candidates
    seconds: float


def sweep_query(engine: "Engine", case: Case, sizes: Sequence[Size]) -> list[Outcome]:
    """One query: the first look alone, then every size."""
    from pipeline.base.errors import QueryError
    from stages.metrics import one
    from stages.order import both_ties, first_ties
    from stages.records import Matches

    try:
        # the times of stages add up where no two are at work at once
        query = replace(engine, rows_at_once=1).query(case.query)
    except QueryError as error:
        raise UsageError(str(error)) from None
    coarse, found = engine.find(query, sizes[-1].candidates, len(engine.gallery))
    total = len(case.relevant)
    relevant, kept = case.marks(engine.gallery)  # by row
    first = kept[coarse.rows[0]]
    encoded = sum(query.seconds.values())
    outcomes = [
        Outcome(
            one(relevant[coarse.rows[0][first]], first_ties(coarse)[first], total),
            False,
            0,
            encoded
            - (query.seconds.get("describe", 0.0) if engine.recipe.shortlist == "global" else 0),
        )
    ]
    parts: list[Matches] = []
    verified: dict[str, float] = {}
    for begin, end in itertools.pairwise([0, *(size.candidates for size in sizes)]):
        parts.append(engine.match(query, found.part(begin, end), verified))
        ranked: dict[str, float] = {}
        # what is accepted may depend on how many were verified
        ranking = engine.judge(query, found.part(0, end), Matches.join(parts), ranked)
        order, ties = both_ties(ranking, found.part(0, end), coarse)
        quality = one(relevant[order][kept[order]], ties[kept[order]], total)
        candidates = found.rows[0, :end]
        accepted = int((ranking.accepted[0] & kept[candidates]).sum())
        seconds = encoded + sum(verified.values()) + sum(ranked.values())
        outcomes.append(Outcome(quality, bool(relevant[candidates].any()), accepted, seconds))
    return outcomes
