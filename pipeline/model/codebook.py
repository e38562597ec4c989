"""The codebook of a model's local features, by which a gallery indexes parts: a file of its own
beside the weights, bound to them by the card, and not part of the model's identity.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.base.errors import ModelError
from pipeline.base.files import write_whole
from pipeline.model.card import find_model, read_card
from stages.visual_words import Codebook

FILE = "codebook.safetensors"


@dataclass(frozen=True, eq=False)
class ModelCodebook:
    """A codebook, and what it is known by."""

    sha256: str  # of its file
    codebook: Codebook


def read_codebook(model: str | Path) -> ModelCodebook | None:
    """That of a model by name or folder, checked against the card; None where it has none. Raises
    ModelError.
    """
    folder = find_model(model)
    card = read_card(folder)
    if "codebook" not in card:
        return None
    return _read(folder, str(card["codebook"].get("sha256")), str(card["mend"]))


@lru_cache(maxsize=1)
def _read(folder: Path, sha256: str, mend: str) -> ModelCodebook:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = folder / FILE
    try:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if digest != sha256:
            raise ValueError(f"sha256 {digest[:12]} in place of {sha256[:12]}")
        arrays = load(data)
        return ModelCodebook(digest, Codebook(arrays["words"], arrays["centroids"]))
    except (OSError, ValueError, LookupError, SafetensorError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise ModelError(
            f"model {path}: expected the codebook that its card names, got {said}; run `{mend}`"
        ) from None


def write_codebook(folder: Path, codebook: Codebook) -> Mapping[str, Any]:
    """Write the file; the entry for the model's card."""
    from safetensors.numpy import save

    data = save({"centroids": codebook.centroids, "words": codebook.words})
    write_whole(folder / FILE, data)
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
