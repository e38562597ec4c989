"""Photos of dots, features that do not bear turns, and an engine that finds them."""

from collections.abc import Callable

import numpy as np
from planted_null import even

from pipeline.gallery.binding import Binding
from pipeline.gallery.roots import Roots
from pipeline.graph import Graph, Node
from pipeline.recipes import Recipe, answer, second_look
from pipeline.search.engine import Engine
from stages.gallery import Gallery
from stages.rank import Calibrated
from stages.records import Float32, Image, LocalFeatures, PackedFeatures, UInt8

SIZE = WIDTH, HEIGHT = (96, 64)
WAYS = ((0, 1), (1, 0), (0, -1), (-1, 0))  # rows and columns to the green neighbour
LOOKS = np.random.default_rng(1).normal(size=(256, 4, 40))
LOOKS = np.rint(127 * LOOKS / np.linalg.norm(LOOKS, axis=2, keepdims=True)).astype(np.int8)


def dotted(seed: int, dots: int = 60) -> UInt8:
    """A photo of red dots, each of its own shade, with a green one to its right."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rng = np.random.default_rng(seed)
    places = rng.choice((HEIGHT // 3) * (WIDTH // 3), dots, replace=False)
    for shade, place in enumerate(places.tolist(), 1):
        y, x = (3 * each + 1 for each in divmod(place, WIDTH // 3))
        pixels[y, x, 0], pixels[y, x + 1, 1] = shade, 255
    return pixels


class Describe:
    """Features that do not bear turns: what a dot looks like depends on where its neighbour is."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, image: Image) -> LocalFeatures:
        self.asked += 1
        red, green = image.pixels[..., 0], np.pad(image.pixels[..., 1], 1)
        y, x = np.nonzero(red)
        way = [
            next(n for n, (down, right) in enumerate(WAYS) if green[1 + j + down, 1 + i + right])
            for j, i in zip(y, x, strict=True)
        ]
        xy = image.place(np.stack([x, y], 1).astype(np.float32), *image.pixels.shape[1::-1])
        return LocalFeatures(xy, LOOKS[red[y, x], way], np.ones(len(y), np.float32), image.size)


def code(image: Image) -> Float32:
    return np.ones(2, np.float32)


def engine(describe: Callable[[Image], LocalFeatures], **how: object) -> Engine:
    photos = {f"{seed}.png": dotted(seed) for seed in range(6)}
    features = PackedFeatures.of([Describe()(Image(pixels)) for pixels in photos.values()])
    codes = np.tile(np.arange(6, dtype=np.float32)[:, None], (1, 2))
    gallery = Gallery.from_arrays(tuple(photos), codes, features)
    verdict = Calibrated(0.1, even(3.0, 0.5))
    encode = Graph(("image",), (Node("code", code, "image"), Node("features", describe, "image")))
    recipe = Recipe("two_stage", encode, answer(second_look(threads=1), verdict), "10")
    return Engine(recipe, gallery, Binding("planted", "", "", Roots()), "code", **how)  # type: ignore[arg-type]
