"""Ask a gallery: the recipe's two tables put to work for one query after another, by every job that searches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.answer import Answer, Evidence, Result
from pipeline.flags import UsageError, count_candidates
from pipeline.gallery import Binding, GalleryError, read_binding, read_gallery
from pipeline.images import ImageError, load_image
from pipeline.models import open_model
from pipeline.recipes import RECIPES, Recipe
from pipeline.threads import one_thread_each
from stages.records import Candidates, Float32, Gallery, Image, Int64, LocalFeatures, Matches, Ranking
from stages.trunk import pick_device
from stages.verify import Verify

INDEXED = "gallery:"  # a query that names an indexed photo


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
class Engine:
    """A recipe and the gallery it answers from."""

    recipe: Recipe
    gallery: Gallery
    binding: Binding
    code: str  # the row of `encode` that the first look searches

    def query(self, name: str) -> Query:
        """Look at a photo by path, or take an indexed one as it was seen. Raises QueryError."""
        seconds: dict[str, float] = {}
        if name.startswith(INDEXED):
            try:
                row = self.gallery.row(name.removeprefix(INDEXED))
            except KeyError:
                raise QueryError(f"{name}: want a path as the gallery has it, got one that is not indexed") from None
            return Query(name, self.gallery.codes[row], self.gallery.features[row], seconds)
        code, features = self.recipe.encode({"image": read_query(name)}, self.code, "features", seconds=seconds)
        return Query(name, code, features, seconds)

    def coarse(self, query: Query, count: int) -> Candidates:
        """The first look alone; the local features are never touched."""
        found: Candidates = self.recipe.answer({"code": query.code, "count": count, "gallery": self.gallery}, "candidates", seconds=query.seconds)
        return found

    def refine(self, query: Query, candidates: Candidates) -> tuple[Matches, Ranking]:
        """The second look at given candidates, whoever proposed them."""
        matches, ranking = self.recipe.answer(
            {"features": query.features, "candidates": candidates, "gallery": self.gallery}, "matches", "ranking", seconds=query.seconds
        )
        return matches, ranking

    def rank(self, query: Query, k: int, candidates: str | None, depth: int) -> tuple[Candidates, Int64]:
        """The first look's order of `depth` photos, and the final order as places in it.

        The looked-at candidates stand as ranked; behind them the rest of the gallery follows in coarse order.
        """
        coarse, _, ranking = self._look(query, k, candidates, depth)
        return coarse, _full(ranking, coarse)

    def _look(self, query: Query, k: int, candidates: str | None, depth: int) -> tuple[Candidates, Matches, Ranking]:
        looked = min(count_candidates(candidates or self.recipe.candidates, k), len(self.gallery))
        coarse = self.coarse(query, max(looked, depth))
        return coarse, *self.refine(query, Candidates(coarse.rows[:, :looked], coarse.distance[:, :looked]))

    def answer(self, query: Query, k: int, candidates: str | None = None) -> Answer:
        """Both looks, as people and programs read them."""
        coarse, matches, ranking = self._look(query, k, candidates, k)
        looked = ranking.order.shape[1]
        results = []
        for rank, place in enumerate(_full(ranking, coarse)[:k].tolist(), 1):
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
                    affine=None if affine is None or np.isnan(affine).any() else [[round(float(v), 6) for v in row] for row in affine],
                    accepted=bool(ranking.accepted[0, place]) if seen else False,
                )
            )
        return Answer(
            query=query.name,
            recipe=self.recipe.name,
            k=k,
            candidates=looked,
            accepted=int(ranking.accepted.sum()),
            fell_back=not all(result.accepted for result in results),
            results=tuple(results),
            seconds={stage: round(spent, 6) for stage, spent in query.seconds.items()},
        )

    def evidence(self, query: Query, result: Result) -> Evidence | None:
        """The point pairs behind a result, for drawing; None where no map was found."""
        if result.affine is None:
            return None
        candidate = self.gallery.features[self.gallery.row(result.image)]
        pairs, _, inliers = self.verify.pair(query.features, candidate)
        return Evidence(query.features.xy[pairs[:, 0]], candidate.xy[pairs[:, 1]], inliers)

    @property
    def verify(self) -> Verify:
        stage = next(node.stage for node in self.recipe.answer.rows if node.output == "matches")
        assert isinstance(stage, Verify)
        return stage


def _full(ranking: Ranking, coarse: Candidates) -> Int64:
    """(depth,) the ranking's order, then the places it did not look at."""
    return np.concatenate([ranking.order[0], np.arange(ranking.order.shape[1], coarse.rows.shape[1])])


def read_query(name: str) -> Image:
    try:
        return load_image(Path(name))
    except OSError as error:
        raise QueryError(f"{name}: want a photo, got {error.strerror}") from None
    except ImageError as error:
        raise QueryError(f"{name}: {error}") from None


def open_engine(folder: Path, recipe: str, model: str | None, code: str, device: str, seed: int) -> Engine:
    """Open a gallery with the model it was made by. Raises GalleryError, ModelError or UsageError."""
    one_thread_each()
    remembered = read_binding(folder)
    opened = open_model(remembered.where if model is None else model)
    if opened.identity != remembered.identity:
        raise GalleryError(
            f"gallery {folder}: want model {remembered.model} ({remembered.identity[:12]}), got {opened.name} ({opened.identity[:12]}); "
            f"leave out --model, or index again with `python -m pipeline.index {remembered.photos} --gallery NEW --model {model or opened.name}`"
        )
    try:
        built = RECIPES[recipe](opened, seed, pick_device(device))
    except ValueError as error:
        raise UsageError(str(error)) from None
    reading = read_gallery(folder)
    codes = reading.codes
    if code != "pca":  # stored pooled vectors go through the same rows of the table as a query's
        vectors: Sequence[Float32] = [built.encode({"pooled": pooled.astype(np.float32)}, code) for pooled in reading.pooled]
        codes = np.stack(vectors) if vectors else codes
    return Engine(built, reading.gallery(codes), reading.binding, code)
