"""Tables that other programs wrote: the one reader of them all.

The rules. A byte-order mark says UTF-8, UTF-16 or UTF-32; zeros in every second byte are UTF-16
without one; all else is UTF-8, and bytes that are not stand for themselves, for they may be a
file's name (`pipeline.base.lookup` also tries them as Windows' cp1252). Lines end as they like. The
first line that is not empty is the header; a line `sep=;` before it, as Excel writes it, is passed
over. Cells are parted by the first of `,` `;` tab `|` at which the header falls into cells among
which all the wanted ones are, in any case and order. Cells may be quoted, and hold separators and
line ends then; spaces before a cell do not count. Further columns, empty lines, empty cells at a
line's end and a header that comes again are passed over.
"""

import codecs
import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.base.foreign import HEAD, kind_of
from pipeline.base.names import printable

SEPARATORS = (",", ";", "\t", "|")
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_END = "\0end"  # after the last line: a quote that is still open swallows it


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table."""

    number: int  # where it begins, from 1
    cells: tuple[str, ...]  # of the wanted columns, in their order; none where something is wrong
    wrong: str = ""  # what is: "expected ..., got ..."


def read_bytes(path: Path) -> bytes:
    """Raises UsageError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: expected a readable file, got {error.strerror}") from None


def decoded(path: Path, data: bytes) -> str:
    """The text of a file that holds `data`, without a byte-order mark; what is not UTF-8 as
    surrogates. Raises UsageError for what is no text.
    """
    if kind := kind_of(data[:HEAD]):
        raise UsageError(f"{path}: expected text, got {kind}; save it as CSV in UTF-8")
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), None)
    if encoding:
        data = data.removeprefix(next(mark for mark, name in MARKS if name == encoding))
    else:
        head = data[: HEAD // 2 * 2]
        zeros = [head[place::2].count(0) * 4 > len(head) for place in (0, 1)]
        encoding = "utf-16-be" if zeros[0] else "utf-16-le" if zeros[1] else "utf-8"
    try:
        return data.decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}: expected text in {encoding}, got bytes that are not from byte"
            f" {error.start:,} on; save it as UTF-8"
        ) from None


def list_lines(text: str, *, empty: bool = False) -> list[str]:
    """The lines of a list without spaces around them, however they end; empty ones where asked."""
    lines = [line.strip() for line in io.StringIO(text, newline=None)]
    return [line for line in lines if line or empty]


def table_rows(
    path: Path, columns: Sequence[str], data: bytes | None = None, hint: str = ""
) -> Iterator[Line]:
    """The rows of a table that has these columns, cells as they are but for spaces before them;
    those that are wrong, too.

    data: what the file holds, read unless given; hint: what to do where the header is another.
    Raises UsageError where the file as a whole is of no use.
    """
    text = decoded(path, read_bytes(path) if data is None else data)
    separator = _separator(path, text, columns, hint)
    lines = itertools.chain(io.StringIO(text, newline=""), ["\n", _END])
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    header: list[str] = []
    places: list[int] = []
    begins = 1  # a quoted cell may hold line ends
    try:
        for cells in reader:
            if any(_END in cell for cell in cells):
                if len(cells) > 1 or cells[0] != _END:
                    raise csv.Error("unexpected end of data")
                return
            names = [_plain(cell) for cell in cells]
            if not header and not {_plain(name) for name in columns} - set(names):
                header = names
                places = [names.index(_plain(name)) for name in columns]
            elif header and any(names) and names != header:
                yield _line(begins, cells, header, places)
            begins = reader.line_num + 1
    except csv.Error as error:
        # where the next row begins is anyone's guess
        raise UsageError(
            f"{path}: line {begins}: expected a CSV, got {error}; close its quotes"
        ) from None


def _line(number: int, cells: list[str], header: list[str], places: list[int]) -> Line:
    if len(cells) <= max(places) or any(cell.strip() for cell in cells[len(header) :]):
        quotes = "; quote cells that hold a separator" if len(cells) > len(header) else ""
        return Line(
            number,
            (),
            f"expected {len(header)} columns as in the header, got {len(cells)}{quotes}",
        )
    return Line(number, tuple(cells[place] for place in places))


def _separator(path: Path, text: str, columns: Sequence[str], hint: str) -> str:
    """What parts the cells, by the header. Raises UsageError."""
    first = ""
    for line in io.StringIO(text, newline=""):
        first = line.strip().strip("\ufeff")
        if first.strip('"')[:4].lower() == "sep=":
            first = ""
        if first:
            break
    wanted = {_plain(name) for name in columns}
    for separator in SEPARATORS:
        cells = next(csv.reader([first], delimiter=separator, skipinitialspace=True), [])
        names = [_plain(cell) for cell in cells]
        if not wanted - set(names):
            if twice := [name for name in columns if names.count(_plain(name)) > 1]:
                raise UsageError(f"{path}: expected one column {twice[0]}, got two; rename one")
            return separator
    got = printable(first[:80]) + ("..." if len(first) > 80 else "") if first else "nothing"
    raise UsageError(
        f"{path}: expected a header with {','.join(columns)}, got {got}; "
        + (hint or f"write `{','.join(columns)}` as its first line")
    )


def _plain(cell: str) -> str:
    return cell.strip().strip("\ufeff").casefold()
