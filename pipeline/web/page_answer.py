"""One request's answer, and what the page draws of it."""

import os
from dataclasses import dataclass, replace

import numpy as np

from pipeline.base.images import load_image
from pipeline.base.names import printable
from pipeline.gallery.merge import Galleries
from pipeline.report.text import headline, summary, why
from pipeline.search.answer import Answer, Result
from pipeline.search.engine import Engine
from pipeline.search.query import Box, Query
from pipeline.web.live import photo_id
from pipeline.web.standing import missing
from stages.rank import Calibrated
from stages.records import Float32

CLEAR, FAINT = 100, 50  # match lines of a pair at most: inliers, others
NAME = "query"  # a photo that was sent has no path

Line = tuple[float, float, float, float]  # x, y px of the query, x, y px of the candidate


@dataclass(frozen=True)
class Place:
    """What a place in the ranking looks like; its numbers are in the answer."""

    id: str  # of GET /photos/{id}, /thumbnails/{id}, /search/{id}
    label: str  # the path, printable
    there: bool  # its file is where it was indexed
    file: str | None  # where that is, printable; None for who asks from elsewhere
    width: int  # px
    height: int  # px
    verdict: str  # "match", "maybe" or "no match"; "ranked" of codes
    why: str  # it stands there, in a sentence
    inliers: list[Line]  # some of the matches that agree with the affine map
    outliers: list[Line]  # some of those that do not


@dataclass(frozen=True)
class PageAnswer:
    """An answer with what a page draws of it."""

    answer: Answer
    headline: str  # whether anything matches
    said: str  # what the two looks did, in words
    missing: str  # what to do about photos that are not where they were, or nothing
    width: int  # px of the query, all of it
    height: int  # px
    places: list[Place]  # one for each of the answer's results


def encode_bytes(engine: Engine, name: str, data: bytes, box: Box | None = None) -> Query:
    """A photo's bytes, or a box of it, as a query. Raises ImageError, QueryError."""
    image = load_image(data, side=engine.side_read if box is None else 0)
    return engine.encode(name, image, box)


def at_rate(engine: Engine, rate: float | None) -> Engine:
    """The same engine at another rate of false alarms; None, or a recipe that knows no rate: as it
    is.
    """
    acceptance = engine.acceptance
    if rate is None or not isinstance(acceptance, Calibrated) or rate == acceptance.rate:
        return engine
    return engine.with_answer(
        engine.recipe.answer.with_stage("ranking", replace(acceptance, rate=rate))
    )


def draw_answer(
    engine: Engine, given: Galleries, query: Query, answer: Answer, local: bool
) -> PageAnswer:
    """local: who asks may know where files lie."""
    width, height = query.size
    return PageAnswer(
        answer,
        headline(answer),
        summary(answer),
        missing(engine, given, [result.image for result in answer.results], local),
        int(width),
        int(height),
        [place(engine, query, answer, result, local) for result in answer.results],
    )


def place(engine: Engine, query: Query, answer: Answer, result: Result, local: bool) -> Place:
    path = engine.file(result.image)
    width, height = engine.gallery.features[engine.gallery.row(result.image)].size
    evidence = engine.evidence(query, result)
    drawn: list[list[Line]] = [[], []]
    if evidence is not None:
        for i, (rows, most) in enumerate(((evidence.inlier, CLEAR), (~evidence.inlier, FAINT))):
            drawn[i] = lines(evidence.query_xy[rows], evidence.candidate_xy[rows], most)
    return Place(
        photo_id(engine, result.image),
        printable(result.image),
        path.is_file(),
        printable(os.path.abspath(path)) if local else None,
        int(width),
        int(height),
        result.verdict,
        why(result, answer),
        *drawn,
    )


def lines(query: Float32, candidate: Float32, most: int) -> list[Line]:
    """(n, 2), (n, 2) px -> so many of the pairs at most, evenly spread over them."""
    ends = np.hstack([query, candidate])
    few = min(most, len(ends))
    return [
        (x, y, u, v)
        for x, y, u, v in (
            ends[np.arange(few) * len(ends) // max(1, few)].astype(np.float64).round(1).tolist()
        )
    ]
