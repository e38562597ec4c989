"""What a query should find: cases from a CSV, or from the folders that a gallery's photos lie in."""

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.flags import UsageError


@dataclass(frozen=True)
class Case:
    """One query and its answers."""

    query: str  # as pipeline.run takes it
    relevant: frozenset[str]  # indexed paths
    left_out: str | None = None  # the query's own row, which is no answer


def read_truth(path: Path, names: frozenset[str]) -> list[Case]:
    """The cases of a CSV; every relevant photo has to be indexed. Raises UsageError with the line number."""
    relevant: dict[str, set[str]] = defaultdict(set)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames is None or {"query", "relevant"} - set(reader.fieldnames):
                raise UsageError(f"{path}: want a header with query,relevant, got {reader.fieldnames}")
            for row in reader:
                if not row["query"] or not row["relevant"]:
                    raise UsageError(f"{path}: line {reader.line_num}: want a query and a relevant photo, got {row['query']!r}, {row['relevant']!r}")
                if row["relevant"] not in names:
                    raise UsageError(f"{path}: line {reader.line_num}: want an indexed photo, got {row['relevant']}; index it, or correct the path")
                relevant[row["query"]].add(row["relevant"])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: want a readable CSV, got {error}") from None
    if not relevant:
        raise UsageError(f"{path}: want at least one row, got none")
    return [Case(str(path.parent / query), frozenset(answers)) for query, answers in relevant.items()]


def label_cases(names: tuple[str, ...]) -> list[Case]:
    """Leave-one-out over the whole gallery. Photos that are alone in their folder have no answer and are no query."""
    folders: dict[str, set[str]] = defaultdict(set)
    for name in names:
        folders[str(PurePosixPath(name).parent)].add(name)
    cases = [Case(f"gallery:{name}", frozenset(folders[str(PurePosixPath(name).parent)] - {name}), name) for name in names]
    return [case for case in cases if case.relevant]


def read_cases(truth: Path | None, gallery: Path, names: tuple[str, ...]) -> list[Case]:
    """What `--truth` names, or leave-one-out by folder where it is None. Raises UsageError where that leaves no query."""
    cases = read_truth(truth, frozenset(names)) if truth else label_cases(names)
    if not cases:
        raise UsageError(f"{gallery}: want folders of at least two photos, got none")
    return cases
