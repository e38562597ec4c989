"""Ask a gallery: the recipe's two tables put to work for one query after another, by every job that searches."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pipeline.answer import Answer, Evidence, Result, round_digits
from pipeline.calibrate import gallery_null
from pipeline.flags import UsageError, count_candidates
from pipeline.gallery import Binding, GalleryError, check_recipe
from pipeline.images import ImageError, load_image
from pipeline.many import Galleries, listed, members, read_bindings, read_galleries, want_model
from pipeline.metrics import both_ties, first_ties, full_order
from pipeline.models import open_model
from pipeline.recipes import RECIPES, Recipe, second_look
from pipeline.searching import choose
from pipeline.threads import one_thread_each
from stages.rank import Calibrated
from stages.records import Candidates, Float32, Gallery, Image, Int64, LocalFeatures, Matches, Ranking
from stages.trunk import pick_device
from stages.verify import Verify

FIRST_STEP = 16  # candidates looked at before the clock is read again
INDEXED = "gallery:"  # a query that names an indexed photo
ASKING = "queries:"  # one that names a photo of the gallery that asks


class QueryError(Exception):
    """One query that cannot be answered; the others can."""


@dataclass(frozen=True, eq=False)
class Query:
    """A query that has been looked at."""

    name: str
    code: Float32  # (D,)
    features: LocalFeatures
    seconds: dict[str, float]  # what it cost


@dataclass(frozen=True, eq=False)
class Ranked:
    """All photos of the gallery, in the order of the first look and of both."""

    coarse: Candidates  # (1, N)
    coarse_ties: Int64  # (N,) as pipeline/metrics.py has them
    matches: Matches  # (1, K) of the looked-at candidates
    ranking: Ranking  # (1, K)
    order: Int64  # (N,) places in `coarse`, best first
    ties: Int64  # (N,) of `order`


@dataclass(frozen=True, eq=False)
class Engine:
    """A recipe and the gallery it answers from."""

    recipe: Recipe
    gallery: Gallery
    binding: Binding
    code: str  # the row of `encode` that the first look searches
    contents: Mapping[str, str] = field(default_factory=dict)  # sha256 of each indexed photo's bytes
    model_null: str = ""  # why the chance of a false alarm is the model's and not measured on the gallery's own photos
    asking: "Engine | None" = None  # another gallery, whose photos are queries

    def query(self, name: str, box: tuple[float, float, float, float] | None = None) -> Query:
        """Look at a photo by path, or at a box of it (left, top, right, bottom px), or take an indexed one as it was seen. Raises QueryError."""
        seconds: dict[str, float] = {}
        if self.asking is not None and name.startswith(ASKING):
            return replace(self.asking.query(INDEXED + name.removeprefix(ASKING)), name=name)
        if name.startswith(INDEXED):
            try:
                row = self.gallery.row(name.removeprefix(INDEXED))
            except KeyError:
                raise QueryError(f"{name}: want a path as the gallery has it, got one that is not indexed") from None
            return Query(name, self.gallery.codes[row], self.gallery.features[row], seconds)
        image = read_query(name) if box is None else cropped(name, read_query(name), box)
        code, features = self.recipe.encode({"image": image}, self.code, "features", seconds=seconds)
        return Query(name, code, features, seconds)

    def coarse(self, query: Query, count: int) -> Candidates:
        """The first look alone; the local features are never touched."""
        found: Candidates = self.recipe.answer({"code": query.code, "count": count, "gallery": self.gallery}, "candidates", seconds=query.seconds)
        return found

    def refine(self, query: Query, candidates: Candidates) -> tuple[Matches, Ranking]:
        """The second look at given candidates, whoever proposed them."""
        matches, ranking = self.recipe.answer({**self.given(query), "candidates": candidates}, "matches", "ranking", seconds=query.seconds)
        return matches, ranking

    def given(self, query: Query) -> dict[str, object]:
        """What of a query the second look's stages may read."""
        return {"code": query.code, "features": query.features, "gallery": self.gallery}

    def refine_within(self, query: Query, candidates: Candidates, milliseconds: float) -> tuple[Matches, Ranking]:
        """The second look at as many candidates as the time allows, best first: what comes back covers those alone."""
        given = self.given(query)
        end = time.perf_counter() + milliseconds / 1000
        parts: list[Matches] = []
        looked, step = 0, FIRST_STEP
        while looked < candidates.rows.shape[1] and time.perf_counter() < end:
            began = time.perf_counter()
            part = candidates.part(looked, looked + step)
            parts.append(self.recipe.answer({**given, "candidates": part}, "matches", seconds=query.seconds))
            looked += part.rows.shape[1]
            rest, pace = end - time.perf_counter(), (time.perf_counter() - began) / step
            step = max(1, min(4 * step, int(0.5 * rest / pace)))  # half of what would fit: the last steps are small ones
        matches = Matches.join(parts) if parts else Matches.none()
        ranking: Ranking = self.recipe.answer(
            {**given, "candidates": candidates.part(0, looked), "matches": matches}, "ranking", seconds=query.seconds
        )
        return matches, ranking

    def rank(self, query: Query, k: int, candidates: str | None) -> Ranked:
        """Every photo of the gallery, by both looks and by the first alone."""
        coarse, matches, ranking = self._look(query, k, candidates, len(self.gallery))
        order, ties = both_ties(coarse, ranking)
        return Ranked(coarse, first_ties(coarse), matches, ranking, order, ties)

    def _look(self, query: Query, k: int, candidates: str | None, depth: int, budget_ms: float | None = None) -> tuple[Candidates, Matches, Ranking]:
        looked = min(count_candidates(candidates or self.recipe.candidates, k), len(self.gallery))
        coarse = self.coarse(query, max(looked, depth))
        shortlist = coarse.part(0, looked)
        return coarse, *(self.refine(query, shortlist) if budget_ms is None else self.refine_within(query, shortlist, budget_ms))

    def answer(self, query: Query, k: int, candidates: str | None = None, budget_ms: float | None = None) -> Answer:
        """Both looks, as people and programs read them. `budget_ms` bounds the second look's time, not the first's."""
        coarse, matches, ranking = self._look(query, k, candidates, k, budget_ms)
        looked = ranking.order.shape[1]
        results = []
        for rank, place in enumerate(full_order(ranking, coarse)[:k].tolist(), 1):
            seen = place < looked
            affine = matches.affine[0, place] if seen else None
            results.append(
                Result(
                    rank=rank,
                    image=self.gallery.names[coarse.rows[0, place]],
                    coarse_rank=place + 1,
                    distance=round(float(coarse.distance[0, place]), 6),
                    matches=int(matches.matches[0, place]) if seen else 0,
                    inliers=int(matches.inliers[0, place]) if seen else 0,
                    false_alarms=round_digits(ranking.false_alarms[0, place]) if seen else None,
                    affine=None if affine is None or np.isnan(affine).any() else [[round(float(v), 6) for v in row] for row in affine],
                    accepted=bool(ranking.accepted[0, place]) if seen else False,
                    code_distance=round(float(-ranking.evidence[0, place]) ** 0.5, 6) if seen and self.recipe.pack else None,
                )
            )
        index = getattr(self.recipe.answer.stage("candidates"), "index", self.gallery.index)  # of parts: which finds least
        return Answer(
            query=query.name,
            recipe=self.recipe.name,
            k=k,
            candidates=looked,
            accepted=int(ranking.accepted.sum()),
            false_alarm=self.verdict.rate if isinstance(self.verdict, Calibrated) else None,
            null=None if not isinstance(self.verdict, Calibrated) else "model" if self.gallery.null is None else "gallery",
            null_reason=self.model_null,
            fell_back=not all(result.accepted for result in results),
            results=tuple(results),
            seconds={stage: round(spent, 6) for stage, spent in query.seconds.items()},
            first_look=None if index is None else {"index": index.kind, "recall": round(index.recall, 6)},
        )

    def evidence(self, query: Query, result: Result) -> Evidence | None:
        """The point pairs behind a result, for drawing; None where no map was found."""
        if result.affine is None or self.verify is None:
            return None
        candidate = self.gallery.features[self.gallery.row(result.image)]
        pairs, _, inliers = self.verify.pair(query.features, candidate)
        return Evidence(query.features.xy[pairs[:, 0]], candidate.xy[pairs[:, 1]], inliers)

    @property
    def verify(self) -> Verify | None:
        """None for a recipe that compares no points."""
        stage = self.recipe.answer.stage("matches")
        stage = getattr(stage, "near", stage)  # what the owners of parts do, pipeline/parts.py
        return stage if isinstance(stage, Verify) else None

    @property
    def verdict(self) -> object:
        return self.recipe.answer.stage("ranking")


def read_query(name: str) -> Image:
    try:
        return load_image(Path(name))
    except OSError as error:
        raise QueryError(f"{name}: want a photo, got {error.strerror}") from None
    except ImageError as error:
        raise QueryError(f"{name}: {error}") from None


def cropped(name: str, image: Image, box: tuple[float, float, float, float]) -> Image:
    """The box of a photo, rounded as Pillow's crop does and cut at its edges. Raises QueryError where nothing is left."""
    width, height = image.size
    left, top, right, bottom = (min(max(0, round(edge)), most) for edge, most in zip(box, (width, height) * 2, strict=True))
    if left >= right or top >= bottom:
        raise QueryError(f"{name}: want a box inside {width} x {height} px, got {box}")
    return Image(np.ascontiguousarray(image.pixels[top:bottom, left:right]))


def engine_of(where: Galleries, built: Recipe, code: str, search: str) -> Engine:
    """A recipe that is built and the galleries as they are now. Raises GalleryError."""
    reading = read_galleries(where)
    codes = reading.codes
    if code != built.stored:  # stored pooled vectors go through the same rows of the table as a query's
        vectors: Sequence[Float32] = [built.encode({"pooled": pooled.astype(np.float32)}, code) for pooled in reading.pooled]
        codes = np.stack(vectors) if vectors else codes
    folders = members(where)
    find = choose(search, len(codes), built.pack is not None, folders[0] if len(folders) == 1 else None)
    null, reason = gallery_null(reading, second_look())
    gallery = reading.gallery(codes, null, built.pack, find)
    return Engine(built, gallery, reading.binding, code, dict(zip(reading.names, reading.contents, strict=True)), reason)


def open_engine(
    where: Galleries,
    recipe: str | None,
    model: str | None,
    code: str | None,
    device: str,
    seed: int,
    false_alarm: float = 0.1,
    asking: Path | None = None,
    bits: int | None = None,
    search: str = "auto",
    assemble: Callable[[Galleries, Recipe, str, str], Engine] = engine_of,
) -> Engine:
    """Open a gallery, or several as one, and another of its model whose photos ask; None: the gallery's own. assemble: what joins galleries
    that lie elsewhere. Raises GalleryError, ModelError or UsageError."""
    one_thread_each()
    folder, remembered = listed(where), read_bindings(where)
    opened = open_model(remembered.where if model is None else model)
    if opened.identity != remembered.identity:
        raise GalleryError(
            f"gallery {folder}: want model {remembered.model} ({remembered.identity[:12]}), got {opened.name} ({opened.identity[:12]}); "
            f"leave out --model, or index again with `python -m pipeline.index {remembered.photos} --gallery NEW --model {model or opened.name}`"
        )
    check_recipe(folder, remembered, opened.settings.bits, recipe, bits)
    try:
        built = RECIPES[recipe or opened.settings.recipe](opened, seed, pick_device(device), false_alarm)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if code and code not in {node.output for node in built.encode.rows}:
        raise UsageError(f"--code {code}: want none with recipe {built.name}, which searches its own, got one; run without it")
    engine = assemble(where, built, code or built.stored, search)
    if asking is None:
        return engine
    want_model(asking, read_bindings(asking), folder, engine.binding)
    return replace(engine, asking=engine_of(asking, built, engine.code, "tree"))
