"""The offline jobs on tiny data: import weights, evaluate, bench, convert official weights."""

import csv
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pictures import picture, write_picture
from safetensors.numpy import load_file, save_file

from pipeline import index
from pipeline.commands import bench, evaluate, import_weights
from pipeline.datasets import torchvision_weights
from pipeline.gallery import chance
from pipeline.model import card
from pipeline.model.weights import open_model
from stages.trunk import build_resnet


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained ResNet18, as torchvision would save it."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(
        {name: tensor.numpy() for name, tensor in build_resnet("resnet18", 2).state_dict().items()},
        path,
    )
    return path


def small(patch: pytest.MonkeyPatch) -> None:
    """Fit on small sizes: what is tested is the way, not the model."""
    from dataclasses import replace

    whole = card.Settings
    patch.setattr(
        card,
        "Settings",
        lambda **fields: replace(whole(**fields), embed_side=64, describe_side=64, keep=30),
    )


def test_import_evaluate_and_bench(
    weights: Path, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, gallery = tmp_path / "imported", str(tmp_path / "g")
    with pytest.MonkeyPatch.context() as patch:
        small(patch)
        patch.setattr(chance, "FEWEST", 50)
        assert import_weights.main([str(weights), "--photos", str(classes), "--out", str(out)]) == 0
    null = open_model(out).null
    assert null is not None
    assert null.pairs > 1000
    for i in range(6):
        write_picture(tmp_path / "photos" / f"{i}.png", picture(1000 + i, 200, 150))
    assert index.main([str(tmp_path / "photos"), "--gallery", gallery, "--model", str(out)]) == 0
    for i in range(3):
        cut = picture(1000 + i, 200, 150)[20:140, 30:190]
        write_picture(tmp_path / "queries" / f"{i}.png", cv2.resize(cut, (200, 150)))
    with (tmp_path / "truth.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["query", "relevant"], *([f"queries/{i}.png", f"{i}.png"] for i in range(3))]
        )
    capsys.readouterr()
    assert (
        evaluate.main(["--gallery", gallery, "--truth", str(tmp_path / "truth.csv"), "--json"]) == 0
    )
    result = json.loads(capsys.readouterr().out)
    assert set(result) >= {
        "queries",
        "mAP",
        "precision@1",
        "precision@10",
        "hit@1",
        "hit@10",
        "coarse",
    }
    assert set(result["coarse"]) >= {"mAP", "precision@1", "precision@10", "hit@1", "hit@10"}
    assert result["queries"] == 3
    assert result["hit@10"] == 1.0
    assert evaluate.main(["--gallery", gallery, "--labels", "folder", "--json"]) == 2
    assert "expected folders of classes, got 6 photos in none" in capsys.readouterr().err
    assert (
        bench.main(
            [
                "index",
                "--photos",
                str(tmp_path / "photos"),
                "--model",
                str(out),
                "--gallery",
                gallery,
                "--json",
            ]
        )
        == 0
    )
    assert {"photos_per_second", "bare_forward_photos_per_second", "ratio"} <= set(
        json.loads(capsys.readouterr().out)
    )
    assert (
        bench.main(
            ["query", "--queries", str(tmp_path / "queries"), "--gallery", gallery, "--json"]
        )
        == 0
    )
    timed = json.loads(capsys.readouterr().out)
    assert {"embed", "search", "describe", "verify", "rank"} <= set(timed["seconds"])


def test_import_refuses_what_is_no_resnet(
    tmp_path: Path, classes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(
        {"fc.weight": np.zeros((2, 2), np.float32), "fc.bias": np.zeros(2, np.float32)},
        tmp_path / "w.safetensors",
    )
    assert (
        import_weights.main(
            [
                str(tmp_path / "w.safetensors"),
                "--photos",
                str(classes),
                "--out",
                str(tmp_path / "m"),
            ]
        )
        == 2
    )
    assert (
        "expected the weights of a ResNet18 or a ResNet50, got 100 of 100 tensors missing"
        in capsys.readouterr().err
    )
    (tmp_path / "w.safetensors").write_bytes(b"pickle")
    assert (
        import_weights.main(
            [
                str(tmp_path / "w.safetensors"),
                "--photos",
                str(classes),
                "--out",
                str(tmp_path / "m"),
            ]
        )
        == 2
    )
    assert "expected safetensors or a .pth file of weights" in capsys.readouterr().err


def test_official_weights_are_checked_and_become_tensors_only(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(3)}, tmp_path / "w.pth")
    digest = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()
    assert (
        torchvision_weights.convert(tmp_path / "w.pth", digest[:8], tmp_path / "w.safetensors")
        == digest
    )
    assert load_file(tmp_path / "w.safetensors")["a"].tolist() == [0, 1, 2]
    with pytest.raises(torchvision_weights.UsageError, match="expected sha256 00000000"):
        torchvision_weights.convert(tmp_path / "w.pth", "00000000", tmp_path / "x.safetensors")
    torch.save({"a": Path("code")}, tmp_path / "evil.pth")
    digits = hashlib.sha256((tmp_path / "evil.pth").read_bytes()).hexdigest()[:8]
    with pytest.raises(torchvision_weights.UsageError, match="expected tensors alone"):
        torchvision_weights.convert(tmp_path / "evil.pth", digits, tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()
