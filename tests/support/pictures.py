"""Photographs whose content is planted, and the small untrained model that sees them."""

from pathlib import Path

import cv2
import numpy as np

from pipeline.model.card import Settings
from pipeline.model.weights import write_model
from stages.records import UInt8

ROOT = Path(__file__).resolve().parents[2]  # of the repository


def make_model(folder: Path, seed: int) -> None:
    import torch

    from stages.trunk import build_resnet

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    trunk = {
        f"trunk.{k}": v.numpy().astype(np.float16)
        for k, v in build_resnet("resnet18", 10).state_dict().items()
        if not k.endswith("tracked")
    }
    basis = {
        "reduce.mean": np.zeros(512, np.float32),
        "reduce.components": np.linalg.qr(rng.normal(size=(512, 32)))[0].T.astype(np.float32),
        "delf.mean": np.zeros(256, np.float32),
        "delf.components": np.linalg.qr(rng.normal(size=(256, 40)))[0].T.astype(np.float32),
    }
    settings = Settings(embed_side=64, describe_side=96, keep=80)
    write_model(
        folder, {**trunk, **basis}, settings, {"accept": {"inliers": 12}}, "python -m pytest"
    )


def picture(seed: int, width: int = 160, height: int = 120) -> UInt8:
    """(height, width, 3): coloured rectangles and discs on a gradient, no two seeds alike."""
    rng = np.random.default_rng(seed)
    canvas = np.linspace(0, 255, height * width * 3).reshape(height, width, 3).astype(np.uint8)
    for _ in range(25):
        colour = tuple(map(int, rng.integers(0, 256, 3)))
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        if rng.random() < 0.5:
            cv2.rectangle(
                canvas,
                (x, y),
                (x + int(rng.integers(5, 50)), y + int(rng.integers(5, 40))),
                colour,
                -1,
            )
        else:
            cv2.circle(canvas, (x, y), int(rng.integers(3, 25)), colour, -1)
    return canvas


def write_picture(path: Path, pixels: UInt8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # imwrite crashes at a name that is not UTF-8
    path.write_bytes(cv2.imencode(path.suffix, pixels[..., ::-1])[1].tobytes())
