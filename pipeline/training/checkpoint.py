"""What a training run keeps on disk: a checkpoint to go on from, and `result.json`, which says that
it is finished and how it ended.

Both name the settings the run began with, and a run with others is refused. Every file appears
whole or not at all.
"""

import json
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pipeline.base.errors import UsageError
from pipeline.base.files import file_sha256, write_whole

CHECKPOINT, RESULT, WEIGHTS = "checkpoint.safetensors", "result.json", "weights.safetensors"
State = dict[str, Tensor]


@dataclass(frozen=True)
class Progress:
    """How far a run is; with the tensors beside it all that the next step depends on."""

    step: int = 0  # optimizer steps done
    loss: float = 0.0  # sum over the steps of the unfinished epoch
    seconds: float = 0.0  # of work, over all its parts
    best: int = 0  # the epoch whose weights are kept; 0: none yet, or the start's
    log: tuple[dict[str, Any], ...] = ()  # a line an epoch
    start: float = -1.0  # validation of the weights it began with; -1: they are not to be kept

    @property
    def validation(self) -> float:
        """The best epoch's figure, or the start's; -1 before there is one."""
        return float(self.log[self.best - 1]["validation"]) if self.best else self.start


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A file that cannot be written, as on a full disk, is a UsageError, and no half of it
    stays."""
    try:
        yield
    except OSError as error:
        path.with_name(path.name + ".tmp").unlink(missing_ok=True)
        reason = error.strerror or error
        raise UsageError(
            f"{path}: expected it written, got: {reason}; what was saved before stays: make room"
            " and run the same command again"
        ) from None


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: State,
    progress: Progress,
    settings: Mapping[str, Any],
) -> None:
    """Weights, optimizer state, the best epoch's weights and the progress in one safetensors
    file."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        tensors |= {
            f"optimizer.{key}.{name}": value
            for key, value in optimizer.state[parameter].items()
            if isinstance(value, Tensor)
        }
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with writing(path):
        write_whole(
            path,
            save(
                whole, {"progress": json.dumps(asdict(progress)), "settings": json.dumps(settings)}
            ),
        )


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[State, Progress]:
    """Fill model and optimizer; returns the best epoch's weights and the progress. Raises
    UsageError for a damaged file.
    """
    with _reading(path):
        tensors, progress = load_file(path), Progress(**_metadata(path)["progress"])
        model.load_state_dict(_part(tensors, "model."))
        for key, value in _part(tensors, "optimizer.").items():
            slot, name = key.split(".", 1)
            parameter = model.get_parameter(name)
            # in the parameter's own memory order, channels last or not, as the optimizer made it
            optimizer.state[parameter][slot] = (
                torch.empty_like(parameter.detach()).copy_(value)
                if value.shape == parameter.shape
                else value
            )
    return _part(tensors, "best."), Progress(**{**vars(progress), "log": tuple(progress.log)})


def check_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """settings: values by flag. Raises UsageError with the first that differs from what the run in
    `out` began with.
    """
    if (out / RESULT).is_file():
        began = _result(out)["settings"]
    elif (out / CHECKPOINT).is_file():
        with _reading(out / CHECKPOINT):
            began = _metadata(out / CHECKPOINT)["settings"]
    else:
        return
    for name, new in settings.items():
        old = began.get(name)
        if old != new:
            raise UsageError(
                f"{out}: expected {_flag(name, old)}, with which it began, got {_flag(name, new)};"
                " run with another `--out`"
            )


def settings_of(flags: Mapping[str, Any], free: Collection[str]) -> dict[str, Any]:
    """What makes the result, by flag, but for what is free to differ: folders by name, weights by
    content.
    """
    settings: dict[str, Any] = {}
    for name, value in flags.items():
        flag = name.upper() if name == "what" else "--" + name.replace("_", "-")
        if name in ("start", "local") and value is not None:
            file = value / WEIGHTS if value.is_dir() else value
            settings[flag] = (
                f"{value.resolve().name} {file_sha256(file)[:12]}" if file.is_file() else str(value)
            )
        elif name not in free:
            plain = list(value) if isinstance(value, tuple) else value
            paths = (
                [path.resolve().name for path in plain] if name in ("data", "teacher") else plain
            )
            settings[flag] = paths.resolve().name if isinstance(paths, Path) else paths
    return settings


def finished(out: Path) -> bool:
    """Whether the run in `out` ended and its weights are still those that it wrote."""
    if not (out / RESULT).is_file():
        return False
    weights = out / WEIGHTS
    if weights.is_file() and file_sha256(weights) == _result(out)["sha256"]:
        return True
    print(
        f"{weights}: gone or damaged since they were trained; once more",
        file=sys.stderr,
        flush=True,
    )
    return False


def write_result(out: Path, figures: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """`result.json` for the weights that lie in `out`; then the checkpoint has served."""
    whole = {**figures, "sha256": file_sha256(out / WEIGHTS), "settings": settings}
    with writing(out / RESULT):
        write_whole(out / RESULT, (json.dumps(whole, indent=1) + "\n").encode())
    (out / CHECKPOINT).unlink(missing_ok=True)


def _flag(name: str, value: Any) -> str:
    if value is None or value is False:
        return f"no {name}"
    return (
        name
        if value is True
        else f"{name} {' '.join(map(str, value)) if isinstance(value, list) else value}"
    )


def _part(tensors: State, prefix: str) -> State:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _metadata(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        return {name: json.loads(text) for name, text in (file.metadata() or {}).items()}


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (
        SafetensorError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        RuntimeError,
        AttributeError,
    ) as error:
        raise UsageError(
            f"{path}: expected a whole checkpoint, got: {' '.join(str(error).split())[:200]};"
            " remove that file and run again"
        ) from None


def _result(out: Path) -> dict[str, Any]:
    path = out / RESULT
    try:
        whole = json.loads(path.read_text("utf-8"))
        if not isinstance(whole["settings"], dict) or not isinstance(whole["sha256"], str):
            raise TypeError("no settings and sha256")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"{path}: expected the result of a training, got: {error}; remove that file and run"
            " again"
        ) from None
    return whole  # type: ignore[no-any-return]
