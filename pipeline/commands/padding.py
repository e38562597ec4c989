"""Local features of photos that nobody asks for, to make an index of parts large with: warped views
of photos that you have.

`bench parts` takes the folder as --padding. Each view is another place, angle and light of a photo,
one in four the photo on a wall or before another one; it is described with the model's local
features, both kinds where it has two, at 320 px, and its 300 strongest are kept. DIR gets a file
NNNN.npz for each 250 views: `n` (P,) uint16, the features of each, and `d` (T, 40) int8, their
descriptors end to end, strongest first. A file appears whole or not at all; the same command goes
on where it was stopped.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.errors import UsageError
from pipeline.base.values import at_least_one
from pipeline.cli import Parser, add_model, add_seed, finish

if TYPE_CHECKING:
    from stages.records import Int8, UInt8

EACH, PX, KEEP = 250, 320, 300  # views a file; their side; features of each at most
SCENES = 4  # one view in so many is a scene


def make_parser() -> Parser:
    about = __doc__.split("\n\n")
    parser = Parser(prog="two-look prepare padding", description=about[0], epilog=about[1])
    parser.add_argument(
        "photos", type=Path, nargs="+", metavar="PHOTOS", help="folders of photos that are warped"
    )
    parser.add_argument(
        "--count",
        type=at_least_one,
        default=100_000,
        metavar="N",
        help="views (default: 100000)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    add_seed(parser)
    add_model(parser)
    return parser


def whole(file: Path, views: int) -> bool:
    """Whether a file is there with so many views: a shorter one is of a smaller --count."""
    import numpy as np

    if not file.exists():
        return False
    with np.load(file, allow_pickle=False) as arrays:
        return len(arrays["n"]) == views


def viewer(paths: Sequence[Path], seed: int, model: str, device: str) -> "Callable[[int], Int8]":
    """The number of a view -> its descriptors (M, D), strongest first. A photo that cannot be read
    is replaced by the next one that can. Raises ModelError.
    """
    import numpy as np

    from pipeline.base.errors import ImageError, ModelError
    from pipeline.base.images import load_image
    from pipeline.recipes import load_encoder
    from stages.augment import scene
    from stages.kinds import DescribeBoth
    from stages.records import Image
    from stages.views import two_views

    def smaller(describe: Any) -> Any:
        if isinstance(describe, DescribeBoth):
            first, second = smaller(describe.first), smaller(describe.second)
            return replace(describe, first=first, second=second)
        if not hasattr(describe, "side"):
            raise ModelError(f"model {model}: expected one with local features, got none")
        return replace(describe, side=PX)

    describe = smaller(load_encoder(model, device).stage("features"))

    def pixels(place: int) -> "UInt8":
        for further in range(len(paths)):
            path = paths[(place + further) % len(paths)]
            try:
                return load_image(path).pixels
            except ImageError as error:
                print(f"{path}: {error}; left out", file=sys.stderr)
        raise UsageError("PHOTOS: expected photos that can be read, got none")

    def view(number: int) -> "Int8":
        rng = np.random.default_rng([seed, number])
        photo = pixels(number)
        if number % SCENES == SCENES - 1:
            seen = scene(photo, pixels(7 * number + 1), PX, rng)
        else:
            seen = two_views(photo, PX, rng)[1].pixels
        found: Int8 = describe(Image(np.ascontiguousarray(seen))).descriptor[:KEEP]
        return found

    return view


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        import io

        import numpy as np
        from tqdm import tqdm

        from pipeline.base.errors import ImageError
        from pipeline.base.files import check_folder, write_file
        from pipeline.base.folders import find_photos
        from pipeline.model.card import DEFAULT

        paths: list[Path] = []
        for folder in args.photos:
            try:
                paths += [photo.path for photo in find_photos(folder) if photo.reason is None]
            except ImageError as error:
                raise UsageError(f"{folder}: {error}") from None
        if len(paths) < 2:
            raise UsageError(
                "PHOTOS: expected at least two photos, one to show and one to stand behind, got"
                f" {len(paths)}"
            )
        check_folder("--out", args.out)
        order = np.random.default_rng(args.seed).permutation(len(paths)).tolist()
        shown = [paths[place] for place in order]
        view = viewer(shown, args.seed, args.model or DEFAULT, args.device)
        with tqdm(total=args.count, desc="padding", unit="view", mininterval=0.5) as bar:
            for begin in range(0, args.count, EACH):
                views = range(begin, min(begin + EACH, args.count))
                file = args.out / f"{begin // EACH:04d}.npz"
                if not whole(file, len(views)):
                    drawn = []
                    for number in views:
                        drawn.append(view(number))
                        bar.update()
                    data = io.BytesIO()
                    count = np.array([len(each) for each in drawn], np.uint16)
                    np.savez(data, n=count, d=np.concatenate(drawn))
                    write_file(file, data.getvalue())
                else:
                    bar.update(len(views))
        print(f"{args.out}: {args.count} views of {len(paths)} photos")
        return 0

    return finish("padding", job)


if __name__ == "__main__":
    sys.exit(main())
