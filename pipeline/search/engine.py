"""Ask a gallery: the recipe's two tables put to work for one query after another, by every job that
searches.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from pipeline.base.errors import QueryError
from pipeline.base.lookup import Lookup
from pipeline.base.names import ASKING, INDEXED, count_candidates, nearest_text
from pipeline.gallery.binding import Binding
from pipeline.gallery.encode import side_read
from pipeline.graph import Graph
from pipeline.recipes import Recipe
from pipeline.search.answer import Answer, Evidence, Result, affine_rows, round_digits
from pipeline.search.expand import expand
from pipeline.search.looked import Looked, sharing_the_rate
from pipeline.search.places import coarse_place, found_by, hamming
from pipeline.search.query import Box, Query, cropped, read_query
from pipeline.search.turn import AS_IT_IS, Turn, mirrored_points, turn_by
from pipeline.search.turned import first_share, look_turned, turns_of
from stages.gallery import Gallery
from stages.order import both_ties, first_ties, full_order
from stages.rank import Calibrated
from stages.records import Candidates, Image, Int64, Matches, Ranking
from stages.shortlist import DEPTH, listed
from stages.verify import Verify

FIRST_STEP = 16  # candidates verified before the clock is read again


@dataclass(frozen=True, eq=False)
class Ranked:
    """All photos of the gallery, in the order of the first look and of both."""

    coarse: Candidates  # (1, N)
    coarse_ties: Int64  # (N,) as stages/order.py has them
    candidates: Candidates  # (1, K)
    matches: Matches  # (1, K)
    ranking: Ranking  # (1, K)
    order: Int64  # (N,) gallery rows, best first
    ties: Int64  # (N,) of `order`


@dataclass(frozen=True, eq=False)
class Engine:
    """A recipe and the gallery it answers from."""

    recipe: Recipe
    gallery: Gallery
    binding: Binding
    code: str  # the row of `encode` that the first look searches
    contents: Sequence[str] = ()  # (N,) sha256 of each indexed photo's bytes
    # why the model's null is used in place of one measured on the gallery's own photos
    model_null: str = ""
    asking: "Engine | None" = None  # another gallery, whose photos are queries
    expand: bool = False  # photos that were accepted ask again
    turns: str = "none"  # "auto": turned, a query asks again if it finds nothing; "all": always
    mirror: bool = False  # as it looks in a mirror, too
    # of encoding a query: more than one is sooner done, and their times overlap
    rows_at_once: int = 1

    def query(self, name: str, box: Box | None = None) -> Query:
        """Encode a photo by path, or a box of it, or take an indexed one as it is stored. Raises
        QueryError.
        """
        if self.asking is not None and name.startswith(ASKING):
            asked = self.asking.gallery.names[self.asking.row(name)]
            return replace(self.asking.query(INDEXED + asked, box), name=ASKING + asked)
        if name.startswith(INDEXED):
            row = self.row(name)
            name = INDEXED + self.gallery.names[row]
            path = self.file(name)
            if box is not None:
                if not path.is_file():
                    raise QueryError(
                        f"{name}: expected its photo where it was indexed, to cut a box out of it,"
                        " got none; ask with a file, or without a box"
                    )
                return self.encode(name, self._indexed_photo(path, row, 0), box)
            photo = None
            if path.is_file():
                photo = partial(self._indexed_photo, path, row, self.side_read)
            return Query(name, self.gallery.codes[row], self.gallery.features[row], {}, photo)
        return self.encode(name, read_query(name, self.side_read if box is None else 0), box)

    def _indexed_photo(self, path: Path, row: int, side: int) -> Image:
        """Raises QueryError where it is another photo by now."""
        image = read_query(str(path), side)
        if image.size != self.gallery.features[row].size:
            raise QueryError(f"{path}: expected the photo that was indexed, got another one")
        return image

    @property
    def side_read(self) -> int:
        """As `decode` takes it."""
        return side_read(self.recipe.encode) if self.recipe.encode.rows else 0

    def row(self, name: str) -> int:
        """The gallery's row of an indexed photo, with or without `gallery:`. Raises QueryError."""
        path = name.removeprefix(INDEXED).removeprefix(ASKING)
        found = self.lookup.find(path)
        if found is None:
            raise QueryError(
                f"{name}: expected a path as the gallery has it, got one that is not indexed"
                f"{nearest_text(path, self.gallery.names)}"
            )
        return self.gallery.row(found)

    @cached_property
    def lookup(self) -> Lookup:
        """The photos by the names that people and other programs write."""
        return Lookup(self.gallery.names, labels=self.binding.photos.labels)

    def file(self, name: str) -> Path:
        """Where an indexed photo lies, or lay when it was indexed, with or without `gallery:`."""
        return self.binding.photos.file(name.removeprefix(INDEXED))

    def content(self, name: str) -> str:
        """The sha256 of an indexed photo's bytes, with or without `gallery:`. Raises QueryError."""
        return self.contents[self.row(name)]

    def encode(self, name: str, image: Image, box: Box | None = None) -> Query:
        """A photo, or a box of it, as a query. Raises QueryError where only another program can
        encode it.
        """
        if not self.recipe.encode.rows:
            raise QueryError(
                f"{name}: expected gallery:RELATIVE_PATH, for the features of this gallery were"
                " computed by another program, got a photo; index the query's features, too, in a"
                " gallery that asks (--queries of evaluate and sweep, SearchOptions.queries)"
            )
        asking, part = (image, None) if box is None else cropped(name, image, box)
        seconds: dict[str, float] = {}
        code, features = self.recipe.encode(
            {"image": asking}, self.code, "features", seconds=seconds, threads=self.rows_at_once
        )
        return Query(name, code, features, seconds, lambda: asking, part=part)

    def coarse(self, query: Query, count: int) -> Candidates:
        """The first look alone, in the order that stands where the second says nothing."""
        found: Candidates = self.recipe.answer(
            {**self.given(query), "depth": count}, "coarse", seconds=query.seconds
        )
        return found

    def find(self, query: Query, count: int, depth: int) -> tuple[Candidates, Candidates]:
        """The first `depth` photos of the first look's order, or more; and so many candidates, in
        the order in which they are worth looking at: those of a smaller number are its first.
        """
        least = DEPTH if self.recipe.shortlist == "both" else 0
        given = {**self.given(query), "count": count, "depth": max(count, depth, least)}
        coarse, candidates = self.recipe.answer(
            given, "coarse", "candidates", seconds=query.seconds
        )
        return coarse, candidates

    def find_turned(self, query: Query, count: int) -> Candidates:
        """So many candidates of a query that is turned: by votes alone, where they are counted, for
        its code is as it was.
        """
        if self.recipe.shortlist == "global":
            return self.find(query, count, 0)[1]
        row = "parts" if self.recipe.shortlist == "both" else "coarse"
        given = {**self.given(query), "depth": count}
        found: Candidates = self.recipe.answer(given, row, seconds=query.seconds).part(0, count)
        # votes have looked at all photos: whoever counts candidates should know
        return replace(found, places=np.zeros((*found.rows.shape, 2), np.int32))

    def refine(self, query: Query, candidates: Candidates) -> tuple[Matches, Ranking]:
        """The second look at given candidates, whoever proposed them."""
        matches = self.match(query, candidates, query.seconds)
        return matches, self.judge(query, candidates, matches, query.seconds)

    def match(
        self, query: Query, candidates: Candidates, seconds: dict[str, float] | None = None
    ) -> Matches:
        """What points say of candidates; nothing in a recipe that compares none. seconds: as the
        graph takes it.
        """
        if not self.compares_points:
            return Matches.none(candidates.rows.shape[1])
        given = {**self.given(query), "candidates": candidates}
        matches: Matches = self.recipe.answer(given, "matches", seconds=seconds)
        return matches

    def judge(
        self,
        query: Query,
        candidates: Candidates,
        matches: Matches,
        seconds: dict[str, float] | None = None,
    ) -> Ranking:
        """The ranking of candidates whose matches are known."""
        given = {**self.given(query), "candidates": candidates}
        if self.compares_points:
            given["matches"] = matches
        ranking: Ranking = self.recipe.answer(given, "ranking", seconds=seconds)
        return ranking

    def given(self, query: Query) -> dict[str, object]:
        """What of a query the second look's stages may read."""
        return {"code": query.code, "features": query.features, "gallery": self.gallery}

    def refine_within(
        self, query: Query, candidates: Candidates, milliseconds: float
    ) -> tuple[Matches, Ranking]:
        """The second look at as many candidates as the time allows, best first: what comes back
        covers those alone.
        """
        end = time.perf_counter() + milliseconds / 1000
        parts: list[Matches] = []
        verified, step = 0, FIRST_STEP
        while verified < candidates.rows.shape[1] and time.perf_counter() < end:
            began = time.perf_counter()
            part = candidates.part(verified, verified + step)
            parts.append(self.match(query, part, query.seconds))
            verified += part.rows.shape[1]
            rest, pace = end - time.perf_counter(), (time.perf_counter() - began) / step
            # half of what would fit: the last steps are small ones
            step = max(1, min(4 * step, int(0.5 * rest / pace)))
        matches = Matches.join(parts) if parts else Matches.none()
        return matches, self.judge(query, candidates.part(0, verified), matches, query.seconds)

    def rank(self, query: Query, k: int, candidates: str | None) -> Ranked:
        """Every photo of the gallery, by both looks and by the first alone."""
        coarse, looked = self.look(query, k, candidates, len(self.gallery))
        found, ranking = looked.candidates, looked.ranking
        order, ties = both_ties(ranking, found, coarse)
        return Ranked(coarse, first_ties(coarse), found, looked.matches, ranking, order, ties)

    def look(
        self,
        query: Query,
        k: int,
        candidates: str | None,
        depth: int,
        budget_ms: float | None = None,
    ) -> tuple[Candidates, Looked]:
        """The first `depth` photos of the first look's order, or more, and what all looks found."""
        count = min(count_candidates(candidates or self.recipe.candidates, k), len(self.gallery))
        coarse, found = self.find(query, count, depth)
        if budget_ms is not None:
            matches, ranking = self.refine_within(query, found, budget_ms)
            return coarse, Looked(found.part(0, matches.inliers.shape[1]), matches, ranking)
        turns = turns_of(self.turns, self.mirror)
        if turns and query.photo is None:
            if self.turns == "all" or self.mirror:
                raise QueryError(
                    f"{query.name}: expected its photo where it was indexed, to turn it, got none;"
                    " run with `--turns none` and without `--mirror`"
                )
            turns = ()
        share = first_share(self.turns, turns)
        looked = Looked(found, *sharing_the_rate(self, share).refine(query, found))
        if turns and (self.turns == "all" or not looked.ranking.accepted.any()):
            began = time.perf_counter()
            looked = look_turned(self, query, count, looked, turns, 1 - share)
            query.seconds["turns"] = time.perf_counter() - began
        if self.expand:
            began = time.perf_counter()
            looked = expand(self, query, count, looked)
            query.seconds["expand"] = time.perf_counter() - began
        return coarse, looked

    def answer(
        self, query: Query, k: int, candidates: str | None = None, budget_ms: float | None = None
    ) -> Answer:
        """Both looks, as people and programs read them. `budget_ms` bounds the second look's time,
        not the first's.
        """
        return self.answer_of(query, k, *self.look(query, k, candidates, k, budget_ms))

    def rerank(self, query: Query, rows: Sequence[int]) -> Answer:
        """The second look at these rows of the gallery, best first: an answer whose coarse order is
        theirs.
        """
        found = self.listed(query, np.array(rows, np.int64))
        return self.answer_of(query, len(rows), found, Looked(found, *self.refine(query, found)))

    def answer_of(self, query: Query, k: int, coarse: Candidates, looked: Looked) -> Answer:
        """The first k places after all looks."""
        candidates, matches, ranking = looked.candidates, looked.matches, looked.ranking
        verified, names = ranking.order.shape[1], self.gallery.names
        place_of = dict(zip(candidates.rows[0].tolist(), range(verified), strict=True))
        coarse_of = dict(zip(coarse.rows[0].tolist(), range(coarse.rows.shape[1]), strict=True))
        results = []
        for rank, row in enumerate(full_order(ranking, candidates, coarse)[:k].tolist(), 1):
            place = place_of.get(row, -1)
            seen = place >= 0
            if row in coarse_of:
                coarse_rank, distance = (
                    coarse_of[row] + 1,
                    float(coarse.distance[0, coarse_of[row]]),
                )
            else:  # votes alone brought it
                coarse_rank, distance = coarse_place(self.gallery.codes, query.code, row)
            by_votes = (
                0 if candidates.places is None or not seen else candidates.places[0, place, 1]
            )
            affine = affine_rows(query.from_whole(matches.affine[0, place])) if seen else None
            turned, mirrored = (None, False) if affine is None else turn_by(affine)
            turn, through = looked.turned.get(row, AS_IT_IS), looked.through.get(row)
            results.append(
                Result(
                    rank=rank,
                    image=names[row],
                    coarse_rank=coarse_rank,
                    distance=round(distance, 6),
                    matches=int(matches.matches[0, place]) if seen else 0,
                    inliers=int(matches.inliers[0, place]) if seen else 0,
                    false_alarms=round_digits(ranking.false_alarms[0, place]) if seen else None,
                    affine=affine,
                    accepted=bool(ranking.accepted[0, place]) if seen else False,
                    code_distance=(
                        round(float(-ranking.evidence[0, place]) ** 0.5, 6)
                        if seen and self.recipe.binary
                        else None
                    ),
                    hamming=(
                        hamming(query.code, self.gallery.codes[row]) if self.recipe.binary else None
                    ),
                    parts_rank=int(by_votes) or None,
                    found_by=found_by(self.recipe.shortlist, candidates, place) if seen else None,
                    through=None if through is None else names[through],
                    turned=turned,
                    mirrored=mirrored,
                    query_turned=90 * turn.quarters,
                )
            )
        index, acceptance = self.gallery.index, self.acceptance
        own = self.gallery.null is not None
        calibrated = isinstance(acceptance, Calibrated) and (own or acceptance.null is not None)
        rate = acceptance.rate if isinstance(acceptance, Calibrated) and calibrated else None
        return Answer(
            query=query.name,
            recipe=self.recipe.name,
            k=k,
            candidates=verified,
            accepted=int(ranking.accepted.sum()),
            false_alarm=rate,
            null=None if not calibrated else "gallery" if own else "model",
            fell_back=not all(result.accepted for result in results),
            results=tuple(results),
            seconds={stage: round(spent, 6) for stage, spent in query.seconds.items()},
            first_look=(
                {"index": index.kind, "recall": round(index.recall, 6)}
                if index and index.kind in ("flat", "ivf")
                else None
            ),
            null_reason=self.model_null if calibrated else "",
            shortlist=self.recipe.shortlist,
            box=None if query.part is None else list(query.part.box),
            features=len(query.features),
            bits=len(query.code) if self.recipe.binary else None,
        )

    def listed(self, query: Query, rows: Int64) -> Candidates:
        """As the function of this name has it."""
        return listed(self.gallery.codes, query.code, rows)

    def evidence(self, query: Query, result: Result) -> Evidence | None:
        """The point pairs behind a result, for drawing; None where no map was found."""
        if result.affine is None or self.verify is None:
            return None
        candidate = self.gallery.features[self.gallery.row(result.image)]
        turn = Turn(result.query_turned // 90, result.mirrored)
        asked = query.turned.get(turn, query).features
        pairs, _, inliers = self.verify.pair(asked, candidate)
        ours, theirs = asked.xy[pairs[:, 0]], candidate.xy[pairs[:, 1]]
        if result.mirrored and turn in query.turned:
            ours = mirrored_points(ours, asked.size)
        ours = query.in_whole(ours)
        return Evidence(ours, theirs, inliers, result.affine, result.false_alarms, result.accepted)

    def with_answer(self, answer: Graph) -> "Engine":
        """The same engine with another second table."""
        return replace(self, recipe=replace(self.recipe, answer=answer))

    @property
    def compares_points(self) -> bool:
        """Whether the second look matches local features."""
        return self.recipe.answer.stage("matches") is not None

    @property
    def verify(self) -> Verify | None:
        """None for a recipe that compares no points."""
        stage = self.recipe.answer.stage("matches")
        stage = getattr(stage, "local", stage)  # what each owner does on a cluster
        return stage if isinstance(stage, Verify) else None

    @property
    def acceptance(self) -> object:
        """The stage that accepts candidates and orders them."""
        return self.recipe.answer.stage("ranking")
