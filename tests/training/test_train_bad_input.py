"""Training on what is wrong: every mistake is one line that says what to do, and nothing already
written is lost.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import picture, write_picture
from planted_classes import trained, write_classes
from safetensors.numpy import load_file, save_file

from pipeline.training import embedding as train_embedding
from pipeline.training import loop


def last(capsys: pytest.CaptureFixture[str]) -> str:
    """The complaint: what is said last."""
    return capsys.readouterr().err.splitlines()[-1]


def empty_class(folder: Path) -> None:
    (folder / "blue").mkdir()
    (folder / "blue" / "notes.txt").write_text("none yet")


def one_photo(folder: Path) -> None:
    for path in sorted(folder.rglob("*.png"))[1:]:
        path.unlink()
    (folder / "red").rmdir()


def one_class(folder: Path) -> None:
    for path in (folder / "red").iterdir():
        path.unlink()
    (folder / "red").rmdir()


def lonely(folder: Path) -> None:
    write_picture(folder / "blue" / "0.png", picture(0, 40, 40))


def torn(folder: Path) -> None:
    lonely(folder)
    (folder / "blue" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (empty_class, "expected photos in every class, got none in blue"),
        (one_photo, "expected at least two classes of two photos, got one photo"),
        (one_class, "expected a folder a class and at least two, got one class: green"),
        (lonely, "class blue: expected at least two photos, got 1 that can be read of 1"),
        (torn, "class blue: expected at least two photos, got 1 that can be read of 2"),
    ],
)
def test_folders_that_cannot_be_learned_from(
    spoil: Callable[[Path], None], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_classes(tmp_path / "classes", 6)
    spoil(data)
    trained("embedding", data, tmp_path / "out", code=2)
    line = last(capsys)
    assert line.startswith("train: --data")
    assert said in line
    assert not (tmp_path / "out").exists()


def test_unreadable_photos_are_named_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_classes(tmp_path / "classes", 40, first=40)
    (data / "red" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    (data / "green" / "gone.png").symlink_to("nowhere.png")
    out = trained("embedding", data, tmp_path / "out", "--weights-only", "--epochs", 1)
    said = capsys.readouterr().err
    assert f"{data}/red/torn.png: expected a whole PNG" in said
    assert f"{data}/green/gone.png: expected a link to a photo" in said
    assert '"unreadable": 2' in (out / "result.json").read_text()


@pytest.mark.parametrize(
    ("photos", "flags", "said"),
    [
        (
            4,
            (),
            (
                "--valid: expected photos, got none in the one in twenty held out; run with"
                " `--valid DIR`"
            ),
        ),
        (40, ("--batch", 64), "--batch 64: expected 2 or more and at most the"),
        (
            40,
            (),
            "expected at least 80 photos to fit a model on, got 40; run with `--weights-only`",
        ),
        (40, ("--head-only",), "--head-only: expected --start"),
        (40, ("--freeze", 2), "--freeze: expected --start"),
        (40, ("--fit-head",), "--fit-head: expected --start, whose vectors it is fitted on"),
        (40, ("--quantile", 0.5), "--quantile: expected it with `delf`, got `embedding`"),
        (40, ("--valid", "{data}/red"), "expected photos that were not seen before"),
        (40, ("--test", "{strange}"), "expected the classes of --data, got another: violet"),
        (40, ("--test", "{none}"), "expected a readable folder"),
        (40, ("--card", "{none}"), "expected a JSON file"),
        (
            40,
            ("--start", "{none}"),
            "expected a readable file of weights, got: No such file",
        ),
        (40, ("--start", "{text}"), "expected safetensors or a .pth file of weights, got another"),
        (40, ("--start", "{folder}"), "a model or a file of weights, got a folder without weights"),
        (40, ("--start", "{part}"), "expected the weights of a resnet18, got 100 of 100 tensors"),
        (
            40,
            ("--start", "{wide}"),
            "1 of another shape, as conv1.weight (1,), not (64, 3, 7, 7)",
        ),
    ],
)
def test_flags_that_cannot_be_met(
    photos: int,
    flags: tuple[object, ...],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = write_classes(tmp_path / "classes", photos, first=40 if photos == 40 else 0)
    write_picture(tmp_path / "strange" / "violet" / "0.png", picture(0, 40, 40))
    (tmp_path / "text").write_text("weights")
    head = {"fc.weight": np.zeros((2, 512), np.float32), "fc.bias": np.zeros(2, np.float32)}
    save_file(head, tmp_path / "part")
    save_file({**head, "conv1.weight": np.zeros(1, np.float32)}, tmp_path / "wide")
    (tmp_path / "folder").mkdir()
    names = ("strange", "none", "text", "part", "wide", "folder")
    places = {name: tmp_path / name for name in names}
    trained(
        "embedding",
        data,
        tmp_path / "out",
        *(str(flag).format(data=data, **places) for flag in flags),
        code=2,
    )
    assert said in last(capsys)


@pytest.mark.parametrize(
    "flags",
    [
        ("--rate", "0"),
        ("--rate", "nan"),
        ("--smallest", "1.5"),
        ("--seed", "-1"),
        ("--quantile", "1"),
        ("--px", "0"),
    ],
)
def test_numbers_that_are_none(flags: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        trained("embedding", tmp_path, tmp_path / "out", *flags)
    assert stop.value.code == 2


@pytest.mark.parametrize("what", ["loss", "weights"])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, calls, to_tensor = (
        write_classes(tmp_path / "classes", 40, first=40),
        [],
        train_embedding.to_tensor,
    )

    step = torch.optim.SGD.step

    def spoiled(*args: Any) -> torch.Tensor:
        calls.append(args)
        # two steps an epoch
        return to_tensor(*args) * (float("nan") if what == "loss" and len(calls) == 4 else 1)

    def burst(self: torch.optim.SGD, *args: Any) -> None:
        step(self, *args)
        if what == "weights" and len(calls) == 4:
            self.param_groups[0]["params"][0].data[0] = float("inf")

    monkeypatch.setattr(train_embedding, "to_tensor", spoiled)
    monkeypatch.setattr(train_embedding, "top1", lambda *_: 0.5)
    monkeypatch.setattr(torch.optim.SGD, "step", burst)
    trained("embedding", data, tmp_path / "out", "--weights-only", code=2)
    line = last(capsys)
    assert "step 4: expected finite numbers, got" in line
    assert "run with a `--rate` lower than 0.02" in line
    kept = load_file(tmp_path / "out" / "checkpoint.safetensors")
    assert all(np.isfinite(array).all() for array in kept.values())
    assert len((tmp_path / "out" / "log.jsonl").read_text().splitlines()) == 1


def test_a_full_disk_leaves_the_earlier_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = write_classes(tmp_path / "classes", 40, first=40), tmp_path / "out"
    whole = trained("embedding", data, tmp_path / "whole", "--weights-only")
    checkpoint, earlier, sync = out / "checkpoint.safetensors", [], os.fsync

    def full(descriptor: int) -> None:
        if checkpoint.is_file() and (out / "checkpoint.safetensors.tmp").exists():
            earlier.append(checkpoint.read_bytes())
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        trained("embedding", data, out, "--weights-only", code=2)
    assert last(capsys).startswith(
        f"train: {checkpoint}: expected it written, got: No space left on device"
    )
    assert checkpoint.read_bytes() == earlier[0]
    assert not list(out.glob("*.tmp"))
    trained("embedding", data, out, "--weights-only")
    assert (out / "weights.safetensors").read_bytes() == (
        whole / "weights.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("damage", ["cut", "text", "other"])
def test_a_damaged_checkpoint_is_named(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = write_classes(tmp_path / "classes", 40, first=40), tmp_path / "out"
    checkpoint = out / "checkpoint.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(
            loop,
            "show",
            lambda out, progress: (
                (_ for _ in ()).throw(KeyboardInterrupt) if progress.log else None
            ),
        )
        trained("embedding", data, out, "--weights-only", code=130)
    if damage == "other":
        save_file({"a": np.zeros(1)}, checkpoint)
    else:
        checkpoint.write_bytes(checkpoint.read_bytes()[:-1] if damage == "cut" else b"no tensors")
    trained("embedding", data, out, "--weights-only", code=2)
    line = last(capsys)
    assert line.startswith(f"train: {checkpoint}: expected a whole checkpoint, got: ")
    assert line.endswith("remove that file and run again")
