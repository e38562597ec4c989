"""Galleries that are spread over a cluster and answer as one: the same two tables, whose search and second look ask the parts' owners.

Each worker owns some of the galleries. A query's code goes to all of them, their shortlists are merged by distance and path, and every
owner looks twice at those candidates of the merged list that lie with it. Here are the names, the codes and the counts of features; the
features stay where they are. Photos are encoded here, and the verdict is spoken here.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Any, cast

import numpy as np

from pipeline.calibrate import gallery_null
from pipeline.cluster import Cluster
from pipeline.engine import Engine
from pipeline.flags import UsageError
from pipeline.gallery import Reading, read_binding
from pipeline.graph import Graph, Node
from pipeline.many import Galleries, joined, members, read_paths
from pipeline.part import (
    How,
    Index,
    Listing,
    Part,
    column,
    count_inliers,
    described,
    digest,
    listing,
    look_twice,
    plant,
    shortlist,
)
from pipeline.recipes import Recipe, second_look
from pipeline.spread import POLL_SECONDS, next_done, result_of, send, tried
from pipeline.workers import SOURCES, read_program
from stages.records import Candidates, Float32, Gallery, Int32, Int64, LocalFeatures, Matches, PackedFeatures, UInt16
from stages.verify import Verify

TOGETHER = 32  # photos whose chance matches are counted by one task


@dataclass(frozen=True, eq=False)
class Owners:
    """Which worker holds which part; one that is lost has heirs."""

    cluster: Cluster
    parts: tuple[Part, ...]
    held: dict[int, str] = field(default_factory=dict)  # by part: its worker's address
    lock: threading.Lock = field(default_factory=threading.Lock)
    looked: list[float] = field(default_factory=lambda: [-POLL_SECONDS])  # when it was last asked who there is

    def ask(self, calls: Sequence[tuple[int, Callable[..., Any], tuple[Any, ...]]]) -> list[Any]:
        """(part, function of it, further arguments) each -> what they return. Raises Died where a worker ended over one."""
        done: SimpleQueue[Any] = SimpleQueue()
        owners = self.owners()
        sent = {send(self.cluster, done, call, self.parts[part], *more, owner=owners[part]): place for place, (part, call, more) in enumerate(calls)}
        found: list[Any] = [None] * len(calls)
        for _ in calls:
            future = next_done(self.cluster, done)
            found[sent[future]] = result_of(self.cluster, future)
        return found

    def owners(self) -> dict[int, str]:
        """By part. One that was lost a moment ago may be among them: another works in its place then."""
        with self.lock:
            if time.monotonic() - self.looked[0] >= POLL_SECONDS:
                self.held.update(dealt(len(self.parts), self.held, self.cluster.workers()))
                self.looked[0] = time.monotonic()
            return {part: self.held.get(part, "") for part in range(len(self.parts))}


def dealt(parts: int, held: Mapping[int, str], workers: Iterable[str]) -> dict[int, str]:
    """Whose each part is: as before where that worker is still there and has no two more than another; nobody's where there is no worker."""
    hands: dict[str, list[int]] = {worker: [] for worker in sorted(workers)}
    if not hands:
        return {}
    for part in sorted(range(parts), key=lambda part: held.get(part) not in hands):  # what is held stays, then the others are dealt
        hands.get(held.get(part, ""), min(hands.values(), key=len)).append(part)
    while len(most := max(hands.values(), key=len)) > 1 + len(least := min(hands.values(), key=len)):
        least.append(most.pop())
    return {part: worker for worker, hand in hands.items() for part in hand}


@dataclass(frozen=True, eq=False)
class Column:
    """One array of a part's local features, left with its owner: a slice, that of one photo, is fetched."""

    owners: Owners
    part: int
    name: str
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, rows: slice) -> Any:
        return self.owners.ask([(self.part, column, (self.name, rows.start, rows.stop))])[0]


@dataclass(frozen=True, eq=False)
class SearchParts:
    """(code, K, gallery) -> Candidates (1, K): the shortlists of all parts, merged."""

    known_as: str  # the stage's name that it stands for
    owners: Owners
    rows: tuple[Int64, ...]  # of each part's photos in the whole, ascending as their paths do
    how: How
    index: Index | None  # of the part on FAISS that finds least; None: none is

    def __call__(self, code: Float32, count: int, gallery: Gallery) -> Candidates:
        count = min(count, len(gallery))
        found = self.owners.ask([(part, shortlist, (self.how, code, count)) for part in range(len(self.rows))])
        rows = np.concatenate([of[each.rows[0]] for of, each in zip(self.rows, found, strict=True)])
        distance = np.concatenate([each.distance[0] for each in found])
        best = np.lexsort((rows, distance))[:count]
        return Candidates(rows[best][None], distance[best][None])


@dataclass(frozen=True, eq=False)
class VerifyParts:
    """(features, candidates, gallery) -> Matches, each candidate's from where its features lie."""

    known_as: str
    owners: Owners
    rows: tuple[Int64, ...]
    near: Verify  # what each owner does

    def __call__(self, features: LocalFeatures, candidates: Candidates, gallery: Gallery) -> Matches:
        rows = candidates.rows[0]
        matches, inliers = np.zeros(len(rows), np.int32), np.zeros(len(rows), np.int32)
        affine = np.full((len(rows), 2, 3), np.nan, np.float32)
        owned = gallery.features.block[rows]
        there = [(part, np.flatnonzero(owned == part)) for part in np.unique(owned).tolist()]
        calls = [(part, look_twice, (self.near, features, np.searchsorted(self.rows[part], rows[places]))) for part, places in there]
        for (_, places), found in zip(there, self.owners.ask(calls), strict=True):
            matches[places], inliers[places], affine[places] = found
        return Matches(matches[None], inliers[None], affine[None])


def assemble(cluster: Cluster, where: Galleries, built: Recipe, code: str, search: str) -> Engine:
    """The engine over galleries whose owners are the cluster's workers, for `open_engine`. Raises UsageError and GalleryError."""
    if code != built.stored:
        raise UsageError(f"--code {code}: want none with --cluster, where parts are searched by the codes they store, got one; run without either")
    held = sorted(((folder.resolve(), *read_paths(folder)) for folder in members(where)), key=lambda each: not each[1])
    # those without a photo stand last: features lie in as many blocks as there are others, in the same order
    program = read_program(SOURCES)
    owners = Owners(cluster, tuple(Part(folder, digest(photos, null, read_binding(folder)), program) for folder, photos, null in held))
    filled = max(1, sum(1 for _, photos, _ in held if photos))
    listed = tried(lambda: owners.ask([(part, listing, ()) for part in range(len(owners.parts))]))
    readings = [_reading(owners, part, each) for part, each in enumerate(listed)]
    near = replace(second_look(), threads=cluster.threads)
    reading = joined([part.folder for part in owners.parts], readings, lambda packed, drawn: count_afar(owners, near, packed, drawn))
    rows = tuple(np.flatnonzero(reading.features.block == part) for part in range(filled))
    how = How(built.answer.stage("candidates"), built.pack, search, len(reading.names))
    planted = tried(lambda: owners.ask([(part, plant, (how,)) for part in range(filled)]))
    index = min((each for each in planted if each is not None), key=lambda each: each.recall, default=None)
    answer = Graph(built.answer.inputs, [_afar(row, owners, rows, how, index) for row in built.answer.rows])
    null, reason = gallery_null(reading, second_look())
    gallery = reading.gallery(reading.codes, null, _elsewhere)
    return Engine(replace(built, answer=answer), gallery, reading.binding, code, dict(zip(reading.names, reading.contents, strict=True)), reason)


def _reading(owners: Owners, part: int, found: Listing) -> Reading:
    total = int(found.count.sum())
    block = cast("tuple[Float32, Any, Float32]", tuple(Column(owners, part, name, total) for name in ("xy", "descriptor", "score")))
    start = np.cumsum(found.count) - found.count
    features = PackedFeatures((block,), np.zeros(len(start), np.int32), start, found.count, found.size)
    return Reading(found.names, np.empty((len(start), 2, 0), np.float16), found.codes, features, found.contents, found.null, found.binding)


def _elsewhere(codes: Float32) -> UInt16:
    """No words, (0, N): nobody searches here, and so no tree is planted."""
    return np.empty((0, len(codes)), np.uint16)


def _afar(row: Node, owners: Owners, rows: tuple[Int64, ...], how: How, index: Index | None) -> Node:
    if row.output == "candidates":
        return Node(row.output, SearchParts(row.name, owners, rows, how, index), *row.reads)
    if isinstance(row.stage, Verify):
        return Node(row.output, VerifyParts(row.name, owners, rows, replace(row.stage, threads=owners.cluster.threads)), *row.reads)
    return row


def count_afar(owners: Owners, verify: Verify, packed: PackedFeatures, drawn: Sequence[tuple[int, Int64]]) -> list[Int32]:
    """The inliers of each drawn photo with its rows, as chance is measured: (photo, rows (P,)) each -> (P,) each."""
    whole = [np.flatnonzero(packed.block == part) for part in range(len(packed.blocks))]
    inliers = [np.zeros(len(rows), np.int32) for _, rows in drawn]
    for begin in range(0, len(drawn), TOGETHER):
        some = drawn[begin : begin + TOGETHER]
        asked = [(int(packed.block[photo]), described, ([int(np.searchsorted(whole[packed.block[photo]], photo))],)) for photo, _ in some]
        features = [found[0] for found in tried(lambda asked=asked: owners.ask(asked))]  # type: ignore[misc]
        calls = []
        for part, own in enumerate(whole):
            mine = [(seen, np.searchsorted(own, rows[packed.block[rows] == part])) for seen, (_, rows) in zip(features, some, strict=True)]
            calls.append((part, count_inliers, (verify, mine)))
        for part, found in enumerate(tried(lambda calls=calls: owners.ask(calls))):  # type: ignore[misc]
            for place, ((_, rows), counted) in enumerate(zip(some, found, strict=True), begin):
                inliers[place][packed.block[rows] == part] = counted
    return inliers
