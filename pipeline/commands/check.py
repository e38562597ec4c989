"""Check a gallery: whether every byte of it is as it was written.

A search checks what it reads when it first reads it. This reads all there is, and writes nothing
unless `--mend` says so: then what is damaged is dropped, the index of parts is made again from what
is left, and the photos that `index` has to encode again are named.
"""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from pipeline.base.errors import GalleryError, UsageError
from pipeline.base.names import IMPORTED, printable
from pipeline.cli import Parser, add_gallery, add_jobs, finish


def make_parser() -> Parser:
    parser = Parser(
        prog="two-look check",
        description=__doc__.split("\n\n")[0],
        epilog=__doc__.split("\n\n")[1],
    )
    add_gallery(parser)
    parser.add_argument(
        "--files",
        action="store_true",
        help="also whether each photo's file is there and has the bytes that were indexed",
    )
    parser.add_argument(
        "--mend", action="store_true", help="drop what is damaged, and make again what can be"
    )
    add_jobs(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return finish("check", lambda: check(args))


def check(args: argparse.Namespace) -> int:
    """Returns the exit code. Raises GalleryError for what is damaged and not mended."""
    from pipeline.gallery.files import differing
    from pipeline.gallery.store import read_gallery

    dropped = mend(args.gallery) if args.mend else []
    try:
        reading = read_gallery(args.gallery, parts=True)
    except GalleryError as error:
        if args.mend or "damaged" not in str(error):
            raise
        again = f"two-look check --mend --gallery {shlex.quote(str(args.gallery))}"
        raise GalleryError(f"{error}, or first `{again}`") from None
    told: dict[str, Any] = {
        "photos": len(reading.names),
        "parts": reading.parts is not None,
        "dropped": dropped,
    }
    parts = "" if reading.parts is None else " and their index of parts"
    lines = [f"{args.gallery}: {len(reading.names)} photos{parts} are as they were written"]
    if dropped:
        lines += [f"dropped, encoded again by the next run of index: {name}" for name in dropped]
    if args.files:
        if reading.binding.recipe == IMPORTED:
            raise UsageError(
                f"--files: expected a gallery of photos, got {args.gallery}, whose features another"
                " program computed; run without it"
            )
        found = list(differing(reading, args.jobs))
        kinds = ("gone", "changed", "not readable")
        told["files"] = {kind: [name for name, how in found if how == kind] for kind in kinds}
        counts = ", ".join(f"{len(told['files'][kind])} {kind}" for kind in kinds)
        lines += [f"{how}: {name}" for name, how in found]
        same = len(reading.names) - len(found)
        lines += [f"files: {same} as they were indexed, {counts}"]
        if found:
            lines[-1] += "; run `two-look index` to bring the gallery up to date"
    print(json.dumps(told) if args.json else "\n".join(map(printable, lines)))
    return 0


def mend(gallery: Path) -> list[str]:
    """Drop what is damaged and complete the index of parts. Returns the names of the photos that
    are to be encoded again.
    """
    from pipeline.gallery.merge import read_paths
    from pipeline.gallery.store import read_binding
    from pipeline.gallery.writer import writing
    from pipeline.model.codebook import read_codebook

    binding = read_binding(gallery)
    before = {os.fsdecode(path) for path, _ in read_paths(gallery)[0]}
    codebook = read_codebook(binding.where) if binding.where else None
    with writing(gallery, binding, codebook) as writer:
        dropped = before - set(writer.known())
        if writer.parts is not None:
            writer.parts.complete()
        writer.sweep()
    return sorted(dropped)


if __name__ == "__main__":
    sys.exit(main())
