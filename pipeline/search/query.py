"""A query: a photo from a file, from memory or from a gallery, encoded as the gallery's photos
are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.base.errors import ImageError, QueryError
from pipeline.base.files import as_on_disk
from pipeline.base.images import from_pillow, load_image
from pipeline.search.turn import Turn, composed
from stages.records import Float32, Image, LocalFeatures, UInt8

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    # a file, its bytes, or decoded pixels (H, W, 3) RGB
    Photo = str | Path | bytes | UInt8 | PillowImage | Image

UNNAMED = "query"  # a photo from memory has no path
Box = tuple[float, float, float, float]  # left, top, right, bottom px of the upright photo


@dataclass(frozen=True)
class Part:
    """The part of a photo that asks."""

    box: tuple[int, int, int, int]  # left, top, right, bottom px
    whole: tuple[int, int]  # (width, height) px of the photo


@dataclass(frozen=True, eq=False)
class Query:
    """A query that has been encoded."""

    name: str
    code: Float32  # (D,)
    features: LocalFeatures  # of a box: px of the box
    seconds: dict[str, float]  # what it cost so far, by stage
    photo: Callable[[], Image] | None = None  # its pixels; None where nobody has them
    turned: dict[Turn, Query] = field(default_factory=dict)  # as far as it was asked
    part: Part | None = None  # of a photo that asks; None: all of it

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px of the whole photo."""
        return self.features.size if self.part is None else self.part.whole

    def in_whole(self, xy: Float32) -> Float32:
        """Points (M, 2) px of what asks -> px of the whole photo."""
        return xy if self.part is None else xy + np.array(self.part.box[:2], np.float32)

    def from_whole(self, affine: Float32) -> Float32:
        """(2, 3) px of what asks -> a candidate's px; as a map of the whole photo's."""
        if self.part is None:
            return affine
        left, top = self.part.box[:2]
        return composed(np.array([[1, 0, -left], [0, 1, -top]], np.float32), affine)


def read_photo(photo: Photo, side: int = 0) -> tuple[str, Image]:
    """Its name, a path or `query`, and its pixels; side: as `decode` takes it. Raises QueryError
    for what is no photo.
    """
    if isinstance(photo, Image):
        return UNNAMED, photo
    if isinstance(photo, np.ndarray):
        return UNNAMED, _from_array(photo)
    name = str(photo) if isinstance(photo, (str, Path)) else UNNAMED
    try:
        if isinstance(photo, (str, Path)):
            return name, load_image(as_on_disk(Path(photo)), side=side)
        if isinstance(photo, bytes):
            return name, load_image(photo, side=side)
        if hasattr(photo, "getbands"):  # a Pillow image, without importing Pillow for its type
            return name, from_pillow(photo)
    except OSError as error:
        raise QueryError(f"{name}: expected a photo, got {error.strerror or error}") from None
    except ImageError as error:
        raise QueryError(f"{name}: {error}") from None
    raise QueryError(
        "query: expected a path, bytes, a numpy array or a Pillow image, got"
        f" {type(photo).__name__}"
    )


def read_query(name: str, side: int = 0) -> Image:
    """The photo of a file. Raises QueryError."""
    return read_photo(name, side)[1]


def _from_array(pixels: np.ndarray[Any, Any]) -> Image:
    try:
        return Image(np.ascontiguousarray(pixels))
    except ValueError as error:
        raise QueryError(f"query: {error}; pixels are RGB, upright") from None


def cropped(name: str, image: Image, box: Box) -> tuple[Image, Part]:
    """The box of a photo, rounded as Pillow's crop does, cut at its edges and, where a pixel stands
    for several px, widened to whole pixels; and where it lies. Raises QueryError where nothing is
    left.
    """
    size = image.size
    try:
        edges = [
            min(max(0, round(float(edge))), most) for edge, most in zip(box, size * 2, strict=True)
        ]
    except (TypeError, ValueError, OverflowError):  # also of NaN and infinity
        raise QueryError(
            f"{name}: expected a box of four numbers, left, top, right and bottom px, got {box!r}"
        ) from None
    if edges[0] >= edges[2] or edges[1] >= edges[3]:
        left, top, right, bottom = (float(edge) for edge in box)
        raise QueryError(
            f"{name}: expected a box inside {size[0]} x {size[1]} px, got one of"
            f" {right - left:g} x {bottom - top:g} px at {left:g},{top:g}"
        )
    first = [(edges[axis] - image.left_top[axis]) // image.each for axis in (0, 1)]
    last = [-((image.left_top[axis] - edges[axis + 2]) // image.each) for axis in (0, 1)]
    begin = [image.left_top[axis] + first[axis] * image.each for axis in (0, 1)]
    left, top = (max(0, edge) for edge in begin)
    right, bottom = (
        min(size[axis], image.left_top[axis] + last[axis] * image.each) for axis in (0, 1)
    )
    pixels = np.ascontiguousarray(image.pixels[first[1] : last[1], first[0] : last[0]])
    lacks = begin[0] - left, begin[1] - top
    part = Image(pixels, image.each, (right - left, bottom - top), lacks)
    return part, Part((left, top, right, bottom), size)
