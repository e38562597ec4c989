"""A model in memory: its arrays, checked against its card, and how both are written."""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import ModelError
from pipeline.base.files import write_whole
from pipeline.base.names import FLOAT32, INT8
from pipeline.model.card import FORMAT, Settings, find_model, identity_of, read_card
from pipeline.model.chance import null_from_json
from stages.null import Null
from stages.records import Float32

WEIGHTS = "weights.safetensors"  # beside card.json
_READING = threading.Lock()  # two threads that open one model read it once


@dataclass(frozen=True, eq=False)
class Model:
    """A model in memory."""

    folder: Path
    name: str
    identity: str  # sha256 over weights, settings and precision: what a gallery binds
    settings: Settings
    card: Mapping[str, Any] = field(repr=False)
    arrays: Mapping[str, np.ndarray] = field(repr=False)
    precision: str = FLOAT32  # of the networks that encode

    @property
    def null(self) -> Null | None:
        """What chance does, measured on the photos the model was fitted on, by these networks; None
        for one that accepts at a fixed count.
        """
        own = self.card["int8"] if self.precision == INT8 else {}
        stored = own.get("null", self.card["accept"].get("null"))
        return null_from_json(stored) if stored else None

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays below `prefix.`, without it."""
        return {
            key[len(prefix) + 1 :]: value
            for key, value in self.arrays.items()
            if key.startswith(prefix + ".")
        }

    def float32(self, name: str) -> Float32:
        """One array, or a ModelError that names it."""
        if name not in self.arrays:
            raise ModelError(
                f"model {self.name}: expected an array {name}, got none; run `{self.card['mend']}`"
            )
        return np.asarray(self.arrays[name], np.float32)


def open_model(name: str | Path, precision: str = FLOAT32) -> Model:
    """Read a model whole, its bytes checked against the card; the last one that was read is kept in
    memory. Raises ModelError.
    """
    folder = find_model(name)
    with _READING:
        stamps = tuple(_stamp(folder / file) for file in ("card.json", WEIGHTS))
        model = _read_model(folder, stamps)
        return model if precision == FLOAT32 else _in_whole_numbers(model)


@lru_cache(maxsize=1)  # one object, as the model itself is
def _in_whole_numbers(model: Model) -> Model:
    return replace(model, precision=INT8, identity=identity_of(model.card, INT8))


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=1)
def _read_model(folder: Path, stamps: tuple[tuple[int, ...], ...]) -> Model:
    """stamps: what changes with the files."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    card, weights = read_card(folder), folder / WEIGHTS
    try:
        data = weights.read_bytes()
    except OSError as error:
        raise ModelError(
            f"model {weights}: expected a readable file, got {error.strerror}; run `{card['mend']}`"
        ) from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != card["sha256"]:
        raise ModelError(
            f"model {weights}: expected sha256 {card['sha256'][:12]}, got {digest[:12]}: the file"
            f" is damaged; run `{card['mend']}`"
        )
    try:
        arrays = load(data)
    except SafetensorError as error:
        raise ModelError(
            f"model {weights}: expected safetensors, got {error}; run `{card['mend']}`"
        ) from None
    return Model(
        folder, card["name"], identity_of(card), Settings.of(card["settings"]), card, arrays
    )


def write_model(
    folder: Path,
    arrays: Mapping[str, np.ndarray],
    settings: Settings,
    card: Mapping[str, Any],
    mend: str,
) -> None:
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
    for name, content in (
        (WEIGHTS, data),
        ("card.json", (json.dumps(whole, indent=2) + "\n").encode()),
    ):
        write_whole(folder / name, content)
