"""Part a gallery into several that answer together as it does: every photo's row goes to one of
them, unchanged.

The parts lie in DIR as 0, 1, 2, ... and remember the gallery's photo folder, so that every photo
keeps its name; `--gallery DIR` asks them all. Rows go round in the order of their paths.
"""

import sys
from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.base.values import at_least_one
from pipeline.cli import Parser, add_gallery, finish

AT_ONCE = 512  # photos a shard


def make_parser() -> Parser:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    add_gallery(parser)
    parser.add_argument(
        "--parts", type=at_least_one, default=4, metavar="N", help="galleries to make (default: 4)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for them; it must not be there yet",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        import numpy as np

        from pipeline.gallery.store import Encoded, connected, read_gallery
        from pipeline.gallery.writer import GalleryWriter, writing
        from pipeline.model.codebook import read_codebook

        if args.out.exists():
            raise UsageError(
                f"--out {args.out}: expected a folder that is not there yet, got one that is; run"
                " with another `--out`"
            )
        reading = read_gallery(args.gallery)
        codebook = read_codebook(reading.binding.where) if reading.binding.where else None
        with connected(args.gallery) as connection:
            known = GalleryWriter(args.gallery, connection).known()
        for part in range(args.parts):
            rows = range(part, len(reading.names), args.parts)
            with writing(args.out / str(part), reading.binding, codebook) as writer:
                for start in range(0, len(rows), AT_ONCE):
                    photos = [
                        Encoded(
                            reading.names[i],
                            known[reading.names[i]],
                            reading.pooled[i].astype(np.float32),
                            reading.codes[i],
                            reading.features[i],
                        )
                        for i in rows[start : start + AT_ONCE]
                    ]
                    writer.add(photos)
                if writer.parts is not None:
                    writer.parts.merge()
                writer.sweep()
            print(f"{args.out / str(part)}: {len(rows)} photos")
        return 0

    return finish("partition", job)


if __name__ == "__main__":
    sys.exit(main())
