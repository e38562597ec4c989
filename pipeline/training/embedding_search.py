"""Another first look before the same second one: embeddings of scripts/train.py in place of a
gallery's own codes.

Local features were made when the photos were indexed; each embedding that is
compared costs its own forward passes alone. The search is exact, by the distance of whole unit
vectors.
"""

import json
import logging
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np

from pipeline.base.compute import one_thread_each
from pipeline.base.errors import ImageError, UsageError
from pipeline.base.files import file_sha256
from pipeline.base.images import load_image
from pipeline.base.install import call
from pipeline.base.names import ATTENDED
from pipeline.model.card import Settings
from pipeline.search.engine import Engine
from pipeline.training.checkpoint import RESULT
from pipeline.training.embedding import read_start
from pipeline.training.folders import list_rows
from stages.embed import Embed, normalise
from stages.gallery import Gallery
from stages.records import Float32, Image
from stages.reduce import Reduce
from stages.trunk import load_resnet

LOG = logging.getLogger("pipeline.training.embedding_search")

REPEATS = 15
Photo = TypeVar("Photo")
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Trained:
    """A finished run of scripts/train.py embedding or of a resnet50 recipe, by what its folder
    says."""

    run: Path
    recipe: str
    settings: Settings  # trunk, attention and side
    folders: tuple[Path, ...]  # of the photos that it learned from
    facts: dict[str, Any]  # its setting, epochs and seed, for the row
    sha256: str  # of the weights


def read_run(run: Path) -> Trained:
    """Raises UsageError for what is no such run."""
    try:
        result = json.loads((run / RESULT).read_text("utf-8"))
        flags = result["settings"]
        what = flags["WHAT"]
        own = (
            {name: flags[f"--{name}"] for name in ("fusion", "reduction", "groups", "first")}
            if what in ATTENDED[1:]
            else {}
        )
        side = flags["--test-px"] or flags["--px"][-1]
        trunk = "resnet50" if what in ATTENDED else "resnet18"
        settings = Settings(
            trunk=trunk,
            embed_side=side,
            attention=what.partition("_")[2] if what in ATTENDED else "",
            **own,
        )
        facts = {
            "setting": flags.get("--setting", ""),
            "epochs": flags["--epochs"],
            "px": side,
            "validation": result["validation"],
            **own,
        }
        facts["seconds"] = result["seconds"]
        folders = tuple(Path(folder) for folder in result["data"]["folders"])
        return Trained(run, what, settings, folders, facts, result["sha256"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"{run}: expected a finished run of `{call('train embedding')}` or `resnet50`,"
            f" got: {error}"
        ) from None


def embedder(trained: Trained) -> Embed:
    """Raises UsageError for weights that are not those of the run."""
    settings, how = trained.settings, trained.settings.how
    weights = read_start("--first-look", trained.run, settings.trunk, how)
    return Embed(load_resnet(settings.trunk, weights, how=how), settings.embed_side)


def with_first_look(
    engine: Engine, trained: Trained, threads: int, components: int | None = None
) -> Engine:
    """The engine, and the gallery that asks, with the run's embeddings for codes: whole, or so many
    principal components of them, again of unit length. Raises UsageError for a photo that is gone
    or has changed.
    """
    one_thread_each()
    embed = embedder(trained)
    reduce = fit_components(trained, embed, components, threads) if components else None

    def one(one: Engine) -> Engine:
        gallery = one.gallery
        codes = np.stack(list(embedded(one, embed, threads)))
        codes = reduce(codes) if reduce else codes
        return replace(
            one, gallery=Gallery.from_arrays(gallery.names, codes, gallery.features, gallery.null)
        )

    return replace(one(engine), asking=engine.asking and one(engine.asking))


def fit_components(trained: Trained, embed: Embed, components: int, threads: int) -> Reduce:
    """(..., C) -> (..., components), of unit length: by the vectors of the photos that the run
    learned from. Raises UsageError where these are gone, or too few.
    """
    rows, _ = list_rows(trained.folders, f"--first-look {trained.run}, its photos in")
    length = embed.trunk.get_parameter("fc.weight").shape[1]

    def check(photos: int) -> None:
        if components > (most := min(photos, length)):
            where = " ".join(map(str, trained.folders))
            raise UsageError(
                f"--components {components}: expected at most {most}, got more than there are"
                f" photos in {where}, {photos:,}, or numbers in a vector, {length:,}"
            )

    def one(path: Path) -> Float32 | None:
        try:
            return normalise(embed(load_image(path)))
        except ImageError as error:
            LOG.info(f"{path}: {error}; left out")
            return None

    check(len(rows))
    seen = shown(one, [path for path, _, _ in rows], threads)
    vectors = [vector for vector in seen if vector is not None]
    check(len(vectors))
    return Reduce.fit(np.stack(vectors), components, unit=True)


def embedded(engine: Engine, embed: Embed, threads: int) -> Iterator[Float32]:
    """Unit vectors of the indexed photos, in the order of their rows."""

    def one(name: str) -> Float32:
        path = engine.file(name)
        try:
            if file_sha256(path) != engine.content(name):
                raise UsageError(
                    f"{path}: expected the photo as it was indexed, got another; index again"
                )
            return normalise(embed(load_image(path)))
        except (OSError, ImageError) as error:
            raise UsageError(
                f"{path}: expected the indexed photo, got: {error}; index again"
            ) from None

    return shown(one, engine.gallery.names, threads)


def shown(one: Callable[[Photo], Seen], photos: Sequence[Photo], threads: int) -> Iterator[Seen]:
    """What `one` makes of each, in their order, with a bar."""
    from tqdm import tqdm

    with ThreadPoolExecutor(threads) as pool:
        made = pool.map(one, photos)
        yield from tqdm(made, total=len(photos), desc="embed", unit="photo", mininterval=0.5)


def cost(trained: Trained) -> dict[str, float]:
    """What one photo costs in a process of its own, on one thread: parameters, ms (median), peak
    memory in MB, all of Python's included.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_cost, trained).result()


def _cost(trained: Trained) -> dict[str, float]:
    one_thread_each()
    embed = embedder(trained)
    photo = Image(np.random.default_rng(0).integers(0, 256, (256, 384, 3), np.uint8))
    spent = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        embed(photo)
        spent.append(time.perf_counter() - began)
    network = sum(
        parameter.numel()
        for name, parameter in embed.trunk.named_parameters()
        if not name.startswith("fc.")
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "parameters": network,
        "ms_per_image": round(1000 * median(spent), 2),
        "peak_mb": round(peak),
    }
