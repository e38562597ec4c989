"""ResNet50 and its kin from the commands people run: trained, indexed, asked, compared; and what is
refused.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import picture, write_picture
from planted_classes import run as learn
from planted_classes import trained, write_classes
from safetensors.numpy import load_file
from sklearn.decomposition import PCA
from small import OPTIONS, answers, complaint

from pipeline import index
from pipeline.base.images import load_image
from pipeline.commands import evaluate, heatmap, import_weights
from pipeline.model.weights import open_model
from pipeline.search.open import open_engine
from pipeline.training import embedding_search
from stages.attended import is_attention
from stages.embed import normalise

# two steps of 48 photos: what a step costs here is the update of 25 million weights
BRIEFLY = ("--epochs", 1, "--batch", 48, "--rate", 1e-3, "--describe-side", 48)


@pytest.fixture(scope="module")
def start(classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain ResNet50 after an epoch, for the others to start from."""
    return trained(
        "resnet50",
        classes,
        tmp_path_factory.mktemp("runs") / "plain",
        *BRIEFLY,
        "--weights-only",
        "--setting",
        "full",
    )


@pytest.fixture(scope="module")
def models(
    start: Path, classes: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Models of two recipes beside each other: `resnet50_cbam`, trained, with the tiny model's
    second look, and `resnet50`, imported.
    """
    folder = tmp_path_factory.mktemp("attended")
    more = ("--start", start, *BRIEFLY, "--features-of", tiny_model)
    trained("resnet50_cbam", classes, folder / "resnet50_cbam", *more)
    assert import_plain(start, classes, folder / "resnet50") == 0
    return folder


def import_plain(start: Path, classes: Path, out: Path, *weights: str) -> int:
    """A ResNet50 as a model of the recipe resnet50."""
    given = [*(weights or [str(start / "weights.safetensors")]), "--photos", str(classes)]
    given += ["--recipe", "resnet50", "--embed-side", "32", "--describe-side", "32"]
    return import_weights.main([*given, "--keep", "30", "--jobs", "1", "--out", str(out)])


@pytest.fixture(scope="module")
def asked(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other photos of the two classes, and their gallery by the recipe with attention."""
    folder = tmp_path_factory.mktemp("asked")
    write_classes(folder / "photos", 20, first=100)
    assert (
        _index(folder, folder / "gallery", models / "resnet50_cbam", "--recipe", "resnet50_cbam")
        == 0
    )
    return folder


def _index(folder: Path, gallery: Path, model: Path, *more: str) -> int:
    return index.main(
        [
            str(folder / "photos"),
            "--gallery",
            str(gallery),
            "--model",
            str(model),
            "--jobs",
            "1",
            *more,
        ]
    )


def test_they_index_and_answer_with_another_models_second_look(
    models: Path, asked: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (answer,) = answers(capsys, asked / "gallery", asked / "photos/red/101.png", "-k", "4")
    assert answer["recipe"] == "resnet50_cbam"
    assert answer["results"][0]["image"] == "red/101.png"
    assert answer["results"][0]["inliers"] > 10  # the photo itself, point by point
    model, other = open_model(models / "resnet50_cbam"), open_model(tiny_model)
    assert (model.settings.attention, model.settings.first, model.settings.local_trunk) == (
        "cbam",
        3,
        "resnet18",
    )
    assert {name.split(".")[1] for name in model.part("trunk") if is_attention(f".{name}")} <= {
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
    }
    for name, array in model.part("local").items():
        np.testing.assert_array_equal(array, other.part("trunk")[name])


def test_a_plain_resnet50_that_is_imported_is_one_of_them(
    models: Path,
    start: Path,
    classes: Path,
    asked: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _index(asked, tmp_path / "gallery", models / "resnet50", "--recipe", "resnet50") == 0
    capsys.readouterr()
    (answer,) = answers(capsys, tmp_path / "gallery", asked / "photos/red/101.png")
    assert (answer["recipe"], answer["results"][0]["image"]) == ("resnet50", "red/101.png")
    assert import_plain(start, classes, tmp_path / "other", "--untrained", "resnet18") == 2
    assert complaint(capsys).startswith(
        "import_weights: --recipe resnet50: expected the weights of a resnet50, got a resnet18's"
    )


def test_attention_learns_and_what_is_frozen_stays(
    start: Path, classes: Path, tmp_path: Path
) -> None:
    more = ("--weights-only", *BRIEFLY, "--reduction", 32, "--groups", 32)
    longer = (*more, "--epochs", 2, "--last")
    out = trained("resnet50_gam", classes, tmp_path / "gam", *longer, "--start", start)
    before, after = load_file(start / "weights.safetensors"), load_file(out / "weights.safetensors")
    assert set(before) < set(after)
    changed = {
        name.split(".")[0] for name in before if not np.array_equal(before[name], after[name])
    }
    assert changed == {"layer3", "layer4", "fc"}
    assert all(after[name].any() for name in after if name.endswith("gain"))  # from zero
    again = trained("resnet50_gam", classes, tmp_path / "again", *more, "--start", out)
    # goes on with the attention that it finds
    assert set(load_file(again / "weights.safetensors")) == set(after)


def test_galleries_refuse_another_recipe(
    models: Path, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert _index(asked, asked / "gallery", models / "resnet50") == 2
    assert "expected recipe resnet50_cbam, model resnet50_cbam" in capsys.readouterr().err
    assert _index(asked, tmp_path / "new", models / "resnet50", "--recipe", "resnet50_gam") == 2
    assert (
        "expected one of recipe resnet50_gam, got one of resnet50; run with another `--model`"
        in capsys.readouterr().err
    )
    flags = ["--gallery", str(asked / "gallery"), "--labels", "folder", "--recipe", "two_stage"]
    assert evaluate.main(flags) == 2
    assert "expected recipe resnet50_cbam, which made it, got two_stage" in capsys.readouterr().err


def test_without_a_model_it_says_how_to_train_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(tmp_path / "photos/a.png", picture(0, 40, 40))
    assert (
        index.main(
            [str(tmp_path / "photos"), "--gallery", str(tmp_path / "g"), "--recipe", "resnet50_se"]
        )
        == 2
    )
    err = capsys.readouterr().err
    assert (
        "recipe resnet50_se: expected a model artifacts/resnet50_se, got none; run `python"
        " scripts/train.py resnet50_se --data CLASSES" in err
    )
    assert err.count("\n") == 1


def test_an_embedding_stands_in_for_a_gallerys_codes(
    start: Path,
    asked: Path,
    indexed_photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = [
        "--gallery",
        str(asked / "gallery"),
        "--labels",
        "folder",
        "--jobs",
        "1",
        "--first-look",
        str(start),
        "--out",
        str(tmp_path / "r.json"),
    ]
    assert evaluate.main([*flags, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    (row,) = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert row["recipe"] == "resnet50"
    assert row["parameters"] == 23_508_032  # without a class head
    assert row["hit@1"] == printed["hit@1"]
    assert (row["setting"], row["epochs"], row["px"]) == ("full", 1, 32)
    assert row["ms_per_image"] > 0
    assert row["peak_mb"] > 100
    assert (
        heatmap.main(
            [
                str(asked / "photos/red/101.png"),
                "--first-look",
                str(start),
                str(start),
                "--out",
                str(tmp_path / "h.png"),
            ]
        )
        == 0
    )
    high, wide = cv2.imread(str(tmp_path / "h.png")).shape[:2]
    assert wide > 2 * high  # the photo, then each embedding
    capsys.readouterr()
    assert evaluate.main([*flags[:6], "--first-look", str(asked)]) == 2
    assert (
        "expected a finished run of `python scripts/train.py embedding` or `resnet50`, got"
        in capsys.readouterr().err
    )
    (asked / "photos/red/119.png").rename(tmp_path / "gone.png")
    assert evaluate.main(flags) == 2
    assert "expected the indexed photo, got: " in capsys.readouterr().err
    (tmp_path / "gone.png").rename(asked / "photos/red/119.png")


def test_an_embedding_stands_in_where_candidates_come_from_parts_too(
    start: Path,
    asked: Path,
    worded_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _index(asked, tmp_path / "gallery", worded_model) == 0
    flags = ["--gallery", str(tmp_path / "gallery"), "--labels", "folder", "--jobs", "1", "--json"]
    own = [*flags, "--first-look", str(start)]
    capsys.readouterr()
    assert evaluate.main([*own, "--shortlist", "global"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert evaluate.main(own) == 0
    assert json.loads(capsys.readouterr().out)["mAP"] == alone["mAP"]
    assert evaluate.main([*own, "--shortlist", "both"]) == 2
    assert "--shortlist both: expected global with --first-look" in complaint(capsys)


def test_components_of_an_embedding_are_those_of_the_photos_that_taught_it(
    start: Path,
    asked: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = write_classes(tmp_path / "few", 10)
    (few / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    trained = replace(embedding_search.read_run(start), folders=(few,))
    embed = embedding_search.embedder(trained)
    vectors = [normalise(embed(load_image(name))) for name in sorted(few.glob("*/[0-9]*.png"))]
    pca = PCA(3).fit(np.stack(vectors))
    engine = open_engine(
        asked / "gallery", replace(OPTIONS, recipe=None, code=None, shortlist="global")
    )
    codes = embedding_search.with_first_look(engine, trained, 1, 3).gallery.codes
    wanted = pca.transform(np.stack([*embedding_search.embedded(engine, embed, 1)]))
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    # a component may point either way
    assert np.allclose(codes @ codes.T, wanted @ wanted.T, atol=2e-3)
    monkeypatch.setattr(embedding_search, "read_run", lambda run: trained)
    monkeypatch.setattr(embedding_search, "cost", lambda trained: {})
    flags = ["--gallery", str(asked / "gallery"), "--labels", "folder", "--jobs", "1"]
    row = ["--out", str(tmp_path / "r.json"), "--first-look", str(start), "--components"]
    assert evaluate.main([*flags, *row, "3"]) == 0
    assert json.loads((tmp_path / "r.json").read_text())["rows"][0]["components"] == 3
    capsys.readouterr()
    assert evaluate.main([*flags, *row, "11"]) == 2
    said = capsys.readouterr().err
    assert "broken.png: " in said
    assert "left out" in said
    assert f"--components 11: expected at most 10, got more than there are photos in {few}" in said
    assert evaluate.main([*flags, *row, "4000"]) == 2
    assert "--components 4000: expected at most 11, got more" in complaint(capsys)
    shutil.rmtree(few)
    assert evaluate.main([*flags, *row, "3"]) == 2
    assert f"its photos in {few}: " in complaint(capsys)
    monkeypatch.undo()
    assert evaluate.main([*flags, "--components", "3"]) == 2
    assert "--components 3: expected --first-look" in complaint(capsys)


@pytest.mark.parametrize(
    ("what", "flags", "said"),
    [
        (
            "embedding",
            ("--fusion", "product"),
            (
                "--fusion: expected it with resnet50, resnet50_se, resnet50_cbam, resnet50_gam, got"
                " `embedding`"
            ),
        ),
        ("delf", ("--setting", "full"), "--setting: expected it with resnet50, "),
        (
            "resnet50_se",
            (),
            (
                "--setting reduced: expected --start, whose first stages stay, got none; run with"
                " `--start WEIGHTS` or `--setting full`"
            ),
        ),
        ("resnet50_se", ("--matches",), "--matches: expected it with `delf`, got `resnet50_se`"),
        (
            "resnet50_se",
            ("--bits", 24),
            "--bits: expected it with a hashing recipe, got `resnet50_se`",
        ),
    ],
)
def test_flags_of_others_are_refused(
    what: str,
    flags: tuple[object, ...],
    said: str,
    classes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert learn(what, classes, tmp_path / "out", *flags) == 2
    assert said in capsys.readouterr().err


def test_a_start_of_another_build_is_refused(
    tiny_model: Path, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        learn("resnet50_se", classes, tmp_path / "out", "--start", tiny_model, "--eyes", tiny_model)
        == 2
    )
    assert "--start" in capsys.readouterr().err
