"""Export what a gallery holds, for other programs: names, codes, embeddings and local features.

`--out` says the format by its name. FILE.h5: local features in hloc's layout, a group a photo,
which `index --features FILE.h5` reads back. FILE.npz: everything as arrays, without pickle.
FILE.npy: a vector a photo, in the order of the names. FILE.csv: a table of the photos. The file
appears whole or not at all.
"""

import sys
from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.cli import Parser, add_gallery, finish

FORMS = (".h5", ".hdf5", ".npz", ".npy", ".csv")


def make_parser() -> Parser:
    parser = Parser(
        prog="two-look export",
        description=__doc__.split("\n\n")[0],
        epilog=__doc__.split("\n\n")[1],
    )
    add_gallery(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=f"one of {', '.join(FORMS)}"
    )
    parser.add_argument(
        "--vectors",
        choices=("code", "embedding"),
        default="code",
        help="what FILE.npy holds (default: code, what the first look searches)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        from pipeline.base.files import check_place
        from pipeline.gallery.about import listed_photos
        from pipeline.gallery.exported import appearing, as_csv, as_hdf5, as_npy, as_npz
        from pipeline.recipes import load_encoder

        form = args.out.suffix.lower()
        if form not in FORMS:
            raise UsageError(f"--out {args.out}: expected one of {', '.join(FORMS)}, got {form!r}")
        check_place("--out", args.out)
        photos, reading = listed_photos(args.gallery)
        if not photos:
            raise UsageError(f"gallery {args.gallery}: expected at least one photo, got none")
        embed = None
        wants = form in (".h5", ".hdf5", ".npz") or args.vectors == "embedding"
        if wants and form != ".csv" and reading.binding.where:
            binding = reading.binding
            encode = load_encoder(binding.where, "cpu", binding.precision)
            if "embedding" in {node.output for node in encode.rows}:
                embed = lambda pooled: encode({"pooled": pooled}, "embedding")  # noqa: E731
        if args.vectors == "embedding" and embed is None:
            raise UsageError(
                f"--vectors embedding: expected a gallery whose recipe has them, got recipe"
                f" {reading.binding.recipe}"
            )
        with appearing(args.out) as path:
            if form == ".csv":
                as_csv(path, photos)
            elif form == ".npy":
                as_npy(path, reading, None if args.vectors == "code" else embed)
            elif form == ".npz":
                as_npz(path, photos, reading, embed)
            else:
                as_hdf5(path, reading, embed)
        print(f"{args.out}: {len(photos):,} photos")
        return 0

    return finish("export", job)


if __name__ == "__main__":
    sys.exit(main())
