"""Make a gallery of folders of photos or of another program's features, bring it up to date, and
let it forget a folder.
"""

import logging
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.errors import UsageError
from pipeline.base.names import HASHING, PRECISIONS, RECIPES, printable

if TYPE_CHECKING:
    from pipeline.gallery.encode import EncodeElsewhere

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexReport:
    """What an index run did."""

    gallery: Path
    photos: int  # in the gallery now
    indexed: int  # new or changed
    unchanged: int
    removed: int
    failed: int  # not readable; each is a line of errors.jsonl in the gallery
    moved: int = 0  # their files are elsewhere; known by their bytes, and not encoded again
    copied: int = 0  # new files whose bytes the gallery has already; not encoded again
    vanished: int = 0  # their files are not there any more; they stay until they are pruned
    excluded: int = 0  # left out now; they stay until they are pruned
    away: tuple[str, ...] = ()  # folders that are not there, whose photos stay as they are


def index(
    photos: str | Path | Sequence[str | Path],
    gallery: str | Path,
    *,
    model: str | None = None,
    recipe: str | None = None,
    bits: int | None = None,
    precision: str | None = None,
    device: str = "auto",
    jobs: int | None = None,
    prune: bool = False,
    prune_most: bool = False,
    exclude: Sequence[str] | None = None,
    follow_links: bool | None = None,
    moved_from: str | Path | None = None,
    progress: bool = False,
    elsewhere: "EncodeElsewhere | None" = None,
) -> IndexReport:
    """Make a gallery of one or more folders of photos, or bring one up to date: new and changed
    photos in, unchanged ones skipped; one that moved or was copied is known by its bytes.

    photos: a folder or several; one that the gallery does not know is added, and without any all
    that it knows are brought up to date; model: name or folder; recipe, bits, precision: of a
    gallery that is made anew; jobs: threads, all cores unless given; prune: drop photos whose files
    have vanished, which is refused where a folder lacks most of its photos unless `prune_most`;
    exclude: patterns of what is left out, as .gitignore has them; follow_links: also links that
    leave the folder; both are remembered for each folder; moved_from: where the one folder in
    `photos` was when it was indexed; progress: a bar on stderr; elsewhere: what encodes photos in
    place of this process. It may be killed at any moment and run again. Raises UsageError,
    GalleryError or ModelError.

    >>> pipeline.index("photos", "gallery").indexed  # doctest: +SKIP
    287
    """
    from pipeline.base.compute import share_heaps
    from pipeline.gallery.bind import bind
    from pipeline.gallery.chance import calibrate
    from pipeline.gallery.chosen_roots import check_there, chosen_roots, known_roots, moved_root
    from pipeline.gallery.relocate import is_there, rebind
    from pipeline.gallery.roots import Roots
    from pipeline.gallery.store import read_gallery
    from pipeline.gallery.update import update
    from pipeline.gallery.writer import writing
    from pipeline.model.codebook import read_codebook
    from pipeline.recipes import load_encoder, second_look
    from pipeline.search.code_index import TREE_ENDS, keep

    share_heaps()
    gallery, jobs = Path(gallery), jobs or os.cpu_count() or 1
    if recipe is not None and recipe not in RECIPES:
        raise UsageError(f"recipe {recipe}: expected one of {', '.join(RECIPES)}")
    if precision not in (None, *PRECISIONS):
        raise UsageError(f"precision {precision}: expected one of {', '.join(PRECISIONS)}")
    _check_one(gallery)
    given = [photos] if isinstance(photos, (str, Path)) else photos
    paths = [os.path.realpath(each) for each in given]
    known = known_roots(gallery)
    old = None if moved_from is None else moved_root(known, moved_from, paths)
    chosen = chosen_roots(gallery, known, paths, exclude, follow_links)
    away = () if paths else tuple(root for root in chosen if not os.path.isdir(root.path))
    for each, path in zip(given, paths, strict=True):
        if not (prune_most and known.known(path)):
            check_there(gallery, known, each)
    binding = bind(gallery, model, Roots((old,) if old else chosen), recipe, bits, precision)
    encoder = partial(load_encoder, binding.where, device, binding.precision)
    with writing(gallery, binding, read_codebook(binding.where)) as writer:
        if old is not None:
            rebind(writer, old, paths[0], jobs, quiet=not progress)
        roots = writer.binding.photos
        if 0 < len(known.each) < len(roots.each):
            labels = ", ".join(printable(roots.prefix(root)) for root in roots.each)
            LOG.info(f"gallery {gallery}: names begin with their folder's now: {labels}")
        about = {root.path for root in chosen if root not in away}
        counts: dict[str, Any] = update(
            [root for root in roots.each if root.path in about],
            writer,
            encoder,
            jobs,
            prune=prune or prune_most,
            prune_most=prune_most,
            quiet=not progress,
            elsewhere=elsewhere and partial(elsewhere, binding),
        )
        lost = [root.path for root in known.each if root != old and not is_there(root)]
        if counts["copied"] and lost:
            LOG.info(
                f"gallery {gallery}: {counts['copied']} new files are copies of photos that it has,"
                f" and {printable(lost[0])} is not there: if that has moved here, run `python -m"
                f" pipeline.index --gallery {shlex.quote(str(gallery))} --forget"
                f" {shlex.quote(lost[0])}`"
            )
        total = len(writer.known())
        if writer.parts is not None:
            writer.parts.complete(quiet=not progress)
        calibrate(writer, second_look(threads=jobs))
        if total > TREE_ENDS and binding.recipe not in HASHING:
            keep(read_gallery(gallery, late=True).codes, gallery)
    return IndexReport(gallery, total, **counts, away=tuple(root.path for root in away))


def forget(folder: str | Path, gallery: str | Path) -> IndexReport:
    """Drop a folder from a gallery, with all its photos, whether it is there or not. folder: its
    path, or its label. Raises UsageError or GalleryError.
    """
    from pipeline.gallery.chance import calibrate
    from pipeline.gallery.chosen_roots import known_root
    from pipeline.gallery.store import read_binding
    from pipeline.gallery.writer import writing
    from pipeline.model.codebook import read_codebook
    from pipeline.recipes import second_look

    gallery = Path(gallery)
    _check_one(gallery)
    binding = read_binding(gallery)
    codebook = read_codebook(binding.where) if binding.where else None
    with writing(gallery, binding, codebook) as writer:
        roots = writer.binding.photos
        root = known_root(roots, folder, "--forget")
        if len(roots.each) == 1:
            raise UsageError(
                f"--forget {folder}: expected one of several folders, got the only one of"
                f" {gallery}; remove the gallery itself instead"
            )
        lost = [name for name in writer.known() if name.startswith(roots.prefix(root))]
        writer.remove(lost)
        writer.remember(roots.without(root))
        writer.compact()
        total = len(writer.known())
        calibrate(writer, second_look())
    return IndexReport(gallery, total, 0, total, len(lost), 0)


def index_features(
    features: str | Path,
    gallery: str | Path,
    *,
    codes: str | Path | None = None,
    prune: bool = False,
    prune_most: bool = False,
    progress: bool = False,
) -> IndexReport:
    """Make a gallery of local features that another program computed, or bring one up to date.

    features: a folder with `<relative path>.npz` for each photo (`xy` (M, 2) px, `descriptor`
    (M, D) unit, `score` (M,), `size` (2,) px), or an HDF5 file in hloc's layout; codes: a .npy file
    (N, C) with a vector for each photo, in the order of the paths; without it every photo is as
    near as any other. What cannot be used is listed in the gallery's errors.jsonl. Raises
    UsageError or GalleryError.
    """
    from pipeline.gallery.chance import calibrate
    from pipeline.gallery.imported import read_source
    from pipeline.gallery.update import update
    from pipeline.gallery.writer import writing
    from pipeline.recipes import load_encoder, second_look

    gallery = Path(gallery)
    _check_one(gallery)
    source = read_source(Path(features), None if codes is None else Path(codes))
    binding = source.binding()
    with writing(gallery, binding) as writer:
        about = {root.path for root in binding.photos.each}
        counts: dict[str, Any] = update(
            [root for root in writer.binding.photos.each if root.path in about],
            writer,
            partial(load_encoder, "", "cpu"),
            1,
            prune=prune or prune_most,
            prune_most=prune_most,
            quiet=not progress,
            elsewhere=source.rows,
            listed=source.found(),
        )
        total = len(writer.known())
        calibrate(writer, second_look())
    return IndexReport(gallery, total, **counts)


def _check_one(gallery: Path) -> None:
    """What is indexed goes into one gallery, never beside those in a folder. Raises UsageError."""
    from pipeline.gallery.merge import members

    if members(gallery) != (gallery,):
        raise UsageError(
            f"--gallery {gallery}: expected one gallery, got a folder of galleries; run with one of"
            " them, or with a new folder"
        )


def describe(report: IndexReport) -> str:
    """What a run did, as a person reads it; what did not happen is not said."""
    seldom = {
        "moved": report.moved,
        "copied": report.copied,
        "no longer there (drop them with --prune)": report.vanished,
        "left out now (drop them with --prune)": report.excluded,
    }
    more = "".join(f", {count} {what}" for what, count in seldom.items() if count)
    failed = f" (listed in {report.gallery / 'errors.jsonl'})" if report.failed else ""
    return (
        f"{report.gallery}: {report.photos} photos; {report.indexed} indexed, {report.unchanged}"
        f" unchanged{more}, {report.removed} removed, {report.failed} not readable{failed}"
    )
