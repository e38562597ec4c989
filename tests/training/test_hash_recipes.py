"""Hashing recipes from the commands people run: trained, indexed, asked and measured on
photographs; and what is refused.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from pictures import picture, write_picture
from planted_classes import write_classes
from small import complaint

from pipeline import index, run
from pipeline.base.errors import ModelError
from pipeline.base.images import load_image
from pipeline.base.names import HASHING, RECIPES
from pipeline.base.options import SearchOptions
from pipeline.commands import bench, evaluate, rerank, sweep, train
from pipeline.evaluate.studies import gallery_size
from pipeline.gallery.store import read_binding
from pipeline.model.card import default_model
from pipeline.model.encoders import map_trunk
from pipeline.model.weights import open_model
from pipeline.recipes import RECIPES as TABLES
from pipeline.search.open import open_engine
from pipeline.training.hashing.methods import METHODS, without
from stages.hash_forms import FIRST_READING
from stages.hashing import HammingIndex, pack
from stages.hashnet import head_of
from stages.squaremap import MAPS, SquareMap


def learn(what: str, data: Path, start: Path, out: Path, *more: object) -> int:
    flags = (
        "--data",
        data,
        "--start",
        start,
        "--out",
        out,
        "--maps",
        out.parent / "maps",
        "--embed-side",
        64,
        "--batch",
        16,
        "--epochs",
        4,
        "--jobs",
        1,
    )
    return train.main([what, *map(str, flags), *map(str, more)])


@pytest.fixture(scope="module")
def models(classes: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of every recipe at 24 bits, on one trunk's maps."""
    folder = tmp_path_factory.mktemp("codes")
    for recipe in HASHING:
        assert (
            learn(recipe, classes, tiny_model, folder / recipe, "--bits", 24, "--width", 128) == 0
        )
    # one file of last maps, one of those with an earlier map beside them
    assert len(list((folder / "maps").glob("*.npy"))) == 2
    return folder


@pytest.fixture(scope="module")
def asked(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other photos of the two classes, and a gallery of them by am_vggh."""
    folder = tmp_path_factory.mktemp("asked")
    write_classes(folder / "photos", 20, first=100)
    assert (
        index.main(
            [
                str(folder / "photos"),
                "--gallery",
                str(folder / "gallery"),
                "--recipe",
                "am_vggh",
                "--bits",
                "24",
                "--model",
                str(models / "am_vggh"),
            ]
        )
        == 0
    )
    return folder


@pytest.mark.parametrize("recipe", HASHING)
def test_photos_are_indexed_and_found_by_class(
    recipe: str, models: Path, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = str(tmp_path / "gallery")
    assert (
        index.main(
            [
                str(asked / "photos"),
                "--gallery",
                gallery,
                "--recipe",
                recipe,
                "--model",
                str(models / recipe),
            ]
        )
        == 0
    )
    query = asked / "photos" / "red" / "101.png"
    capsys.readouterr()
    assert (
        run.main([str(query), "gallery:green/100.png", "--gallery", gallery, "--json", "-k", "5"])
        == 0
    )
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["results"][0]["image"] == "red/101.png"
    assert (first["recipe"], first["accepted"], first["fell_back"]) == (recipe, 20, False)
    assert {"map", "search", "euclidean"} <= {
        "map" if name == "squaremap" else name for name in first["seconds"]
    }
    assert second["results"][0]["image"] == "green/100.png"
    assert all(result["affine"] is None and result["inliers"] == 0 for result in first["results"])
    assert first["results"][0]["code_distance"] == 0
    assert [r["code_distance"] for r in first["results"]] == sorted(
        r["code_distance"] for r in first["results"]
    )
    for answer in (first, second):
        differ = [result["hamming"] for result in answer["results"]]
        assert differ == [result["distance"] for result in answer["results"]]
        assert (answer["bits"], answer["radius"], differ[0]) == (24, max(differ), 0)
    assert "no_geometry" not in first["seconds"]
    assert evaluate.main(["--gallery", gallery, "--labels", "folder", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision@1"] >= (0.6 if recipe == "lsh" else 0.7)


def test_people_read_of_bits_and_of_no_matches(
    asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "gallery:red/103.png",
        "--gallery",
        str(asked / "gallery"),
        "-k",
        "4",
        "--candidates",
        "2",
        "--report",
        str(tmp_path / "r.html"),
    ]
    assert run.main(flags) == 0
    first, head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["rank", "coarse", "bits", "distance", "image"]
    assert [len(line.split()) for line in lines] == [5, 5, 4, 4]
    differ = [line.split()[2] for line in lines]
    within = f"within {max(map(int, differ))} of 24 bits"
    assert first.startswith(
        f"gallery:red/103.png: the nearest photos, {within}; 2 candidates ranked twice"
    )
    body = (tmp_path / "r.html").read_text("utf-8").split("<body>")[1]
    assert f"The nearest photos, {within}" in body
    assert body.count("The others follow as the first look has them.") == 1
    said = re.findall(r'class="badge">(.+?)</span></p><p>(.+?)</p>', body)
    assert [badge for badge, _ in said] == [
        f"{each} of 24 bits differ{'s' * (each == '1')}" for each in differ
    ]
    assert [why.startswith("The numbers behind its bits are") for _, why in said] == [
        True,
        True,
        False,
        False,
    ]
    for word in ("inlier", "match", "verified"):  # nothing looks as if it had failed
        assert word not in body


def test_a_gallery_keeps_what_the_network_says(models: Path, asked: Path) -> None:
    engine = open_engine(asked / "gallery", SearchOptions(device="cpu"))
    query = engine.query(str(asked / "photos" / "red" / "103.png"))
    row = engine.gallery.row("red/103.png")
    np.testing.assert_array_equal(engine.gallery.codes[row], query.code)
    assert isinstance(engine.gallery.index, HammingIndex)
    np.testing.assert_array_equal(engine.gallery.index.words[:, row], pack(query.code[None])[:, 0])
    assert (np.abs(query.code) <= 0.5).all()  # sigmoids less a half
    assert read_binding(asked / "gallery").recipe == "am_vggh"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ("index", "--recipe", "vggh"),
            (
                "expected recipe am_vggh, which made it, got vggh; leave out --recipe, or index"
                " again with `python -m pipeline.index"
            ),
        ),
        (
            ("index", "--recipe", "am_vggh", "--bits", "48"),
            "expected --bits 24, at which it was made, got 48",
        ),
        (("index", "--model", "vggh"), "expected recipe am_vggh, model am_vggh"),
        (("run", "--recipe", "two_stage"), "expected recipe am_vggh, which made it, got two_stage"),
        (("run", "--bits", "12"), "expected --bits 24, at which it was made, got 12"),
        (
            ("run", "--code", "pca"),
            "--code pca: expected none with recipe am_vggh, which searches its own",
        ),
        (("two", "--recipe", "adsh"), "expected recipe two_stage, which made it, got adsh"),
        (
            ("two", "--bits", "48"),
            "expected no --bits, recipe two_stage has no binary code, got 48",
        ),
    ],
)
def test_another_recipe_is_refused_with_both_names(
    command: tuple[str, ...],
    message: str,
    models: Path,
    asked: Path,
    indexed_photos: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = [
        str(models / flag) if flag == "vggh" and command[1] == "--model" else flag
        for flag in command[1:]
    ]
    photos, gallery = (
        (indexed_photos if command[0] == "two" else asked) / "photos",
        (indexed_photos if command[0] == "two" else asked) / "gallery",
    )
    main, first = (
        (index.main, str(photos))
        if command[0] != "run"
        else (run.main, str(asked / "photos" / "red" / "101.png"))
    )
    assert main([first, "--gallery", str(gallery), *flags]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_recipe_without_a_model_says_how_to_train_one(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    write_picture(tmp_path / "photos" / "a.png", picture(0, 40, 40))
    ask = [str(tmp_path / "photos"), "--gallery", str(tmp_path / "g")]
    assert index.main([*ask, "--recipe", "dnnh", "--bits", "32"]) == 2
    assert (
        "recipe dnnh: expected a model artifacts/dnnh_32, got none; run `python scripts/train.py"
        " dnnh --bits 32 --data CLASSES" in capsys.readouterr().err
    )
    with pytest.raises(ModelError, match="artifacts/ksh_48"):
        default_model("ksh", None)
    assert index.main([*ask, "--recipe", "dnnh", "--model", str(models / "ksh")]) == 2
    assert "expected one of recipe dnnh, got one of ksh at 24 bits" in capsys.readouterr().err
    assert (
        index.main([*ask, "--recipe", "ksh", "--bits", "48", "--model", str(models / "ksh")]) == 2
    )
    assert "expected a code of 48 bits, got recipe ksh at 24 bits" in capsys.readouterr().err
    assert not (tmp_path / "g" / "manifest.sqlite").exists()


def test_an_empty_gallery_answers_with_nothing(
    models: Path, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").mkdir()
    assert (
        index.main(
            [
                str(tmp_path / "none"),
                "--gallery",
                str(tmp_path / "g"),
                "--model",
                str(models / "am_vggh"),
            ]
        )
        == 0
    )
    capsys.readouterr()
    assert (
        run.main(
            [str(asked / "photos" / "red" / "101.png"), "--gallery", str(tmp_path / "g"), "--json"]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["results"] == []


def test_other_jobs_on_codes(
    asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ranks takes them; what compares points says that it cannot."""
    gallery, by_folder = ["--gallery", str(asked / "gallery")], ["--labels", "folder"]
    assert (
        sweep.main(
            [*gallery, *by_folder, "--candidates", "5", "20", "--out", str(tmp_path / "sweep")]
        )
        == 0
    )
    assert (
        gallery_size.main(
            [*gallery, *by_folder, "--sizes", "8", "--draws", "1", "--out", str(tmp_path / "sizes")]
        )
        == 0
    )
    (tmp_path / "lists.csv").write_text(
        "query,image\ngallery:red/101.png,green/100.png\ngallery:red/101.png,red/101.png\n"
    )
    rerun = [
        *gallery,
        "--candidates",
        str(tmp_path / "lists.csv"),
        "--out",
        str(tmp_path / "out.csv"),
        "--jobs",
        "1",
    ]
    assert rerank.main(rerun) == 0
    first = (tmp_path / "out.csv").read_text().splitlines()[1]
    assert first == "gallery:red/101.png,red/101.png,1,2,,,,1"  # no matches, no inliers
    capsys.readouterr()
    assert rerank.main([*rerun[:-4], "--out", str(tmp_path / "other.csv"), "--bits", "12"]) == 2
    assert "expected --bits 24, at which it was made, got 12" in capsys.readouterr().err
    assert bench.main(["query", *gallery, "--queries", str(asked / "photos")]) == 2
    assert (
        "expected one of recipe two_stage, whose forward passes are the baseline"
        in capsys.readouterr().err
    )


def test_names_are_the_same_everywhere() -> None:
    assert tuple(TABLES) == RECIPES


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--matches",), "--matches: expected it with `delf`, got `ksh`"),
        (
            ("--valid", "x"),
            "--valid: expected it with `embedding` or `delf`, got `ksh`; run without it",
        ),
        (("--px", "64"), "--px: expected it with `embedding` or `delf`, got `ksh`"),
        (("--embed-side", "100"), "--embed-side 100: expected a multiple of 32"),
        (("--bits", "5000"), "expected a number of 1 to 1024, got 5000"),
        (
            ("--start", "nowhere"),
            ("--start nowhere: expected a readable file of weights, got: No such file"),
        ),
    ],
)
def test_flags_that_say_nothing_to_a_code(
    more: tuple[str, ...],
    message: str,
    classes: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if more[0] == "--bits":  # the parser's own
        with pytest.raises(SystemExit, match="2"):
            learn("ksh", classes, tiny_model, tmp_path / "out", *more)
    else:
        assert learn("ksh", classes, tiny_model, tmp_path / "out", *more) == 2
    assert message in capsys.readouterr().err


def test_bits_are_for_codes(
    classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        train.main(
            ["embedding", "--data", str(classes), "--out", str(tmp_path / "o"), "--bits", "12"]
        )
        == 2
    )
    assert "--bits: expected it with a hashing recipe, got `embedding`" in capsys.readouterr().err
    assert train.main(["ksh", "--data", str(classes), "--out", str(tmp_path / "o")]) == 2
    assert "--start: expected the weights of a trunk" in capsys.readouterr().err


def test_an_unreadable_photo_is_named(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classes(tmp_path / "classes", 20)
    (tmp_path / "classes" / "red" / "bad.png").write_bytes(b"no photo")
    assert learn("lsh", tmp_path / "classes", tiny_model, tmp_path / "out") == 2
    assert "red/bad.png" in capsys.readouterr().err


def test_a_model_says_what_it_is(models: Path) -> None:
    opened = open_model(models / "adsh_attention")
    assert (
        opened.settings.recipe,
        opened.settings.bits,
        opened.settings.width,
        opened.settings.trunk,
    ) == ("adsh_attention", 24, 128, "resnet18")
    assert opened.card["classes"] == ["green", "red"]
    assert opened.arrays["hash.attention.classify.weight"].shape == (2, 512)
    assert not any(name.endswith("gallery") for name in opened.arrays)


def test_a_model_of_the_first_reading_goes_on(
    classes: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What adsh_attention learned before it read an earlier map."""
    monkeypatch.setitem(METHODS, "adsh_attention", without("adsh_attention", ["earlier"]))
    assert learn("adsh_attention", classes, tiny_model, tmp_path / "model", "--bits", 12) == 0
    model = open_model(tmp_path / "model")
    assert {name for name in model.arrays if name.startswith("hash.attention.")} == {
        f"hash.attention.{part}.{kind}"
        for part in ("excite.0", "excite.2", "place", "guide", "fit")
        for kind in ("weight", "bias")
    }
    flags = ["--gallery", str(tmp_path / "gallery"), "--model", str(tmp_path / "model")]
    assert index.main([str(classes), *flags]) == 0
    engine = open_engine(tmp_path / "gallery", SearchOptions(device="cpu"))
    image = load_image(classes / "red" / "3.png")
    sizes = {"channels": 512, "cells": 4, "width": 256}
    net = head_of(model.part("hash"), {**FIRST_READING, **sizes}, 12)
    trunk = map_trunk("model", "resnet18", model.part("trunk"))
    wanted = net(SquareMap(trunk, MAPS["resnet18"].last, 64)(image))
    np.testing.assert_allclose(
        engine.gallery.codes[engine.gallery.row("red/3.png")], wanted, atol=2e-3
    )


def test_a_model_for_photos_of_another_size_is_one_line(
    models: Path, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(models / "am_vggh", tmp_path / "odd")
    card = json.loads((tmp_path / "odd" / "card.json").read_text())
    card["settings"]["embed_side"] = 96
    (tmp_path / "odd" / "card.json").write_text(json.dumps(card))
    flags = ["--gallery", str(tmp_path / "gallery"), "--model", str(tmp_path / "odd")]
    assert index.main([str(classes), *flags]) == 2
    said = "hash.hidden.1.weight: expected shape (128, 4608), as the settings say, got (128, 2048)"
    assert said in complaint(capsys)
