"""Galleries in whole numbers: what they are bound to, and what they refuse."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pictures import picture, write_picture
from planted_quantised import make_quantised
from small import answers, complaint, indexed

from pipeline import run
from pipeline.gallery.store import read_binding, read_gallery
from pipeline.model.card import read_identity
from pipeline.model.quantised import file_of


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model`, `photos`, and galleries of them: `whole` in whole numbers, `plain` in float32."""
    folder = tmp_path_factory.mktemp("precision")
    make_quantised(folder / "model", folder / "training")
    for seed in range(5):
        write_picture(folder / "photos" / f"{seed}.png", picture(seed))
    for gallery, more in (("whole", ()), ("plain", ("--precision", "float32"))):
        model = ("--model", folder / "model", "--device", "cpu")
        assert indexed(folder / "photos", folder / gallery, *model, *more) == 0
    return folder


def test_whole_numbers_are_the_default_where_the_model_has_them(there: Path) -> None:
    whole, plain = read_binding(there / "whole"), read_binding(there / "plain")
    assert (whole.precision, plain.precision) == ("int8", "float32")
    assert whole.identity == read_identity(there / "model", "int8")[1] != plain.identity
    assert plain.identity == read_identity(there / "model")[1]
    assert not np.array_equal(
        read_gallery(there / "whole").codes, read_gallery(there / "plain").codes
    )


def test_a_gallery_goes_on_as_it_began(there: Path, tmp_path: Path) -> None:
    for name in ("whole", "plain"):
        gallery = shutil.copytree(there / name, tmp_path / name)
        assert indexed(there / "photos", gallery) == 0
        assert read_binding(gallery) == read_binding(there / name)


def test_a_photo_finds_itself(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("whole", "plain"):
        (answer,) = answers(capsys, there / name, there / "photos/3.png", "-k", "2")
        assert answer["results"][0]["image"] == "3.png"
        assert answer["results"][0]["distance"] == 0
        assert answer["results"][0]["inliers"] > 20


def test_precisions_do_not_mix(
    there: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = shutil.copytree(there / "whole", tmp_path / "whole")
    assert indexed(there / "photos", gallery, "--precision", "float32") == 2
    said = complaint(capsys)
    assert " at int8, got model (" in said
    assert " --precision int8`" in said
    both = [f"--gallery={there / name}" for name in ("whole", "plain")]
    assert run.main([str(there / "photos/0.png"), *both]) == 2
    said = complaint(capsys)
    assert " at int8 as " in said
    assert said.rstrip("`\n").endswith(" --precision int8")


@pytest.mark.parametrize("network", ["embed", "fine"])
@pytest.mark.parametrize("harm", ["damaged", "missing", "foreign"])
def test_a_network_that_is_not_the_cards_is_refused(
    there: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], network: str, harm: str
) -> None:
    model = shutil.copytree(there / "model", tmp_path / "model")
    file = model / file_of(network)
    data = file.read_bytes()
    if harm == "missing":
        file.unlink()
    elif harm == "damaged":
        file.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    else:  # vouched for, and no network
        file.write_bytes(b"none")
        card = json.loads((model / "card.json").read_text())
        card["int8"]["networks"][network]["sha256"] = hashlib.sha256(b"none").hexdigest()
        (model / "card.json").write_text(json.dumps(card))
    gallery = tmp_path / "gallery"
    assert indexed(there / "photos", gallery, "--model", model, "--device", "cpu") == 2
    said = complaint(capsys)
    assert str(model) in said or "model model" in said
    assert "; run `python -m pytest`" in said
    assert indexed(there / "photos", gallery, "--model", model, "--precision", "float32") in (0, 2)


def test_a_model_without_whole_numbers_says_so(
    tiny_model: Path, there: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--model", tiny_model, "--precision", "int8")
    assert indexed(there / "photos", tmp_path / "g", *given) == 2
    said = complaint(capsys)
    assert "expected networks in whole numbers for --precision int8, got none; run " in said
    assert "or with --precision float32" in said
    assert not (tmp_path / "g").exists()
