"""Check a gallery: whether every byte of it is as it was written.

A search checks what it reads when it first reads it. This reads all there is, and writes nothing.
"""

import sys

from pipeline.cli import Parser, add_gallery, finish


def make_parser() -> Parser:
    parser = Parser(
        prog="two-look check",
        description=__doc__.split("\n\n")[0],
        epilog=__doc__.split("\n\n")[1],
    )
    add_gallery(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        from pipeline.gallery.store import read_gallery

        reading = read_gallery(args.gallery, parts=True)
        parts = "" if reading.parts is None else " and their index of parts"
        print(f"{args.gallery}: {len(reading.names)} photos{parts} are as they were written")
        return 0

    return finish("check", job)


if __name__ == "__main__":
    sys.exit(main())
