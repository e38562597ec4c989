"""Truth files: tables with the columns `query,relevant`, a relevant photo a row."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.base.tables import table_rows


def truth_rows(path: Path) -> Iterator[tuple[int, str, str]]:
    """Number of the line, query and relevant photo as the file has them. Raises UsageError for what
    is no such file, for none of a row, and for a row that lacks one.
    """
    empty = True
    for line in table_rows(path, ("query", "relevant")):
        empty = False
        query, relevant = line.cells or ("", "")
        if line.wrong or not query.strip() or not relevant.strip():
            wrong = line.wrong or (
                f"expected a query and a relevant photo, got {query!r}, {relevant!r}"
            )
            raise UsageError(f"{path}: line {line.number}: {wrong}")
        yield line.number, query, relevant
    if empty:
        raise UsageError(f"{path}: expected at least one row, got none")
