"""Measure what chance does between photos of different things, and write it into a model's card.

The photos are those of a gallery that the model made, in folders: photos in different folders are
taken to show different things. The gallery's precision says of which networks it is. Galleries of
at least 300 photos measure their own; how much nearer photos have in common is always the model's.
"""

import hashlib
import json
import sys

from pipeline.base.errors import UsageError
from pipeline.base.values import at_least_one
from pipeline.cli import Parser, add_gallery, add_seed, finish

PHOTOS = 2500


def make_parser() -> Parser:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument("model", metavar="MODEL", help="name or folder of the model")
    add_gallery(parser)
    parser.add_argument(
        "--count",
        type=at_least_one,
        default=PHOTOS,
        metavar="N",
        help=f"photos that ask, each with some 50 others (default: {PHOTOS})",
    )
    add_seed(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        import os

        import numpy as np

        from pipeline.base.compute import one_thread_each
        from pipeline.base.files import write_file
        from pipeline.base.names import INT8
        from pipeline.gallery.store import read_gallery
        from pipeline.model.card import find_model
        from pipeline.model.chance import null_to_json
        from pipeline.model.codebook import read_codebook
        from pipeline.model.weights import open_model
        from pipeline.recipes import second_look
        from pipeline.training.chance import learn_null

        one_thread_each()
        reading = read_gallery(args.gallery, parts=True)
        model = open_model(find_model(args.model), reading.binding.precision)
        if model.identity != reading.binding.identity:
            raise UsageError(
                f"--gallery {args.gallery}: expected one that model {model.name}"
                f" ({model.identity[:12]}) made, got one by {reading.binding.made_by}; run"
                " `python -m pipeline.index PHOTOS --gallery NEW --model"
                f" {args.model} --precision {reading.binding.precision}`"
            )
        codebook, votes = read_codebook(model.folder), None
        if codebook is not None and reading.parts is not None:
            rows = np.arange(len(reading.names))
            threads = os.cpu_count() or 1
            votes = reading.parts.index(codebook, reading.contents, rows, threads).votes
        try:
            null = learn_null(reading, votes, second_look(args.seed), args.count, args.seed)
        except ValueError as error:
            raise UsageError(
                f"--gallery {args.gallery}: expected photos in several folders, enough to see what"
                f" chance does, got {error}"
            ) from None
        card, told = dict(model.card), null_to_json(null)
        photos = {
            "photos": len(reading.names),
            "sha256": hashlib.sha256("".join(sorted(reading.contents)).encode()).hexdigest(),
        }
        whole = "int8" if model.precision == INT8 else "accept"
        kept = {key: value for key, value in card[whole].items() if key != "inliers"}
        card[whole] = {**kept, "null": told, "null_data": photos}
        write_file(model.folder / "card.json", (json.dumps(card, indent=2) + "\n").encode())
        print(f"{model.folder.name}: what chance does in {null.pairs} pairs of photos")
        return 0

    return finish("chance", job)


if __name__ == "__main__":
    sys.exit(main())
