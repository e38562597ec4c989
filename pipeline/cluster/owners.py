"""Galleries that are distributed over a cluster and answer as one: the same two tables, whose
search and verification ask the owners.

Each worker owns some of the galleries. A query's code goes to all of them, their shortlists are
merged by distance and path, and every owner verifies those candidates of the merged list that lie
with it. Names, codes and counts of features are held in this process; the features stay where they
are. Queries are encoded here, and candidates are accepted here.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast

import numpy as np

from pipeline.base.errors import UsageError
from pipeline.base.install import SOURCES
from pipeline.cluster.connect import Cluster
from pipeline.cluster.member import (
    IndexChoice,
    Listing,
    Member,
    PartsChoice,
    column,
    count_inliers,
    count_photos,
    count_votes,
    digest,
    features_of,
    index_of,
    lack,
    listing,
    shortlist,
    verify_rows,
)
from pipeline.cluster.tasks import POLL_SECONDS, next_done, result_of, retried, send
from pipeline.gallery.chance import gallery_null
from pipeline.gallery.merge import Galleries, joined, members, read_paths
from pipeline.gallery.store import Reading, ShardRows, read_binding
from pipeline.recipes import Recipe, second_look, with_shortlist
from pipeline.search.engine import Engine
from pipeline.search.open import choose_shortlist
from pipeline.search.process import read_program
from stages.gallery import Gallery
from stages.inverted_index import limits
from stages.records import Candidates, Float32, Int32, Int64, LocalFeatures, Matches, PackedFeatures
from stages.verify import Verify

BATCH = 32  # photos whose chance matches are counted by one task


@dataclass(frozen=True, eq=False)
class Owners:
    """Which worker holds which member; one that is lost has heirs."""

    cluster: Cluster
    members: tuple[Member, ...]
    held: dict[int, str] = field(default_factory=dict)  # by member: its worker's address
    lock: threading.Lock = field(default_factory=threading.Lock)
    # when it was last asked who there is
    checked: list[float] = field(default_factory=lambda: [-POLL_SECONDS])

    def ask(self, calls: Sequence[tuple[int, Callable[..., Any], tuple[Any, ...]]]) -> list[Any]:
        """(member, function of it, further arguments) each -> what they return. Raises Died where a
        worker ended over one.
        """
        done: SimpleQueue[Any] = SimpleQueue()
        owners = self.owners()
        sent = {
            send(self.cluster, done, call, self.members[member], *more, owner=owners[member]): place
            for place, (member, call, more) in enumerate(calls)
        }
        found: list[Any] = [None] * len(calls)
        for _ in calls:
            future = next_done(self.cluster, done)
            found[sent[future]] = result_of(self.cluster, future)
        return found

    def owners(self) -> dict[int, str]:
        """By member. One that was lost a moment ago may be among them: another works in its place
        then.
        """
        with self.lock:
            if time.monotonic() - self.checked[0] >= POLL_SECONDS:
                self.held.update(dealt(len(self.members), self.held, self.cluster.workers()))
                self.checked[0] = time.monotonic()
            return {member: self.held.get(member, "") for member in range(len(self.members))}


def dealt(count: int, held: Mapping[int, str], workers: Iterable[str]) -> dict[int, str]:
    """Whose each member is: as before where that worker is still there and has no two more than
    another; nobody's where there is no worker.
    """
    hands: dict[str, list[int]] = {worker: [] for worker in sorted(workers)}
    if not hands:
        return {}
    # what is held stays, then the others are dealt
    for member in sorted(range(count), key=lambda member: held.get(member) not in hands):
        hands.get(held.get(member, ""), min(hands.values(), key=len)).append(member)
    while len(most := max(hands.values(), key=len)) > 1 + len(
        least := min(hands.values(), key=len)
    ):
        least.append(most.pop())
    return {member: worker for worker, hand in hands.items() for member in hand}


@dataclass(frozen=True, eq=False)
class Column:
    """One array of a member's local features, left with its owner: a slice, that of one photo, is
    fetched.
    """

    owners: Owners
    member: int
    name: str
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, rows: slice) -> Any:
        return self.owners.ask([(self.member, column, (self.name, rows.start, rows.stop))])[0]


@dataclass(frozen=True, eq=False)
class RemoteIndex:
    """The members' indexes as one: their shortlists, merged by distance and path."""

    kind: str  # of the member that finds least
    recall: float  # its
    owners: Owners
    rows: tuple[Int64, ...]  # of each member's photos in the whole, ascending as their paths do
    choice: IndexChoice

    def nearest(self, code: Float32, count: int) -> Candidates:
        """As `CodeIndex.nearest`."""
        found = self.owners.ask(
            [(member, shortlist, (self.choice, code, count)) for member in range(len(self.rows))]
        )
        rows = np.concatenate([of[each.rows[0]] for of, each in zip(self.rows, found, strict=True)])
        distance = np.concatenate([each.distance[0] for each in found])
        best = np.lexsort((rows, distance))[:count]
        return Candidates(rows[best][None], distance[best][None])


@dataclass(frozen=True, eq=False)
class RemoteParts:
    """The members' indexes of parts as one: how near each feature's nearest photos are is counted
    by all of them first, then each counts the votes of its own.
    """

    owners: Owners
    rows: tuple[Int64, ...]  # of each member's photos that are asked, in the whole
    choices: tuple[PartsChoice, ...]  # of each member
    first: Int64  # (N,) of each row: the first one of the same contents

    def votes(self, features: LocalFeatures) -> Int32:
        """As `PartsVotes.votes`."""
        members = range(len(self.rows))
        counts = self.owners.ask(
            [(member, count_photos, (self.choices[member], features)) for member in members]
        )
        limit = limits(np.sum(counts, 0, dtype=np.int32))
        found = self.owners.ask(
            [(member, count_votes, (self.choices[member], features, limit)) for member in members]
        )
        votes = np.zeros(len(self.first), np.int32)
        for rows, each in zip(self.rows, found, strict=True):
            votes[rows] = each
        return votes[self.first]


@dataclass(frozen=True, eq=False)
class RemoteVerify:
    """(features, candidates, gallery) -> Matches, each candidate's from where its features lie."""

    known_as: str
    owners: Owners
    rows: tuple[Int64, ...]
    local: Verify  # what each owner does

    def __call__(
        self, features: LocalFeatures, candidates: Candidates, gallery: Gallery
    ) -> Matches:
        rows = candidates.rows[0]
        matches, inliers = np.zeros(len(rows), np.int32), np.zeros(len(rows), np.int32)
        affine = np.full((len(rows), 2, 3), np.nan, np.float32)
        owned = gallery.features.block[rows]
        places_of = [
            (member, np.flatnonzero(owned == member)) for member in np.unique(owned).tolist()
        ]
        calls = [
            (
                member,
                verify_rows,
                (self.local, features, np.searchsorted(self.rows[member], rows[places])),
            )
            for member, places in places_of
        ]
        for (_, places), found in zip(places_of, self.owners.ask(calls), strict=True):
            matches[places], inliers[places], affine[places] = found
        return Matches(matches[None], inliers[None], affine[None])


def assemble_remote(
    cluster: Cluster,
    where: Galleries,
    built: Recipe,
    code: str,
    index: str,
    shortlist: str | None = None,
) -> Engine:
    """The engine over galleries whose owners are the cluster's workers, for `open_engine`. Raises
    UsageError and GalleryError.
    """
    if code != built.stored:
        raise UsageError(
            f"--code {code}: expected none with --cluster, where galleries are searched by the"
            " codes they store, got one; run without either"
        )
    found = sorted(
        ((folder.resolve(), *read_paths(folder)) for folder in members(where)),
        key=lambda each: not each[1],
    )
    built = with_shortlist(built, shortlist or built.prefers)
    counted = built.shortlist != "global"
    # those without a photo stand last: features lie in as many blocks as there are others, in the
    # same order
    program = read_program(SOURCES)
    owners = Owners(
        cluster,
        tuple(
            Member(folder, digest(photos, null, read_binding(folder)), program, counted)
            for folder, photos, null in found
        ),
    )
    filled = max(1, sum(1 for _, photos, _ in found if photos))
    listed = retried(
        lambda: owners.ask([(member, listing, ()) for member in range(len(owners.members))])
    )
    readings = [_reading(owners, member, each) for member, each in enumerate(listed)]
    local = replace(second_look(), threads=cluster.threads)
    folders = [member.folder for member in owners.members]
    reading = joined(
        folders,
        readings,
        second_look(),
        lambda packed, drawn: count_inliers_remotely(owners, local, packed, drawn),
    )
    rows = tuple(np.flatnonzero(reading.features.block == member) for member in range(filled))
    choice = IndexChoice(index, built.binary, len(reading.names))
    kinds = retried(lambda: owners.ask([(member, index_of, (choice,)) for member in range(filled)]))
    kind, recall = min(kinds, key=lambda each: each[1])
    built, codebook = choose_shortlist(
        where,
        built,
        lambda _: next(
            filter(
                None,
                retried(
                    lambda: owners.ask([(member, lack, (built.model,)) for member in range(filled)])
                ),
            ),
            "",
        ),
        shortlist,
    )
    voting = None
    if codebook is not None and built.model is not None and reading.names:
        voting = _remote_parts(owners, rows, reading.contents, built.model)
    answer = built.answer
    verify = answer.stage("matches")
    if isinstance(verify, Verify):
        there = replace(verify, threads=cluster.threads)
        answer = answer.with_stage("matches", RemoteVerify("verify", owners, rows, there))
    null, reason = gallery_null(reading, second_look())
    gallery = reading.gallery(
        reading.codes,
        null,
        lambda _: RemoteIndex(kind, recall, owners, rows, choice),
        None if voting is None else lambda _: voting,
    )
    built = replace(built, answer=answer)
    return Engine(built, gallery, reading.binding, code, reading.contents, reason)


def _remote_parts(
    owners: Owners, rows: tuple[Int64, ...], contents: Sequence[str], model: Path
) -> RemoteParts:
    """Photos of equal contents are counted once, where the first of them lies."""
    known: dict[str, int] = {}
    first = np.array([known.setdefault(each, row) for row, each in enumerate(contents)], np.int64)
    asked, choices = [], []
    for whole in rows:
        own = first[whole] == whole
        asked.append(whole[own])
        choices.append(PartsChoice(model, len(known), tuple(np.flatnonzero(~own).tolist())))
    return RemoteParts(owners, tuple(asked), tuple(choices), first)


def _reading(owners: Owners, member: int, found: Listing) -> Reading:
    total = int(found.count.sum())
    block = cast(
        "tuple[Float32, Any, Float32]",
        tuple(Column(owners, member, name, total) for name in ("xy", "descriptor", "score")),
    )
    start = np.cumsum(found.count) - found.count
    features = PackedFeatures(
        (block,), np.zeros(len(start), np.int32), start, found.count, found.size
    )
    return Reading(
        found.names,
        # nobody asks for them
        ShardRows((), np.zeros(len(start), np.int32), np.zeros(len(start), np.int64)),
        found.codes,
        features,
        found.contents,
        found.null,
        found.binding,
    )


def count_inliers_remotely(
    owners: Owners, verify: Verify, packed: PackedFeatures, drawn: Sequence[tuple[int, Int64]]
) -> list[Int32]:
    """The inliers of each drawn photo with its rows, as chance is measured: (photo, rows (P,)) each
    -> (P,) each.
    """
    whole = [np.flatnonzero(packed.block == member) for member in range(len(packed.blocks))]
    inliers = [np.zeros(len(rows), np.int32) for _, rows in drawn]
    for begin in range(0, len(drawn), BATCH):
        some = drawn[begin : begin + BATCH]
        asked = [
            (
                int(packed.block[photo]),
                features_of,
                ([int(np.searchsorted(whole[packed.block[photo]], photo))],),
            )
            for photo, _ in some
        ]
        features = [found[0] for found in retried(lambda asked=asked: owners.ask(asked))]  # type: ignore[misc]
        calls = []
        for member, own in enumerate(whole):
            mine = [
                (seen, np.searchsorted(own, rows[packed.block[rows] == member]))
                for seen, (_, rows) in zip(features, some, strict=True)
            ]
            calls.append((member, count_inliers, (verify, mine)))
        for member, found in enumerate(retried(lambda calls=calls: owners.ask(calls))):  # type: ignore[misc]
            for place, ((_, rows), counted) in enumerate(zip(some, found, strict=True), begin):
                inliers[place][packed.block[rows] == member] = counted
    return inliers
