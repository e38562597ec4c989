"""Fit the codebook of a model's local features, by which galleries index parts: on the features of
a gallery of training photos.

It is written beside the model's weights and named in its card. Galleries that were indexed by
another codebook are indexed again by `two-look parts`.
"""

import hashlib
import json
import sys
from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.base.values import at_least_one
from pipeline.cli import Parser, add_gallery, add_seed, finish

WORDS = 8192
FEATURES = 800_000  # descriptors that are clustered, at most


def make_parser() -> Parser:
    parser = Parser(
        prog="two-look prepare codebook",
        description=__doc__.split("\n\n")[0],
        epilog=__doc__.split("\n\n")[1],
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder of the model")
    add_gallery(parser)
    parser.add_argument(
        "--words",
        type=at_least_one,
        default=WORDS,
        metavar="N",
        help=f"visual words (default: {WORDS})",
    )
    add_seed(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        import numpy as np

        from pipeline.base.files import write_file
        from pipeline.gallery.store import read_gallery
        from pipeline.model.card import find_model, read_card, read_settings
        from pipeline.model.codebook import write_codebook
        from stages.visual_words import Codebook

        folder = find_model(args.model)
        card = read_card(folder)
        reading = read_gallery(args.gallery)
        made = read_settings(reading.binding.where)
        if (made.features, made.describe_side) != (
            read_settings(folder).features,
            read_settings(folder).describe_side,
        ):
            raise UsageError(
                f"--gallery {args.gallery}: expected local features as model {args.model} has"
                f" them, got those of {reading.binding.model}; run `two-look index` with"
                f" `--model {args.model}`"
            )
        rng = np.random.default_rng(args.seed)
        each = -(-FEATURES // max(1, len(reading.names)))
        drawn = [
            photo.descriptor[np.sort(rng.permutation(len(photo))[:each])]
            for photo in (reading.features[row] for row in range(len(reading.names)))
        ]
        descriptors = np.concatenate(drawn)[:FEATURES] if drawn else np.empty((0, 1), np.int8)
        try:
            codebook = Codebook.fit(descriptors, args.words, args.seed)
        except ValueError as error:
            raise UsageError(f"--gallery {args.gallery}: {error}") from None
        entry = {
            **write_codebook(folder, codebook),
            "words": args.words,
            "photos": len(reading.names),
            "photos_sha256": hashlib.sha256("".join(sorted(reading.contents)).encode()).hexdigest(),
            "features": len(descriptors),
            "seed": args.seed,
        }
        text = json.dumps({**card, "codebook": entry}, indent=2) + "\n"
        write_file(folder / "card.json", text.encode())
        print(f"{folder.name}: {args.words} words of {len(descriptors)} features")
        return 0

    return finish("codebook", job)


if __name__ == "__main__":
    sys.exit(main())
