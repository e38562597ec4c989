"""What a model's second look sees is what its card and arrays say: a trunk of its own, a score
threshold, RootSIFT.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import make_model, picture, write_picture
from small import answers, indexed

from pipeline.base.errors import ModelError
from pipeline.gallery.store import read_gallery
from pipeline.model.weights import Model, open_model, write_model
from pipeline.recipes import attentive_of, encode
from stages.records import Image
from stages.rootsift import RootSift
from stages.trunk import local_part

ROWS = ("pooled", "pca", "features")


def rewritten(
    model: Model, folder: Path, arrays: dict[str, np.ndarray], **settings: object
) -> Model:
    write_model(
        folder, arrays, replace(model.settings, **settings), {"accept": {"inliers": 12}}, "make"
    )
    return open_model(folder)


def test_a_second_trunk_serves_the_local_features_alone(tiny_model: Path, tmp_path: Path) -> None:
    make_model(tmp_path / "other", seed=1)
    mine, other = open_model(tiny_model), open_model(tmp_path / "other")
    second = {f"local.{key}": tensor for key, tensor in local_part(other.part("trunk")).items()}
    both = rewritten(mine, tmp_path / "both", {**mine.arrays, **second})
    same_pca = rewritten(
        mine,
        tmp_path / "same",
        {**mine.arrays, **{k: v for k, v in other.arrays.items() if k.startswith("trunk.")}},
    )
    image = {"image": Image(picture(0))}
    pooled, code, features = encode(both, "cpu")(image, *ROWS)
    np.testing.assert_array_equal(pooled, encode(mine, "cpu")(image, "pooled"))
    np.testing.assert_array_equal(code, encode(mine, "cpu")(image, "pca"))
    wanted = encode(same_pca, "cpu")(image, "features")
    for name in ("xy", "descriptor", "score"):
        np.testing.assert_array_equal(getattr(features, name), getattr(wanted, name))
    assert not np.array_equal(
        features.descriptor, encode(mine, "cpu")(image, "features").descriptor
    )
    assert both.identity != mine.identity
    # with a head of a thousand classes
    assert (tmp_path / "both/weights.safetensors").stat().st_size + 1000 * 513 * 2 < 40e6


def test_the_score_threshold_is_the_models(tiny_model: Path, tmp_path: Path) -> None:
    model, image = open_model(tiny_model), Image(picture(0))
    whole = attentive_of(model, "cpu")(image)
    limited = rewritten(
        model, tmp_path / "m", {**model.arrays, "delf.threshold": whole.score[[20]]}
    )
    np.testing.assert_array_equal(attentive_of(limited, "cpu")(image).xy, whole.xy[:21])


@pytest.fixture(scope="module")
def rootsift(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    model = open_model(tiny_model)
    arrays = {
        name: array
        for name, array in model.arrays.items()
        if not name.startswith(("delf.", "attention."))
    }
    return rewritten(model, tmp_path_factory.mktemp("models") / "sift", arrays, features="rootsift")


def test_a_model_with_rootsift_needs_no_delf(rootsift: Model, tmp_path: Path) -> None:
    image = Image(picture(0))
    seen = encode(rootsift, "cpu")({"image": image}, "features")
    wanted = RootSift(side=96, keep=80)(image)
    for name in ("xy", "descriptor", "score"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(wanted, name))
    with pytest.raises(
        ModelError,
        match=r"^model sift: expected one with .*, got RootSIFT, .*; run with another `--model`$",
    ):
        attentive_of(rootsift, "cpu")
    delf = rewritten(rootsift, tmp_path / "delf", dict(rootsift.arrays), features="delf")
    with pytest.raises(ModelError, match=r"^model delf: expected an array delf\.mean, got none"):
        encode(delf, "cpu")


def test_a_gallery_of_rootsift_answers(
    rootsift: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Photos without features among the others, and a gallery of nothing else."""
    photos, blanks = tmp_path / "photos", tmp_path / "blanks"
    for seed in range(3):
        write_picture(photos / f"{seed}.png", picture(seed, 320, 240))
        write_picture(blanks / f"{seed}.png", np.full((30, 40, 3), 60 * seed, np.uint8))
    write_picture(photos / "blank.png", np.zeros((240, 320, 3), np.uint8))
    assert indexed(photos, tmp_path / "g", "--model", rootsift.folder) == 0
    assert indexed(blanks, tmp_path / "b", "--model", rootsift.folder) == 0
    assert read_gallery(tmp_path / "g").features.count.tolist()[3] == 0
    write_picture(tmp_path / "query.png", picture(1, 320, 240)[8:, 8:])
    found, lost = answers(capsys, tmp_path / "g", tmp_path / "query.png", photos / "blank.png")
    assert (found["results"][0]["image"], found["accepted"]) == ("1.png", 1)
    assert (lost["accepted"], [r["inliers"] for r in lost["results"]]) == (0, [0, 0, 0, 0])
    (blank,) = answers(capsys, tmp_path / "b", tmp_path / "query.png")
    assert (len(blank["results"]), blank["accepted"]) == (3, 0)
