"""The library: open galleries, search them, and verify two photos. `import pipeline` gives these
names.

What a caller may do wrong raises `TwoLookError` with the line that the command line would print. An
open gallery may be asked by many threads at once; all galleries of one model share it in memory.
Opening one sets torch, OpenCV and BLAS to one thread each for the whole process, which is what
makes a photo's numbers the same everywhere.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipeline.base.errors import GalleryError, ModelError, UsageError
from pipeline.base.names import ASKING, ATTENDED, INDEXED, LITE
from pipeline.base.options import SearchOptions
from pipeline.gallery.merge import Galleries, listed, read_galleries
from pipeline.model.card import DEFAULT
from pipeline.model.weights import Model, open_model
from pipeline.recipes import load_encoder, second_look
from pipeline.search.answer import Answer, Evidence, affine_rows, round_digits
from pipeline.search.engine import Engine
from pipeline.search.open import Assemble, engine_of, open_engine
from pipeline.search.query import Query, read_photo
from pipeline.search.together import answer_together
from stages.rank import judge
from stages.records import Float32, Int64

if TYPE_CHECKING:
    from pipeline.search.query import Box, Photo

LOG = logging.getLogger(__name__)
Vectors = Literal["code", "embedding"]


def open_gallery(
    gallery: str | Path | Sequence[str | Path],
    options: SearchOptions | None = None,
    *,
    assemble: Assemble = engine_of,
) -> "OpenGallery":
    """Open a gallery for searching, or several of one model as one; a folder of galleries stands
    for those in it.

    assemble: what joins galleries that lie elsewhere. Raises GalleryError, ModelError or
    UsageError.

    >>> with pipeline.open_gallery("gallery") as gallery:  # doctest: +SKIP
    ...     gallery.search("query.jpg", k=5).results[0].image
    'photos/a.jpg'
    """
    where = Path(gallery) if isinstance(gallery, (str, Path)) else tuple(map(Path, gallery))
    if where == ():
        raise UsageError("gallery: expected at least one folder, got none")
    began = time.perf_counter()
    opened = OpenGallery(where, open_engine(where, options or SearchOptions(), assemble))
    LOG.debug(
        f"gallery {opened.name}: {len(opened):,} photos of model {opened.engine.binding.model}, "
        f"recipe {opened.engine.recipe.name}, opened in {time.perf_counter() - began:.2f} s"
    )
    return opened


class OpenGallery:
    """A gallery as it was when it was opened, whatever an index run does meanwhile. Use
    `open_gallery(...)`.
    """

    def __init__(self, where: Galleries, engine: Engine) -> None:
        self.where, self.name = where, listed(where)
        self._engine: Engine | None = engine

    @property
    def engine(self) -> Engine:
        """What the commands work with. Raises GalleryError once the gallery is closed."""
        if self._engine is None:
            raise GalleryError(
                f"gallery {self.name}: expected an open gallery, got a closed one; open it again"
            )
        return self._engine

    @property
    def names(self) -> tuple[str, ...]:
        """(N,) paths relative to the folder of photos, ascending: the order of `vectors`."""
        return self.engine.gallery.names

    def __len__(self) -> int:
        return len(self.names)

    def encode(self, photo: "Photo | Query", box: "Box | None" = None) -> Query:
        """A photo as every other method takes it, so that one that is asked for twice is encoded
        once.

        photo: a path, `gallery:RELATIVE_PATH`, `queries:RELATIVE_PATH` of the gallery that asks
        (`SearchOptions.queries`), a file's bytes, an upright RGB array (H, W, 3) uint8 or a Pillow
        image; box: (left, top, right, bottom) px, the part of it that asks, cut at the photo's
        edges. Raises QueryError.
        """
        if isinstance(photo, Query):
            return photo
        if isinstance(photo, str) and photo.startswith((INDEXED, ASKING)):
            return self.engine.query(photo, box)
        engine = self.engine
        name, image = read_photo(photo, side=engine.side_read if box is None else 0)
        return engine.encode(name, image, box)

    def search(
        self,
        photo: "Photo | Query | Sequence[Photo | Query]",
        k: int = 10,
        *,
        candidates: int | str | None = None,
        budget_ms: float | None = None,
        box: "Box | Sequence[Box | None] | None" = None,
    ) -> Answer:
        """The k best photos by both looks; a list or tuple of photos, of one thing, is one query.

        candidates: how many are verified, a number or "4x" for four times k; budget_ms:
        milliseconds for verification, the best candidates first; box: as `encode` takes it, one
        for each of several photos. Raises QueryError for what is no photo, UsageError for a number
        that cannot be.
        """
        wanted = None if candidates is None else str(candidates)
        if not isinstance(k, int) or k < 1:
            raise UsageError(f"k: expected a whole number of 1 or more, got {k!r}")
        if wanted is not None and not (
            wanted.removesuffix("x").isdecimal() and int(wanted.removesuffix("x"))
        ):
            raise UsageError(
                f"candidates: expected a number of 1 or more, or such as '4x', got {candidates!r}"
            )
        if budget_ms is not None and not 0 < budget_ms < float("inf"):
            raise UsageError(f"budget_ms: expected a number above 0, got {budget_ms!r}")
        if not isinstance(photo, (list, tuple)):
            return self.engine.answer(self.encode(photo, box), k, wanted, budget_ms)  # type: ignore[arg-type]
        boxes = [None] * len(photo) if box is None else list(box)
        if not photo or len(boxes) != len(photo):
            raise UsageError(
                "photos: expected at least one, and as many boxes or none, got"
                f" {len(photo)} photos and {len(boxes)} boxes"
            )
        queries = [self.encode(each, part) for each, part in zip(photo, boxes, strict=True)]  # type: ignore[arg-type]
        return answer_together(self.engine, queries, k, wanted, budget_ms)

    def rerank(self, photo: "Photo | Query", names: Sequence[str]) -> Answer:
        """The second look at these indexed photos, best first, whoever proposed them. Raises
        QueryError for one that is not indexed.
        """
        rows = [self.engine.row(name) for name in names]
        if len(set(rows)) < len(rows):
            raise UsageError(
                f"names: expected each photo once, got {len(rows) - len(set(rows))} again"
            )
        return self.engine.rerank(self.encode(photo), rows)

    def evidence(self, photo: "Photo | Query", name: str) -> Evidence:
        """What a photo and an indexed one share: matched points, affine map, and whether it would
        be accepted as the only candidate.
        """
        engine = self.engine
        query, row = self.encode(photo), engine.row(name)
        if engine.verify is None:
            raise UsageError(
                f"gallery {self.name}: expected a recipe that compares points, got"
                f" {engine.recipe.name}, which compares codes"
            )
        result = engine.rerank(query, [row]).results[0]
        candidate = engine.gallery.features[row]
        pairs, _, inliers = engine.verify.pair(query.features, candidate)
        points = query.in_whole(query.features.xy[pairs[:, 0]]), candidate.xy[pairs[:, 1]]
        return Evidence(*points, inliers, result.affine, result.false_alarms, result.accepted)

    def vectors(self, which: Vectors = "code") -> Float32:
        """(N, D) float32, a row a photo in the order of `names`: the codes that the first look
        searches, or unit embeddings.
        """
        if which == "code":
            return self.engine.gallery.codes.copy()
        if which != "embedding":
            raise UsageError(f"vectors: expected 'code' or 'embedding', got {which!r}")
        encode = self.engine.recipe.encode
        if "embedding" not in {node.output for node in encode.rows}:
            raise UsageError(
                f"gallery {self.name}: expected a recipe that has embeddings, got"
                f" {self.engine.recipe.name}"
            )
        reading = read_galleries(self.where, None)
        if (reading.names, reading.contents) != (self.names, self.engine.contents):
            raise GalleryError(
                f"gallery {self.name}: expected the photos that were opened, got others since; open"
                " it again"
            )
        rows = [encode({"pooled": each.astype(np.float32)}, "embedding") for each in reading.pooled]
        return np.stack(rows) if rows else np.empty((0, 0), np.float32)

    def close(self) -> None:
        """Let go of the gallery's memory; another call than this one raises GalleryError
        afterwards.
        """
        self._engine = None

    def __enter__(self) -> "OpenGallery":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def verify(
    photo: "Photo",
    other: "Photo",
    *,
    model: str = DEFAULT,
    device: str = "auto",
    seed: int = 0,
    false_alarm: float = 0.001,
) -> Evidence:
    """Do two photos show the same thing? Without a gallery: the model's own null says what chance
    does.

    false_alarm: the share of unrelated pairs that may be accepted. A search has thousands of
    candidates to share its 0.1; here the one pair has it all, so less is allowed. Raises
    QueryError, ModelError or UsageError.

    >>> pipeline.verify("a.jpg", "b.jpg").accepted  # doctest: +SKIP
    True
    """
    opened = open_model(model)
    if not isinstance(opened, Model) or opened.settings.recipe not in (DEFAULT, LITE, *ATTENDED):
        raise ModelError(
            f"model {opened.name}: expected one whose recipe compares points, got"
            f" {opened.settings.recipe}"
        )
    encode, look = load_encoder(model, device), second_look(seed)
    ours, theirs = (encode({"image": read_photo(each)[1]}, "features") for each in (photo, other))
    pairs, affine, inliers = look.pair(ours, theirs)
    count, null = np.array([inliers.sum()], np.int32), opened.null
    alarms, accepted = None, bool(count[0] >= int(opened.card["accept"].get("inliers", 0)))
    if null is not None:
        theirs_count: Int64 = np.array([len(theirs)], np.int64)
        logs, kept, _ = judge(null, len(ours), theirs_count, count, 1, false_alarm)
        alarms, accepted = round_digits(float(np.exp(logs[0]))), bool(kept[0, 0])
    points = ours.xy[pairs[:, 0]], theirs.xy[pairs[:, 1]]
    return Evidence(*points, inliers, affine_rows(affine), alarms, accepted)
