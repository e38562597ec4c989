"""How other processes open the same gallery: what they open it by, and that it is still what the
job began with.
"""

import hashlib
import os
import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from pipeline.base.errors import GalleryError
from pipeline.base.files import file_sha256
from pipeline.base.install import SOURCES
from pipeline.base.options import SearchOptions
from pipeline.gallery.merge import Galleries, listed, members, read_bindings, read_paths
from pipeline.model.card import find_model
from pipeline.search.engine import Engine
from pipeline.search.open import open_engine

PROGRAM = (
    "expected this program as it was when the job began, got another version; run again when it is"
    " at rest, a cluster's workers started anew"
)


CHANGED = (
    "expected it and its model as they were when the job began, got another version; run again when"
    " they are at rest"
)


@dataclass(frozen=True)
class Version:
    """What a gallery's answers rest on, known without opening it; sha256 each."""

    photos: str  # over paths and contents
    model: str  # of the model's card, which vouches for the weights and says what is accepted
    program: str  # over the sources of stages and pipeline


@dataclass(frozen=True)
class Opening:
    """How a process opens its engine. Equal in all of them, and hashable."""

    gallery: tuple[Path, ...]  # absolute: the processes outlive a change of folder
    options: SearchOptions  # its paths absolute, too
    version: Version
    asking: Version | None = None  # of `options.queries`


def opening_of(where: Galleries, options: SearchOptions, threads: int) -> Opening:
    """How processes of so many threads each are to open what `open_engine(where, options)` opens,
    as it is now.
    """
    model = None if options.model is None else str(find_model(options.model))
    queries = None if options.queries is None else options.queries.resolve()
    options = replace(options, model=model, queries=queries, threads=threads)
    asking = None if queries is None else read_version(queries, model)[1]
    folders = tuple(folder.resolve() for folder in members(where))
    return Opening(folders, options, read_version(where, model)[1], asking)


def read_version(where: Galleries, model: str | None) -> tuple[tuple[str, ...], Version]:
    """The indexed paths in the order of their rows, and what they are. Raises GalleryError or
    ModelError.
    """
    made = read_bindings(where).where if model is None else model
    digest = hashlib.sha256()
    rows, null = read_paths(where)
    for row in rows:
        digest.update(repr(row).encode())
    digest.update(null.encode())  # what is accepted rests on it
    names = tuple(os.fsdecode(path) for path, _ in rows)
    card = (
        file_sha256(find_model(made) / "card.json") if made else ""
    )  # features of another program
    return names, Version(digest.hexdigest(), card, read_program(SOURCES))


@lru_cache
def read_program(sources: Path) -> str:
    """sha256 over the sources, once a process: one that lives on runs what it has loaded, whatever
    the files become.
    """
    files = sorted((*sources.glob("stages/*.py"), *sources.glob("pipeline/**/*.py")))
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()


def check_version(where: Galleries, model: str | None, version: Version) -> None:
    """Raises GalleryError where it is not what the job began with."""
    if read_version(where, model)[1] != version:
        raise GalleryError(f"gallery {listed(where)}: {changed(version.program)}")


def changed(program: str) -> str:
    """Why what was opened is not what the job began with, when the program was this one."""
    return PROGRAM if read_program(SOURCES) != program else CHANGED


OPENING = threading.Lock()  # a process of a cluster may have several threads


def opened(opening: Opening) -> Engine:
    """This process's engine, with its share of the threads."""
    with OPENING:
        return _opened(opening)


@lru_cache(maxsize=1)
def _opened(opening: Opening) -> Engine:
    engine = open_engine(opening.gallery, opening.options)
    check_version(opening.gallery, opening.options.model, opening.version)
    if opening.options.queries is not None and opening.asking is not None:
        check_version(opening.options.queries, opening.options.model, opening.asking)
    return engine
