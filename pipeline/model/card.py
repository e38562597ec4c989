"""Models: trained arrays in `weights.safetensors` beside a `card.json` that says what they are and
where they came from.

A model is found by its path, then by its name under `artifacts/`; a file that is not the one the
card names is refused.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.errors import ModelError
from pipeline.base.install import ARTIFACTS, CHECKOUT, call
from pipeline.base.names import FLOAT32, FUSIONS, HASHING, INT8, LITE, OF_THEIR_OWN
from pipeline.model.chance import null_from_json

if TYPE_CHECKING:
    from stages.attended import Attend

DEFAULT = "two_stage"
REINSTALL = "pip install --force-reinstall --no-deps two-look"  # mends what a wheel brought
FORMAT = 1
TRUNKS = ("resnet18", "resnet50")
LITE0 = "efficientnet_lite0"  # of the recipe lite
FINE = ("fine", "fine+rootsift")  # local features of the fine network, alone or with RootSIFT
CHOICES = {
    "trunk": (*TRUNKS, "vgg16", LITE0),
    "features": ("delf", "rootsift", *FINE),
    "recipe": (DEFAULT, *OF_THEIR_OWN),
    "attention": ("", "se", "cbam", "gam"),
    "fusion": FUSIONS,
    "local_trunk": ("", *TRUNKS),
}
CARD = {"format": int, "name": str, "sha256": str, "mend": str, "settings": dict, "accept": dict}


@dataclass(frozen=True)
class Settings:
    """What of a photo's journey to its row is no array; part of the model's identity."""

    trunk: str = "resnet18"
    embed_side: int = 224  # px
    describe_side: int = 320  # px
    keep: int = 500  # local features a photo
    features: str = "delf"  # what the second look sees
    recipe: str = DEFAULT  # whose encode half this is
    bits: int = 48  # of a hashing recipe's code
    width: int = 256  # of its hidden layer
    attention: str = ""  # in the trunk's bottlenecks; these five as stages.attended.Attend has them
    reduction: int = 16
    fusion: str = "residual"
    first: int = 1
    groups: int = 1
    # what the second look's own trunk is, where it is another than `trunk`
    local_trunk: str = ""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (
                value in CHOICES[name] if name in CHOICES else isinstance(value, int) and value > 0
            ):
                raise ValueError(f"settings.{name} {value!r}")

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Settings":
        """As a card has them. Raises TypeError or ValueError for what are no settings."""
        renamed = {"eyes": "local_trunk"}  # as it was called in format 1's first cards
        return cls(**{renamed.get(name, name): value for name, value in stored.items()})

    def to_json(self) -> dict[str, Any]:
        """As a card has them. What was no choice yet when the first models were made goes without
        saying, so that they keep their identity.
        """
        said = ("trunk", "embed_side", "describe_side", "keep")
        return {
            name: value
            for name, value in vars(self).items()
            if name in said or value != type(self).__dataclass_fields__[name].default
        }

    @property
    def how(self) -> "Attend | None":
        """The attention in the trunk's bottlenecks."""
        if not self.attention:
            return None
        from stages.attended import Attend

        return Attend(self.attention, self.reduction, self.fusion, self.first, self.groups)


def find_model(name: str | Path) -> Path:
    """The folder of a model given by path or by name."""
    for folder in (Path(name), ARTIFACTS / name):
        if (folder / "card.json").is_file():
            return folder.resolve()
    shipped = ", ".join(sorted(p.parent.name for p in ARTIFACTS.glob("*/card.json"))) or "none"
    raise ModelError(
        f"model {name}: expected a folder with card.json, got none; shipped here: {shipped}"
    )


def read_identity(name: str | Path, precision: str = FLOAT32) -> tuple[str, str]:
    """(name, identity) of a model by its card alone, without reading its weights."""
    card = read_card(find_model(name))
    return str(card["name"]), identity_of(card, precision)


def default_precision(name: str | Path) -> str:
    """Of a model by name or folder: whole numbers, where it has networks in them. They are computed
    on the CPU, which is faster than a GPU all the same: docs/benchmarks/photo.md.
    """
    return INT8 if "int8" in read_card(find_model(name)) else FLOAT32


def made_by(name: str, identity: str, precision: str = FLOAT32) -> str:
    """Where the model of this identity is: at the name or path that is remembered of it, or, where
    a later one took its name, wherever it is shipped now; as remembered where it is nowhere.
    """
    shipped = sorted(str(path.parent.name) for path in ARTIFACTS.glob("*/card.json"))
    for other in (name, *shipped):
        try:
            if read_identity(other, precision)[1] == identity:
                return other
        except ModelError:
            continue
    return name


def read_settings(name: str | Path) -> Settings:
    """The same of its settings."""
    return Settings.of(read_card(find_model(name))["settings"])


def default_model(recipe: str | None, bits: int | None) -> str:
    """The name under artifacts/ of the model that a recipe takes by default. Raises
    ModelError where it has to be trained first.
    """
    if recipe not in OF_THEIR_OWN:
        return DEFAULT
    length = f" --bits {bits or Settings.bits}" if recipe in HASHING else ""
    name = f"{recipe}_{bits or Settings.bits}" if length else recipe
    if not (ARTIFACTS / name / "card.json").is_file():
        out = f"artifacts/{name}" if CHECKOUT else name
        if recipe == LITE:
            raise ModelError(
                f"recipe {LITE}: expected a model {name}, got none; make it as docs/recipes.md"
                f" says, by `{call('prepare weights')} {LITE0}` and `{call('import-weights')}`, or"
                " give another by --model"
            )
        train = f"{call('train')} {recipe}{length} --data CLASSES --start WEIGHTS --out {out}"
        raise ModelError(
            f"recipe {recipe}: expected a model {out}, got none; run `{train}`, or give another by"
            " --model"
        )
    return name


def read_card(folder: Path) -> dict[str, Any]:
    """A model's card, checked; its `mend` is what helps in this installation. Raises ModelError."""
    path = folder / "card.json"
    shipped = CHECKOUT is None and folder.parent == ARTIFACTS
    try:
        card = json.loads(path.read_text("utf-8"))
        wrong = [key for key, kind in CARD.items() if not isinstance(card.get(key), kind)]
        if wrong or card["format"] != FORMAT:
            raise ValueError(
                f"a card without a proper {', '.join(wrong)}"
                if wrong
                else f"format {card['format']}"
            )
        Settings.of(card["settings"])
        if "null" in card["accept"]:
            null_from_json(card["accept"]["null"])
        elif not isinstance(card["accept"].get("inliers"), int):
            raise ValueError("a card without accept.null or a number accept.inliers")
    except (ValueError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise ModelError(
            f"model card {path}: expected a card of format {FORMAT}, got {error}; restore it, e.g."
            f" `{REINSTALL if shipped else f'git checkout -- {path.name}'}`"
        ) from None
    if shipped:
        card["mend"] = REINSTALL
    return card  # type: ignore[no-any-return]


def identity_of(card: Mapping[str, Any], precision: str = FLOAT32) -> str:
    """sha256 over weights and settings; and over the networks in whole numbers, where they encode.
    Raises ModelError for a model without them.
    """
    made: list[Any] = [card["sha256"], card["settings"]]
    if precision != FLOAT32:
        if "int8" not in card:
            raise ModelError(
                f"model {card['name']}: expected networks in whole numbers for --precision int8,"
                f" got none; run `{call('prepare quantise')} {card['name']} PHOTOS`, or with"
                " --precision float32"
            )
        networks = {name: each["sha256"] for name, each in card["int8"]["networks"].items()}
        made += [networks, *(card["int8"][side] for side in ("describe_side", "rootsift_side"))]
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()
