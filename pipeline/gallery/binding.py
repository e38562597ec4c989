"""By what a gallery was made: its numbers mean nothing beside numbers made by anything else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.base.errors import GalleryError
from pipeline.base.names import FLOAT32, HASHING
from pipeline.gallery.roots import Roots
from pipeline.model.card import made_by


@dataclass(frozen=True)
class Binding:
    """What a gallery's numbers were made by. They mean nothing beside numbers made by anything
    else.
    """

    model: str  # name
    identity: str  # sha256 over weights and settings
    where: str  # the model as it was given: a name under artifacts/ or a path
    photos: Roots  # the folders of photos
    # whose encode half made them; galleries from before there was a choice do not say
    recipe: str = "two_stage"
    precision: str = FLOAT32

    @property
    def made_by(self) -> str:
        """The model, as messages name it."""
        said = "" if self.precision == FLOAT32 else f" at {self.precision}"
        return f"{self.model} ({self.identity[:12]}){said}"


def binding_of(meta: Mapping[str, str], photos: Roots) -> Binding:
    """As a manifest has it. Raises KeyError."""
    precision = meta.get("precision", FLOAT32)
    return Binding(
        meta["model"],
        meta["identity"],
        made_by(meta["where"], meta["identity"], precision),
        photos,
        meta.get("recipe", Binding.recipe),
        precision,
    )


def check_recipe(
    folder: Path | str, made: Binding, length: int, recipe: str | None, bits: int | None
) -> None:
    """Whether a gallery can be asked, or added to, by this recipe at this code length. Raises
    GalleryError.
    """
    anew = f"index again with `python -m pipeline.index {made.photos} --gallery NEW --recipe"
    if (
        recipe is not None
        and recipe != made.recipe
        and {recipe, made.recipe} != {"two_stage", "seed004"}
    ):
        raise GalleryError(
            f"gallery {folder}: expected recipe {made.recipe}, which made it, got {recipe}; leave"
            f" out --recipe, or {anew} {recipe}`"
        )
    if bits is not None and made.recipe not in HASHING:
        raise GalleryError(
            f"gallery {folder}: expected no --bits, recipe {made.recipe} has no binary code, got"
            f" {bits}; leave out --bits"
        )
    if bits is not None and bits != length:
        raise GalleryError(
            f"gallery {folder}: expected --bits {length}, at which it was made, got {bits}; or"
            f" {anew} {made.recipe} --bits {bits}`"
        )
