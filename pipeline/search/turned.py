"""Turned and mirrored photos: the query asks again as it would look turned by a quarter, a half and
three quarters of a circle, or seen in a mirror.

RootSIFT bears turns by itself; fine features and codes do not. So of a turned photo these alone are
computed anew, and lie where they lie in the query as it is: what is drawn or mapped needs to know
of no turn. In a mirror nothing is as it was. Candidates of a turned look are few, found by votes
where the gallery has an index of parts, so that no code is needed: three looks cost little more
than the first.

All looks at a photo share the stated rate of false alarms; the query as it is has most of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pipeline.search.looked import Looked, gains_of, sharing_the_rate, with_gains
from pipeline.search.query import Query
from pipeline.search.turn import Turn, back, mirror_of
from stages.kinds import DescribeBoth, with_first
from stages.records import Image, LocalFeatures

if TYPE_CHECKING:
    from pipeline.search.engine import Engine

QUARTERS = (1, 2, 3)
# of the rate, what the query as it is has where it asks first and the others only if it finds
# nothing
FIRST = 0.8
CANDIDATES = 250  # of each turned look, at most


def turns_of(turns: str, mirror: bool) -> tuple[Turn, ...]:
    """All that asks beside the query as it is."""
    quarters = () if turns == "none" else QUARTERS
    plain = tuple(Turn(each) for each in quarters)
    return (*plain, *(Turn(each, mirrored=True) for each in (0, *quarters))) if mirror else plain


def first_share(turns: str, others: Sequence[Turn]) -> float:
    """Of the rate, what the query as it is has."""
    return 1.0 if not others else 1 / (1 + len(others)) if turns == "all" else FIRST


def look_turned(
    engine: Engine, query: Query, count: int, looked: Looked, turns: Sequence[Turn], share: float
) -> Looked:
    """What the query finds turned, beside what it found as it is with so many candidates; share of
    the rate for all turns together. Raises QueryError where its photo cannot be read again.
    """
    shared = sharing_the_rate(engine, share / len(turns))
    proposed, gains = [], []
    for turn, asking in zip(turns, turned_queries(engine, query, turns), strict=True):
        candidates = engine.find_turned(asking, min(count, CANDIDATES))
        matches, ranking = shared.refine(asking, candidates)
        proposed.append(candidates.rows[0])
        flip = mirror_of(query.features.size) if turn.mirrored else None
        gains += gains_of(candidates, matches, ranking, flip, turn=turn)
    return with_gains(looked, proposed, gains) if gains else looked


def turned_queries(engine: Engine, query: Query, turns: Sequence[Turn]) -> list[Query]:
    """The query in each of these ways, as many at once as the engine encodes."""
    lacking = [turn for turn in turns if turn not in query.turned]
    if lacking:
        assert query.photo is not None
        image, encode = query.photo(), engine.recipe.encode
        seen = [turned_image(image, turn) for turn in lacking]
        describe = partial(described, encode.stage("features"), image, query.features)
        codes = [query.code] * len(lacking)
        with ThreadPoolExecutor(engine.rows_at_once) as pool:
            later = pool.map(describe, seen, lacking)
            if engine.recipe.shortlist == "global":
                codes = list(pool.map(lambda each: encode({"image": each}, engine.code), seen))
            for turn, code, features in zip(lacking, codes, later, strict=True):
                query.turned[turn] = Query(query.name, code, features, {})
    return [query.turned[turn] for turn in turns]


def turned_image(image: Image, turn: Turn) -> Image:
    """A photo as it looks mirrored, then turned, of as many pixels."""
    pixels = image.pixels[:, ::-1] if turn.mirrored else image.pixels
    return Image(np.ascontiguousarray(np.rot90(pixels, -turn.quarters)))


def described(
    describe: Callable[[Image], LocalFeatures],
    image: Image,
    upright: LocalFeatures,
    seen: Image,
    turn: Turn,
) -> LocalFeatures:
    """The features of a turned photo, where they lie in the photo as it is, or as it is in a
    mirror; upright: its features as it is, seen: the photo turned.
    """
    if isinstance(describe, DescribeBoth) and not turn.mirrored:
        fine = turned_back(describe.first(seen), image, seen, turn)
        return with_first(upright, fine, describe.keep)
    return turned_back(describe(seen), image, seen, turn)


def turned_back(found: LocalFeatures, image: Image, seen: Image, turn: Turn) -> LocalFeatures:
    """Features of the turned photo -> of the photo as it is, or in a mirror."""
    height, width = image.pixels.shape[:2]
    xy = back(found.xy.astype(np.float64), seen.size, turn.quarters)
    if turn.mirrored:
        xy[:, 0] = width - 1 - xy[:, 0]
    placed = image.place(xy, width, height)
    if turn.mirrored:
        placed[:, 0] = image.size[0] - 1 - placed[:, 0]
    return replace(found, xy=placed, size=image.size)
