"""List the photos of a gallery: their names, one a line, or what is known of each as JSON.

A pattern is as a shell has it: `*` for any characters, folders included, `?` for one, `[ab]` for
one of these; a photo is listed where any pattern fits its whole name.
"""

import fnmatch
import os
import sys
from dataclasses import replace

from pipeline.base.names import composed, printable
from pipeline.cli import Parser, add_gallery, finish


def make_parser() -> Parser:
    parser = Parser(
        prog="two-look list",
        description=__doc__.split("\n\n")[0],
        epilog=__doc__.split("\n\n")[1],
    )
    parser.add_argument(
        "patterns", nargs="*", metavar="PATTERN", help="only photos whose names fit one of these"
    )
    add_gallery(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="an object a line: image, sha256, bytes, width, height, features",
    )
    parser.add_argument("--absolute", action="store_true", help="absolute paths")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        from pipeline.gallery.about import listed_photos

        photos, reading = listed_photos(args.gallery)
        wanted = [composed(pattern) for pattern in args.patterns]
        gone, shown = [], 0
        for photo in photos:
            name = composed(photo.image)
            if wanted and not any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted):
                continue
            if args.absolute:
                path = str(reading.binding.photos.file(photo.image))
                gone += [] if os.path.isfile(path) else [path]
                photo = replace(photo, image=path)
            print(photo.to_json() if args.json else printable(photo.image))
            shown += 1
        if wanted and not shown:
            print(
                f"list: none of {len(photos):,} photos has a name that fits; `*` stands for any"
                f" characters: `two-look list '*{printable(args.patterns[0]).strip('*')}*'`",
                file=sys.stderr,
            )
        if gone:
            print(
                f"list: {len(gone):,} photos are not where they were indexed, such as"
                f" {printable(gone[0])}",
                file=sys.stderr,
            )
        return 0

    return finish("list", job)


if __name__ == "__main__":
    sys.exit(main())
