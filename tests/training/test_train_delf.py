"""Training where to look: one model for both looks, the trunk from a run or trained first, one
trunk or two, exact after a kill.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from planted_classes import run, trained

from pipeline import index
from pipeline import run as query
from pipeline.model.weights import open_model
from pipeline.training import loop
from pipeline.training.delf import attention, fold
from pipeline.training.embedding import read_start
from pipeline.training.loop import Plan


@pytest.fixture(scope="module")
def model(classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both steps."""
    return trained("delf", classes, tmp_path_factory.mktemp("runs") / "model", "--epochs", 1)


def test_both_steps_give_a_model_that_answers(
    model: Path, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = open_model(model)
    assert opened.card["attention"] == "trained"
    assert opened.card["descriptor"]["log"][0].startswith("epoch 1: 32 px")
    assert opened.arrays["attention.hidden"].shape == (512, 256)
    # a hundred photos are too few to tell what chance does
    assert opened.card["accept"] == {"inliers": 20}
    assert not any(name.startswith("local.") or name == "delf.threshold" for name in opened.arrays)
    gallery = str(tmp_path / "g")
    assert index.main([str(classes / "red"), "--gallery", gallery, "--model", str(model)]) == 0
    capsys.readouterr()
    assert query.main([str(classes / "red" / "1.png"), "--gallery", gallery, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["image"] == "1.png"
    trained("delf", classes, model, "--epochs", 1)
    assert capsys.readouterr().out == f"{model}: finished already; remove it to train once more\n"


def test_a_second_trunk_serves_the_local_features_alone(
    model: Path, classes: Path, tmp_path: Path
) -> None:
    """The first run's trunk embeds, another describes; cells below the median of all scores are no
    features.
    """
    other = trained(
        "embedding", classes, tmp_path / "other", "--weights-only", "--epochs", 1, "--seed", 5
    )
    out = trained(
        "delf",
        classes,
        tmp_path / "out",
        "--epochs",
        1,
        "--start",
        model / "descriptor",
        "--local",
        other,
        "--quantile",
        0.5,
    )
    opened, first, second = (
        open_model(out),
        read_start("--start", model / "descriptor"),
        read_start("--local", other),
    )
    local = opened.part("local")
    assert all(
        np.array_equal(opened.arrays[f"trunk.{name}"], array) for name, array in first.items()
    )
    assert all(
        np.array_equal(local[name], array)
        for name, array in second.items()
        if not name.startswith(("layer4", "fc"))
    )
    assert not any(name.startswith(("layer4", "fc")) for name in local)
    assert opened.arrays["delf.threshold"].shape == (1,)
    assert not np.array_equal(
        opened.arrays["attention.hidden"], open_model(model).arrays["attention.hidden"]
    )


def test_a_killed_run_ends_as_if_it_had_not_been(
    model: Path, classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step one included, stopped after every checkpoint."""
    save = loop.save_checkpoint

    def save_and_die(*args: object) -> None:
        save(*args)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_checkpoint", save_and_die)
    kills = 0
    while run("delf", classes, tmp_path / "out", "--epochs", 1) == 130:
        kills += 1
    assert kills == 2
    assert (tmp_path / "out" / "weights.safetensors").read_bytes() == (
        model / "weights.safetensors"
    ).read_bytes()


def test_the_folded_attention_scores_as_the_trained_one(model: Path) -> None:
    plan = Plan((32,), 1, 16, 0.1, 0.3, 0)
    task = attention(plan, ("a", "b"), read_start("--start", model), 32, False, "cpu")
    rng = np.random.default_rng(0)
    for step in range(3):  # so that the statistics are not those of a new batch norm
        task.loss(rng.integers(0, 256, (16, 32, 32, 3), np.uint8), rng.integers(0, 2, 16), step)
    cells = rng.normal(1, 1, (50, 256)).astype(np.float32)
    with torch.no_grad():
        wanted = (
            task.model.eval()
            .get_submodule("score")(torch.from_numpy(cells)[:, :, None, None])
            .flatten()
            .numpy()
        )
    assert np.std(wanted) > 0
    np.testing.assert_allclose(fold(task.model)(cells), wanted, rtol=1e-4)
