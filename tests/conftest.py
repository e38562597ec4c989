"""What the tests share: a small untrained model, and photographs whose content is planted."""

import contextlib
import io
import shutil
from pathlib import Path

import cv2
import hypothesis
import numpy as np
import pytest
from small import NAMES, indexed, shrink

from pipeline.models import Settings, write_model
from stages.records import UInt8

hypothesis.settings.register_profile("house", deadline=None)  # what is slow on a busy machine is not wrong
hypothesis.settings.load_profile("house")


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


@pytest.fixture(scope="session")
def small_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same at the smallest sizes that go through every stage."""
    return shrink(tiny_model, tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="session")
def indexed_photos(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six `photos`, `small.NAMES`, and their `gallery`. Not to be changed."""
    folder = tmp_path_factory.mktemp("indexed")
    for seed, name in enumerate(NAMES):
        write_picture(folder / "photos" / name, picture(seed, 60 + seed, 40))
    assert indexed(folder / "photos", folder / "gallery", "--model", small_model) == 0
    return folder


@pytest.fixture
def here(indexed_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to change, as the working directory."""
    shutil.copytree(indexed_photos, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    with contextlib.redirect_stdout(io.StringIO()):
        assert indexed(Path("photos"), Path("gallery")) == 0  # the gallery remembers where its photos lie
    return tmp_path / "here"


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
    path.write_bytes(cv2.imencode(path.suffix, pixels[..., ::-1])[1].tobytes())  # imwrite crashes at a name that is not UTF-8


@pytest.fixture(scope="session")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred photos of two classes for every test that trains; they stay as they are."""
    from planted_classes import write_classes  # which draws with this file's `picture`

    return write_classes(tmp_path_factory.mktemp("data") / "classes")
