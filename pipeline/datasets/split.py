"""Lay out a folder of classes by a split list: OUT/train to learn from, OUT/gallery to search,
OUT/query to ask, none sharing a photo.

A list is a CSV `photo,role`, photos relative to --photos; artifacts/splits has those that the
results rest on. --draw makes a list of any folder of classes: so many photos a class for each role,
drawn once by --seed. Photos that lie in no folder of a class, as COREL-10K has them, are of the
class before the last "_" of their name. Photos are copied; those that lie there already are left.
"""

import argparse
import csv
import io
import shutil
import sys
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath

from pipeline.base.errors import UsageError
from pipeline.base.lookup import photo_path, spellings
from pipeline.base.names import printable
from pipeline.base.tables import table_rows
from pipeline.base.values import at_least_one, natural
from pipeline.cli import Parser, finish

ROLES = ("train", "gallery", "query")
NOT_A_CLASS = "BACKGROUND_Google"  # Caltech-101's photos of everything else


def class_of(name: str) -> str:
    """Of a photo by its path: its folder, or what its name says."""
    path = PurePosixPath(name)
    return path.parent.name or path.stem.rpartition("_")[0]


def draw(photos: Path, counts: tuple[int, int, int], seed: int) -> str:
    """A list: of every class so many photos to train, to search (at most) and to ask, the same for
    the same names. Raises UsageError.
    """
    import numpy as np

    from pipeline.base.folders import find_photos

    classes = defaultdict(list)
    for found in find_photos(photos):
        if found.reason is None and class_of(found.name) != NOT_A_CLASS:
            classes[class_of(found.name)].append(found.name)
    train, search, ask = counts
    rows = []
    for name, members in sorted(classes.items()):
        if not name or len(members) < train + ask + 1:
            raise UsageError(
                f"--photos {photos}: expected classes of at least {train + ask + 1} photos, got"
                f" {len(members)} of {name or members[0]!r}"
            )
        order = np.random.default_rng([seed, *name.encode()]).permutation(len(members))
        roles = ["train"] * train + ["query"] * ask + ["gallery"] * search
        rows += sorted((members[place], role) for place, role in zip(order, roles, strict=False))
    if not rows:
        raise UsageError(f"--photos {photos}: expected folders of classes with photos, got none")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("photo", "role"), *rows])
    return text.getvalue()


def read(path: Path) -> list[tuple[str, str]]:
    """(photo, role). Raises UsageError with the line."""
    hint = "draw one with `--draw TRAIN GALLERY QUERY`"
    rows: dict[str, tuple[int, str]] = {}
    for line in table_rows(path, ("photo", "role"), hint=hint):
        photo, role = line.cells or ("", "")
        photo, role = list(spellings(photo))[-1], role.strip().lower()
        if role not in ROLES:
            raise UsageError(
                f"{path}: line {line.number}: expected a photo and one of {', '.join(ROLES)}, got"
                f" {line.wrong or printable(','.join(line.cells))}"
            )
        name = PurePosixPath(photo)
        if name.is_absolute() or ".." in name.parts or not class_of(photo):
            raise UsageError(
                f"{path}: line {line.number}: expected a photo inside --photos and in a class, got"
                f" {printable(photo)}"
            )
        if photo in rows:
            raise UsageError(
                f"{path}: line {line.number}: expected each photo once, got {printable(photo)} as"
                f" in line {rows[photo][0]}"
            )
        rows[photo] = line.number, role
    return [(photo, role) for photo, (_, role) in rows.items()]


def lay_out(rows: list[tuple[str, str]], photos: Path, out: Path) -> Counter[str]:
    """Copy every photo into its role and class; how many there are of each role. Raises UsageError
    before anything is copied.
    """
    from tqdm import tqdm

    files = {name: Path(photo_path(photos, name)) for name, _ in rows}
    missing = [name for name, file in files.items() if not file.is_file()]
    if missing:
        raise UsageError(
            f"--photos {photos}: expected the {len(rows)} photos of the list, got none of"
            f" {missing[0]} and {len(missing) - 1} more"
        )
    for name, role in tqdm(rows, desc="split", unit="photo", mininterval=0.5):
        place = out / role / class_of(name) / PurePosixPath(name).name
        if not place.is_file() or place.stat().st_size != files[name].stat().st_size:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(files[name], place)
    return Counter(role for _, role in rows)


def make_parser() -> Parser:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument(
        "list", type=Path, metavar="LIST.csv", help="the split; with --draw it is written"
    )
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="the data set")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where train, gallery and query go")
    parser.add_argument(
        "--draw",
        type=at_least_one,
        nargs=3,
        metavar=("TRAIN", "GALLERY", "QUERY"),
        help="photos a class; GALLERY: at most",
    )
    parser.add_argument("--seed", type=natural, default=0, help="of the draw (default: 0)")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return finish("split", lambda: split(args))


def split(args: argparse.Namespace) -> int:
    if not args.photos.is_dir():
        raise UsageError(f"--photos {args.photos}: expected a folder of classes, got none")
    if args.draw:
        if args.list.exists():
            raise UsageError(
                f"{args.list}: expected no list there to draw one, got one; run without --draw, or"
                " name another"
            )
        try:
            args.list.write_text(draw(args.photos, tuple(args.draw), args.seed), "utf-8")
        except OSError as error:
            raise UsageError(f"{args.list}: expected to write, got {error.strerror}") from None
    rows = read(args.list)
    counts = lay_out(rows, args.photos, args.out) if args.out else Counter(role for _, role in rows)
    print(f"{args.out or args.list}: {', '.join(f'{counts[role]} {role}' for role in ROLES)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
