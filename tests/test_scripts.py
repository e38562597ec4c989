"""The offline jobs on tiny data: train both looks, import weights, evaluate, bench, convert official weights."""

import csv
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import picture, write_picture
from safetensors.numpy import load_file, save_file

from pipeline import calibrate, index, run
from pipeline.models import open_model
from pipeline.truth import read_truth
from scripts import bench, evaluate, fetch_weights, import_weights, train


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that differ in colour, fifty photos each."""
    folder = tmp_path_factory.mktemp("classes")
    for i in range(100):
        pixels = picture(i, 40, 40)
        pixels[..., i % 2] //= 8
        write_picture(folder / ("red" if i % 2 else "green") / f"{i}.png", pixels)
    return folder


@pytest.fixture(scope="module")
def embedding(classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "embedding"
    assert train.main(["embedding", "--data", str(classes), "--out", str(out), "--px", "32", "--epochs", "3", "--batch", "16", "--rate", "0.02"]) == 0
    return out


def test_embedding_learns_and_logs(embedding: Path) -> None:
    lines = [json.loads(line) for line in (embedding / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert "layer4.1.conv2.weight" in load_file(embedding / "weights.safetensors")


def test_a_killed_run_goes_on_as_if_it_had_not_been(classes: Path, embedding: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped by an error in the middle of an epoch, run again, the weights are those of the uninterrupted run, bit for bit."""
    from pipeline import training

    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1)  # after every step
    save, calls = training.save_checkpoint, []

    def stop_at_seven(*args: object) -> None:
        save(*args)  # type: ignore[arg-type]
        calls.append(args)
        if len(calls) == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_checkpoint", stop_at_seven)
    command = ["embedding", "--data", str(classes), "--out", str(tmp_path), "--px", "32", "--epochs", "3", "--batch", "16", "--rate", "0.02"]
    assert train.main(command) == 130
    assert train.main(command) == 0
    whole, mended = load_file(embedding / "weights.safetensors"), load_file(tmp_path / "weights.safetensors")
    assert all(np.array_equal(whole[name], mended[name]) for name in whole)


@pytest.fixture(scope="module")
def model(classes: Path, embedding: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "model"
    command = ["delf", "--data", str(classes), "--start", str(embedding), "--out", str(out), "--px", "32", "--epochs", "1", "--batch", "16"]
    with pytest.MonkeyPatch.context() as patch:
        small(patch)
        assert train.main(command) == 0
    return out


def small(patch: pytest.MonkeyPatch) -> None:
    """Fit on small sizes: what is tested is the way, not the model."""
    from dataclasses import replace

    from pipeline import models

    whole = models.Settings
    patch.setattr(models, "Settings", lambda **fields: replace(whole(**fields), embed_side=64, describe_side=64, keep=30))


def test_delf_writes_a_model_that_answers(model: Path, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = open_model(model)
    assert opened.card["attention"] == "trained"
    assert opened.arrays["attention.hidden"].shape == (512, 256)
    assert opened.card["accept"] == {"inliers": 20}  # a hundred photos are too few to tell what chance does
    gallery = str(tmp_path / "g")
    assert index.main([str(classes / "red"), "--gallery", gallery, "--model", str(model)]) == 0
    capsys.readouterr()
    assert run.main([str(classes / "red" / "1.png"), "--gallery", gallery, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["image"] == "1.png"


def test_import_evaluate_and_bench(embedding: Path, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, gallery = tmp_path / "imported", str(tmp_path / "g")
    with pytest.MonkeyPatch.context() as patch:
        small(patch)
        patch.setattr(calibrate, "FEWEST", 50)
        assert import_weights.main([str(embedding / "weights.safetensors"), "--photos", str(classes), "--out", str(out)]) == 0
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
        csv.writer(file).writerows([["query", "relevant"], *([f"queries/{i}.png", f"{i}.png"] for i in range(3))])
    capsys.readouterr()
    assert evaluate.main(["--gallery", gallery, "--truth", str(tmp_path / "truth.csv"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"queries", "mAP", "precision@1", "precision@10", "hit@1", "hit@10", "coarse"}
    assert set(result["coarse"]) == {"mAP", "precision@1", "precision@10", "hit@1", "hit@10"}
    assert result["queries"] == 3
    assert result["hit@10"] == 1.0
    assert evaluate.main(["--gallery", gallery, "--labels", "folder", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mAP"] == 1.0  # one folder: everything is relevant
    assert bench.main(["index", "--photos", str(tmp_path / "photos"), "--model", str(out), "--gallery", gallery, "--json"]) == 0
    assert {"photos_per_second", "bare_forward_photos_per_second", "ratio"} <= set(json.loads(capsys.readouterr().out))
    assert bench.main(["query", "--queries", str(tmp_path / "queries"), "--gallery", gallery, "--json"]) == 0
    timed = json.loads(capsys.readouterr().out)
    assert {"embed", "search", "describe", "verify", "rank"} <= set(timed["seconds"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "want a header with query,relevant"),
        ("query,relevant\nq.png,\n", "line 2: want a query and a relevant photo"),
        ("query,relevant\nq.png,none.png\n", "line 2: want an indexed photo, got none.png"),
        ("query,relevant\n", "want at least one row"),
    ],
)
def test_truth_that_is_wrong_names_its_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text(text)
    with pytest.raises(evaluate.UsageError, match=said):
        read_truth(tmp_path / "truth.csv", frozenset({"a.png"}))


def test_import_refuses_what_is_no_resnet(tmp_path: Path, classes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"fc.weight": np.zeros((2, 2), np.float32), "fc.bias": np.zeros(2, np.float32)}, tmp_path / "w.safetensors")
    assert import_weights.main([str(tmp_path / "w.safetensors"), "--photos", str(classes), "--out", str(tmp_path / "m")]) == 2
    assert "resnet18 weights: want a tensor conv1.weight" in capsys.readouterr().err
    (tmp_path / "w.safetensors").write_bytes(b"pickle")
    assert import_weights.main([str(tmp_path / "w.safetensors"), "--photos", str(classes), "--out", str(tmp_path / "m")]) == 2
    assert "want a safetensors file" in capsys.readouterr().err


def test_official_weights_are_checked_and_become_tensors_only(tmp_path: Path) -> None:
    import torch

    torch.save({"a": torch.arange(3)}, tmp_path / "w.pth")
    digest = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()
    assert fetch_weights.convert(tmp_path / "w.pth", digest[:8], tmp_path / "w.safetensors") == digest
    assert load_file(tmp_path / "w.safetensors")["a"].tolist() == [0, 1, 2]
    with pytest.raises(fetch_weights.UsageError, match="want sha256 00000000"):
        fetch_weights.convert(tmp_path / "w.pth", "00000000", tmp_path / "x.safetensors")
    torch.save({"a": Path("code")}, tmp_path / "evil.pth")
    digits = hashlib.sha256((tmp_path / "evil.pth").read_bytes()).hexdigest()[:8]
    with pytest.raises(fetch_weights.UsageError, match="want a file of tensors"):
        fetch_weights.convert(tmp_path / "evil.pth", digits, tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()
