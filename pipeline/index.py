"""python -m pipeline.index PHOTOS --gallery DIR: make a gallery of a folder of photos, or bring one
up to date.

Each thread decodes and encodes one photo at a time while the main thread commits what is ready: at
least every two seconds of work or 64 photos, and only then does the bar count them. Kill it
whenever you like and run it again.
"""

import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipeline.base.errors import ImageError, UsageError
from pipeline.base.names import PRECISIONS, RECIPES
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


@dataclass(frozen=True)
class IndexReport:
    """What an index run did."""

    gallery: Path
    photos: int  # in the gallery now
    indexed: int  # new or changed
    unchanged: int
    removed: int
    failed: int  # not readable; each is a line of errors.jsonl in the gallery


def index(
    photos: str | Path,
    gallery: str | Path,
    *,
    model: str | None = None,
    recipe: str | None = None,
    bits: int | None = None,
    precision: str | None = None,
    device: str = "auto",
    jobs: int | None = None,
    prune: bool = False,
    progress: bool = False,
    elsewhere: "EncodeElsewhere | None" = None,
) -> IndexReport:
    """Make a gallery of a folder of photos, or bring one up to date: new and changed photos in,
    unchanged ones skipped.

    model: name or folder; recipe, bits, precision: of a gallery that is made anew; jobs: threads,
    all cores unless given; prune: drop photos whose files have vanished; progress: a bar on stderr;
    elsewhere: what encodes photos in place of this process. It may be killed at any moment and run
    again. Raises UsageError, GalleryError or ModelError.

    >>> pipeline.index("photos", "gallery").indexed  # doctest: +SKIP
    287
    """
    from pipeline.gallery.chance import calibrate
    from pipeline.gallery.update import bind, index_folder
    from pipeline.gallery.writer import writing
    from pipeline.model.codebook import read_codebook
    from pipeline.recipes import load_encoder, second_look

    photos, gallery, jobs = Path(photos), Path(gallery), jobs or os.cpu_count() or 1
    if recipe is not None and recipe not in RECIPES:
        raise UsageError(f"recipe {recipe}: expected one of {', '.join(RECIPES)}")
    if precision not in (None, *PRECISIONS):
        raise UsageError(f"precision {precision}: expected one of {', '.join(PRECISIONS)}")
    _check_one(gallery)
    if not photos.is_dir():
        raise UsageError(
            f"{photos}: expected a folder of photos, got"
            f" {'a file' if photos.exists() else 'nothing there'}"
        )
    binding = bind(gallery, model, photos, recipe, bits, precision)
    encoder = partial(load_encoder, binding.where, device, binding.precision)
    with writing(gallery, binding, read_codebook(binding.where)) as writer:
        try:
            counts = index_folder(
                photos,
                writer,
                encoder,
                jobs,
                prune=prune,
                quiet=not progress,
                elsewhere=elsewhere and partial(elsewhere, binding),
            )
        except ImageError as error:
            raise UsageError(f"{photos}: {error}") from None
        total = len(writer.known())
        if writer.parts is not None:
            writer.parts.complete(quiet=not progress)
        calibrate(writer, second_look(threads=jobs))
    return IndexReport(gallery, total, **counts)


def index_features(
    features: str | Path,
    gallery: str | Path,
    *,
    codes: str | Path | None = None,
    prune: bool = False,
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
    from pipeline.gallery.update import index_folder
    from pipeline.gallery.writer import writing
    from pipeline.recipes import load_encoder, second_look

    gallery = Path(gallery)
    _check_one(gallery)
    source = read_source(Path(features), None if codes is None else Path(codes))
    with writing(gallery, source.binding()) as writer:
        counts = index_folder(
            source.path,
            writer,
            partial(load_encoder, "", "cpu"),
            1,
            prune=prune,
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
    """What a run did, as a person reads it."""
    failed = f" (listed in {report.gallery / 'errors.jsonl'})" if report.failed else ""
    return (
        f"{report.gallery}: {report.photos} photos; {report.indexed} indexed, {report.unchanged}"
        f" unchanged, {report.removed} removed, {report.failed} not readable{failed}"
    )


def make_parser() -> Parser:
    about, more = __doc__.split("\n\n")
    parser = Parser(prog="python -m pipeline.index", description=about, epilog=more)
    parser.add_argument(
        "photos",
        type=Path,
        nargs="?",
        metavar="PHOTOS",
        help="folder of photos, searched recursively",
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
        "--prune", action="store_true", help="drop photos whose files have vanished"
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

    def job() -> int:
        if (args.photos is None) == (args.features is None):
            got = "neither" if args.photos is None else "both"
            raise UsageError(f"PHOTOS, --features: expected one of them, got {got}")
        if args.features is None and args.codes is not None:
            raise UsageError(f"--codes {args.codes}: expected it with --features; run without it")
        if args.features is not None:
            for flag in ("model", "recipe", "bits", "precision", "cluster"):
                if getattr(args, flag) is not None:
                    raise UsageError(f"--{flag}: expected it with PHOTOS; run without it")
            more = {"codes": args.codes, "prune": args.prune, "progress": True}
            print(describe(index_features(args.features, args.gallery, **more)))
            return 0
        with joined_cluster(args.cluster) as cluster:
            elsewhere = cluster.encoder(args.device) if cluster else None
            model = {
                "model": args.model,
                "recipe": args.recipe,
                "bits": args.bits,
                "precision": args.precision,
                "device": args.device,
            }
            made = {
                "jobs": args.jobs,
                "prune": args.prune,
                "progress": True,
                "elsewhere": elsewhere,
            }
            report = index(args.photos, args.gallery, **model, **made)
        print(describe(report))
        return 0

    return finish("index", job)


class _Callable(ModuleType):
    """`import pipeline.index` puts this module in the place of the library's function of that name:
    it is called as the function is.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> IndexReport:
        return index(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable

if __name__ == "__main__":
    sys.exit(main())
