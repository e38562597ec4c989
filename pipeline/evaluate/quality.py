"""What one query of `scripts/evaluate.py` comes to: its measures by both looks and by the first
alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from pipeline.base.errors import UsageError
from pipeline.base.names import printable
from pipeline.evaluate.ground_truth import Case

if TYPE_CHECKING:
    from pipeline.report.failures import Failure
    from pipeline.search.engine import Engine, Ranked
    from stages.records import Bool, Int64

    Measure = Callable[[Bool, Int64, int], Sequence[float]]


@dataclass(frozen=True)
class Outcome:
    """What one query came to."""

    case: Case
    both: tuple[float, ...]  # the measures, AP first
    coarse: tuple[float, ...]  # those of the first look alone
    found: tuple[int, int]  # the rank of the first relevant photo, from 1: both looks, first look
    accepted: int  # candidates
    failure: "Failure | None"  # for the contact sheet


def measure_quality(relevant: "Bool", ties: "Int64", total: int) -> Sequence[float]:
    """Of one query, in the order of metrics.QUALITY."""
    from stages.metrics import one

    return astuple(one(relevant, ties, total))


def measure_revisited(relevant: "Bool", ties: "Int64", total: int) -> Sequence[float]:
    """Of one query, in the order of revisited.MEASURES; their definition knows no ties."""
    from pipeline.evaluate.revisited import measures

    return measures(relevant, total)


def evaluate_query(
    engine: "Engine",
    case: Case,
    k: int,
    candidates: str | None,
    measure: "Measure" = measure_quality,
) -> Outcome:
    """One query ranked to full depth, by both looks and by the first alone."""
    from pipeline.base.errors import QueryError

    try:
        ranked = engine.rank(engine.query(case.query, case.box), k, candidates)
    except QueryError as error:
        raise UsageError(str(error)) from None
    relevant, kept = case.marks(engine.gallery)  # by row
    order, total = ranked.order[kept[ranked.order]], len(case.relevant)
    first = ranked.coarse.rows[0][kept[ranked.coarse.rows[0]]]
    both = tuple(measure(relevant[order], ranked.ties[kept[ranked.order]], total))
    coarse = tuple(measure(relevant[first], ranked.coarse_ties[kept[ranked.coarse.rows[0]]], total))
    found = int(relevant[order].argmax()) + 1, int(relevant[first].argmax()) + 1
    accepted = int((ranked.ranking.accepted[0] & kept[ranked.candidates.rows[0]]).sum())
    return Outcome(
        case,
        both,
        coarse,
        found,
        accepted,
        None if found[0] == 1 else failure(engine, case, ranked, order, relevant, both[0]),
    )


def failure(
    engine: "Engine",
    case: Case,
    ranked: "Ranked",
    order: "Int64",
    relevant: "Bool",
    precision: float,
) -> "Failure":
    """A row of the contact sheet: the query, the first results and the best relevant photo. order
    (n,): gallery rows, without what is left out; relevant (N,) by row.
    """
    import numpy as np

    from pipeline.evaluate.ground_truth import photo_file
    from pipeline.report.failures import SHOWN, Failure, Tile

    def tile(rank: int) -> Tile:
        row = int(order[rank])
        name = engine.gallery.names[row]
        seen = "not verified"
        if len(verified := np.flatnonzero(ranked.candidates.rows[0] == row)):
            place = verified[0]
            seen = f"{ranked.matches.inliers[0, place]} inliers" + (
                ", accepted" if ranked.ranking.accepted[0, place] else ""
            )
        if engine.recipe.binary:
            bits = int(ranked.coarse.distance[0, ranked.coarse.rows[0] == row][0])
            seen = f"{bits} bits differ"
        return Tile(
            engine.file(name),
            f"{rank + 1:,}. {short(name)}\n{seen}",
            bool(relevant[row]),
        )

    ranks = [*range(min(SHOWN, len(order))), int(relevant[order].argmax())]
    asked = Tile(
        photo_file(engine, case.query),
        f"query {short(case.query)}\nAP {precision:.3f}",
        None,
        case.box,
    )
    return Failure(precision, (asked, *map(tile, ranks)))


def short(name: str) -> str:
    """The last part of a path, safe to draw, its end cut where it is long."""
    last = printable(name.rsplit("/", 1)[-1]).replace("$", r"\$")
    return last if len(last) <= 24 else f"{last[:11]}…{last[-12:]}"
