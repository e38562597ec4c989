"""A codebook that nobody fitted, small enough for tests, and models that have it."""

import json
from pathlib import Path

import numpy as np
from planted_features import directions, rounded

from pipeline.model.codebook import write_codebook
from stages.visual_words import BYTES, CENTROIDS, Codebook


def planted_codebook(words: int = 16, length: int = 40, seed: int = 0) -> Codebook:
    """Words in all directions, and centroids where what they leave of other directions lies."""
    rng = np.random.default_rng([seed, 3])
    rest = rng.normal(0, 127 * (2 / length) ** 0.5, (BYTES, -(-length // BYTES), CENTROIDS))
    return Codebook(
        rounded(directions(rng, words, length)), np.rint(rest).clip(-127, 127).astype(np.int8)
    )


def give_codebook(model: Path, seed: int = 0) -> Path:
    """The model's folder, whose card names such a codebook from now on."""
    card = json.loads((model / "card.json").read_text("utf-8"))
    entry = dict(write_codebook(model, planted_codebook(seed=seed)))
    (model / "card.json").write_text(json.dumps({**card, "codebook": entry}), "utf-8")
    return model
