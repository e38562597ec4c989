"""Candidate lists of any engine, in and out: a CSV `query,image`, or a TREC run `query Q0 image
rank score tag`.

In a CSV the order of the rows is the ranking, best first; in a TREC run the ranks are, ties as the
file has them. The rows of a query need not stand together. A query is a photo's path relative to
the file, or gallery:RELATIVE_PATH; an image is an indexed path.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.base.errors import UsageError
from pipeline.base.names import INDEXED, printable
from pipeline.search.shortlists import EVIDENCE, Reranked, Shortlist

FORMS = {".csv": "csv", ".trec": "trec", ".run": "trec", ".txt": "trec"}
COLUMNS = ("query", "image", "rank", "coarse_rank", *EVIDENCE)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file of lists."""

    line: int  # from 1
    query: str
    image: str
    rank: int  # what sorts a query's rows


def form_of(path: Path) -> str | None:
    """The format that a file's name promises."""
    return FORMS.get(path.suffix.lower())


def read_lists(
    path: Path, data: bytes, form: str, rows: Mapping[str, int]
) -> tuple[list[Shortlist], list[str]]:
    """The lists of a file that holds `data`, in the order in which their queries first appear, and
    its mistakes by line.

    rows: the gallery row of every indexed path. Raises UsageError where the file as a whole is of
    no use.
    """
    found: dict[str, dict[int, Row]] = {}
    mistakes = []
    for row in read_csv(path, data) if form == "csv" else read_trec(data):
        mistake = row if isinstance(row, str) else wrong(row, found, rows)
        if mistake is not None:
            mistakes.append(f"{path}: {mistake}")
        elif isinstance(row, Row):
            found.setdefault(row.query, {})[rows[row.image]] = row
    if not found and not mistakes:
        raise UsageError(f"{path}: expected at least one row, got none")
    folder = os.path.abspath(path.parent)
    lists = []
    for query, listed in found.items():
        best_first = sorted(listed, key=lambda photo: listed[photo].rank)
        lists.append(
            Shortlist(
                query,
                query if query.startswith(INDEXED) else os.path.join(folder, query),
                np.array(best_first, np.int64),
            )
        )
    return lists, mistakes


def wrong(row: Row, found: Mapping[str, Mapping[int, Row]], rows: Mapping[str, int]) -> str | None:
    """What is wrong with a row, beside those before it."""
    if not row.query or not row.image:
        return f"line {row.line}: expected a query and an image, got {row.query!r}, {row.image!r}"
    asked = row.query.removeprefix(INDEXED)
    for name in (row.image, *((asked,) if asked != row.query else ())):
        if name not in rows:
            return (
                f"line {row.line}: expected an indexed photo, got {printable(name)}; index it, or"
                " correct the path"
            )
    before = found.get(row.query, {}).get(rows[row.image])
    if before is not None:
        return (
            f"line {row.line}: expected each image once a query, got {printable(row.image)} for"
            f" {printable(row.query)} again, as in line {before.line}"
        )
    return None


def read_csv(path: Path, data: bytes) -> Iterator[Row | str]:
    """The rows, or what is wrong with them. Further columns are allowed and ignored."""
    reader = csv.reader(
        io.StringIO(data.decode("utf-8-sig", "surrogateescape"), newline=""), strict=True
    )
    begins = 1  # a quoted field may hold line ends
    try:
        header = next(reader, [])
        if {"query", "image"} - set(header):
            raise UsageError(
                f"{path}: expected a header with query,image, got {printable(','.join(header))}; a"
                " TREC run wants `--format trec`"
            )
        query, image = header.index("query"), header.index("image")
        begins = reader.line_num + 1
        for cells in reader:
            if len(cells) == len(header):
                yield Row(begins, cells[query], cells[image], begins)
            elif cells:
                yield (
                    f"line {begins}: expected {len(header)} columns as in the header, got"
                    f" {len(cells)}"
                )
            begins = reader.line_num + 1
    except csv.Error as error:  # an open quote: where the next row begins is anyone's guess
        raise UsageError(
            f"{path}: line {begins}: expected a CSV, got {error}; close its quotes"
        ) from None


def read_trec(data: bytes) -> Iterator[Row | str]:
    """The rows, or what is wrong with them."""
    for line, text in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        # of bytes, at ASCII's spaces alone
        fields = [field.decode("utf-8", "surrogateescape") for field in text.split()]
        if not fields:
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
            float(score)
        except ValueError:
            yield f"line {line}: expected a number as score, got {printable(score)}"
            continue
        try:
            yield Row(line, query, image, int(rank))
        except ValueError:
            yield f"line {line}: expected a whole number as rank, got {printable(rank)}"


def check_writable(path: Path, form: str, lists: Iterable[Shortlist], names: Sequence[str]) -> None:
    """Raise UsageError where a format cannot carry a name."""
    if form == "trec":
        for each in lists:
            for name in (each.query, *(names[row] for row in each.rows)):
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
        count = len(given.rows)
        places = range(count) if answer is None else answer.places
        evidence = (
            [[""] * count for _ in EVIDENCE]
            if answer is None
            else [answer.evidence[column] for column in EVIDENCE]
        )
        for rank, (place, *values) in enumerate(zip(places, *evidence, strict=True), 1):
            image = names[given.rows[place]]
            if form == "csv":
                # which would leave a carriage return bare
                writer = quoted if "\r" in given.query + image else plain
                writer.writerow((given.query, image, rank, place + 1, *values))
            else:
                text.write(f"{given.query} Q0 {image} {rank} {count - rank + 1} {tag}\n")
    return text.getvalue().encode("utf-8", "surrogateescape")
