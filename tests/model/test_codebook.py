"""The codebook that is fitted on a gallery's local features, and its place in the model's card."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from planted_gallery import planted, related
from small import complaint, shrink

from pipeline.commands import codebook, parts
from pipeline.model.card import read_card
from pipeline.model.codebook import read_codebook
from pipeline.model.weights import open_model


@pytest.fixture
def model(small_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(small_model, tmp_path / "model")


def fitted(model: Path, gallery: Path, *more: str) -> int:
    return codebook.main([str(model), "--gallery", str(gallery), *more])


def test_it_is_fitted_and_named_in_the_card(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same every time, and no part of what the model is known by."""
    gallery = planted(tmp_path / "g", model, [related(f"{n}.jpg", n) for n in range(24)])
    before, identity = read_card(model), open_model(model).identity
    assert read_codebook(model) is None
    assert fitted(model, gallery, "--words", "12", "--seed", "3") == 0
    assert capsys.readouterr().out == "model: 12 words of 600 features\n"
    card = json.loads((model / "card.json").read_text("utf-8"))
    entry = card.pop("codebook")
    assert card == before
    data = (model / "codebook.safetensors").read_bytes()
    assert entry["sha256"] == hashlib.sha256(data).hexdigest()
    assert {name: entry[name] for name in ("bytes", "words", "photos", "features", "seed")} == {
        "bytes": len(data),
        "words": 12,
        "photos": 24,
        "features": 600,
        "seed": 3,
    }
    assert open_model(model).identity == identity
    read = read_codebook(model)
    assert read is not None
    assert (read.sha256, read.codebook.words.shape) == (entry["sha256"], (12, 40))
    assert fitted(model, gallery, "--words", "12", "--seed", "3") == 0
    assert (model / "codebook.safetensors").read_bytes() == data
    assert parts.main(["--gallery", str(gallery)]) == 0
    assert "the parts of 24 different photos are indexed; 24 new" in capsys.readouterr().out


def test_what_it_cannot_be_fitted_on_is_one_line(
    model: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = planted(tmp_path / "few", model, [related("a.jpg", 1)])
    empty = planted(tmp_path / "empty", model, [])
    for gallery, got in ((few, 25), (empty, 0)):
        assert fitted(model, gallery, "--words", "8") == 2
        assert complaint(capsys).endswith(f"expected at least 256 descriptors, got {got}")
    other = shrink(tiny_model, tmp_path / "other", describe_side=96)
    gallery = planted(tmp_path / "g", other, [related("a.jpg", 1)])
    assert fitted(model, gallery) == 2
    line = complaint(capsys)
    assert f"--gallery {gallery}: expected local features as model {model} has them, got" in line
    assert line.endswith(f"run `two-look index` with `--model {model}`")
    assert read_codebook(model) is None
    assert not (model / "codebook.safetensors").exists()
