"""Many galleries as one: their rows joined in memory, so that they answer exactly as one gallery of
all their photos would.

A photo's name is the one it would have had if the common parent of all their photo folders had been
indexed: galleries of `photos/museum` and `photos/corel` call theirs `museum/a.jpg` and
`corel/b.jpg`; galleries of parts of one folder keep the names they have. Which galleries hold it,
and in which order they are given, changes nothing. Nothing is written.
"""

import itertools
import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import GalleryError
from pipeline.base.names import printable
from pipeline.gallery.binding import Binding
from pipeline.gallery.chance import Count, null_text
from pipeline.gallery.contents import Contents
from pipeline.gallery.parts import joined_parts
from pipeline.gallery.roots import Roots
from pipeline.gallery.shards import Blocks
from pipeline.gallery.store import (
    Reading,
    ShardRows,
    connected,
    read_binding,
    read_gallery,
    read_meta,
)
from stages.records import Int32, PackedFeatures
from stages.verify import Verify

Galleries = Path | Sequence[Path]  # one or several, each a gallery or a folder of galleries


def members(given: Galleries) -> tuple[Path, ...]:
    """The galleries that are meant; a folder that is none itself stands for those that lie in
    it."""
    found: list[Path] = []
    for folder in [given] if isinstance(given, Path) else given:
        inside = (
            []
            if (folder / "manifest.sqlite").is_file()
            else sorted(each.parent for each in folder.glob("*/manifest.sqlite"))
        )
        found += inside or [folder]
    return tuple(found)


def listed(given: Galleries) -> str:
    """The galleries as a message names them."""
    return str(given) if isinstance(given, Path) else ", ".join(map(str, given))


def check_model(folder: Path | str, got: Binding, first: Path | str, wanted: Binding) -> None:
    """Galleries that meet have to be of one model. Raises GalleryError."""
    if got.identity != wanted.identity:
        same = got.precision == wanted.precision
        precision = "" if same else f" --precision {wanted.precision}"
        raise GalleryError(
            f"gallery {folder}: expected model {wanted.made_by} as {first} has, got {got.made_by};"
            f" run `python -m pipeline.index {got.photos} --gallery NEW --model"
            f" {shlex.quote(wanted.where)}{precision}`"
        )


def read_bindings(given: Galleries) -> Binding:
    """By what they were made, all of them. Raises GalleryError."""
    folders = members(given)
    return _bound(folders, [read_binding(folder) for folder in folders])


def read_galleries(
    given: Galleries, verify: Verify | None, *, parts: bool = False, late: bool = False
) -> Reading:
    """Open for answering; each gallery is one consistent version. Raises GalleryError, also where
    two of them hold one photo.

    Several have no measured null of their own: that of the merged gallery is measured here by
    `verify`, in seconds, on the pairs that it would draw; those depend on the photos alone. Without
    `verify` it is left out. parts: with the index of parts, where all have one by one codebook;
    late: as `read_gallery` takes it.
    """
    folders = members(given)
    readings = [read_gallery(folder, parts=parts, late=late) for folder in folders]
    return joined(folders, readings, verify)


def joined(
    folders: Sequence[Path],
    parts: Sequence[Reading],
    verify: Verify | None,
    count: Count | None = None,
) -> Reading:
    """The galleries of these folders as one; count: as `measure_null` takes it."""
    if len(parts) == 1:
        return parts[0]
    binding = _bound(folders, [part.binding for part in parts])
    named = [
        _named(path, part.binding, binding)
        for part in parts
        for path in map(os.fsencode, part.names)
    ]
    order = _ascending(
        named, [folder for folder, part in zip(folders, parts, strict=True) for _ in part.names]
    )
    # the codes of an empty one have no width
    filled = [part for part in parts if part.names] or parts[:1]
    whole = Reading(
        tuple(os.fsdecode(named[row]) for row in order),
        _pooled([part.pooled for part in filled], order),
        np.concatenate([part.codes for part in filled])[order],
        _packed([part.features for part in filled]).part(order),
        Contents(np.concatenate([part.contents.digests for part in parts])[order]),
        "",
        binding,
        joined_parts([part.parts for part in parts if part.names]),
    )
    return whole if verify is None else replace(whole, null=null_text(whole, verify, count))


def read_paths(given: Galleries) -> tuple[list[tuple[bytes, str]], str]:
    """Path and sha256 of every photo by path, and the measured null that goes with them (nothing
    for several), without opening a shard.
    """
    folders = members(given)
    binding = read_bindings(folders)
    found: list[tuple[bytes, str]] = []
    null, owners = "", []
    for folder in folders:
        with connected(folder) as connection:
            rows = connection.execute("SELECT path, sha256 FROM photos ORDER BY path").fetchall()
            null = read_meta(connection).get("null", "")
        if len(folders) > 1:
            own = read_binding(folder)
            rows = [(_named(path, own, binding), content) for path, content in rows]
        found += rows
        owners += [folder] * len(rows)
    return [found[row] for row in _ascending([path for path, _ in found], owners)], (
        null if len(folders) == 1 else ""
    )


def _bound(folders: Sequence[Path], bindings: Sequence[Binding]) -> Binding:
    if len(bindings) == 1:
        return bindings[0]
    for folder, binding in zip(folders, bindings, strict=True):
        check_model(folder, binding, folders[0], bindings[0])
    if all(binding.photos == bindings[0].photos for binding in bindings):  # parts of one gallery
        return bindings[0]
    paths = [os.path.abspath(root.path) for binding in bindings for root in binding.photos.each]
    return replace(bindings[0], photos=Roots.of(os.path.commonpath(paths)))


def _named(path: bytes, own: Binding, joined: Binding) -> bytes:
    if own.photos == joined.photos:
        return path
    root, relative = own.photos.split(os.fsdecode(path))
    below = os.path.relpath(os.path.abspath(root.path), joined.photos.each[0].path)
    return os.fsencode(relative if below == "." else f"{below}/{relative}")


def _ascending(names: Sequence[bytes], owners: Sequence[Path]) -> np.ndarray:
    """The places of names (N,) int64, ascending. Raises GalleryError where two are alike."""
    order = sorted(range(len(names)), key=names.__getitem__)
    for one, other in itertools.pairwise(order):
        if names[one] == names[other]:
            path = printable(os.fsdecode(names[one]))
            raise GalleryError(
                f"gallery {owners[other]}: expected photos that {owners[one]} does not hold, got"
                f" {path} in both; run without one of them"
            )
    return np.array(order, np.int64)


def _pooled(parts: Sequence[ShardRows], order: np.ndarray) -> ShardRows:
    return ShardRows(
        _chained([part.shards for part in parts]),
        _one_row([(part.shard, len(part.shards)) for part in parts])[order],
        np.concatenate([part.row for part in parts])[order],
    )


def _packed(parts: Sequence[PackedFeatures]) -> PackedFeatures:
    """The features of all parts, one after the other, in the blocks that they are mapped in."""
    return PackedFeatures(
        _chained([part.blocks for part in parts]),
        _one_row([(part.block, len(part.blocks)) for part in parts]),
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("start", "count", "size")
        ),
    )


def _chained(parts: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """One after the other; what is read later stays so."""
    if all(isinstance(part, Blocks) for part in parts):
        return Blocks(tuple(shard for part in parts for shard in part.shards), parts[0].names)  # type: ignore[attr-defined]
    return tuple(itertools.chain.from_iterable(parts))


def _one_row(parts: Sequence[tuple[Int32, int]]) -> Int32:
    """Each part's numbers (N,) of its own blocks, and how many blocks it has -> the numbers of all,
    where the blocks of one part stand behind those of the part before.
    """
    before = np.cumsum([0, *(held for _, held in parts)])[:-1]
    return np.concatenate(
        [numbers + first for (numbers, _), first in zip(parts, before, strict=True)]
    ).astype(np.int32)
