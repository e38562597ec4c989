"""Candidate lists of any engine, in and out: a CSV `query,image`, or a TREC run `query Q0 image
rank score tag`.

In a CSV the order of the rows is the ranking, best first. A TREC run is read by score, higher
first, as trec_eval reads it, and by rank where scores are equal. The rows of a query need not stand
together. A query is a photo's path relative to the file, gallery:RELATIVE_PATH, or an id of a
table; an image is an indexed path. Written lists call both as the file does.
"""

import csv
import io
import itertools
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.base.errors import UsageError
from pipeline.base.lookup import Lookup, photo_path
from pipeline.base.names import INDEXED, nearest_text, printable
from pipeline.base.tables import decoded, table_rows
from pipeline.search.shortlists import EVIDENCE, Reranked, Shortlist

LOG = logging.getLogger(__name__)
FORMS = {".csv": "csv", ".trec": "trec", ".run": "trec", ".txt": "trec"}
BLANK = " \t\u00a0\ufeff"  # around a cell
COLUMNS = ("query", "image", "rank", "coarse_rank", *EVIDENCE)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file of lists."""

    line: int  # from 1
    query: str
    image: str
    order: float  # what sorts a query's rows, best first: the line, or the score's negative
    rank: int = 0  # of a TREC run


def form_of(path: Path) -> str | None:
    """The format that a file's name promises."""
    return FORMS.get(path.suffix.lower())


def read_queries(path: Path) -> dict[str, str]:
    """What the ids of a run's queries stand for: a table with the columns `id,path`.

    By id a path as Engine.query takes it: relative to the table, or gallery:RELATIVE_PATH. Raises
    UsageError.
    """
    found: dict[str, str] = {}
    for line in table_rows(path, ("id", "path")):
        key, photo = (cell.strip() for cell in line.cells or ("", ""))
        if line.wrong or not key or not photo:
            wrong = line.wrong or f"expected an id and a path, got {key!r}, {photo!r}"
            raise UsageError(f"{path}: line {line.number}: {wrong}")
        where = photo if photo.startswith(INDEXED) else photo_path(path.parent.absolute(), photo)
        if found.setdefault(key, where) != where:
            raise UsageError(
                f"{path}: line {line.number}: expected one path an id, got {printable(key)} again"
            )
    if not found:
        raise UsageError(f"{path}: expected at least one row, got none")
    return found


def read_lists(
    path: Path,
    data: bytes,
    form: str,
    lookup: Lookup,
    queries: Mapping[str, str] | None = None,
) -> tuple[list[Shortlist], list[str]]:
    """The lists of a file that holds `data`, in the order in which their queries first appear, and
    its mistakes by line.

    lookup: of the indexed photos, in the order of their rows; queries: what `read_queries` gave,
    where queries are ids. Raises UsageError where the file as a whole is of no use.
    """
    rows = {name: row for row, name in enumerate(lookup.names)}
    names: dict[str, str] = {}  # by query as it is written: as Engine.query takes it
    first: dict[str, str] = {}  # by the latter: as it is written first
    found: dict[str, dict[int, Row]] = {}
    mistakes: list[str] = []
    for row in read_csv(path, data) if form == "csv" else read_trec(path, data):
        if isinstance(row, str):
            mistakes.append(f"{path}: {row}")
            continue
        try:
            if not row.query.strip() or not row.image.strip():
                raise UsageError(f"expected a query and an image, got {row.query!r}, {row.image!r}")
            text = row.query.strip(BLANK)
            if text != row.query and os.path.lexists(path.parent / row.query):
                text = row.query
            if text not in names:
                names[text] = asked(path, text, lookup, queries, not mistakes)
            query = first.setdefault(names[text], text)
            place = rows[image_of(row, lookup, found.get(query, {}), rows, not mistakes)]
        except UsageError as mistake:
            mistakes.append(f"{path}: line {row.line}: {mistake}")
            continue
        found.setdefault(query, {})[place] = row
    if not found and not mistakes:
        raise UsageError(f"{path}: expected at least one row, got none")
    if form == "trec":
        check_scores(path, found)
    lists = []
    for query, listed in found.items():
        best_first = ordered(listed)
        images = tuple(listed[photo].image.strip() for photo in best_first)
        alike = all(rows.get(image) == row for image, row in zip(images, best_first, strict=True))
        lists.append(
            Shortlist(query, names[query], np.array(best_first, np.int64), () if alike else images)
        )
    return lists, mistakes


def asked(
    path: Path, query: str, lookup: Lookup, queries: Mapping[str, str] | None, suggest: bool
) -> str:
    """A query as Engine.query takes it. Raises UsageError without file and line."""
    where = query
    if queries is not None:
        if query.strip() not in queries:
            near = nearest_text(query, queries) if suggest else ""
            raise UsageError(f"expected an id of --queries-map, got {printable(query)}{near}")
        where = queries[query.strip()]
    if not where.startswith(INDEXED):
        return where if queries is not None else photo_path(path.parent.absolute(), query)
    name = lookup.find(where.removeprefix(INDEXED))
    if name is None:
        raise UsageError(lookup.wrong(where.removeprefix(INDEXED), suggest=suggest))
    return INDEXED + name


def image_of(
    row: Row, lookup: Lookup, before: Mapping[int, Row], rows: Mapping[str, int], suggest: bool
) -> str:
    """The indexed path of a row's image. before: the query's other rows by the image's. Raises
    UsageError without file and line.
    """
    name = lookup.find(row.image)
    if name is None:
        raise UsageError(lookup.wrong(row.image, suggest=suggest))
    if (other := before.get(rows[name])) is not None:
        raise UsageError(
            f"expected each image once a query, got {printable(row.image)} for"
            f" {printable(row.query)} again, as in line {other.line}"
        )
    return name


def ordered(listed: Mapping[int, Row]) -> list[int]:
    """A query's images by gallery row, best first: by score or line, then by rank, then by name
    from z to a. trec_eval breaks all ties by name, but whoever wrote ranks meant them.
    """
    names = sorted(listed, key=lambda photo: os.fsencode(listed[photo].image), reverse=True)
    return sorted(names, key=lambda photo: (listed[photo].order, listed[photo].rank))


def check_scores(path: Path, found: Mapping[str, Mapping[int, Row]]) -> None:
    """Say where a TREC run's ranks are in another order than its scores, by which it is read; raise
    UsageError where all of these scores rise with the rank, as distances do.
    """
    otherwise, rising = [], 0
    for query, listed in found.items():
        ranks = [listed[photo].rank for photo in ordered(listed)]
        if any(a > b for a, b in itertools.pairwise(ranks)):
            otherwise.append(query)
            scores = [-row.order for row in sorted(listed.values(), key=lambda row: row.rank)]
            rising += len({*ranks}) == len(ranks) and all(
                a < b for a, b in itertools.pairwise(scores)
            )
    if otherwise and rising == len(otherwise) == len(found):
        raise UsageError(
            f"{path}: expected scores that fall as the rank rises, got scores that rise with it in"
            f" every query, as {printable(otherwise[0])}; a run is read by its scores, as trec_eval"
            " reads it: write distances with a minus sign"
        )
    if otherwise:
        LOG.info(
            f"{path}: ranks and scores disagree for {len(otherwise):,} of {len(found):,} queries,"
            f" first {printable(otherwise[0])}; read by score, higher first, as"
            " trec_eval reads it"
        )


def read_csv(path: Path, data: bytes) -> Iterator[Row | str]:
    """The rows, or what is wrong with them."""
    hint = "a TREC run wants `--format trec`"
    for line in table_rows(path, ("query", "image"), data, hint):
        if line.wrong:
            yield f"line {line.number}: {line.wrong}"
        else:
            query, image = line.cells
            yield Row(line.number, query, image, line.number)


def read_trec(path: Path, data: bytes) -> Iterator[Row | str]:
    """The rows, or what is wrong with them."""
    text = decoded(path, data).encode("utf-8", "surrogateescape")
    for line, row in enumerate(text.splitlines(), 1):
        # of bytes, at ASCII's spaces alone, or at tabs where those make six
        parts = row.split(b"\t") if row.count(b"\t") == 5 else row.split()
        fields = [part.strip().decode("utf-8", "surrogateescape") for part in parts]
        if not any(fields):
            continue
        if len(fields) != 6:
            yield (
                f"line {line}: expected six columns `query Q0 image rank score tag`, got"
                f" {len(fields)}; a path with spaces cannot stand in a TREC run: write a CSV"
                " `query,image`"
            )
            continue
        query, _, image, rank, score, _ = fields
        try:
            number = float(score)
        except ValueError:
            number = math.nan
        if math.isnan(number) or "_" in score:
            yield f"line {line}: expected a number as score, got {printable(score)}"
            continue
        try:
            yield Row(line, query, image, -number, int(rank))
        except ValueError:
            yield f"line {line}: expected a whole number as rank, got {printable(rank)}"


def called(each: Shortlist, names: Sequence[str]) -> Sequence[str]:
    """A list's images as its file calls them."""
    return each.images or [names[row] for row in each.rows]


def check_writable(path: Path, form: str, lists: Iterable[Shortlist], names: Sequence[str]) -> None:
    """Raise UsageError where a format cannot carry a name."""
    if form == "trec":
        for each in lists:
            for name in (each.query, *called(each, names)):
                if os.fsencode(name).split() != [os.fsencode(name)]:
                    raise UsageError(
                        f"{path}: expected paths without spaces for a TREC run, got"
                        f" {printable(name)}; run with `--out {path.stem}.csv`"
                    )


def write_lists(
    form: str, tag: str, answered: Iterable[tuple[Shortlist, Reranked | None]], names: Sequence[str]
) -> bytes:
    """The re-ranked lists. One that nobody could answer keeps its order; in a CSV its evidence is
    empty.
    """
    text = io.StringIO(newline="")
    plain, quoted = (
        csv.writer(text, lineterminator="\n", quoting=how)
        for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
    )
    if form == "csv":
        plain.writerow(COLUMNS)
    for given, answer in answered:
        count, images = len(given.rows), called(given, names)
        places = range(count) if answer is None else answer.places
        evidence = (
            [[""] * count for _ in EVIDENCE]
            if answer is None
            else [answer.evidence[column] for column in EVIDENCE]
        )
        for rank, (place, *values) in enumerate(zip(places, *evidence, strict=True), 1):
            image = images[place]
            if form == "csv":
                # a carriage return would stay bare, and spaces at an end be cut
                odd = any("\r" in name or name != name.strip() for name in (given.query, image))
                writer = quoted if odd else plain
                writer.writerow((given.query, image, rank, place + 1, *values))
            else:
                text.write(f"{given.query} Q0 {image} {rank} {count - rank + 1} {tag}\n")
    return text.getvalue().encode("utf-8", "surrogateescape")
