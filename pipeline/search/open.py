"""Open a gallery for searching: `SearchOptions` say how, `open_engine` does it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from pipeline.base.compute import device_of, one_thread_each
from pipeline.base.errors import GalleryError, UsageError
from pipeline.base.names import IMPORTED
from pipeline.base.options import SearchOptions
from pipeline.gallery.chance import gallery_null
from pipeline.gallery.merge import (
    Galleries,
    check_model,
    listed,
    members,
    read_bindings,
    read_galleries,
)
from pipeline.gallery.store import Binding, check_recipe
from pipeline.model.weights import open_model
from pipeline.recipes import RECIPES, Recipe, imported, second_look
from pipeline.search.code_index import choose
from pipeline.search.engine import Engine
from stages.records import Float32
from stages.verify import Verify

Assemble = Callable[[Galleries, Recipe, str, str], Engine]


def engine_of(where: Galleries, built: Recipe, code: str, index: str) -> Engine:
    """A recipe that is built and the galleries as they are now, in this process. Raises
    GalleryError.
    """
    reading = read_galleries(where, second_look())
    codes = reading.codes
    # stored pooled vectors go through the same rows of the table as a query's
    if code != built.stored:
        vectors: Sequence[Float32] = [
            built.encode({"pooled": pooled.astype(np.float32)}, code) for pooled in reading.pooled
        ]
        codes = np.stack(vectors) if vectors else codes
    folders = members(where)
    builder = choose(index, len(codes), built.binary, folders[0] if len(folders) == 1 else None)
    null, reason = gallery_null(reading, second_look())
    gallery = reading.gallery(codes, null, builder)
    contents = dict(zip(reading.names, reading.contents, strict=True))
    return Engine(built, gallery, reading.binding, code, contents, reason)


def open_engine(where: Galleries, options: SearchOptions, assemble: Assemble = engine_of) -> Engine:
    """Open a gallery, or several as one. assemble: what joins galleries that lie elsewhere.

    Raises GalleryError, ModelError or UsageError.
    """
    one_thread_each()
    folder, remembered = listed(where), read_bindings(where)
    if remembered.recipe == IMPORTED:
        return _open_imported(where, remembered, options, assemble)
    opened = open_model(remembered.where if options.model is None else options.model)
    if opened.identity != remembered.identity:
        raise GalleryError(
            f"gallery {folder}: expected model {remembered.model} ({remembered.identity[:12]}), got"
            f" {opened.name} ({opened.identity[:12]}); leave out --model, or index again with"
            f" `python -m pipeline.index {remembered.photos} --gallery NEW --model"
            f" {options.model or opened.name}`"
        )
    check_recipe(folder, remembered, opened.settings.bits, options.recipe, options.bits)
    try:
        recipe = RECIPES[options.recipe or opened.settings.recipe]
        built = recipe(opened, options.seed, device_of(options.device), options.false_alarm)
    except ValueError as error:
        raise UsageError(str(error)) from None
    code = options.code or built.stored
    if code not in {node.output for node in built.encode.rows}:
        raise UsageError(
            f"--code {code}: expected none with recipe {built.name}, which searches its own, got"
            " one; run without it"
        )
    return _assembled(where, built, code, options, assemble)


def _open_imported(
    where: Galleries, remembered: Binding, options: SearchOptions, assemble: Assemble
) -> Engine:
    """A gallery of another program's features: there is no model, and nothing but its codes."""
    for flag, value in (("model", options.model), ("code", options.code), ("bits", options.bits)):
        if value is not None:
            raise UsageError(
                f"--{flag} {value}: expected none, for the features of {listed(where)} were"
                " computed by another program; run without it"
            )
    check_recipe(listed(where), remembered, 0, options.recipe, None)
    built = imported(options.seed, device_of(options.device), options.false_alarm)
    return _assembled(where, built, built.stored, options, assemble)


def _assembled(
    where: Galleries, built: Recipe, code: str, options: SearchOptions, assemble: Assemble
) -> Engine:
    engine = with_threads(assemble(where, built, code, options.index), options.threads)
    if options.queries is None:
        return engine
    check_model(options.queries, read_bindings(options.queries), listed(where), engine.binding)
    return replace(engine, asking=engine_of(options.queries, built, engine.code, "tree"))


def with_threads(engine: Engine, threads: int) -> Engine:
    """The same engine, its second look on so many threads; 0: as it is."""
    verify = engine.recipe.answer.stage("matches")
    if not threads or not isinstance(verify, Verify):
        return engine
    return engine.with_answer(
        engine.recipe.answer.with_stage("matches", replace(verify, threads=threads))
    )
