"""Write a small gallery of real photographs, queries whose answer is known, and the truth, all
without a download.

The photographs are those that scikit-image and scikit-learn carry inside their packages. A query is
what a second camera might have seen of one of them: a part, turned, or in another light, or a small
print; one is a true second camera.
"""

import csv
import logging
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipeline.base.errors import UsageError
from pipeline.cli import Parser, finish
from stages.records import Float32, UInt8

LOG = logging.getLogger("pipeline.datasets.demo")

SKIMAGE, SKLEARN = ("skimage", "data"), ("sklearn", "datasets/images")  # a package, its folder
PHOTOS = {  # every photograph they carry; their drawings, masks and test patterns stay out
    "astronaut.png": SKIMAGE,
    "brick.png": SKIMAGE,
    "camera.png": SKIMAGE,
    "cell.png": SKIMAGE,
    "chelsea.png": SKIMAGE,
    "clock_motion.png": SKIMAGE,
    "coffee.png": SKIMAGE,
    "coins.png": SKIMAGE,
    "grass.png": SKIMAGE,
    "gravel.png": SKIMAGE,
    "hubble_deep_field.jpg": SKIMAGE,
    "ihc.png": SKIMAGE,
    "microaneurysms.png": SKIMAGE,
    "moon.png": SKIMAGE,
    "motorcycle_left.png": SKIMAGE,
    "page.png": SKIMAGE,
    "retina.jpg": SKIMAGE,
    "rocket.jpg": SKIMAGE,
    "text.png": SKIMAGE,
    "china.jpg": SKLEARN,
    "flower.jpg": SKLEARN,
}
RIGHT_EYE = "motorcycle_right.png"  # the other half of a stereo pair: never in the gallery
LONGEST = 640  # px, the longest side of a query


@dataclass(frozen=True)
class View:
    """A second camera before a flat print of a photograph. The defaults see all of it, as it is."""

    centre: tuple[float, float] = (0.5, 0.5)  # what it points at, as parts of (width, height)
    part: float = 1.0  # of the photograph's width and height in view; above 1 its surroundings show
    turn: float = 0.0  # degrees, of the camera, clockwise
    aslant: float = 0.0  # how much shorter the far side is, as a part of the near one
    gamma: float = 1.0  # above 1 is darker
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)  # gain of (red, green, blue)
    shade: float = 0.0  # how much darker the right edge is than the left
    before: str = ""  # a photograph, far out of focus: the surroundings

    def corners(self, width: int, height: int) -> Float32:
        """What the view's corners see, clockwise from the top left: (4, 2) px of the photograph."""
        half = self.part / 2 * np.array([width, height])
        far = 1 - self.aslant
        square = np.array([[-1, -1], [1, -far], [1, far], [-1, 1]]) * half
        cos, sin = np.cos(np.radians(self.turn)), np.sin(np.radians(self.turn))
        seen: Float32 = (
            square @ np.array([[cos, sin], [-sin, cos]])
            + np.array(self.centre) * [width, height]
            - 0.5
        ).astype(np.float32)
        return seen

    def take(self, pixels: UInt8, behind: UInt8 | None = None) -> UInt8:
        """(H, W, 3) RGB, and what lies behind it -> (h, w, 3), at most LONGEST px and never
        enlarged.
        """
        height, width = pixels.shape[:2]
        scale = min(self.part, LONGEST / max(width, height))
        w, h = round(width * scale), round(height * scale)
        frame = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32) - np.float32(0.5)
        warp = cv2.getPerspectiveTransform(self.corners(width, height), frame)
        if behind is None:
            seen = cv2.warpPerspective(
                pixels, warp, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
        else:
            blurred = cv2.GaussianBlur(
                cv2.resize(behind, (w, h), interpolation=cv2.INTER_AREA), (0, 0), max(w, h) / 40
            )
            seen = cv2.warpPerspective(
                pixels,
                warp,
                (w, h),
                blurred,
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_TRANSPARENT,
            )
        lit = (
            (seen / 255.0) ** self.gamma
            * np.array(self.light)
            * np.linspace(1, 1 - self.shade, w)[:, None]
        )
        rounded: UInt8 = np.rint(255 * lit.clip(0, 1)).astype(np.uint8)
        return rounded


QUERIES: dict[str, tuple[str, View]] = {  # query: what it shows, how
    # a part of it, turned or in another light
    "astronaut_badge": ("astronaut.png", View(centre=(0.45, 0.72), part=0.42, turn=20)),
    "brick_aslant": ("brick.png", View(part=0.7, turn=-8, aslant=0.2)),
    "camera_turned": ("camera.png", View(centre=(0.45, 0.45), part=0.65, turn=25)),
    "chelsea_eye": (
        "chelsea.png",
        View(centre=(0.42, 0.4), part=0.5, turn=-12, light=(0.8, 0.9, 1.2)),
    ),
    "china_roof": ("china.jpg", View(centre=(0.4, 0.45), part=0.45, turn=15, gamma=1.6)),
    "coffee_evening": ("coffee.png", View(part=0.62, turn=-25, gamma=2.0, light=(1.1, 0.9, 0.7))),
    "flower_blue": ("flower.jpg", View(part=0.6, turn=25, light=(0.6, 0.8, 1.3))),
    "motorcycle_engine": (
        "motorcycle_left.png",
        View(centre=(0.5, 0.6), part=0.5, turn=-15, shade=0.5),
    ),
    "retina_part": (
        "retina.jpg",
        View(centre=(0.42, 0.5), part=0.6, turn=10, light=(0.9, 1.0, 1.0)),
    ),
    "rocket_dusk": (
        "rocket.jpg",
        View(centre=(0.5, 0.55), part=0.6, turn=-10, gamma=0.6, light=(1.1, 1.0, 0.9)),
    ),
    "text_turned": ("text.png", View(part=0.6, turn=12)),
    # a small print of it held before something else: the first look sees mostly the something else
    "camera_print": (
        "camera.png",
        View(centre=(0.6, 0.4), part=2.2, turn=-12, before="coffee.png"),
    ),
    "chelsea_print": (
        "chelsea.png",
        View(centre=(0.4, 0.6), part=2.0, turn=-10, aslant=0.15, before="flower.jpg"),
    ),
    "china_print": (
        "china.jpg",
        View(centre=(0.4, 0.6), part=2.2, turn=10, aslant=0.15, before="chelsea.png"),
    ),
    "coins_print": ("coins.png", View(centre=(0.4, 0.6), part=2.0, turn=10, before="coffee.png")),
    "motorcycle_print": (
        "motorcycle_left.png",
        View(centre=(0.6, 0.6), part=2.2, turn=-10, aslant=0.15, before="china.jpg"),
    ),
    "page_print": (
        "page.png",
        View(centre=(0.6, 0.6), part=1.8, turn=8, aslant=0.1, before="coffee.png"),
    ),
    "rocket_print": (
        "rocket.jpg",
        View(centre=(0.4, 0.4), part=2.0, turn=10, before="motorcycle_left.png"),
    ),
}


def carried(name: str, place: tuple[str, str]) -> Path:
    """The file inside an installed package, found without importing the package."""
    package, folder = place
    spec = find_spec(package)
    homes = list(spec.submodule_search_locations or []) if spec else []
    for home in homes:
        if (path := Path(home) / folder / name).is_file():
            return path
    project = {"skimage": "scikit-image", "sklearn": "scikit-learn"}[package]
    got = f"none in {homes[0]}/{folder}" if homes else "no such package"
    raise FileNotFoundError(
        f"{name}: expected the photograph that {project} carries, got {got}; "
        f"run `python -m pip install --force-reinstall -c scripts/constraints.txt {project}`"
    )


def read(path: Path) -> UInt8:
    """(H, W, 3) RGB."""
    with Image.open(path) as photo:
        return np.asarray(photo.convert("RGB"))


def write(folder: Path) -> None:
    """Fill FOLDER/photos, FOLDER/queries and FOLDER/truth.csv; the same bytes every time."""
    photos, queries = folder / "photos", folder / "queries"
    sources = {name: carried(name, place) for name, place in PHOTOS.items()}
    shots = {query: (photo, sources[photo], view) for query, (photo, view) in QUERIES.items()}
    shots["motorcycle_right"] = ("motorcycle_left.png", carried(RIGHT_EYE, SKIMAGE), View())

    for new in (photos, queries):  # only now that every photograph has been found
        new.mkdir(parents=True, exist_ok=True)
    for name, path in sources.items():
        shutil.copyfile(path, photos / name)
    with (folder / "truth.csv").open("w", newline="") as file:
        truth = csv.writer(file, lineterminator="\n")
        truth.writerow(["query", "relevant"])
        for query, (photo, path, view) in sorted(shots.items()):
            behind = read(sources[view.before]) if view.before else None
            Image.fromarray(view.take(read(path), behind)).save(
                queries / f"{query}.jpg", quality=90
            )
            truth.writerow([f"queries/{query}.jpg", photo])


def make_parser() -> Parser:
    about, more = __doc__.split("\n\n")
    parser = Parser(description=about, epilog=more)
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="gets photos/, queries/ and truth.csv"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    folder = make_parser().parse_args(argv).folder

    def job() -> int:
        try:
            write(folder)
        except OSError as error:
            raise UsageError(str(error)) from None
        LOG.info(f"{len(PHOTOS)} photographs and {len(QUERIES) + 1} queries in {folder}")
        return 0

    return finish("prepare demo", job)
