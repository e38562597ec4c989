"""What the tests share: a small untrained model, and photographs whose content is planted."""

import contextlib
import io
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import hypothesis
import pytest
from pictures import make_model, picture, write_picture
from planted_codebook import give_codebook
from small import NAMES, indexed, shrink

# what is slow on a busy machine is not wrong
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture(autouse=True)
def as_imported() -> Iterator[None]:
    """What a command says of how much is printed ends with its test: a library says nothing."""
    yield
    logger = logging.getLogger("pipeline")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
    os.environ.pop("TQDM_DISABLE", None)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet18 from a fixed seed with random projections, at sizes that encode a photo in
    milliseconds.
    """
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_model(folder, seed=0)
    return folder


@pytest.fixture(scope="session")
def small_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same at the smallest sizes that go through every stage."""
    return shrink(tiny_model, tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="session")
def worded_model(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a codebook, by which galleries index parts. Not to be changed."""
    folder = tmp_path_factory.mktemp("models") / "worded"
    return give_codebook(shutil.copytree(small_model, folder))


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
        # the gallery remembers where its photos lie
        old = indexed_photos / "photos"
        assert indexed(Path("photos"), Path("gallery"), "--moved-from", old) == 0
    return tmp_path / "here"


@pytest.fixture(scope="session")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred photos of two classes for every test that trains; they stay as they are."""
    from planted_classes import write_classes

    return write_classes(tmp_path_factory.mktemp("data") / "classes")


LONG = (
    "test_attended_recipes",
    "test_wheel",
    "test_galleries_on_cluster",
    "test_documents",
    "test_kill",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first: at the end neither of two processes waits for the
    other."""
    items.sort(key=lambda item: item.path.stem not in LONG)
