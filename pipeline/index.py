"""python -m pipeline.index PHOTOS [PHOTOS2 ...] --gallery DIR: make a gallery of folders of photos,
or bring one up to date.

A folder that the gallery does not know is added; without PHOTOS all that it knows are brought up to
date. Each thread decodes and encodes one photo at a time while the main thread commits what is
ready: at least every two seconds of work or 64 photos, and only then does the bar count them. Kill
it whenever you like and run it again.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipeline.base.errors import TwoLookError, UsageError
from pipeline.base.names import PRECISIONS, RECIPES, printable
from pipeline.cli import (
    Parser,
    add_cluster,
    add_gallery,
    add_jobs,
    add_model,
    add_recipe,
    finish,
    joined_cluster,
)

if TYPE_CHECKING:
    from pipeline.gallery.encode import EncodeElsewhere

LOG = logging.getLogger("pipeline.index")


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
    from pipeline.gallery.bind import bind
    from pipeline.gallery.chance import calibrate
    from pipeline.gallery.chosen_roots import check_there, chosen_roots, known_roots, moved_root
    from pipeline.gallery.relocate import rebind
    from pipeline.gallery.roots import Roots
    from pipeline.gallery.update import update
    from pipeline.gallery.writer import writing
    from pipeline.model.codebook import read_codebook
    from pipeline.recipes import load_encoder, second_look

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
        total = len(writer.known())
        if writer.parts is not None:
            writer.parts.complete(quiet=not progress)
        calibrate(writer, second_look(threads=jobs))
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


def make_parser() -> Parser:
    about, more = __doc__.split("\n\n")
    parser = Parser(prog="python -m pipeline.index", description=about, epilog=more)
    parser.add_argument(
        "photos",
        type=Path,
        nargs="*",
        metavar="PHOTOS",
        help="folders of photos, searched recursively (default: those that the gallery knows)",
    )
    parser.add_argument(
        "--features",
        type=Path,
        metavar="DIR|FILE.h5",
        help="instead of PHOTOS: local features of another program, PATH.npz files or hloc's HDF5",
    )
    parser.add_argument(
        "--codes",
        type=Path,
        metavar="FILE.npy",
        help="with --features: a vector per photo, in the order of the paths",
    )
    add_gallery(parser)
    parser.add_argument(
        "--exclude",
        action="append",
        metavar="PATTERN",
        help="leave out what fits, as .gitignore has it; again for more; remembered, '' for none",
    )
    parser.add_argument(
        "--follow-links",
        action=argparse.BooleanOptionalAction,
        help="also links that leave PHOTOS; remembered",
    )
    parser.add_argument(
        "--prune", action="store_true", help="drop photos whose files have vanished"
    )
    parser.add_argument(
        "--prune-most",
        action="store_true",
        help="the same where a folder lacks most of its photos, or is not there at all",
    )
    parser.add_argument(
        "--moved-from",
        type=Path,
        metavar="OLD",
        help="PHOTOS is the folder that was OLD: nothing is encoded that is there as it was",
    )
    parser.add_argument(
        "--forget",
        type=Path,
        metavar="OLD",
        help="instead of PHOTOS: drop a folder with all its photos from the gallery",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="go on until it is stopped: index again whenever photos change",
    )
    add_recipe(parser)
    add_model(parser)
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help=(
            "numbers that the networks compute with (default: the gallery's; for a new one int8,"
            " always on the CPU, where the model has it, else float32)"
        ),
    )
    add_cluster(parser)
    add_jobs(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return finish("index", lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Returns the exit code: 3 where a folder that the gallery knows is not there."""
    from pipeline.gallery.watch import check_watching

    _check_flags(args)
    if args.watch:
        check_watching()
    if args.forget is not None:
        print(describe(forget(args.forget, args.gallery)))
        return 0
    if args.features is not None:
        pruning = {"prune": args.prune, "prune_most": args.prune_most}
        print(
            describe(
                index_features(
                    args.features, args.gallery, codes=args.codes, **pruning, progress=True
                )
            )
        )
        return 0
    with joined_cluster(args.cluster) as cluster:
        made: dict[str, Any] = {
            "elsewhere": cluster.encoder(args.device) if cluster else None,
            "exclude": args.exclude and [pattern for pattern in args.exclude if pattern],
            "progress": True,
        }
        names = ("model", "recipe", "bits", "precision", "device", "jobs")
        kept = ("prune", "prune_most", "follow_links")
        made |= {name: getattr(args, name) for name in (*names, *kept)}
        report = index(args.photos, args.gallery, moved_from=args.moved_from, **made)
        print(describe(report), flush=True)
        for path in report.away:
            print(
                f"index: {printable(path)}: expected the folder of photos that {args.gallery}"
                " knows, got nothing there; its photos stay as they are",
                file=sys.stderr,
            )
        if args.watch:
            _watch(args, partial(index, args.photos, args.gallery, **made))
            return 0
    return 3 if report.away else 0


def _watch(args: argparse.Namespace, again: Callable[[], IndexReport]) -> None:
    """What cannot be done is said once, and tried again with the next change."""
    from pipeline.gallery.chosen_roots import known_roots
    from pipeline.gallery.watch import watch

    said = ""

    def changed() -> None:
        nonlocal said
        try:
            report = again()
            if report.indexed or report.moved or report.copied or report.removed:
                print(describe(report), flush=True)
            said = ""
        except TwoLookError as error:
            if str(error) != said:
                print(f"index: {error}", file=sys.stderr, flush=True)
            said = str(error)

    def folders() -> list[str]:
        given = [os.path.realpath(path) for path in args.photos]
        wanted = given or [root.path for root in known_roots(args.gallery).each]
        return [path for path in wanted if os.path.isdir(path)]

    LOG.info(f"gallery {args.gallery}: watching; stop it by Ctrl-C")
    watch(folders, changed, args.gallery)


def _check_flags(args: argparse.Namespace) -> None:
    """Raises UsageError for flags that do not go together."""
    instead = {"--features": args.features, "--forget": args.forget}
    said = [flag for flag, value in instead.items() if value is not None]
    if len(said) > 1 or (said and args.photos):
        got = [*(["PHOTOS"] if args.photos else []), *said]
        raise UsageError(f"expected one of PHOTOS, --features, --forget, got {' and '.join(got)}")
    if args.features is None and args.codes is not None:
        raise UsageError(f"--codes {args.codes}: expected it with --features; run without it")
    if said:
        of_photos = ("model", "recipe", "bits", "precision", "cluster", "exclude", "moved_from")
        for name in (*of_photos, "follow_links", "watch"):
            if getattr(args, name) not in (None, False):
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag}: expected it with PHOTOS; run without it")


class _Callable(ModuleType):
    """`import pipeline.index` puts this module in the place of the library's function of that name:
    it is called as the function is.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> IndexReport:
        return index(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable

if __name__ == "__main__":
    sys.exit(main())
