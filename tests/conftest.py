"""What the tests share: a small untrained model, and photographs whose content is planted."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.models import Settings, write_model
from stages.records import UInt8


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet18 from a fixed seed with random projections, at sizes that encode a photo in milliseconds."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_model(folder, seed=0)
    return folder


def make_model(folder: Path, seed: int) -> None:
    import torch

    from stages.trunk import build_resnet

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    trunk = {f"trunk.{k}": v.numpy().astype(np.float16) for k, v in build_resnet("resnet18", 10).state_dict().items() if not k.endswith("tracked")}
    basis = {
        "reduce.mean": np.zeros(512, np.float32),
        "reduce.components": np.linalg.qr(rng.normal(size=(512, 32)))[0].T.astype(np.float32),
        "delf.mean": np.zeros(256, np.float32),
        "delf.components": np.linalg.qr(rng.normal(size=(256, 40)))[0].T.astype(np.float32),
    }
    settings = Settings(embed_side=64, describe_side=96, keep=80)
    write_model(folder, {**trunk, **basis}, settings, {"accept": {"inliers": 12}}, "python -m pytest")


def picture(seed: int, width: int = 160, height: int = 120) -> UInt8:
    """(height, width, 3): coloured rectangles and discs on a gradient, no two seeds alike."""
    rng = np.random.default_rng(seed)
    canvas = np.linspace(0, 255, height * width * 3).reshape(height, width, 3).astype(np.uint8)
    for _ in range(25):
        colour = tuple(map(int, rng.integers(0, 256, 3)))
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        if rng.random() < 0.5:
            cv2.rectangle(canvas, (x, y), (x + int(rng.integers(5, 50)), y + int(rng.integers(5, 40))), colour, -1)
        else:
            cv2.circle(canvas, (x, y), int(rng.integers(3, 25)), colour, -1)
    return canvas


def write_picture(path: Path, pixels: UInt8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(os.fspath(path), pixels[..., ::-1])
