"""Open a gallery for searching: `SearchOptions` say how, `open_engine` does it."""

import logging
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from pipeline.base.compute import device_of, one_thread_each
from pipeline.base.errors import GalleryError, UsageError
from pipeline.base.names import IMPORTED
from pipeline.base.options import SearchOptions
from pipeline.gallery.binding import Binding, check_recipe
from pipeline.gallery.chance import gallery_null
from pipeline.gallery.merge import (
    Galleries,
    check_model,
    listed,
    members,
    read_bindings,
    read_galleries,
)
from pipeline.gallery.parts import MEND
from pipeline.gallery.store import Reading
from pipeline.model.codebook import ModelCodebook, read_codebook
from pipeline.model.weights import open_model
from pipeline.recipes import RECIPES, Recipe, imported, second_look, with_shortlist
from pipeline.search.code_index import choose
from pipeline.search.engine import Engine
from stages.inverted_index import PartsIndex
from stages.kinds import DescribeBoth
from stages.rank import Calibrated
from stages.records import Float32
from stages.verify import Verify

LOG = logging.getLogger(__name__)
# galleries, recipe, row of its `encode` that is searched, `--search`, `--shortlist` -> engine
Assemble = Callable[[Galleries, Recipe, str, str, str | None], Engine]


def engine_of(
    where: Galleries, built: Recipe, code: str, index: str, shortlist: str | None = None
) -> Engine:
    """A recipe that is built and the galleries as they are now, in this process. Raises
    GalleryError, ModelError and UsageError.
    """
    built = with_shortlist(built, shortlist or built.prefers)
    reading = read_galleries(where, second_look(), parts=built.shortlist != "global", late=True)
    built, codebook = choose_shortlist(where, built, partial(lack_of_parts, reading), shortlist)
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
    voting = None
    if codebook is not None and reading.parts is not None:
        voting = partial(
            reading.parts.index, codebook, reading.contents, threads=os.cpu_count() or 1
        )
    gallery = reading.gallery(codes, null, builder, voting)
    return Engine(built, gallery, reading.binding, code, reading.contents, reason)


def choose_shortlist(
    where: Galleries, built: Recipe, lack: Callable[[ModelCodebook], str], asked: str | None
) -> tuple[Recipe, ModelCodebook | None]:
    """The recipe, and the codebook where it counts votes: by codes alone where votes cannot be
    counted and nobody asked for them. lack: what is wrong with the galleries' indexes of parts.
    Raises GalleryError or UsageError where somebody asked.
    """
    if built.shortlist == "global":
        return built, None
    codebook = None if built.model is None else read_codebook(built.model)
    if codebook is None:
        if asked is not None:
            raise UsageError(
                f"--shortlist {asked}: expected a model with a codebook, got"
                f" {built.name if built.model is None else built.model.name}, which has none; run"
                " without it"
            )
        return with_shortlist(built, "global"), None
    if not (got := lack(codebook)):
        return built, codebook
    said = f"gallery {listed(where)}: expected an index of parts over all photos, got {got}"
    mend = "; ".join(f"`{MEND} {shlex.quote(str(folder))}`" for folder in members(where))
    if asked is not None:
        raise GalleryError(f"{said}; run {mend}")
    LOG.info(f"{said}: candidates are found by codes alone; run {mend}")
    return with_shortlist(built, "global"), None


def lack_of_parts(reading: Reading, codebook: ModelCodebook) -> str:
    """What is wrong with a gallery's index of parts; nothing where it is whole."""
    if not reading.names:
        return ""
    if reading.parts is None:
        return "none"
    if reading.parts.codebook != codebook.sha256:
        return f"one by codebook {reading.parts.codebook[:12]} in place of {codebook.sha256[:12]}"
    if not (lacking := reading.parts.lacks(reading.contents)):
        return ""
    different = len(set(reading.contents))
    return f"one over {different - lacking} of {different}"


def open_engine(where: Galleries, options: SearchOptions, assemble: Assemble = engine_of) -> Engine:
    """Open a gallery, or several as one. assemble: what joins galleries that lie elsewhere.

    Raises GalleryError, ModelError or UsageError.
    """
    one_thread_each()
    folder, remembered = listed(where), read_bindings(where)
    if remembered.recipe == IMPORTED:
        return _open_imported(where, remembered, options, assemble)
    asked = remembered.where if options.model is None else options.model
    opened = open_model(asked, remembered.precision)
    if opened.identity != remembered.identity:
        raise GalleryError(
            f"gallery {folder}: expected model {remembered.made_by}, got {opened.name}"
            f" ({opened.identity[:12]}); leave out --model, or index again with `python -m"
            f" pipeline.index {remembered.photos} --gallery NEW --model"
            f" {options.model or opened.name}`"
        )
    check_recipe(folder, remembered, opened.settings.bits, options.recipe, options.bits)
    try:
        recipe = RECIPES[options.recipe or opened.settings.recipe]
        built = recipe(opened, options.seed, device_of(options.device), options.false_alarm)
    except ValueError as error:
        raise UsageError(str(error)) from None
    code = options.code or built.stored
    outputs = {node.output for node in built.encode.rows}
    if code == "logits" and code not in outputs and "embedding" in outputs:
        raise UsageError(
            f"--code logits: expected a model with a class head, got {opened.name} without one; run"
            " without it"
        )
    if code not in outputs:
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
    if options.shortlist not in (None, "global") and built.binary:
        raise UsageError(
            f"--shortlist {options.shortlist}: expected a recipe that has local features, got"
            f" {built.name}; run without it"
        )
    if options.expand and built.binary:
        raise UsageError(
            f"--expand: expected a recipe that compares points, got {built.name}; run without it"
        )
    opened = assemble(where, built, code, options.index, options.shortlist)
    engine = replace(
        with_threads(opened, options.threads),
        expand=options.expand,
        turns=_turns(built, options),
        mirror=options.mirror,
    )
    if options.queries is None:
        return engine
    check_model(options.queries, read_bindings(options.queries), listed(where), engine.binding)
    return replace(engine, asking=engine_of(options.queries, built, engine.code, "tree", "global"))


def _turns(built: Recipe, options: SearchOptions) -> str:
    """When queries ask turned: never where a fixed count accepts, or nothing is encoded here."""
    can = isinstance(built.answer.stage("ranking"), Calibrated) and bool(built.encode.rows)
    if not can and (options.turns == "all" or options.mirror):
        asked = "--mirror" if options.mirror else f"--turns {options.turns}"
        raise UsageError(
            f"{asked}: expected a recipe that accepts at a stated rate, of photos that are encoded"
            f" here, got {built.name}; run without it"
        )
    return options.turns if can else "none"


def with_threads(engine: Engine, threads: int) -> Engine:
    """The same engine, its work on so many threads; 0: as it is."""
    verify = engine.recipe.answer.stage("matches")
    if not isinstance(verify, Verify):
        return engine
    threads = threads or verify.threads
    encode = engine.recipe.encode
    if encode.rows and isinstance(described := encode.stage("features"), DescribeBoth):
        encode = encode.with_stage("features", replace(described, threads=threads))
        recipe = replace(engine.recipe, encode=encode)
        engine = replace(engine, recipe=recipe, rows_at_once=threads)
    parts = engine.gallery.parts
    if isinstance(parts, PartsIndex):
        parts = replace(parts, threads=threads)
        engine = replace(engine, gallery=replace(engine.gallery, parts=parts))
    return engine.with_answer(
        engine.recipe.answer.with_stage("matches", replace(verify, threads=threads))
    )
