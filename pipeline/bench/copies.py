"""Copies of photos as people and sites make them: what is known to show the same thing, by the kind
of change.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

Photo = Image.Image
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


def scaled(part: float) -> Callable[[Photo, np.random.Generator], Photo]:
    """To so much of each side."""
    return lambda photo, rng: photo.resize(
        (max(1, round(photo.width * part)), max(1, round(photo.height * part))),
        Image.Resampling.LANCZOS,
    )


def cropped(area: float) -> Callable[[Photo, np.random.Generator], Photo]:
    """A box of the photo's shape anywhere in it, of so much of its area."""

    def crop(photo: Photo, rng: np.random.Generator) -> Photo:
        width, height = (round(side * area**0.5) for side in photo.size)
        left, top = rng.integers(photo.width - width + 1), rng.integers(photo.height - height + 1)
        return photo.crop((int(left), int(top), int(left) + width, int(top) + height))

    return crop


def recompressed(quality: int) -> Callable[[Photo, np.random.Generator], Photo]:
    """As a JPEG of this quality."""

    def press(photo: Photo, rng: np.random.Generator) -> Photo:
        file = io.BytesIO()
        photo.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    return press


def turned(degrees: int) -> Callable[[Photo, np.random.Generator], Photo]:
    """Clockwise; what a slight turn leaves open at the corners is black."""
    return lambda photo, rng: photo.rotate(
        -degrees, Image.Resampling.BICUBIC, expand=degrees % 90 == 0
    )


def mirrored(photo: Photo, rng: np.random.Generator) -> Photo:
    return photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def with_logo(photo: Photo, rng: np.random.Generator) -> Photo:
    """One and the same mark, a quarter of the photo's shorter side, in one of its corners."""
    side, edge = min(photo.size) // 4, min(photo.size) // 40
    mark = Image.new("RGBA", (240, 240), (20, 60, 120, 210))
    draw = ImageDraw.Draw(mark)
    draw.ellipse((20, 20, 220, 220), outline="white", width=12)
    draw.polygon([(120, 40), (190, 190), (50, 190)], fill=(250, 200, 40, 255))
    draw.text((84, 120), "PHOTO", fill="black", font_size=24)
    mark = mark.resize((side, side), Image.Resampling.LANCZOS)
    right, low = CORNERS[int(rng.integers(4))]
    out = photo.copy()
    place = [
        edge if not far else whole - side - edge
        for far, whole in zip((right, low), photo.size, strict=True)
    ]
    out.paste(mark, (place[0], place[1]), mark)
    return out


def several(photo: Photo, rng: np.random.Generator) -> Photo:
    """As a photo looks that was passed on: cropped, made smaller, marked and recompressed."""
    for change in (cropped(0.7), scaled(0.6), with_logo, recompressed(50)):
        photo = change(photo, rng)
    return photo


CHANGES: dict[str, Callable[[Photo, np.random.Generator], Photo]] = {
    "half the size": scaled(0.5),
    "a quarter of the size": scaled(0.25),
    "JPEG quality 30": recompressed(30),
    "JPEG quality 10": recompressed(10),
    "80 % of the area": cropped(0.8),
    "half of the area": cropped(0.5),
    "a quarter of the area": cropped(0.25),
    "turned by 10 degrees": turned(10),
    "turned by 90 degrees": turned(90),
    "turned by 180 degrees": turned(180),
    "turned by 270 degrees": turned(270),
    "mirrored": mirrored,
    "a logo": with_logo,
    "cropped, smaller, a logo, quality 50": several,
}


def write_copies(photos: list[Path], folder: Path, seed: int) -> dict[str, tuple[Path, str]]:
    """A copy of each photo by each change, as a JPEG of quality 90 -> its name in the folder, of
    which photo and by what change.
    """
    made = {}
    for n, path in enumerate(photos):
        with Image.open(path) as opened:
            photo = opened.convert("RGB")
        for m, (change, make) in enumerate(CHANGES.items()):
            name = f"{n:04d}_{m:02d}.jpg"
            copy = make(photo, np.random.default_rng([seed, n, m]))
            copy.save(folder / name, "JPEG", quality=90)
            made[name] = path, change
    return made
