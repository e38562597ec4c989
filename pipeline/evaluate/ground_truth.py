"""What a query should find: cases from a CSV, or from the folders that photos lie in; and that no
query finds its own bytes.
"""

import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pipeline.base.classes import Labels, read_labels
from pipeline.base.errors import UsageError
from pipeline.base.lookup import Lookup, nearest_file, photo_path
from pipeline.base.names import ASKING, INDEXED, nearest_text, printable
from pipeline.base.options import SearchOptions, TruthOptions
from pipeline.base.truth import truth_rows

if TYPE_CHECKING:
    from pipeline.gallery.merge import Galleries
    from pipeline.search.engine import Engine
    from stages.gallery import Gallery
    from stages.records import Bool

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """One query and its answers."""

    query: str  # as Engine.query takes it
    relevant: frozenset[str]  # indexed paths
    # photos that count neither way: the query's own row, junk
    left_out: frozenset[str] = frozenset()
    # left, top, right, bottom px: the part of the photo that asks
    box: tuple[float, float, float, float] | None = None

    def marks(self, gallery: "Gallery") -> "tuple[Bool, Bool]":
        """By row of the gallery: relevant (N,), and whether it is not left out (N,)."""
        import numpy as np

        relevant, kept = np.zeros(len(gallery), np.bool_), np.ones(len(gallery), np.bool_)
        relevant[[gallery.row(name) for name in self.relevant]] = True
        kept[[gallery.row(name) for name in self.left_out]] = False
        return relevant, kept


def read_truth(path: Path, lookup: Lookup) -> list[Case]:
    """The cases of a CSV; lookup: of the indexed photos, in which every relevant one has to be
    found. Raises UsageError with the line number.
    """
    relevant: dict[str, set[str]] = defaultdict(set)
    for line, query, answer in truth_rows(path):
        if query.startswith(("gallery:", "queries:")):
            raise UsageError(
                f"{path}: line {line}: expected the path of a photo, got {query}; or run with"
                " --labels folder"
            )
        found = lookup.find(answer)
        if found is None:
            raise UsageError(f"{path}: line {line}: {lookup.wrong(answer)}")
        relevant[photo_path(path.parent, query)].add(found)
    return [Case(query, frozenset(answers)) for query, answers in relevant.items()]


def label_cases(labels: Labels) -> list[Case]:
    """Leave-one-out over the whole gallery. Photos that are alone in their class, or in none, have
    no answer and are no query.
    """
    classes: dict[str, set[str]] = defaultdict(set)
    for name, label in labels.of.items():
        classes[label].add(name)
    cases = [
        Case(f"gallery:{name}", frozenset(classes[label] - {name}), frozenset({name}))
        for name, label in labels.of.items()
    ]
    return [case for case in cases if case.relevant]


def without_copies(cases: Sequence[Case], contents: Mapping[str, str]) -> list[Case]:
    """Leave-one-out cases in which no other photo of the query's bytes counts either way; contents:
    sha256 by indexed path.

    One line on stderr says how many there are. A case whose answers were all copies is none.
    """
    copies: dict[str, set[str]] = defaultdict(set)
    for name, content in contents.items():
        copies[content].add(name)
    same = [copies[contents[name]] for case in cases for name in case.left_out]
    doubled = [case for case, names in zip(cases, same, strict=True) if len(names) > 1]
    if doubled:
        LOG.info(
            "queries with a copy in the gallery, byte for byte, which is left out, too:"
            f" {len(doubled)}; first {doubled[0].query}"
        )
    kept = [
        replace(case, relevant=case.relevant - names, left_out=case.left_out | names)
        for case, names in zip(cases, same, strict=True)
    ]
    return [case for case in kept if case.relevant]


def crossed_cases(labels: Labels, asking: Labels) -> list[Case]:
    """Every photo of another gallery asks for the photos of its class, whatever lies above the
    folder of the class's name.
    """
    classes: dict[str, set[str]] = defaultdict(set)
    for name, label in labels.of.items():
        classes[label.rsplit("/", 1)[-1]].add(name)
    own = {query: label.rsplit("/", 1)[-1] for query, label in asking.of.items()}
    return [
        Case(f"queries:{query}", frozenset(classes[label]))
        for query, label in own.items()
        if label in classes and label != "."
    ]


def _of_gallery(truth: Path, cases: Sequence[Case], asking: "Engine") -> list[Case]:
    """The same cases, their queries photos of a gallery that calls them as the CSV does. Raises
    UsageError.
    """
    found, lookup = [], asking.lookup
    for case in cases:
        asked = os.path.relpath(case.query, truth.parent)
        name = lookup.find(asked)
        if name is None:
            raise UsageError(
                f"{truth}: expected a photo of the gallery --queries, got"
                f" {printable(asked)}{nearest_text(asked, asking.gallery.names)}; import its"
                " features, or correct the path"
            )
        found.append(replace(case, query=ASKING + name))
    return found


def read_cases(
    truth: TruthOptions, options: SearchOptions, where: "Galleries", engine: "Engine"
) -> list[Case]:
    """What `--truth` names, or `--labels` with or without `--queries`. Raises UsageError where that
    leaves no query.
    """
    from pipeline.gallery.merge import listed

    if truth.truth is not None:
        if options.queries is not None and engine.recipe.encode.rows:
            raise UsageError(
                "--queries: expected it with --labels folder, got --truth, which names its own"
            )
        cases = read_truth(truth.truth, replace(engine.lookup, prefixes=truth.prefix))
        return cases if engine.asking is None else _of_gallery(truth.truth, cases, engine.asking)
    labels, asking = labels_of(truth, options, where, engine)
    if asking is not None:
        cases = crossed_cases(labels, asking)
        if not cases:
            raise UsageError(
                f"--queries {options.queries}: expected photos in folders named as some of"
                f" {listed(where)} are, got none; they may be others by `--labels parent`"
            )
        return cases
    cases = label_cases(labels)
    if not truth.allow_self:
        cases = without_copies(cases, contents_by_name(engine))
    if not cases:
        raise UsageError(f"{listed(where)}: expected folders of at least two photos, got none")
    return cases


def labels_of(
    truth: TruthOptions, options: SearchOptions, where: "Galleries", engine: "Engine"
) -> tuple[Labels, Labels | None]:
    """The classes of the gallery, and of the one that asks. Raises UsageError."""
    from pipeline.gallery.merge import listed

    def read(of: "Engine", what: str) -> Labels:
        def below(name: str) -> str:
            return of.binding.photos.split(name)[1]  # its folder's label is no class

        return read_labels(of.gallery.names, truth.labels or "folder", what, below)

    labels = read(engine, str(listed(where)))
    if engine.asking is None:
        return labels, None
    return labels, read(engine.asking, f"--queries {options.queries}")


def say_labels(
    truth: TruthOptions, options: SearchOptions, where: "Galleries", engine: "Engine"
) -> None:
    """Which classes `--labels` found, a line on stderr: what is measured stands or falls with
    them.
    """
    if truth.labels is not None:
        from pipeline.gallery.merge import listed

        labels, asking = labels_of(truth, options, where, engine)
        LOG.info(f"{listed(where)}: {labels}")
        if asking is not None:
            LOG.info(f"--queries {options.queries}: {asking}")


def as_sent(case: Case) -> Case:
    """The same case for a process in another folder: its photo's path absolute."""
    if case.query.startswith((INDEXED, ASKING)):
        return case
    return replace(case, query=os.path.join(os.getcwd(), case.query))  # abspath would cut `link/..`


def read_contents(engine: "Engine", cases: Sequence[Case], allow_self: bool) -> dict[str, str]:
    """Query -> sha256 of its bytes. A query whose bytes answer, too, is refused: what it would
    measure is that equal is equal.

    Raises UsageError.
    """
    copies: dict[str, list[str]] = defaultdict(list)
    indexed = contents_by_name(engine)
    for name, content in indexed.items():
        copies[content].append(name)
    contents = {}
    for case in cases:
        contents[case.query] = _content(engine, indexed, case.query)
        same = [name for name in copies[contents[case.query]] if name not in case.left_out]
        if same and not allow_self:
            raise UsageError(
                f"query {case.query}: expected a photo that is not in the gallery byte for byte,"
                f" got the bytes of {same[0]}; drop it, or --allow-self"
            )
    return contents


def contents_by_name(engine: "Engine") -> dict[str, str]:
    """Indexed photo -> sha256 of its bytes."""
    return dict(zip(engine.gallery.names, engine.contents, strict=True))


def _content(engine: "Engine", indexed: Mapping[str, str], query: str) -> str:
    from pipeline.base.errors import ImageError
    from pipeline.base.images import read_photo

    if engine.asking is not None and query.startswith(ASKING):
        return engine.asking.content(query.removeprefix(ASKING))
    if query.startswith(INDEXED):
        return indexed.get(query.removeprefix(INDEXED), "")
    try:
        return hashlib.sha256(read_photo(Path(query))).hexdigest()
    except ImageError as error:
        raise UsageError(f"{query}: {error}{nearest_file(query)}") from None


def photo_file(engine: "Engine", query: str) -> Path:
    """Where a query's photo lies, or lay when it was indexed."""

    if engine.asking is not None and query.startswith(ASKING):
        return engine.asking.file(query.removeprefix(ASKING))
    return engine.file(query) if query.startswith(INDEXED) else Path(query)


def data_row(
    truth: TruthOptions, options: SearchOptions, engine: "Engine", contents: Mapping[str, str]
) -> dict[str, Any]:
    """What was measured on, for a results file: names and sha256 of what answers, of what asks and
    of who says what is right.
    """
    from pipeline.base.files import digest, file_sha256

    answering = contents_by_name(engine)
    row: dict[str, Any] = {"photos": len(answering), "sha256": digest(answering.items())}
    said = truth.truth or truth.revisited
    if said is None and options.queries is None:
        return {**row, "labels": f"{truth.labels}, leave-one-out"}
    asked = [(PurePosixPath(query).name, content) for query, content in contents.items()]
    folder = said.parent if said else options.queries
    assert folder is not None
    row["queries"] = {"name": folder.name, "photos": len(asked), "sha256": digest(asked)}
    return (
        {**row, "labels": str(truth.labels)}
        if said is None
        else {**row, "truth": {"name": said.name, "sha256": file_sha256(said)}}
    )
