"""A model's networks in whole numbers, for CPUs: files of their own beside the weights, bound to
them by the card. What a gallery binds names them where they made it.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from pipeline.base.errors import ModelError
from pipeline.base.files import write_whole
from pipeline.model.weights import Model


def file_of(network: str) -> str:
    """Beside card.json."""
    return f"{network}.int8.onnx"


def read_quantised(model: Model, network: str) -> bytes:
    """One network's file of a model that has them, checked against the card. Raises ModelError."""
    path, named = model.folder / file_of(network), model.card["int8"]["networks"][network]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"model {path}: expected a readable file, got {error.strerror}; run"
            f" `{model.card['mend']}`"
        ) from None
    if (digest := hashlib.sha256(data).hexdigest()) != named["sha256"]:
        raise ModelError(
            f"model {path}: expected sha256 {named['sha256'][:12]}, got {digest[:12]}: the file is"
            f" damaged; run `{model.card['mend']}`"
        )
    return data


def write_quantised(model: Model, networks: Mapping[str, bytes]) -> dict[str, Any]:
    """Write the files; the entries for the model's card."""
    entries = {}
    for name, data in networks.items():
        write_whole(model.folder / file_of(name), data)
        entries[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return entries
