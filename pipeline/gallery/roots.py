"""The folders that a gallery's photos lie in, and what their photos are called.

A photo's name is its path relative to its folder. Where a gallery has several folders, the folder's
label stands in front, `holiday/beach/1.jpg`, so that equal paths in two folders are two photos. A
label is the folder's own name, with a number behind it where another has that name already; it
stays when the folder moves.
"""

import itertools
import json
import os
import shlex
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.base.names import printable

# a table of its own: galleries of earlier versions have one folder, which `meta` names
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS roots (label BLOB PRIMARY KEY, path BLOB NOT NULL, walk TEXT NOT"
    " NULL)"
)


@dataclass(frozen=True)
class Root:
    """One folder of photos, and how it is searched."""

    path: str  # absolute; of another program's features, their folder or file
    label: str
    exclude: tuple[str, ...] = ()  # patterns of what is left out, as .gitignore has them
    follow_links: bool = False


@dataclass(frozen=True)
class Roots:
    """All folders of a gallery, in the order in which they came."""

    each: tuple[Root, ...] = ()

    @classmethod
    def of(cls, *paths: str) -> "Roots":
        return cls().adding(Root(path, "") for path in paths)

    def adding(self, roots: Iterable[Root]) -> "Roots":
        """With those that are not known; how known ones are searched is as given. Raises UsageError
        where one lies in another.
        """
        each = list(self.each)
        for root in roots:
            known = {one.path: place for place, one in enumerate(each)}
            if root.path in known:
                each[known[root.path]] = replace(root, label=each[known[root.path]].label)
                continue
            for other in known:
                _check_apart(root.path, other)
            each.append(replace(root, label=_label(root.path, {one.label for one in each})))
        return Roots(tuple(each))

    def moving(self, old: str, new: str) -> "Roots":
        """The same folders, one of which is elsewhere now. Raises UsageError where it lies in
        another.
        """
        for root in self.each:
            if root.path != old:
                _check_apart(new, root.path)
        return Roots(tuple(replace(one, path=new) if one.path == old else one for one in self.each))

    def without(self, root: Root) -> "Roots":
        return Roots(tuple(one for one in self.each if one != root))

    def known(self, path: str) -> Root | None:
        return next((root for root in self.each if root.path == path), None)

    def prefix(self, root: Root) -> str:
        """What the names of its photos begin with: nothing where it is the only one."""
        return f"{root.label}/" if len(self.each) > 1 else ""

    def split(self, name: str) -> tuple[Root, str]:
        """A photo's folder, and its path relative to that. Raises KeyError for a name of none."""
        if len(self.each) == 1:
            return self.each[0], name
        label, _, relative = name.partition("/")
        return {root.label: root for root in self.each}[label], relative

    def file(self, name: str) -> Path:
        """Where a photo lies, or lay when it was indexed. Raises KeyError for a name of no
        folder.
        """
        root, relative = self.split(name)
        return Path(root.path, relative)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the names in each of several folders begin with."""
        return tuple(map(self.prefix, self.each)) if len(self.each) > 1 else ()

    def __str__(self) -> str:
        """As a command takes them."""
        return shlex.join(root.path for root in self.each)


def read_roots(connection: sqlite3.Connection, first: str) -> Roots:
    """first: the folder that a gallery of an earlier version has."""
    named = "SELECT 1 FROM sqlite_master WHERE name = 'roots'"
    rows = (
        connection.execute("SELECT label, path, walk FROM roots ORDER BY rowid").fetchall()
        if connection.execute(named).fetchone()
        else []
    )
    return (
        Roots(
            tuple(
                Root(os.fsdecode(path), os.fsdecode(label), *_walk(walk))
                for label, path, walk in rows
            )
        )
        if rows
        else Roots.of(first)
    )


def write_roots(sql: sqlite3.Connection, roots: Roots) -> None:
    """Inside a transaction. `meta` keeps the first one for earlier versions, which are told of
    several by the manifest's version.
    """
    sql.execute(SCHEMA)
    sql.execute("DELETE FROM roots")
    sql.executemany(
        "INSERT INTO roots (label, path, walk) VALUES (?, ?, ?)",
        [
            (
                os.fsencode(root.label),
                os.fsencode(root.path),
                json.dumps({"exclude": root.exclude, "follow_links": root.follow_links}),
            )
            for root in roots.each
        ],
    )
    sql.execute(
        "INSERT OR REPLACE INTO meta VALUES ('photos', ?)", (os.fsencode(roots.each[0].path),)
    )


def _walk(text: str) -> tuple[tuple[str, ...], bool]:
    found = json.loads(text)
    return tuple(map(str, found["exclude"])), bool(found["follow_links"])


def _label(path: str, taken: set[str]) -> str:
    name = os.path.basename(path) or "photos"
    return next(
        label
        for number in itertools.count(1)
        if (label := name if number == 1 else f"{name}-{number}") not in taken
    )


def _check_apart(path: str, other: str) -> None:
    """Raises UsageError: a photo in both would be two."""
    for inner, outer in ((path, other), (other, path)):
        if Path(inner).is_relative_to(outer):
            raise UsageError(
                f"{printable(path)}: expected a folder apart from the gallery's others, got"
                f" {printable(inner)} inside {printable(outer)}; index {printable(outer)} alone,"
                " into another `--gallery` where that is not this one's folder"
            )
