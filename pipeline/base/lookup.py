"""Photos by what lists of other programs call them: with other separators, accents or folders."""

import os
import posixpath
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.base.files import as_on_disk
from pipeline.base.names import composed, nearest, nearest_text, printable

Prefixes = tuple[tuple[str, str], ...]  # (OLD, NEW): what stands before a name, and what is to


@dataclass(frozen=True, eq=False)
class Lookup:
    """A gallery's names. A name that is there as it is written is that photo. Else spaces around
    it, `./` and `//`, Windows' `\\` and cp1252, and the way in which accents are written do not
    matter, as long as one photo alone can be meant.
    """

    names: Collection[str]
    prefixes: Prefixes = ()  # the first whose OLD a name begins with is replaced
    # of a gallery of several folders: what the names in each begin with, which may be left out
    labels: tuple[str, ...] = ()

    @cached_property
    def _alike(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for name in self.names:
            found[_folded(name)].append(name)
        return found

    @cached_property
    def _there(self) -> frozenset[str]:
        return frozenset(self.names)

    def find(self, text: str) -> str | None:
        """The indexed photo that is meant, or None."""
        spelled = [self._replaced(each) for each in spellings(text)]
        for name in spelled:
            if name in self._there:
                return name
        for name in spelled:
            if len(found := self._alike.get(_folded(name), [])) == 1:
                return found[0]
        for name in spelled:
            below = [self._alike.get(_folded(f"{label}{name}"), []) for label in self.labels]
            if len(found := [each for one in below for each in one]) == 1:
                return found[0]
        return None

    def wrong(self, text: str, *, suggest: bool = True) -> str:
        """`expected an indexed photo, got NAME ...`, with the nearest names and what to do."""
        name = self._replaced(list(spellings(text))[-1])
        found = nearest(name, self.names) if suggest else []
        what = f"expected an indexed photo, got {printable(text)}"
        if name != text and self.prefixes:
            what += f", by --prefix {printable(name)}"
        if not found:
            return f"{what}; index it, or correct the path"
        what += f", nearest {', '.join(map(printable, found))}"
        if not self.prefixes and (prefix := _prefix(name, found[0])):
            return f"{what}; run with `--prefix {printable(prefix)}`, or correct the path"
        return f"{what}; index it, or correct the path"

    def _replaced(self, name: str) -> str:
        for old, new in self.prefixes:
            if old and not name.startswith(old + "/") and old != "/":
                continue
            if old == "/" and not name.startswith("/"):
                continue
            rest = name if not old else name.removeprefix(old).removeprefix("/")
            return f"{new}/{rest}" if new else rest
        return name


def spellings(text: str) -> Iterator[str]:
    """A path as it is written, then as it may have been meant: without spaces around it, read as
    cp1252, with `/` for `\\`, without `./` before it.
    """
    yield text
    text = text.strip().strip("\ufeff")
    yield text
    if not text.isascii():
        try:
            text = os.fsencode(text).decode("utf-8")
        except UnicodeDecodeError:
            text = os.fsencode(text).decode("cp1252", "replace")
            yield text
    text = text.replace("\\", "/")
    while text.startswith("./"):
        text = text[2:].lstrip("/")
    yield text


def photo_path(folder: Path, text: str) -> str:
    """Where a photo lies that a list calls so, relative to the list's folder: the first spelling
    that is there, else as it is written.
    """
    for spelled in spellings(text):
        path = as_on_disk(folder / spelled)
        if os.path.lexists(path):
            return str(path)
    return str(folder / text)


def nearest_file(path: str) -> str:
    """`, nearest ...` among the files of its folder, for a message about a file that is missing;
    empty where it is there or none is like it.
    """
    folder, name = os.path.split(path)
    try:
        return "" if os.path.lexists(path) else nearest_text(name, os.listdir(folder or "."))
    except (OSError, ValueError):
        return ""


def _folded(name: str) -> str:
    return posixpath.normpath(composed(name).replace("\\", "/").strip())


def _prefix(name: str, meant: str) -> str:
    """`OLD=NEW` that makes one name of the other, where they end alike; else empty."""
    old, new = name.split("/"), meant.split("/")
    while old and new and old[-1] == new[-1]:
        old.pop()
        new.pop()
    same = len("/".join(old)) < len(name) and old != new
    root = "/" if old == [""] and name.startswith("/") else ""
    return f"{'/'.join(old) or root}={'/'.join(new)}" if same else ""
