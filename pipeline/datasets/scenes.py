"""Photographs of photographs, to choose by: queries that show some of your photos on a wall or
before another photo, and truth.csv.

No photo has to be taken and nothing that a model will be judged on is touched. DIR gets
scenes/*.jpg and truth.csv, for `evaluate --truth` and `study attention --truth` with a gallery or a
folder of the same photos.
"""

import csv
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.errors import UsageError
from pipeline.base.values import at_least_one
from pipeline.cli import Parser, add_seed, finish

if TYPE_CHECKING:
    from stages.records import UInt8


def make_parser() -> Parser:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument(
        "--photos",
        type=Path,
        required=True,
        metavar="DIR",
        help="the photos, of which some are shown",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--count",
        type=at_least_one,
        default=60,
        metavar="N",
        help="scenes, of photos evenly spread in path order (default: 60)",
    )
    parser.add_argument(
        "--px", type=at_least_one, default=640, metavar="N", help="side of a scene (default: 640)"
    )
    add_seed(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        import cv2
        import numpy as np

        from pipeline.base.errors import ImageError
        from pipeline.base.files import check_folder, write_file
        from pipeline.base.folders import find_photos
        from pipeline.base.images import load_image
        from stages.augment import scene

        try:
            found = [photo for photo in find_photos(args.photos) if photo.reason is None]
        except ImageError as error:
            raise UsageError(f"--photos {args.photos}: {error}") from None
        if len(found) < 2:
            raise UsageError(
                f"--photos {args.photos}: expected at least two photos, one to show and one to"
                f" stand behind, got {len(found)}"
            )
        check_folder("--out", args.out / "scenes")
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("query", "relevant"))

        def read(place: int) -> "UInt8 | None":
            try:
                return load_image(found[place].path).pixels
            except ImageError as error:
                print(f"{found[place].name}: {error}; left out", file=sys.stderr)
                return None

        for at in np.unique(
            np.linspace(0, len(found) - 1, min(args.count, len(found))).astype(int)
        ).tolist():
            photo, behind = read(at), read(at - len(found) // 2)
            if photo is None:
                continue
            behind = photo[:, ::-1] if behind is None else behind
            seen = scene(photo, behind, args.px, np.random.default_rng([args.seed, at]))
            file = f"scenes/{at:05d}.jpg"
            write_file(
                args.out / file,
                cv2.imencode(
                    ".jpg", cv2.cvtColor(seen, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90]
                )[1].tobytes(),
            )
            rows.writerow((file, found[at].name))
        if text.getvalue().count("\n") == 1:
            raise UsageError(f"--photos {args.photos}: expected photos that can be read, got none")
        write_file(args.out / "truth.csv", text.getvalue().encode("utf-8", "surrogateescape"))
        print(
            f"{args.out}/truth.csv: {text.getvalue().count(chr(10)) - 1} scenes of {len(found)}"
            " photos"
        )
        return 0

    return finish("scenes", job)


if __name__ == "__main__":
    sys.exit(main())
