"""Truth files: CSVs with the header `query,relevant`, a relevant photo a row."""

import csv
from collections.abc import Iterator
from pathlib import Path

from pipeline.base.errors import UsageError


def truth_rows(path: Path) -> Iterator[tuple[int, str | None, str | None]]:
    """Number of the line, query and relevant photo as the file has them; None where one lacks.
    Raises UsageError for what is no such file, and for none of a row.
    """
    empty = True
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames is None or {"query", "relevant"} - set(reader.fieldnames):
                raise UsageError(
                    f"{path}: expected a header with query,relevant, got {reader.fieldnames}"
                )
            for row in reader:
                empty = False
                yield reader.line_num, row["query"], row["relevant"]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: expected a readable CSV, got {error}") from None
    if empty:
        raise UsageError(f"{path}: expected at least one row, got none")
