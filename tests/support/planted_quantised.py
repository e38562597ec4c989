"""A model with fine features and RootSIFT that nobody trained, in whole numbers too."""

from pathlib import Path

import numpy as np
from pictures import make_model, picture, write_picture
from planted_fine import planted_network

from pipeline.commands import prepare
from pipeline.model.card import Settings
from pipeline.model.weights import open_model, write_model

LENGTH = 39  # numbers of a descriptor, without the one that says its kind


def make_quantised(folder: Path, photos: Path) -> Path:
    """folder: of the model, new; photos: a folder that training photos are written into."""
    make_model(folder, seed=0)
    arrays = {name: each for name, each in open_model(folder).arrays.items() if "delf" not in name}
    for name, each in planted_network().state_dict().items():
        if not name.endswith("tracked"):
            arrays[f"fine.{name}"] = each.numpy()
    for kind, length in (("fine", 64), ("rootsift", 128)):
        arrays[f"reduce_{kind}.mean"] = np.zeros(length, np.float32)
        arrays[f"reduce_{kind}.components"] = np.eye(LENGTH, length, dtype=np.float32)
    settings = Settings(embed_side=64, describe_side=128, keep=80, features="fine+rootsift")
    write_model(folder, arrays, settings, {"accept": {"inliers": 12}}, "python -m pytest")
    for seed in range(8):
        write_picture(photos / f"{seed}.png", picture(100 + seed))
    assert prepare.main(["quantise", str(folder), str(photos)]) == 0
    return folder
