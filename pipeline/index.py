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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.base.errors import TwoLookError, UsageError
from pipeline.base.names import PRECISIONS, printable
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
from pipeline.indexing import IndexReport, describe, forget, index, index_features

LOG = logging.getLogger("pipeline.index")


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
                    args.features,
                    args.gallery,
                    codes=args.codes,
                    **pruning,
                    progress=not args.quiet,
                )
            )
        )
        return 0
    with joined_cluster(args.cluster) as cluster:
        made: dict[str, Any] = {
            "elsewhere": cluster.encoder(args.device) if cluster else None,
            "exclude": args.exclude and [pattern for pattern in args.exclude if pattern],
            "progress": not args.quiet,
        }
        names = ("model", "recipe", "bits", "precision", "device", "jobs")
        kept = ("prune", "prune_most", "follow_links")
        made |= {name: getattr(args, name) for name in (*names, *kept)}
        report = index(args.photos, args.gallery, moved_from=args.moved_from, **made)
        print(describe(report), flush=True)
        if not (report.photos or report.failed or report.away):
            LOG.warning("no photos were found; `two-look index --help` says what is left out")
        for path in report.away:
            print(
                f"index: {printable(path)}: expected the folder of photos that {args.gallery}"
                " knows, got nothing there; its photos stay as they are. Mount its disk; if it has"
                " moved, index NEW with `--moved-from OLD`; if it is to go, `--forget OLD`",
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
