"""Models: trained arrays in `weights.safetensors` beside a `card.json` that says what they are and where they came from.

A model is found by its path, then by its name under `artifacts/`; a file that is not the one the card names is refused.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.flags import FUSIONS, HASHING, TRAINED
from pipeline.install import ARTIFACTS
from pipeline.shards import write_whole
from stages.null import Null
from stages.records import Float32

if TYPE_CHECKING:
    from stages.attended import Attend

DEFAULT = "two_stage"
FORMAT = 1
TRUNKS = ("resnet18", "resnet50")
CHOICES = {
    "trunk": (*TRUNKS, "vgg16"),
    "features": ("delf", "rootsift"),
    "recipe": (DEFAULT, *TRAINED),
    "attention": ("", "se", "cbam", "gam"),
    "fusion": FUSIONS,
    "eyes": ("", *TRUNKS),
}
CARD = {"format": int, "name": str, "sha256": str, "mend": str, "settings": dict, "accept": dict}


class ModelError(Exception):
    """A model that is missing, damaged or of another kind; the message says what to run."""


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
    eyes: str = ""  # what the second look's own trunk is, where it is another than `trunk`

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (value in CHOICES[name] if name in CHOICES else isinstance(value, int) and value > 0):
                raise ValueError(f"settings.{name} {value!r}")

    def to_json(self) -> dict[str, Any]:
        """As a card has them. What was no choice yet when the first models were made goes without saying, so that they keep their identity."""
        said = ("trunk", "embed_side", "describe_side", "keep")
        return {name: value for name, value in vars(self).items() if name in said or value != type(self).__dataclass_fields__[name].default}

    @property
    def how(self) -> "Attend | None":
        """The attention in the trunk's bottlenecks."""
        if not self.attention:
            return None
        from stages.attended import Attend

        return Attend(self.attention, self.reduction, self.fusion, self.first, self.groups)


@dataclass(frozen=True, eq=False)
class Model:
    """A model in memory."""

    folder: Path
    name: str
    identity: str  # sha256 over weights and settings: what a gallery binds
    settings: Settings
    card: Mapping[str, Any] = field(repr=False)
    arrays: Mapping[str, np.ndarray] = field(repr=False)

    @property
    def null(self) -> Null | None:
        """What chance does, measured on the photos the model was fitted on; None for one that accepts at a fixed count."""
        stored = self.card["accept"].get("null")
        return null_from_json(stored) if stored else None

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays below `prefix.`, without it."""
        return {key[len(prefix) + 1 :]: value for key, value in self.arrays.items() if key.startswith(prefix + ".")}

    def float32(self, name: str) -> Float32:
        """One array, or a ModelError that names it."""
        if name not in self.arrays:
            raise ModelError(f"model {self.name}: want an array {name}, got none; run `{self.card['mend']}`")
        return np.asarray(self.arrays[name], np.float32)


def find_model(name: str | Path) -> Path:
    """The folder of a model given by path or by name."""
    for folder in (Path(name), ARTIFACTS / name):
        if (folder / "card.json").is_file():
            return folder.resolve()
    shipped = ", ".join(sorted(p.parent.name for p in ARTIFACTS.glob("*/card.json"))) or "none"
    raise ModelError(f"model {name}: want a folder with card.json, got none; shipped here: {shipped}")


def read_identity(name: str | Path) -> tuple[str, str]:
    """(name, identity) of a model by its card alone, without reading its weights."""
    card = _read_card(find_model(name))
    return str(card["name"]), _identity(card)


def read_settings(name: str | Path) -> Settings:
    """The same of its settings."""
    return Settings(**_read_card(find_model(name))["settings"])


def default_model(recipe: str | None, bits: int | None) -> str:
    """The name under artifacts/ of the model that a recipe takes unless told otherwise. Raises ModelError where it has to be trained first."""
    if recipe not in TRAINED:
        return DEFAULT
    length = f" --bits {bits or Settings.bits}" if recipe in HASHING else ""
    name = f"{recipe}_{bits or Settings.bits}" if length else recipe
    if not (ARTIFACTS / name / "card.json").is_file():
        train = f"python scripts/train.py {recipe}{length} --data CLASSES --start WEIGHTS --out artifacts/{name}"
        raise ModelError(f"recipe {recipe}: want a model artifacts/{name}, got none; run `{train}`, or give another by --model")
    return name


def open_model(name: str | Path) -> Model:
    """Read a model whole, its bytes checked against the card. Raises ModelError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    folder = find_model(name)
    card, weights = _read_card(folder), folder / "weights.safetensors"
    try:
        data = weights.read_bytes()
    except OSError as error:
        raise ModelError(f"model {weights}: want a readable file, got {error.strerror}; run `{card['mend']}`") from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != card["sha256"]:
        raise ModelError(f"model {weights}: want sha256 {card['sha256'][:12]}, got {digest[:12]}: the file is damaged; run `{card['mend']}`")
    try:
        arrays = load(data)
    except SafetensorError as error:
        raise ModelError(f"model {weights}: want safetensors, got {error}; run `{card['mend']}`") from None
    return Model(folder, card["name"], _identity(card), Settings(**card["settings"]), card, arrays)


def write_model(folder: Path, arrays: Mapping[str, np.ndarray], settings: Settings, card: Mapping[str, Any], mend: str) -> None:
    """Write weights, then the card that vouches for them, each whole or not at all.

    `mend` is the command that brings these weights back should the file be damaged.
    """
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    data = save({key: np.ascontiguousarray(value) for key, value in sorted(arrays.items())})
    whole = {
        "format": FORMAT,
        "name": folder.resolve().name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "mend": mend,
        "settings": settings.to_json(),
        **card,
    }
    for name, content in (("weights.safetensors", data), ("card.json", (json.dumps(whole, indent=2) + "\n").encode())):
        write_whole(folder / name, content)


def null_to_json(null: Null) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(null).items()}


def null_from_json(stored: Mapping[str, Any]) -> Null:
    """Raises ValueError or TypeError for what is no null."""
    whole: dict[str, Any] = {name: np.array(value, np.float64) if isinstance(value, list) else value for name, value in stored.items()}
    return Null(**whole)


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / "card.json"
    try:
        card = json.loads(path.read_text("utf-8"))
        wrong = [key for key, kind in CARD.items() if not isinstance(card.get(key), kind)]
        if wrong or card["format"] != FORMAT:
            raise ValueError(f"a card without a proper {', '.join(wrong)}" if wrong else f"format {card['format']}")
        Settings(**card["settings"])
        if "null" in card["accept"]:
            null_from_json(card["accept"]["null"])
        elif not isinstance(card["accept"].get("inliers"), int):
            raise ValueError("a card without accept.null or a number accept.inliers")
    except (ValueError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise ModelError(f"model card {path}: want a card of format {FORMAT}, got {error}; restore it, e.g. `git checkout -- {path.name}`") from None
    return card  # type: ignore[no-any-return]


def _identity(card: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps([card["sha256"], card["settings"]], sort_keys=True).encode()).hexdigest()
