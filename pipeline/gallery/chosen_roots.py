"""Which folders of photos an index run is about, of those that it was given and those that the
gallery knows.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.base.errors import GalleryError, UsageError
from pipeline.base.names import printable
from pipeline.gallery.roots import Root, Roots
from pipeline.gallery.store import read_binding


def known_roots(gallery: Path) -> Roots:
    """None where there is no gallery yet."""
    try:
        return read_binding(gallery).photos
    except GalleryError:
        return Roots()


def chosen_roots(
    gallery: Path,
    known: Roots,
    paths: Sequence[str],
    exclude: Sequence[str] | None,
    follow_links: bool | None,
) -> tuple[Root, ...]:
    """paths: absolute, of the folders that were given; without any all that are known. Flags that
    are None are as they are remembered. Raises UsageError where nothing is left.
    """
    if not paths and not known.each:
        raise UsageError(
            f"PHOTOS: expected a folder of photos, for {gallery} knows none yet, got none"
        )
    roots = [known.known(path) or Root(path, "") for path in paths] or list(known.each)
    return tuple(
        replace(
            root,
            exclude=root.exclude if exclude is None else tuple(exclude),
            follow_links=root.follow_links if follow_links is None else follow_links,
        )
        for root in dict.fromkeys(roots)
    )


def check_there(gallery: Path, known: Roots, given: str | Path) -> None:
    """Raises UsageError for what is no folder."""
    if os.path.isdir(given):
        return
    got, said = "a file" if os.path.exists(given) else "nothing there", printable(str(given))
    if os.path.exists(given) or known.known(os.path.realpath(given)) is None:
        raise UsageError(f"{said}: expected a folder of photos, got {got}")
    raise UsageError(
        f"{said}: expected the folder of photos that {gallery} knows, got {got}; mount"
        " its disk, say where it is now by `NEW --moved-from OLD`, or let its photos be forgotten"
        " by `--prune-most`"
    )


def moved_root(known: Roots, old: str | Path, paths: Sequence[str]) -> Root:
    """The folder that is elsewhere now, by its path or label. Raises UsageError."""
    if len(paths) != 1:
        raise UsageError(
            f"--moved-from {old}: expected one folder, where its photos are now, got {len(paths)}"
        )
    root = known_root(known, old, "--moved-from")
    if (there := known.known(paths[0])) is not None:
        raise UsageError(
            f"--moved-from {old}: expected a folder that the gallery does not know yet, got"
            f" {printable(there.path)}, which it does; run `--forget` with the old one instead"
        )
    return root


def known_root(known: Roots, which: str | Path, flag: str) -> Root:
    """By its path or label. Raises UsageError."""
    path = os.path.realpath(which)  # first: one folder may be called as another's label
    labelled = next((root for root in known.each if str(which) == root.label), None)
    if (root := known.known(path) or labelled) is not None:
        return root
    raise UsageError(
        f"{flag} {printable(str(which))}: expected a folder that the gallery knows, got another; it"
        f" knows {', '.join(printable(root.path) for root in known.each) or 'none'}"
    )
