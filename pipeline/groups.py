"""python -m pipeline.groups --gallery DIR: find the photos of a gallery that show the same thing.

Every photo asks the others by both looks. What was found is kept beside the gallery: photos that
are added or removed later cost only themselves. Kill it whenever you like and run it again. Output
is a list, or one JSON object a line.
"""

import csv
import io
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipeline.base.errors import UsageError
from pipeline.base.names import printable
from pipeline.base.values import at_least_one, positive
from pipeline.cli import Parser, add_gallery, add_jobs, add_seed, finish

if TYPE_CHECKING:
    from pipeline.pairs.find import Group, Groups, Pair

LOG = logging.getLogger("pipeline.groups")
CANDIDATES = 40  # as pipeline/pairs/looks.py has it
COLUMNS = ("group", "kind", "photo", "best", "width", "height", "sharpness")


def groups(
    gallery: str | Path | Sequence[str | Path],
    *,
    false_pairs: float | None = None,
    near_duplicates: bool = False,
    candidates: int = CANDIDATES,
    evidence: str | Path | None = None,
    seed: int = 0,
    jobs: int | None = None,
    progress: bool = False,
) -> "Groups":
    """The photos of a gallery, or of several, that show the same thing.

    false_pairs: pairs of unrelated photos that are accepted, expected at most among all photos
    together, 1 unless given, and one in a thousand photos where these are fewer; near_duplicates:
    groups of near-duplicates only; candidates: photos that each photo is verified with; evidence:
    the file that keeps what was found, of one gallery its own `groups.sqlite` unless given, of
    several none; jobs: threads, all cores unless given; progress: bars on stderr. It may be killed
    at any moment and run again. Raises GalleryError, ModelError or UsageError.

    >>> pipeline.groups("gallery").groups[0].best  # doctest: +SKIP
    'a.jpg'
    """
    from pipeline.base.options import SearchOptions
    from pipeline.gallery.merge import members
    from pipeline.library import open_gallery
    from pipeline.pairs.evidence import FILE
    from pipeline.pairs.find import find_groups
    from stages.rank import Calibrated

    if false_pairs is not None and not 0 < false_pairs < float("inf"):
        raise UsageError(f"false_pairs: expected a number above 0, got {false_pairs!r}")
    if candidates < 1:
        raise UsageError(f"candidates: expected 1 or more, got {candidates!r}")
    options = SearchOptions(seed=seed, device="cpu", turns="none", threads=1)
    with open_gallery(gallery, options) as opened:
        engine = opened.engine
        if engine.verify is None:
            raise UsageError(
                f"gallery {opened.name}: expected a recipe that compares points, got"
                f" {engine.recipe.name}, which compares codes; index the photos again without"
                " --recipe"
            )
        acceptance = engine.acceptance
        null = acceptance.null_of(engine.gallery) if isinstance(acceptance, Calibrated) else None
        if null is None:
            raise UsageError(
                f"gallery {opened.name}: expected one whose chance is known, so that false pairs"
                f" can be stated, got {engine.recipe.name} without a chance model; features of"
                " another program need 300 different photos"
            )
        folders = members(opened.where)
        own = evidence is None and len(folders) == 1
        kept = folders[0] / FILE if own else None if evidence is None else Path(evidence)
        return find_groups(
            engine,
            null,
            candidates,
            min(1.0, len(opened) / 1000) if false_pairs is None else false_pairs,
            near_duplicates,
            kept,
            own,
            jobs or os.cpu_count() or 1,
            quiet=not progress,
        )


def describe(found: "Groups") -> str:
    """What was found, as a person reads it."""
    copies = sum(group.near_duplicate for group in found.groups)
    inside = sum(len(group.photos) for group in found.groups)
    many = len(found.groups)
    lines = [
        f"{found.photos} photos; {inside} of them in {many} group{'' if many == 1 else 's'},"
        f" {copies} of near-duplicates; at most {found.false_pairs:g} false"
        f" pair{'' if found.false_pairs == 1 else 's'} expected among all photos"
    ]
    for number, group in enumerate(found.groups, 1):
        lines.append(f"group {number}: {group.kind}")
        for name in group.photos:
            quality, best = group.qualities[name], name == group.best
            sharp = "" if quality.sharpness is None else f"{quality.sharpness:.0f}"
            lines.append(
                f"{'*' if best else ' '} {quality.width:5d} x {quality.height:<5d}{sharp:>7s} "
                f" {printable(name)}"
            )
    return "\n".join(lines)


def write_pairs(path: Path, pairs: "Sequence[Pair]") -> None:
    """Two names a line, as hloc and COLMAP read them; names that hold white space cannot be told
    from two there, and are left out with a word.
    """
    from pipeline.base.files import write_file

    kept = [each for each in pairs if not any(map(_spaced, (each.one, each.other)))]
    write_file(path, b"".join(os.fsencode(f"{each.one} {each.other}\n") for each in kept))
    if left := len(pairs) - len(kept):
        first = next(name for each in pairs for name in (each.one, each.other) if _spaced(name))
        LOG.warning(
            f"--pairs {path}: {left} of {len(pairs)} pairs left out: this format has no names with"
            f" white space, such as {printable(first)!r}; rename them, or use --json"
        )


def _spaced(name: str) -> bool:
    return name.split() != [name]


def write_csv(path: Path, found: "Sequence[Group]") -> None:
    """A row a photo, best first."""
    from pipeline.base.files import write_file

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, group in enumerate(found, 1):
        for name in group.photos:
            quality = group.qualities[name]
            sharp = "" if quality.sharpness is None else f"{quality.sharpness:.1f}"
            row = (number, group.kind, name, int(name == group.best))
            writer.writerow((*row, quality.width, quality.height, sharp))
    write_file(path, text.getvalue().encode("utf-8", "surrogateescape"))


def make_parser() -> Parser:
    about, more = __doc__.split("\n\n")
    parser = Parser(prog="python -m pipeline.groups", description=about, epilog=more)
    add_gallery(parser, several=True)
    parser.add_argument(
        "--false-pairs",
        type=positive,
        metavar="N",
        help=(
            "pairs of unrelated photos that are accepted, expected at most among all photos of the"
            " gallery together (default: 1, or a thousandth of the photos where that is less)"
        ),
    )
    parser.add_argument(
        "--near-duplicates",
        action="store_true",
        help="only photos that are one picture: scaled, turned, cropped a little, recompressed",
    )
    parser.add_argument(
        "--candidates",
        type=at_least_one,
        default=CANDIDATES,
        metavar="N",
        help=f"photos that each photo is verified with (default: {CANDIDATES})",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, one per group")
    parser.add_argument("--csv", type=Path, metavar="FILE.csv", help="also a row a photo")
    parser.add_argument(
        "--pairs",
        type=Path,
        metavar="FILE.txt",
        help="also all accepted pairs, two names a line, as hloc and COLMAP read them",
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE.html", help="also a contact sheet of the groups"
    )
    parser.add_argument(
        "--evidence",
        type=Path,
        metavar="FILE",
        help=(
            "keeps what was found for the next run (default: groups.sqlite in the gallery; of"
            " several galleries none)"
        ),
    )
    add_seed(parser)
    add_jobs(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return finish("groups", lambda: run(args))


def run(args: Any) -> int:
    """Find the groups and write them wherever they are asked for. Returns the exit code."""
    from pipeline.base.files import check_place
    from pipeline.report.contact_sheet import write_sheet

    for flag in ("csv", "pairs", "report", "evidence"):
        check_place(f"--{flag}", getattr(args, flag))
    found = groups(
        args.gallery,
        false_pairs=args.false_pairs,
        near_duplicates=args.near_duplicates,
        candidates=args.candidates,
        evidence=args.evidence,
        seed=args.seed,
        jobs=args.jobs,
        progress=not args.quiet,
    )
    if args.csv is not None:
        write_csv(args.csv, found.groups)
    if args.pairs is not None:
        write_pairs(args.pairs, found.pairs)
    if args.report is not None:
        write_sheet(args.report, found)
        LOG.info(f"report: {args.report}")
    if args.json:
        for number, group in enumerate(found.groups, 1):
            print(json.dumps(group.to_json(number)))
    else:
        print(describe(found))
    return 0


class _Callable(ModuleType):
    """`import pipeline.groups` puts this module in the place of the library's function of that
    name: it is called as the function is.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> "Groups":
        return groups(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable

if __name__ == "__main__":
    sys.exit(main())
