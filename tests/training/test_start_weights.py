"""Training from given weights: folded batch norms stay folded, what is frozen stays as it is, and
the rest learns.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_classes import trained
from safetensors.numpy import load_file, save_file
from small import complaint

from pipeline.training import embedding as train_embedding
from pipeline.training import loop
from stages.trunk import build_resnet


@pytest.fixture(scope="module")
def embedding(classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(
        "embedding", classes, tmp_path_factory.mktemp("runs") / "embedding", "--epochs", 1
    )


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a thousand classes whose batch norms have no statistics."""
    path = tmp_path_factory.mktemp("weights") / "folded.safetensors"
    state = {
        name: tensor.numpy() for name, tensor in build_resnet("resnet18", 1000).state_dict().items()
    }
    state["layer1.0.bn1.bias"] += 1
    # untrained, not folded
    assert not train_embedding.is_folded(
        {name: array for name, array in state.items() if "layer1.0" not in name}
    )
    save_file(
        {name: array.astype(np.float16) if array.ndim else array for name, array in state.items()},
        path,
    )
    return path


def test_folded_batch_norms_keep_their_statistics(
    folded: Path, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = trained(
        "embedding", classes, tmp_path / "out", "--start", folded, "--weights-only", "--epochs", 1
    )
    said = capsys.readouterr().err
    assert "its batch norms are folded" in said
    assert "its head of 1000 classes is replaced by a new one of 2" in said
    before, after = load_file(folded), load_file(out / "weights.safetensors")
    assert not any(after[name].any() for name in after if name.endswith("running_mean"))
    assert all((after[name] == 1).all() for name in after if name.endswith("running_var"))
    # what is affine is trained
    assert not np.array_equal(before["layer1.0.bn1.weight"], after["layer1.0.bn1.weight"])
    assert after["fc.weight"].shape == (2, 512)


def test_statistics_that_are_there_go_on(
    embedding: Path, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = trained(
        "embedding",
        classes,
        tmp_path / "out",
        "--start",
        embedding,
        "--weights-only",
        "--epochs",
        1,
    )
    assert "folded" not in capsys.readouterr().err
    before, after = (
        load_file(embedding / "weights.safetensors"),
        load_file(out / "weights.safetensors"),
    )
    assert not np.array_equal(before["trunk.bn1.running_mean"], after["bn1.running_mean"])


def test_head_only_leaves_the_trunk_as_it_is(
    embedding: Path, classes: Path, tmp_path: Path
) -> None:
    out = trained(
        "embedding",
        classes,
        tmp_path / "out",
        "--start",
        embedding,
        "--weights-only",
        "--epochs",
        1,
        "--head-only",
    )
    before, after = (
        load_file(embedding / "weights.safetensors"),
        load_file(out / "weights.safetensors"),
    )
    assert {name for name in after if not np.array_equal(before[f"trunk.{name}"], after[name])} == {
        "fc.weight",
        "fc.bias",
    }


def test_a_fitted_head_knows_the_classes_before_anything_is_learned(
    folded: Path, classes: Path, tmp_path: Path
) -> None:
    still = ("--start", folded, "--weights-only", "--epochs", 1, "--rate", 1e-12)
    shares = {}
    for name, more in (("random", ()), ("fitted", ("--fit-head",))):
        out = trained("embedding", classes, tmp_path / name, *still, *more)
        shares[name] = json.loads((out / "result.json").read_text())["validation"]
    assert shares["fitted"] == 1.0 > shares["random"]


@pytest.mark.parametrize(("figures", "kept"), [((0.9, 0.8, 0.9), 0), ((0.9, 0.8, 0.95), 2)])
def test_a_fitted_head_stays_where_no_epoch_is_better(
    figures: tuple[float, ...],
    kept: int,
    folded: Path,
    classes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a run that was killed after its first epoch, too."""
    left, save = iter(figures), loop.save_checkpoint

    def killed(*given: Any) -> None:
        save(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(train_embedding, "top1", lambda *_: next(left))
    more = ("--start", folded, "--weights-only", "--fit-head", "--epochs", 2, "--rate", 1e-3)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", killed)
        trained("embedding", classes, tmp_path / "out", *more, code=130)
    assert not (tmp_path / "out" / "result.json").exists()
    out = trained("embedding", classes, tmp_path / "out", *more)
    result = json.loads((out / "result.json").read_text())
    assert (result["best_epoch"], result["validation"]) == (kept, figures[kept])
    assert result["start_validation"] == 0.9
    said = capsys.readouterr().out
    assert ("at the start, on which none of 2 epochs improved" in said) == (not kept)
    before, after = load_file(folded), load_file(out / "weights.safetensors")
    trunk = {name for name in after if not name.startswith("fc.")}
    assert all(np.array_equal(before[name], after[name]) for name in trunk) == (not kept)


def test_a_head_that_is_solved_for_takes_no_step(
    folded: Path, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only = ("--start", folded, "--weights-only", "--head-only", "--fit-head", "--epochs", 1)
    out = trained("embedding", classes, tmp_path / "out", *only)
    before, after = load_file(folded), load_file(out / "weights.safetensors")
    assert {name for name in after if not np.array_equal(before[name], after[name])} == {
        "fc.weight",
        "fc.bias",
    }
    assert json.loads((out / "result.json").read_text())["validation"] == 1.0
    capsys.readouterr()
    trained("embedding", classes, tmp_path / "two", *only, "--epochs", 2, code=2)
    assert "--epochs 2: expected none with --head-only --fit-head" in complaint(capsys)


@pytest.mark.parametrize("adam", [(), ("--adam", "--rate", 1e-4)])
def test_frozen_parts_stay_and_the_others_learn(
    adam: tuple[object, ...], embedding: Path, classes: Path, tmp_path: Path
) -> None:
    """Their statistics, too."""
    out = trained(
        "embedding",
        classes,
        tmp_path / "out",
        "--start",
        embedding,
        "--weights-only",
        "--epochs",
        1,
        "--freeze",
        3,
        *adam,
    )
    before, after = (
        load_file(embedding / "weights.safetensors"),
        load_file(out / "weights.safetensors"),
    )
    changed = {
        name.split(".")[0]
        for name in after
        if not np.array_equal(before[f"trunk.{name}"], after[name])
    }
    assert changed == {"layer3", "layer4", "fc"}


def test_adam_is_another_optimizer(embedding: Path, classes: Path, tmp_path: Path) -> None:
    flags = ("--start", embedding, "--weights-only", "--epochs", 1, "--rate", 1e-4)
    one, other = (
        load_file(
            trained("embedding", classes, tmp_path / name, *flags, *more) / "weights.safetensors"
        )
        for name, more in (("sgd", ()), ("adam", ("--adam",)))
    )
    assert not np.array_equal(one["conv1.weight"], other["conv1.weight"])
