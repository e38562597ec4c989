"""Training an embedding: it learns, keeps its best epoch and goes on after any kill as if nothing
had been.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import picture, write_picture
from planted_classes import run, trained, write_classes
from safetensors.numpy import load_file

from pipeline.base.errors import UsageError
from pipeline.model.weights import open_model
from pipeline.training import embedding as train_embedding
from pipeline.training import loop
from pipeline.training.data import HOLD_OUT, batches, read_data
from pipeline.training.folders import list_rows, stable_hash
from pipeline.training.loop import Schedule

TIMES = ("photos_per_second", "seconds")


@pytest.fixture(scope="module")
def embedding(classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained("embedding", classes, tmp_path_factory.mktemp("runs") / "embedding")


def log(out: Path) -> list[dict[str, Any]]:
    """The lines, without what the clock says."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def plant(patch: pytest.MonkeyPatch, figures: list[float]) -> list[int]:
    """Validations that give these figures, one after the other; returns how many photos each
    saw."""
    seen: list[int] = []

    def top1(logits: Any, photos: Any, px: int) -> float:
        seen.append(len(photos.labels))
        return figures[len(seen) - 1]

    patch.setattr(train_embedding, "top1", top1)
    return seen


def test_what_tells_classes_by_the_searched_vector_is_not_kept(
    embedding: Path, classes: Path, tmp_path: Path
) -> None:
    out = trained("embedding", classes, tmp_path / "out", "--hidden", 16)
    arrays, plain = (load_file(run / "weights.safetensors") for run in (out, embedding))
    assert arrays.keys() == plain.keys()
    assert any(not np.array_equal(array, plain[name]) for name, array in arrays.items())
    assert json.loads((out / "result.json").read_text())["settings"]["--hidden"] == 16
    losses = [[line["loss"] for line in log(run)] for run in (out, embedding)]
    assert losses[0][-1] < losses[0][0]  # it learns, and something else
    assert losses[0] != losses[1]


def test_it_learns_logs_and_becomes_a_model(
    embedding: Path, classes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.loads(line) for line in (embedding / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(
        set(line) == {"epoch", "step", "px", "rate", "loss", "validation", *TIMES} for line in lines
    )
    assert lines[-1]["loss"] < lines[0]["loss"]
    model, result = open_model(embedding), json.loads((embedding / "result.json").read_text())
    assert model.card["best_epoch"] == 1 + int(np.argmax([line["validation"] for line in lines]))
    assert (
        model.card["validation"]
        == result["validation"]
        == max(line["validation"] for line in lines)
    )
    assert (model.card["attention"], model.card["test"], model.card["classes"]) == (
        "length of the feature, not trained",
        None,
        ["green", "red"],
    )
    assert model.arrays["trunk.fc.weight"].dtype == np.float16
    assert model.settings.embed_side == 64
    assert sum(model.card["data"]["photos"].values()) == 100
    assert (embedding / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not list(embedding.glob("*checkpoint*"))
    before = (embedding / "weights.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    trained("embedding", classes, embedding, "--jobs", 1)
    assert (
        capsys.readouterr().out == f"{embedding}: finished already; remove it to train once more\n"
    )
    rows = embedding.parent / "rows.json"
    # the row of a run that is finished
    trained("embedding", classes, embedding, "--results", rows, "--label", "mine")
    (row,) = json.loads(rows.read_text())["rows"]
    assert (row["label"], row["validation"], row["test"], row["command"]) == (
        "mine, seed 0",
        result["validation"],
        None,
        result["command"],
    )
    assert (embedding / "weights.safetensors").stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def whole(
    classes: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[int, dict[str, np.ndarray]]]:
    """A run never killed whose second epoch is the best, as the third only ties; and the weights at
    each epoch's last step.
    """
    kept: dict[int, dict[str, np.ndarray]] = {}
    save = loop.save_checkpoint

    def remember(
        path: Path, model: Any, optimizer: Any, best: Any, progress: Any, settings: Any
    ) -> None:
        save(path, model, optimizer, best, progress, settings)
        kept[progress.step] = {
            name: tensor.clone().numpy() for name, tensor in model.state_dict().items()
        }

    with pytest.MonkeyPatch.context() as patch:
        plant(patch, [0.5, 0.9, 0.9])
        patch.setattr(loop, "save_checkpoint", remember)
        return (
            trained(
                "embedding",
                classes,
                tmp_path_factory.mktemp("runs") / "whole",
                "--weights-only",
                "--batch",
                32,
            ),
            kept,
        )


def test_the_best_epoch_is_what_is_written(
    whole: tuple[Path, dict[int, dict[str, np.ndarray]]],
) -> None:
    out, kept = whole
    weights = load_file(out / "weights.safetensors")
    assert list(kept) == [3, 6, 9]
    assert all(np.array_equal(weights[name], kept[6][name].astype(np.float16)) for name in weights)
    assert not np.array_equal(weights["fc.weight"], kept[9]["fc.weight"].astype(np.float16))
    assert [line["validation"] for line in log(out)] == [0.5, 0.9, 0.9]


def test_the_last_epoch_is_kept_where_that_is_asked(
    classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter((0.9, 0.5))
    monkeypatch.setattr("pipeline.training.embedding.top1", lambda *_: next(figures))
    out = trained(
        "embedding",
        classes,
        tmp_path / "run",
        "--weights-only",
        "--batch",
        32,
        "--epochs",
        2,
        "--last",
    )
    result = json.loads((out / "result.json").read_text())
    assert (result["best_epoch"], result["validation"]) == (2, 0.5)


@pytest.mark.parametrize("when", ["after every checkpoint", "before every log", "amid an epoch"])
def test_a_killed_run_ends_as_if_it_had_not_been(
    when: str,
    whole: tuple[Path, Any],
    classes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bytes and the log of a run never killed."""
    save, show, to_tensor = loop.save_checkpoint, loop.show, train_embedding.to_tensor
    kills, calls = 0, 0
    plant(monkeypatch, [0.5, 0.9, 0.9])
    if when == "after every checkpoint":
        monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1)  # after every step

        def save_and_die(*args: Any) -> None:
            save(*args)
            raise KeyboardInterrupt

        monkeypatch.setattr(loop, "save_checkpoint", save_and_die)
    elif when == "before every log":

        def die(out: Path, progress: Any) -> None:
            nonlocal calls
            calls += 1
            if calls % 2 == 0:
                raise KeyboardInterrupt
            show(out, progress)

        monkeypatch.setattr(loop, "show", die)
    else:

        def die_at_five(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 5:
                raise KeyboardInterrupt
            return to_tensor(*args)

        monkeypatch.setattr(train_embedding, "to_tensor", die_at_five)
    while run("embedding", classes, tmp_path / "killed", "--weights-only", "--batch", 32) == 130:
        kills += 1
    assert kills == {"after every checkpoint": 9, "before every log": 3, "amid an epoch": 1}[when]
    assert (tmp_path / "killed" / "weights.safetensors").read_bytes() == (
        whole[0] / "weights.safetensors"
    ).read_bytes()
    assert log(tmp_path / "killed") == log(whole[0])


@pytest.mark.parametrize("state", ["finished", "unfinished"])
def test_other_settings_are_refused_by_name(
    state: str,
    embedding: Path,
    classes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = embedding
    if state == "unfinished":
        out = tmp_path / "out"
        plant(monkeypatch, [0.5])  # the second epoch's validation fails
        with pytest.raises(IndexError):
            trained("embedding", classes, out)
    capsys.readouterr()
    trained("embedding", classes, out, "--rate", "0.5", "--seed", "3", code=2)
    assert (
        f"{out}: expected --rate 0.02, with which it began, got --rate 0.5; run with another"
        " `--out`" in capsys.readouterr().err
    )
    trained("embedding", classes, out, "--bf16", code=2)
    assert "expected no --bf16, with which it began, got --bf16" in capsys.readouterr().err


def test_a_run_goes_on_with_its_own_photos_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_classes(tmp_path / "classes")
    with monkeypatch.context() as patch:
        plant(patch, [0.5])
        with pytest.raises(IndexError):
            trained("embedding", data, tmp_path / "out")
    write_classes(data, 1, first=100)
    trained("embedding", data, tmp_path / "out", code=2)
    assert "expected photos" in capsys.readouterr().err


def test_weights_that_were_damaged_since_are_trained_again(
    classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = trained("embedding", classes, tmp_path / "out", "--weights-only", "--epochs", 1)
    whole = (out / "weights.safetensors").read_bytes()
    (out / "weights.safetensors").write_bytes(whole[:-1])
    trained("embedding", classes, out, "--weights-only", "--epochs", 1)
    assert "gone or damaged" in capsys.readouterr().err
    assert (out / "weights.safetensors").read_bytes() == whole


def test_the_test_photos_are_seen_once_at_the_end(
    classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    valid, test = (
        write_classes(tmp_path / "valid", 12, first=100),
        write_classes(tmp_path / "test", 8, first=200),
    )
    seen = plant(monkeypatch, [0.9, 0.5, 0.5, 0.25])
    out = trained(
        "embedding", classes, tmp_path / "out", "--weights-only", "--valid", valid, "--test", test
    )
    result = json.loads((out / "result.json").read_text())
    assert seen == [12, 12, 12, 8]
    assert (result["best_epoch"], result["validation"], result["test"]) == (1, 0.9, 0.25)
    assert result["data"]["photos"] == {"train": 100, "validation": 12, "test": 8}


@pytest.mark.parametrize(
    ("figures", "judged", "kept"),
    [
        ((0.5, 0.9, 0.88, 0.7, 0.86), 45, 5),  # a standard error of .9 among 45 is .045
        ((0.5, 0.9, 0.88, 0.7, 0.85), 45, 3),
        ((0.5, 0.9, 0.88, 0.7, 0.86), 400, 2),  # .015 among 400
        ((0.85, 0.9, 0.86, 0.95, 0.9), 45, 4),
        ((1.0, 0.95, 1.0), 45, 3),
        ((0.5, 0.9, 0.88, 0.9), 0, 2),  # without it the earliest of the best
    ],
)
def test_the_latest_epoch_within_a_standard_error_of_the_best_is_kept(
    figures: tuple[float, ...], judged: int, kept: int, tmp_path: Path
) -> None:
    model, left = torch.nn.Linear(1, 1), iter(figures)

    def batch(epoch: int, first: int) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
        yield torch.ones(1, 1), np.zeros(1, np.int64)

    weights = []

    def validate() -> float:
        weights.append(model.weight.item())
        return next(left)

    schedule = Schedule(
        len(figures), 1, 0.1, batch, lambda epoch: {"px": 8}, validate=validate, judged=judged
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    progress = loop.run(
        model, optimizer, lambda x, y, step: model(x).square().sum(), schedule, tmp_path, {}
    )
    assert (progress.best, progress.validation) == (kept, figures[kept - 1])
    assert model.weight.item() == weights[kept - 1]  # of that epoch


def test_one_photo_in_twenty_is_held_out_by_the_hash_of_its_path(classes: Path) -> None:
    data = read_data([classes], None, None, 40, 40)
    names = [path.relative_to(classes.parent).as_posix() for path in sorted(classes.rglob("*.png"))]
    held = {stable_hash(name) for name in names if stable_hash(name) % HOLD_OUT == 0}
    assert set(data.valid.keys.tolist()) == held
    assert len(data.train.keys) == 100 - len(held)
    assert stable_hash("classes/red/1.png") == 0xB61C4DDB8421F03


def test_train_val_and_test_folders_are_taken_for_what_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for part, count in (("train", 6), ("Validation", 4), ("test", 2)):
        write_classes(tmp_path / "data" / part, count, first=count * 10)
    with caplog.at_level("INFO"):
        data = read_data([tmp_path / "data"], None, None, 40, 40)
    assert data.test is not None
    counts = [len(photos.labels) for photos in (data.train, data.valid, data.test)]
    assert counts == [6, 4, 2]
    assert data.train.classes == ("green", "red")
    assert (data.folders, data.held) == ((tmp_path / "data" / "train",), False)
    assert "6 photos trained on, 4 photos validated on, 2 photos tested on" in caplog.text
    assert "2 classes: green, red; 12 photos, 6 of each; below Validation/, test/" in caplog.text
    given = read_data([tmp_path / "data"], tmp_path / "data" / "test", None, 40, 40)
    assert len(given.valid.labels) == 2
    with pytest.raises(UsageError, match="expected train/ in all folders or in none, got it in 1"):
        read_data([tmp_path / "data", tmp_path / "data" / "train"], None, None, 40, 40)


def test_the_first_folder_is_the_class_unless_told(tmp_path: Path) -> None:
    for breed, i in (("cat/tabby", 0), ("cat/black", 1), ("dog/pug", 2), ("dog/pug", 3)):
        write_picture(tmp_path / breed / f"{i}.png", picture(i, 40, 40))
    for i in range(4, 44):
        write_picture(tmp_path / "cat/tabby" / f"{i}.png", picture(0, 8, 8))
        write_picture(tmp_path / "cat/black" / f"{i}.png", picture(0, 8, 8))
    assert read_data([tmp_path], None, None, 40, 40).train.classes == ("cat", "dog")
    rows, _ = list_rows([tmp_path], "--data", "parent")
    assert {label for _, label, _ in rows} == {"tabby", "black", "pug"}
    write_picture(tmp_path / "0.png", picture(0, 40, 40))
    with pytest.raises(UsageError, match=r"got 1 beside the folders, as 0\.png"):
        list_rows([tmp_path], "--data", "folder")
    assert len(list_rows([tmp_path], "--data", "top")[0]) == 84


def test_a_batch_is_the_same_wherever_a_run_goes_on(classes: Path) -> None:
    photos = read_data([classes], None, None, 40, 40).train
    whole, rest = (
        list(batches(photos, 16, 24, 3, 1, 0, 0.3)),
        list(batches(photos, 16, 24, 3, 1, 2, 0.3)),
    )
    assert len(whole) == len(photos.labels) // 16
    assert all(
        np.array_equal(a, b)
        for one, other in zip(whole[2:], rest, strict=True)
        for a, b in zip(one, other, strict=True)
    )
    other = next(batches(photos, 16, 24, 3, 2, 0, 0.3))
    assert not np.array_equal(other[0], whole[0][0])
