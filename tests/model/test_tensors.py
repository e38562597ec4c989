"""Files of weights as other programs write them: what is read, and what is named for what it is."""

import argparse
import io
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from pipeline.base.errors import UsageError
from pipeline.model.tensors import check_finite, read_tensors

STATE = {"conv1.weight": torch.arange(24.0).view(2, 3, 2, 2), "fc.bias": torch.ones(2)}


def saved(content: object, **how: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


def read(data: bytes, tmp_path: Path) -> dict[str, np.ndarray]:
    (tmp_path / "w.pth").write_bytes(data)
    return read_tensors("--start w.pth", tmp_path / "w.pth")[0]


def as_half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.half() for name, tensor in state.items()}


def as_bfloat16(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.bfloat16() for name, tensor in state.items()}


def as_double(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.double() for name, tensor in state.items()}


def channels_last(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name: tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        for name, tensor in state.items()
    }


@pytest.mark.parametrize(
    "data",
    [
        save(STATE),
        save(as_bfloat16(STATE)),
        saved(STATE),
        saved(OrderedDict(STATE)),
        saved(STATE, _use_new_zipfile_serialization=False),  # of torch before 1.6
        saved(as_half(STATE)),
        saved(as_bfloat16(STATE)),
        saved(as_double(STATE)),
        saved(channels_last(STATE)),
        saved({name: torch.nn.Parameter(tensor) for name, tensor in STATE.items()}),
        saved({"state_dict": STATE, "epoch": 90, "arch": "resnet18", "best_acc1": torch.ones(())}),
        saved({"model": STATE, "optimizer": {"state": {0: {"step": torch.ones(3)}}}}),
        saved({"model_state_dict": STATE, "loss": 0.1}),
        saved({"net": STATE, "acc": 93.0, "epoch": 4}),
        saved({"ema": STATE}),
        saved({"state_dict": STATE, "state_dict_ema": {"conv1.weight": torch.zeros(3, 3)}}),
        saved({"model": {"state_dict": STATE}}),
        saved({"student": STATE, "teacher": {"a": torch.zeros(3), "b": torch.zeros(3)}}),
        saved({"algorithm": STATE, "momentum_encoder": {"a": torch.zeros(2), "b": torch.ones(2)}}),
        saved([STATE, 7]),
    ],
    ids=lambda data: str(len(data)),
)
def test_a_state_dict_is_found_wherever_it_is(data: bytes, tmp_path: Path) -> None:
    got = read(data, tmp_path)
    assert {name: array.tolist() for name, array in got.items()} == {
        name: tensor.tolist() for name, tensor in STATE.items()
    }
    assert all(array.dtype in (np.float16, np.float32) for array in got.values())


def zipped(names: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return file.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (lambda: b"", "got an empty file"),
        (lambda: LFS, "got a git-lfs pointer, not the file itself; run `git lfs pull`"),
        (lambda: b"<!DOCTYPE html><html>Sign in", "got an HTML page"),
        (lambda: b"\n<html><body>404", "got an HTML page"),
        (lambda: b"\x89HDF\r\n\x1a\n keras", "got an HDF5 file"),
        (lambda: b"\x1f\x8b\x08 gzip", "got a gzip archive"),
        (lambda: b"weights", "got another file"),
        (lambda: zipped({"readme.txt": b"no tensors"}), "got a zip archive of other things"),
        (lambda: saved(STATE)[:-200], "expected a whole .pth file, got one that is cut off"),
        (lambda: save(STATE)[:-9], "expected a whole safetensors file, got one that is cut off"),
        (lambda: save(STATE)[:40], "expected a whole safetensors file, got one that is cut off"),
        (
            lambda: saved({"model": STATE, "args": argparse.Namespace(lr=1)}),
            "a checkpoint that needs the code of argparse.Namespace to be read",
        ),
        (lambda: saved(torch.nn.Linear(2, 2)), "needs the code of torch.nn.modules.linear.Linear"),
        (
            lambda: saved(torch.nn.Linear(2, 2), _use_new_zipfile_serialization=False),
            "needs the code of torch.nn.modules.linear.Linear",
        ),
        (lambda: saved({"state_dict": STATE, "path": Path("x")}), "needs the code of pathlib."),
        (
            lambda: zipped({"net/code/net.py": b"", "net/constants.pkl": b""}),
            "got a TorchScript archive, which holds code",
        ),
        (lambda: saved({"epoch": 3}), "expected a state dict of tensors, got keys epoch"),
        (lambda: saved(7), "expected a state dict of tensors, got int"),
        (
            lambda: saved({"a": STATE, "b": STATE}),
            "expected one state dict, got a, b; save the one you mean",
        ),
        (
            lambda: saved({"optimizer": {"state": {0: torch.ones(3)}}}),
            "expected a state dict of tensors, got keys optimizer",
        ),
    ],
)
def test_what_holds_no_weights_is_named_for_what_it_is(
    data: Callable[[], bytes], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as refused:
        read(data(), tmp_path)
    assert str(refused.value).startswith("--start w.pth: expected ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_nothing_of_a_checkpoint_runs(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    with pytest.raises(UsageError, match="needs the code of getattr to be read"):
        read(saved({"state_dict": STATE, "bomb": Bomb()}), tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.nan, "got 1 of 2 NaN or infinite in b and 1 more tensor"),
        (-np.inf, "got 1 of 2 NaN or infinite in b and 1 more tensor"),
        (1e6, "got 1 of 2 above 65,504 in b and 1 more tensor"),
    ],
)
def test_numbers_that_are_none_are_counted(value: float, said: str) -> None:
    arrays = {"a": np.ones(3, np.float32), "n": np.array([2**40])}
    check_finite("w.pth", arrays)
    wrong = {name: np.array([1, value], np.float32) for name in ("b", "c")}
    with pytest.raises(UsageError, match=said):
        check_finite("w.pth", {**arrays, **wrong})
