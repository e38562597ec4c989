"""Write each photo of a folder in the numbers of sRGB, Display P3, Adobe RGB and ProPhoto, as JPEGs
without a profile: what a loader that ignores profiles sees of a photo in that space.

    python tests/stress/wide_gamut.py QUERIES OUT

`two-look evaluate` of OUT/p3 against OUT/srgb, each with the truth of QUERIES, says what it costs.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from pipeline.base.folders import find_photos  # noqa: E402
from pipeline.base.images import load_image  # noqa: E402

Matrix = npt.NDArray[np.float64]
D65, D50 = (0.3127, 0.3290), (0.3457, 0.3585)  # x, y of white
# x, y of red, green and blue; white; the exponent, or None for sRGB's own curve
SPACES: dict[str, tuple[tuple[tuple[float, float], ...], tuple[float, float], float | None]] = {
    "srgb": (((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), D65, None),
    "p3": (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), D65, None),
    "adobe": (((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), D65, 563 / 256),
    "prophoto": (((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), D50, 1.8),
}
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def xyz(xy: tuple[float, float]) -> Matrix:
    return np.array([xy[0] / xy[1], 1, (1 - xy[0] - xy[1]) / xy[1]])


def to_xyz(space: str) -> Matrix:
    """(3, 3): linear RGB to XYZ under D65."""
    colours, white, _ = SPACES[space]
    primaries = np.stack([xyz(colour) for colour in colours], axis=1)
    matrix: Matrix = primaries * np.linalg.solve(primaries, xyz(white))
    scale = np.diag((BRADFORD @ xyz(D65)) / (BRADFORD @ xyz(white)))
    return np.asarray(np.linalg.inv(BRADFORD) @ scale @ BRADFORD @ matrix)


def converted(pixels: npt.NDArray[np.uint8], space: str) -> npt.NDArray[np.uint8]:
    if space == "srgb":
        return pixels
    values = pixels / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = (linear @ (np.linalg.inv(to_xyz(space)) @ to_xyz("srgb")).T).clip(0, 1)
    exponent = SPACES[space][2]
    coded = (
        np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        if exponent is None
        else linear ** (1 / exponent)
    )
    return np.rint(coded * 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    for found in find_photos(given.photos):
        pixels = load_image(found.path).pixels
        for space in SPACES:
            path = given.out / space / found.name
            path.parent.mkdir(parents=True, exist_ok=True)
            photo = Image.fromarray(converted(pixels, space))
            photo.save(path, "JPEG", quality=95, subsampling=0)


if __name__ == "__main__":
    main()
