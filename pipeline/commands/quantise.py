"""Make a model's networks in whole numbers, with which a CPU encodes photos several times as fast:
`--precision int8`.

They are calibrated on training photos, written beside the model's weights and named in its card.
Galleries that others have encoded are not affected; those of earlier int8 networks have to be
indexed again.
"""

import hashlib
import json
import sys
from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.base.values import at_least_one
from pipeline.cli import Parser, finish

PHOTOS = 200
DESCRIBE_SIDE, ROOTSIFT_SIDE = 500, 480  # px


def make_parser() -> Parser:
    parser = Parser(
        prog="two-look prepare quantise",
        description=__doc__.split("\n\n")[0],
        epilog=__doc__.split("\n\n")[1],
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder of the model")
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="folder of training photos")
    parser.add_argument(
        "--count",
        type=at_least_one,
        default=PHOTOS,
        metavar="N",
        help=f"photos that calibrate, spread over the folder's paths (default: {PHOTOS})",
    )
    parser.add_argument(
        "--describe-side",
        type=at_least_one,
        default=DESCRIBE_SIDE,
        metavar="PX",
        help=(
            "longest side of a photo in which local features are sought, if the model's own is not"
            f" smaller (default: {DESCRIBE_SIDE})"
        ),
    )
    parser.add_argument(
        "--rootsift-side",
        type=at_least_one,
        default=ROOTSIFT_SIDE,
        metavar="PX",
        help=(
            "longest side of a photo in which RootSIFT is sought, in the same way (default:"
            f" {ROOTSIFT_SIDE})"
        ),
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        import numpy as np

        from pipeline.base.errors import ImageError
        from pipeline.base.files import file_sha256, write_file
        from pipeline.base.folders import find_photos
        from pipeline.base.images import load_image
        from pipeline.base.install import add_extra
        from pipeline.model.card import FINE, find_model
        from pipeline.model.quantised import write_quantised
        from pipeline.model.weights import open_model
        from stages.embed import input_size
        from stages.fine import padded, seen_at
        from stages.fine_quantised import standardised
        from stages.quantised import normalised_photo
        from stages.trunk import resize

        try:
            from pipeline.training.quantise import embed_graph, fine_graph, in_whole_numbers
        except ImportError:
            raise UsageError(
                "prepare quantise: expected the package onnx, got none; run"
                f" {add_extra('quantise')}"
            ) from None
        model = open_model(find_model(args.model))
        settings = model.settings
        if settings.trunk != "resnet18" or settings.how or settings.features not in FINE:
            raise UsageError(
                f"{args.model}: expected a plain resnet18 with fine features, got"
                f" {settings.trunk} with {settings.features}"
            )
        try:
            found = [photo.path for photo in find_photos(args.photos) if photo.reason is None]
        except ImageError as error:
            raise UsageError(f"{args.photos}: {error}") from None
        some = found[:: max(1, len(found) // args.count)][: args.count]
        if not some:
            raise UsageError(f"{args.photos}: expected a folder of photos, got none in it")
        describe, rootsift = (
            min(side, settings.describe_side) for side in (args.describe_side, args.rootsift_side)
        )
        images = [load_image(path) for path in some]
        whole = [
            normalised_photo(resize(each.pixels, *input_size(each, settings.embed_side)))
            for each in images
        ]
        fine = [
            standardised(padded(pixels)) for each in images for pixels in seen_at(each, describe)
        ]
        weights = {
            part: {name: np.asarray(each, np.float32) for name, each in model.part(part).items()}
            for part in ("trunk", "fine")
        }
        networks = {
            "embed": in_whole_numbers(embed_graph(weights["trunk"]), whole),
            "fine": in_whole_numbers(fine_graph(weights["fine"]), fine),
        }
        entry = {
            "networks": write_quantised(model, networks),
            "describe_side": describe,
            "rootsift_side": rootsift,
            "photos": len(some),
            "photos_sha256": hashlib.sha256("".join(map(file_sha256, some)).encode()).hexdigest(),
        }
        text = json.dumps({**model.card, "int8": entry}, indent=2) + "\n"
        write_file(model.folder / "card.json", text.encode())
        sizes = ", ".join(f"{name} {len(data):,} bytes" for name, data in networks.items())
        print(f"{model.folder.name}: {sizes}")
        return 0

    return finish("quantise", job)


if __name__ == "__main__":
    sys.exit(main())
