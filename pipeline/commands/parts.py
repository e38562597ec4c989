"""Index the parts of a gallery's photos, or mend their index: from the local features that it
stores, without reading a photo.

`index` does the same for the photos it encodes. A gallery that an earlier version made has no index
of parts until this command has run, and one whose index is damaged or of another codebook gets a
new one. It may be killed at any moment and run again.
"""

import sys

from pipeline.base.errors import UsageError
from pipeline.cli import Parser, add_gallery, finish


def make_parser() -> Parser:
    parser = Parser(
        prog="two-look parts",
        description=__doc__.split("\n\n")[0],
        epilog=__doc__.split("\n\n")[1],
    )
    add_gallery(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        from pipeline.gallery.store import read_gallery
        from pipeline.gallery.writer import writing
        from pipeline.model.codebook import read_codebook

        # photos whose shards are damaged are not forgotten here: that is for `index` to mend
        binding = read_gallery(args.gallery).binding
        codebook = read_codebook(binding.where) if binding.where else None
        if codebook is None:
            raise UsageError(
                f"--gallery {args.gallery}: expected one whose model has a codebook, got model"
                f" {binding.model}, which has none"
            )
        with writing(args.gallery, binding, codebook) as writer:
            assert writer.parts is not None
            added = writer.parts.complete()
            writer.sweep()
            total = len(writer.parts.held())
        print(f"{args.gallery}: the parts of {total} different photos are indexed; {added} new")
        return 0

    return finish("parts", job)


if __name__ == "__main__":
    sys.exit(main())
