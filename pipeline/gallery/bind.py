"""What a gallery's numbers are to be made by, before an index run begins."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.names import HASHING, OF_THEIR_OWN

if TYPE_CHECKING:
    from pipeline.gallery.binding import Binding
    from pipeline.gallery.roots import Roots


def bind(
    gallery: Path,
    model: str | None,
    photos: "Roots",
    recipe: str | None = None,
    bits: int | None = None,
    precision: str | None = None,
) -> "Binding":
    """The model and the precision asked for, else those the gallery remembers, else the recipe's
    own; photos: the folders that this run is about.
    """
    from pipeline.base.errors import GalleryError, ModelError
    from pipeline.gallery.binding import Binding, check_recipe
    from pipeline.gallery.store import read_binding
    from pipeline.model.card import (
        DEFAULT,
        default_model,
        default_precision,
        find_model,
        read_identity,
        read_settings,
    )

    try:
        made = read_binding(gallery)
    except GalleryError:
        made = None
    if made is not None and (recipe, bits) != (None, None):
        check_recipe(gallery, made, read_settings(made.where).bits if bits else 0, recipe, bits)
    where = model or (made.where if made else default_model(recipe, bits))
    if model is not None and Path(model).is_dir():
        where = str(find_model(model))
    settings = read_settings(where)
    length = f" at {settings.bits} bits" if settings.recipe in HASHING else ""
    if recipe is not None and settings.recipe != (recipe if recipe in OF_THEIR_OWN else DEFAULT):
        raise ModelError(
            f"model {where}: expected one of recipe {recipe}, got one of {settings.recipe}{length};"
            " run with another `--model`"
        )
    if bits not in (None, settings.bits if length else None):
        raise ModelError(
            f"model {where}: expected a code of {bits} bits, got recipe {settings.recipe}{length};"
            " run with another `--model`"
        )
    if precision is None:
        precision = made.precision if made else default_precision(where)
    identity = read_identity(where, precision)
    return Binding(*identity, where, photos, settings.recipe, precision)
