"""Processes that take a second look at given candidates: each opens the gallery once, its features a memory map that all share.

What is answered depends on the query alone, so neither the number of processes nor the death of one shows in the answers. A
process that dies takes at most the queries in flight with it; they are asked again.
"""

import hashlib
import os
import select
import signal
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.engine import INDEXED, Engine, QueryError, open_engine
from pipeline.flags import UsageError
from pipeline.gallery import GalleryError
from pipeline.graph import Graph, Node
from pipeline.many import Galleries, listed, read_bindings, read_paths
from pipeline.models import find_model
from pipeline.runs import EVIDENCE, Reranked, Shortlist
from pipeline.shards import file_sha256
from stages.records import Candidates

PROGRAM = "want this program as it was when the job began, got another version; run again when it is at rest, a cluster's workers started anew"
CHANGED = "want it and its model as they were when the job began, got another version; run again when they are at rest"
SOURCES = Path(__file__).resolve().parents[1]
CHUNK_QUERIES, CHUNK_PAIRS = 8, 1000  # sent to a process at once, at most: enough to hide the sending, little to lose
TRIES = 3  # deaths over one query alone before it is given up
GIVE_UP = 20  # deaths in a row, over any queries


@dataclass(frozen=True)
class Failed:
    """A query that nobody could answer."""

    query: str
    reason: str


@dataclass(frozen=True)
class Version:
    """What a gallery's answers rest on, told without opening it; sha256 each."""

    photos: str  # over paths and contents
    model: str  # of the model's card, which vouches for the weights and says what is accepted
    program: str  # over the sources of stages and pipeline


@dataclass(frozen=True)
class Opening:
    """How a process opens its engine. Equal in all of them, and hashable."""

    gallery: tuple[Path, ...]  # absolute: the processes outlive a change of folder
    recipe: str
    model: str | None  # absolute where it is a folder
    device: str
    seed: int
    false_alarm: float
    version: Version
    threads: int = 1  # of each process
    code: str | None = None  # what the first look searches; None: the recipe's own
    search: str = "auto"  # on what
    asking: tuple[Path, Version] | None = None  # another gallery, whose photos are queries


def read_version(where: Galleries, model: str | None) -> tuple[tuple[str, ...], Version]:
    """The indexed paths in the order of their rows, and what they are. Raises GalleryError or ModelError."""
    made = read_bindings(where).where if model is None else model
    digest = hashlib.sha256()
    rows, null = read_paths(where)
    for row in rows:
        digest.update(repr(row).encode())
    digest.update(null.encode())  # what is accepted rests on it
    names = tuple(os.fsdecode(path) for path, _ in rows)
    return names, Version(digest.hexdigest(), file_sha256(find_model(made) / "card.json"), read_program(SOURCES))


@lru_cache
def read_program(sources: Path) -> str:
    """sha256 over the sources, once a process: one that lives on runs what it has loaded, whatever the files become."""
    files = sorted((*sources.glob("stages/*.py"), *sources.glob("pipeline/**/*.py")))
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()


def want_version(where: Galleries, model: str | None, version: Version) -> None:
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
    where, asking = opening.gallery, opening.asking and opening.asking[0]
    how = (opening.code, opening.device, opening.seed, opening.false_alarm, asking, None, opening.search)
    engine = open_engine(where, opening.recipe, opening.model, *how)
    for folders, version in ((where, opening.version), *((((opening.asking[0],), opening.asking[1]),) if opening.asking else ())):
        want_version(folders, opening.model, version)
    answer = engine.recipe.answer
    verify = engine.verify and replace(engine.verify, threads=opening.threads)
    rows = [Node(row.output, verify if verify and row.stage is engine.verify else row.stage, *row.reads) for row in answer.rows]
    return replace(engine, recipe=replace(engine.recipe, answer=Graph(answer.inputs, rows)))


def stamp(where: str) -> list[int] | None:
    """By what a query's file is known again. None for an indexed photo, and for what is no file."""
    if where.startswith(INDEXED):
        return None
    try:
        status = os.stat(where)
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def second_look(opening: Opening, lists: Sequence[Shortlist]) -> list[Reranked | Failed]:
    """Re-rank a few shortlists in this process."""
    engine = opened(opening)
    return [look_again(engine, each) for each in lists]


def look_again(engine: Engine, each: Shortlist) -> Reranked | Failed:
    """Re-rank one shortlist."""
    seen = stamp(each.where)  # before the file is read: a change meanwhile shows
    try:
        query = engine.query(each.where)
    except QueryError as error:
        return Failed(each.query, str(error))
    order = np.arange(len(each.rows), dtype=np.float32)  # another engine's distances are unknown: its order stands in for them
    matches, ranking = engine.refine(query, Candidates(each.rows[None], order[None]))
    places = ranking.order[0]
    evidence = {name: column(matches, ranking)[0, places].tolist() for name, column in EVIDENCE.items()}
    return Reranked(each.query, seen, places.tolist(), evidence)


def in_chunks(lists: Iterable[Shortlist]) -> Iterator[list[Shortlist]]:
    """As many at once as make about a second of work."""
    chunk: list[Shortlist] = []
    for each in lists:
        if chunk and (len(chunk) == CHUNK_QUERIES or sum(len(other.rows) for other in chunk) + len(each.rows) > CHUNK_PAIRS):
            yield chunk
            chunk = []
        chunk.append(each)
    if chunk:
        yield chunk


def answer_all(opening: Opening, lists: Sequence[Shortlist], jobs: int, counts: Counter[str]) -> Iterator[Reranked | Failed]:
    """Every shortlist answered, in any order, by `jobs` processes; one works in this process.

    When a process dies nobody knows over which of the queries in flight, so these are asked again one at a time: a death then is
    that query's own, and after `TRIES` of them it has failed. counts["retried"] says how many were asked again.
    """
    from joblib import Parallel, delayed

    if jobs == 1:
        for each in lists:
            yield from second_look(opening, [each])
        return
    todo = {each.query: each for each in lists}
    suspects: dict[str, int] = {}  # queries in flight at a death -> deaths over them alone
    deaths = 0  # since the last answer
    pool = {"batch_size": 1, "pre_dispatch": "n_jobs", "return_as": "generator_unordered", "initializer": stay_with, "initargs": (os.getpid(),)}
    while todo:
        alone = next(iter(suspects), None)
        work = [[todo[alone]]] if alone is not None else in_chunks(list(todo.values()))
        sent: dict[str, int] = {}

        def sending(work: Iterable[list[Shortlist]] = work, sent: dict[str, int] = sent) -> Iterator[object]:
            for chunk in work:
                sent.update((each.query, 0) for each in chunk)
                yield delayed(second_look)(opening, chunk)

        try:
            for answers in Parallel(n_jobs=jobs, **pool)(sending()):
                deaths = 0
                for answer in answers:
                    del todo[answer.query]
                    suspects.pop(answer.query, None)
                    yield answer
        except BrokenProcessPool:
            deaths += 1
            if deaths == GIVE_UP:
                raise UsageError(f"workers: want one that lives, got {deaths} that died in a row; run again with fewer `--jobs`") from None
            if alone is None:
                suspects = {query: 0 for query in sent.copy() if query in todo}
                counts["retried"] += len(suspects)
                continue
            suspects[alone] += 1
            if suspects[alone] == TRIES:
                del todo[alone], suspects[alone]
                yield Failed(alone, f"{alone}: want a worker that lives through it, got {TRIES} that died; look for what ends them, such as memory")


def stay_with(parent: int) -> None:
    """Make this process end with its parent, however that ends, and leave Ctrl-C to it.

    A worker without work would wait for five minutes otherwise, its memory held.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        watched = os.pidfd_open(parent)
    except ProcessLookupError:
        os._exit(1)
    if os.getppid() != parent:  # it was gone already, and its number given to another
        os._exit(1)

    def wait() -> None:
        select.select([watched], [], [])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
