"""python -m pipeline.index PHOTOS --gallery DIR: make a gallery of a folder of photos, or bring one
up to date.

Each thread decodes and encodes one photo at a time while the main thread commits what is ready: at
least every two seconds of work or 64 photos, and only then does the bar count them. Kill it
whenever you like and run it again.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipeline.base.errors import ImageError, UsageError
from pipeline.base.names import RECIPES
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
    device: str = "auto",
    jobs: int | None = None,
    prune: bool = False,
    progress: bool = False,
    elsewhere: "EncodeElsewhere | None" = None,
) -> IndexReport:
    """Make a gallery of a folder of photos, or bring one up to date: new and changed photos in,
    unchanged ones skipped.

    model: name or folder; recipe, bits: of a gallery that is made anew; jobs: threads, all cores
    unless given; prune: drop photos whose files have vanished; progress: a bar on stderr;
    elsewhere: what encodes photos in place of this process. It may be killed at any moment and run
    again. Raises UsageError, GalleryError or ModelError.

    >>> pipeline.index("photos", "gallery").indexed  # doctest: +SKIP
    287
    """
    from functools import partial

    from pipeline.gallery.chance import calibrate
    from pipeline.gallery.merge import members
    from pipeline.gallery.update import bind, index_folder
    from pipeline.gallery.writer import writing
    from pipeline.recipes import load_encoder, second_look

    photos, gallery, jobs = Path(photos), Path(gallery), jobs or os.cpu_count() or 1
    if recipe is not None and recipe not in RECIPES:
        raise UsageError(f"recipe {recipe}: expected one of {', '.join(RECIPES)}")
    if members(gallery) != (gallery,):
        raise UsageError(
            f"--gallery {gallery}: expected one gallery, got a folder of galleries; run with one of"
            " them, or with a new folder"
        )
    if not photos.is_dir():
        raise UsageError(
            f"{photos}: expected a folder of photos, got"
            f" {'a file' if photos.exists() else 'nothing there'}"
        )
    binding = bind(gallery, model, photos, recipe, bits)
    encoder = partial(load_encoder, binding.where, device)
    with writing(gallery, binding) as writer:
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
        calibrate(writer, second_look(threads=jobs))
    return IndexReport(gallery, total, **counts)


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
        "photos", type=Path, metavar="PHOTOS", help="folder of photos, searched recursively"
    )
    add_gallery(parser)
    parser.add_argument(
        "--prune", action="store_true", help="drop photos whose files have vanished"
    )
    add_recipe(parser)
    add_model(parser)
    add_cluster(parser)
    add_jobs(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        with joined_cluster(args.cluster) as cluster:
            elsewhere = cluster.encoder(args.device) if cluster else None
            model = {
                "model": args.model,
                "recipe": args.recipe,
                "bits": args.bits,
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
