"""A query: a photo from a file, from memory or from a gallery, encoded as the gallery's photos
are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.base.errors import ImageError, QueryError
from pipeline.base.images import from_pillow, load_image
from pipeline.search.turn import Turn
from stages.records import Float32, Image, LocalFeatures, UInt8

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    # a file, its bytes, or decoded pixels (H, W, 3) RGB
    Photo = str | Path | bytes | UInt8 | PillowImage | Image

UNNAMED = "query"  # a photo from memory has no path
Box = tuple[float, float, float, float]  # left, top, right, bottom px of the upright photo


@dataclass(frozen=True, eq=False)
class Query:
    """A query that has been encoded."""

    name: str
    code: Float32  # (D,)
    features: LocalFeatures
    seconds: dict[str, float]  # what it cost so far, by stage
    photo: Callable[[], Image] | None = None  # its pixels; None where nobody has them
    turned: dict[Turn, Query] = field(default_factory=dict)  # as far as it was asked


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
            return name, load_image(Path(photo), side=side)
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


def cropped(name: str, image: Image, box: Box) -> Image:
    """The box of a photo, rounded as Pillow's crop does and cut at its edges. Raises QueryError
    where nothing is left.
    """
    width, height = image.size
    left, top, right, bottom = (
        min(max(0, round(edge)), most) for edge, most in zip(box, (width, height) * 2, strict=True)
    )
    if left >= right or top >= bottom:
        raise QueryError(f"{name}: expected a box inside {width} x {height} px, got {box}")
    return Image(np.ascontiguousarray(image.pixels[top:bottom, left:right]))
