"""Imported models and the controls of every table: random weights, RootSIFT, and a model's own
trunk with other settings.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import picture, write_picture
from small import answers, complaint, indexed

from pipeline import run
from pipeline.commands import import_weights, prepare
from pipeline.commands.import_weights import untrained
from pipeline.model.card import Settings
from pipeline.model.weights import open_model
from pipeline.training import fit
from stages.trunk import build_resnet

SMALL = ("--embed-side", "32", "--describe-side", "64", "--keep", "30", "--jobs", "1")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    for seed in range(80):
        write_picture(folder / f"{seed:02d}.png", picture(seed, 80, 60))
    return folder


def imported(*arguments: object, code: int = 0) -> None:
    assert import_weights.main([*map(str, arguments)]) == code


def test_a_models_own_trunk_is_taken_and_nothing_else(
    tiny_model: Path, photos: Path, tmp_path: Path
) -> None:
    imported(
        tiny_model / "weights.safetensors", "--photos", photos, "--out", tmp_path / "m", *SMALL
    )
    before, after = open_model(tiny_model), open_model(tmp_path / "m")
    assert after.settings == Settings(
        "resnet18", embed_side=32, describe_side=64, keep=30, features="delf"
    )
    assert after.settings.to_json() == {
        "trunk": "resnet18",
        "embed_side": 32,
        "describe_side": 64,
        "keep": 30,
    }
    assert after.part("trunk").keys() == before.part("trunk").keys()
    assert all(
        np.array_equal(tensor, before.part("trunk")[name])
        for name, tensor in after.part("trunk").items()
    )
    assert not np.array_equal(after.arrays["delf.components"], before.arrays["delf.components"])
    assert after.card["mend"].startswith("python scripts/import_weights.py ")
    assert " --describe-side 64 " in after.card["mend"]


def test_untrained_rootsift_is_a_model_that_answers(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (
        "--untrained",
        "resnet18",
        "--features",
        "rootsift",
        "--photos",
        photos,
        *SMALL,
        "--describe-side",
        "320",
        "--seed",
        "3",
    )
    (tmp_path / "more.json").write_text('{"licence": "of its own"}')
    more = ("--card", tmp_path / "more.json", "--mend", "fetch it again")
    imported(*command, "--out", tmp_path / "m")
    imported(*command, "--out", tmp_path / "again", *more)
    card = open_model(tmp_path / "again").card
    assert (card["licence"], card["mend"]) == ("of its own", "fetch it again")
    model = open_model(tmp_path / "m")
    assert model.identity == open_model(tmp_path / "again").identity
    assert (model.settings.features, model.settings.describe_side) == ("rootsift", 320)
    assert {name.split(".")[0] for name in model.arrays} == {"trunk", "reduce"}
    assert model.card["data"]["weights"] == "resnet18, random, seed 3"
    for seed in range(3):
        write_picture(tmp_path / "photos" / f"{seed}.png", picture(seed, 320, 240))
    write_picture(tmp_path / "query.png", picture(1, 320, 240)[9:, 9:])
    assert indexed(tmp_path / "photos", tmp_path / "g", "--model", tmp_path / "m") == 0
    (answer,) = answers(capsys, tmp_path / "g", tmp_path / "query.png")
    assert answer["results"][0]["image"] == "1.png"
    assert answer["results"][0]["inliers"] > 20


def test_random_weights_are_those_of_their_seed() -> None:
    (first, digest), (again, same), (other, else_) = (
        untrained("resnet18", 0),
        untrained("resnet18", 0),
        untrained("resnet18", 1),
    )
    assert digest == same != else_
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["conv1.weight"], other["conv1.weight"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "expected FILE, safetensors or .pth, or --untrained, got neither"),
        (
            ("w.safetensors", "--untrained", "resnet50"),
            "expected FILE, safetensors or .pth, or --untrained, got both",
        ),
    ],
)
def test_one_source_of_weights_is_wanted(
    given: tuple[str, ...],
    said: str,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    imported(*given, "--photos", photos, "--out", tmp_path / "m", code=2)
    assert complaint(capsys) == f"import_weights: weights: {said}"
    assert not (tmp_path / "m").exists()


def test_a_lite_trunk_is_a_recipe_of_its_own(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its embedding is the package's own, on the package's own input."""
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    from safetensors.torch import save_file

    from pipeline.recipes import encode
    from stages.embed import normalise
    from stages.records import Image

    torch.manual_seed(0)
    network = lite.EfficientNet.from_name("efficientnet-lite0")
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # its statistics are those of the pictures below
    shown = np.stack([picture(seed, 64, 64) for seed in range(8)])
    with torch.no_grad():
        network.train()((torch.from_numpy(shown).permute(0, 3, 1, 2).float() - 127) / 128)
    network.eval()
    save_file(network.state_dict(), tmp_path / "lite0.safetensors")
    small = ("--embed-side", "64", "--keep", "30", "--jobs", "1", "--features", "rootsift")
    imported(tmp_path / "lite0.safetensors", "--photos", photos, "--out", tmp_path / "lite", *small)
    model = open_model(tmp_path / "lite")
    assert (model.settings.recipe, model.settings.trunk) == ("lite", "efficientnet_lite0")
    pixels = picture(3, 64, 64)
    pooled, logits = encode(model, "cpu")({"image": Image(pixels)}, "pooled", "logits")
    with torch.inference_mode():
        x = (torch.from_numpy(pixels).permute(2, 0, 1)[None].float() - 127) / 128
        mean = network.extract_features(x).mean((2, 3))[0].numpy()
        wanted = network(x)[0].numpy()
    np.testing.assert_allclose(pooled[0], mean, atol=0.05)  # weights are float16
    np.testing.assert_allclose(logits, wanted, atol=0.03)
    assert wanted.std() > 0.1
    assert normalise(pooled).shape == (1280,)
    assert indexed(photos, tmp_path / "g", "--model", tmp_path / "lite") == 0
    (answer,) = answers(capsys, tmp_path / "g", photos / "03.png")
    assert answer["results"][0]["image"] == "03.png"


def test_the_recipe_lite_says_how_its_model_is_made(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert indexed(photos, tmp_path / "g", "--recipe", "lite") == 2
    assert "make it as docs/recipes.md says" in complaint(capsys)
    out = tmp_path / "lite0.safetensors"
    weights = str(tmp_path / "none.pth")
    assert (
        prepare.main(["weights", "efficientnet_lite0", "--file", weights, "--out", str(out)]) == 2
    )
    assert "expected a readable file" in complaint(capsys)


def test_a_checkpoint_without_a_head_is_a_model_without_class_scores(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As MoCo and torch.compile leave it, in a .pth file of bfloat16."""
    torch.manual_seed(0)
    state = {
        f"_orig_mod.module.encoder_q.{name}": tensor.bfloat16()
        for name, tensor in build_resnet("resnet18", 10).state_dict().items()
        if not name.startswith("fc.")
    }
    torch.save({"state_dict": state, "epoch": 7}, tmp_path / "moco.pth")
    more = ("--photos", photos, "--out", tmp_path / "m", *SMALL, "--features", "rootsift")
    imported(tmp_path / "moco.pth", *more)
    said = capsys.readouterr().err
    assert "prefix '_orig_mod.module.encoder_q.' taken away; 100 tensors of a ResNet" in said
    assert "no class head, which `--code logits` alone asks for" in said
    assert "300 different ones for a chance model of its own, got 80" in said
    assert indexed(photos, tmp_path / "g", "--model", tmp_path / "m") == 0
    (answer,) = answers(capsys, tmp_path / "g", photos / "03.png")
    assert answer["results"][0]["image"] == "03.png"
    asked = [str(photos / "03.png"), "--gallery", str(tmp_path / "g")]
    assert run.main([*asked, "--code", "embedding"]) == 0
    capsys.readouterr()
    assert run.main([*asked, "--code", "logits"]) == 2
    assert "--code logits: expected a model with a class head, got m" in complaint(capsys)


@pytest.mark.parametrize("wrong", ["nan", "few", "vgg"])
def test_what_cannot_become_a_model_is_said_before_a_photo_is_seen(
    wrong: str,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def seen(*_: object) -> None:
        raise AssertionError("a photo was read")

    monkeypatch.setattr(fit, "load_image", seen)
    state = build_resnet("resnet18", 10).state_dict()
    if wrong == "nan":
        state["layer2.0.bn1.weight"][3] = float("nan")
    if wrong == "vgg":
        state = {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(64)}
    if wrong == "few":
        for path in sorted(photos.iterdir())[:5]:
            write_picture(tmp_path / "few" / path.name, picture(0, 20, 20))
        photos = tmp_path / "few"
    torch.save(state, tmp_path / "w.pth")
    imported(tmp_path / "w.pth", "--photos", photos, "--out", tmp_path / "m", code=2)
    assert {
        "nan": "expected finite numbers, got 1 of 128 NaN or infinite in layer2.0.bn1.weight",
        "few": "expected at least 80 that can be read, and 300 different ones for a chance model of"
        " its own, got 5",
        "vgg": "expected the weights of a ResNet18 or a ResNet50, got a VGG: 100 of 100 tensors",
    }[wrong] in complaint(capsys)
    assert not (tmp_path / "m").exists()
