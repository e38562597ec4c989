"""Shortlists that came from elsewhere, re-ranked by the second look."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.base.errors import QueryError
from pipeline.base.names import INDEXED
from pipeline.search.engine import Engine
from pipeline.search.process import Opening, opened
from stages.records import Int64, Matches, Ranking

# sent to a process at once, at most: enough to hide the sending, little to lose
CHUNK_QUERIES, CHUNK_PAIRS = 8, 1000


# What the second look says of a candidate: a CSV's last columns, and no others know of them.
# (1, K) each, by place in the shortlist
EVIDENCE: dict[str, Callable[[Matches, Ranking], np.ndarray]] = {
    "matches": lambda matches, ranking: matches.matches,
    "inliers": lambda matches, ranking: matches.inliers,
    "false_alarms": lambda matches, ranking: np.array(
        [["" if np.isnan(v) else f"{v:.6g}" for v in row] for row in ranking.false_alarms]
    ),
    "accepted": lambda matches, ranking: ranking.accepted.astype(np.int8),
}


@dataclass(frozen=True, eq=False)
class Shortlist:
    """What another engine proposes for one query."""

    query: str  # as the file has it
    where: str  # as Engine.query takes it
    rows: Int64  # (K,) gallery rows, best first
    images: tuple[str, ...] = ()  # as the file calls them, where not as the gallery does


@dataclass(frozen=True)
class Reranked:
    """What the second look made of a shortlist."""

    query: str
    stamp: list[int] | None  # size and mtime_ns of the query's file, None for an indexed photo
    places: list[int]  # (K,) places in the shortlist, best first
    evidence: dict[str, list[Any]]  # (K,) each, best first: EVIDENCE


@dataclass(frozen=True)
class Failed:
    """A query that nobody could answer."""

    query: str
    reason: str


def stamp(where: str) -> list[int] | None:
    """By what a query's file is known again. None for an indexed photo, and for what is no file."""
    if where.startswith(INDEXED):
        return None
    try:
        status = os.stat(where)
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def rerank_lists(opening: Opening, lists: Sequence[Shortlist]) -> list[Reranked | Failed]:
    """Re-rank a few shortlists in this process."""
    engine = opened(opening)
    return [rerank_list(engine, each) for each in lists]


def rerank_list(engine: Engine, each: Shortlist) -> Reranked | Failed:
    """Re-rank one shortlist."""
    seen = stamp(each.where)  # before the file is read: a change meanwhile shows
    try:
        query = engine.query(each.where)
    except QueryError as error:
        return Failed(each.query, str(error))
    matches, ranking = engine.refine(query, engine.listed(query, each.rows))
    places = ranking.order[0]
    evidence = {
        name: column(matches, ranking)[0, places].tolist() for name, column in EVIDENCE.items()
    }
    if not engine.compares_points:
        evidence |= dict.fromkeys(("matches", "inliers"), [""] * len(places))
    return Reranked(each.query, seen, places.tolist(), evidence)


def in_chunks(lists: Iterable[Shortlist]) -> Iterator[list[Shortlist]]:
    """As many at once as make about a second of work."""
    chunk: list[Shortlist] = []
    for each in lists:
        if chunk and (
            len(chunk) == CHUNK_QUERIES
            or sum(len(other.rows) for other in chunk) + len(each.rows) > CHUNK_PAIRS
        ):
            yield chunk
            chunk = []
        chunk.append(each)
    if chunk:
        yield chunk
