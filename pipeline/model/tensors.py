"""Files of tensors that other programs wrote.

A file is known by its content: safetensors, or what `torch.save` wrote, of which tensors and plain
containers alone are read. In a checkpoint the state dict is found.
"""

import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import UsageError
from pipeline.base.foreign import HEAD, kind_of
from pipeline.base.names import printable

LOG = logging.getLogger(__name__)
Tensors = dict[str, np.ndarray]

# where checkpoints keep their state dict, likeliest first; the rest are averages and teachers
STATES = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module"),
    *("weights", "params", "student", "encoder", "backbone"),
)
SECOND = ("ema", "teacher", "momentum", "target", "encoder_k", "average", "swa")
SAVE = (
    "python -c \"import sys, torch; c = torch.load(sys.argv[1], 'cpu', weights_only=False); c ="
    " getattr(c, 'state_dict', lambda: c)(); torch.save(c.get('state_dict', c.get('model', c)),"
    ' sys.argv[2])" IN.pth OUT.pth'
)
FEW = 3  # names in a message


def read_tensors(named: str, path: Path) -> tuple[Tensors, str]:
    """All tensors of a file by name, as NumPy has them (bfloat16 as float32), and its sha256.

    named: what the file is to the caller, before a message. Raises UsageError that says what the
    file is where it is none of tensors.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{named}: expected a readable file of weights, got: {error.strerror}"
        ) from None
    loaded = _safetensors(named, data) if _is_safetensors(data) else _torch(named, path, data)
    arrays = {name: _array(tensor) for name, tensor in _state(named, loaded).items()}
    return arrays, hashlib.sha256(data).hexdigest()


def check_finite(named: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises UsageError for NaN and infinity, and for what would be infinite in float16, as models
    keep their weights.
    """
    wrong = {}
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            with np.errstate(over="ignore"):
                count = int((~np.isfinite(array.astype(np.float16))).sum())
            if count:
                wrong[name] = count
    if wrong:
        name = next(iter(wrong))
        kind = "above 65,504" if np.isfinite(arrays[name]).all() else "NaN or infinite"
        raise UsageError(
            f"{named}: expected finite numbers, got {wrong[name]:,} of {arrays[name].size:,} {kind}"
            f" in {printable(name)}{_more(len(wrong) - 1, 'tensor')}; the training that wrote them"
            " diverged: take an earlier checkpoint"
        )


def _is_safetensors(data: bytes) -> bool:
    return data[8:9] == b"{" and 2 <= int.from_bytes(data[:8], "little") < 1 << 30


def _safetensors(named: str, data: bytes) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        cut = (
            8 + int.from_bytes(data[:8], "little") > len(data) or "incomplete" in str(error).lower()
        )
        got = "one that is cut off" if cut else " ".join(str(error).split())[:200]
        raise UsageError(
            f"{named}: expected a whole safetensors file, got {got}; fetch it again"
        ) from None


def _torch(named: str, path: Path, data: bytes) -> Any:
    """What `torch.save` wrote, its tensors and plain containers alone."""
    import io
    import pickle

    import torch

    kind = kind_of(data[:HEAD])
    if not data:
        kind = "an empty file"
    elif kind == "a zip archive" and b"constants.pkl" in data[-(1 << 16) :]:
        raise UsageError(
            f"{named}: expected tensors alone, got a TorchScript archive, which holds code; save"
            " its state_dict() by torch.save where it was made"
        )
    if kind not in (None, "a zip archive", "a pickle"):
        raise UsageError(f"{named}: expected safetensors or a .pth file of weights, got {kind}")
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        text = " ".join(str(error).split())
    except Exception as error:  # a stranger's bytes: whatever the unpickler stumbles over
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if found := re.search(r"(?:GLOBAL|[Uu]nsupported class|instantiate) ([\w.]+)", text):
        raise UsageError(
            f"{named}: expected tensors alone, got a checkpoint that needs the code of"
            f" {found[1]} to be read, which could run anything; if you trust it, run `{SAVE}`"
        )
    if kind == "a zip archive":
        got = (
            "one that is cut off"
            if "central directory" in text or "failed reading" in text
            else "a zip archive of other things"
        )
        raise UsageError(f"{named}: expected a whole .pth file, got {got}; fetch it again")
    if kind == "a pickle":
        got = "one that is cut off" if "EOF" in text or "Ran out" in text else text[:200]
        raise UsageError(f"{named}: expected a whole .pth file of tensors, got {got}")
    raise UsageError(f"{named}: expected safetensors or a .pth file of weights, got another file")


def _state(named: str, loaded: Any, depth: int = 0) -> Mapping[str, Any]:
    """The state dict in a checkpoint. Raises UsageError where there is none or no telling which."""
    import torch

    if isinstance(loaded, (list, tuple)):
        parts = {str(i): part for i, part in enumerate(loaded) if isinstance(part, Mapping)}
        loaded = parts if len(parts) != 1 else next(iter(parts.values()))
    if isinstance(loaded, Mapping) and depth < 5:
        own = {str(k): v for k, v in loaded.items() if isinstance(v, torch.Tensor)}
        large = sum(tensor.ndim > 0 for tensor in own.values())
        if large > 1:
            return own
        inner = {
            str(key): part
            for key, part in loaded.items()
            if isinstance(part, (Mapping, list, tuple)) and _holds_tensors(part)
        }
        known = [key for key in STATES if key in inner]
        rest = [key for key in inner if not re.search("optim|sched|scaler|loss|queue", key.lower())]
        first = [key for key in rest if not any(word in key.lower() for word in SECOND)]
        choice = known or first or rest
        if large and not choice:
            return own
        if len(choice) == 1 or known:
            others = [key for key in rest if key != choice[0]]
            if others:
                LOG.info(f"{named}: its {choice[0]} is taken; left out: {', '.join(others)}")
            return _state(named, inner[choice[0]], depth + 1)
        if choice:
            raise UsageError(
                f"{named}: expected one state dict, got {', '.join(choice[:FEW])}"
                f"{_more(len(choice) - FEW, 'part')}; save the one you mean by torch.save"
            )
    what = (
        f"keys {', '.join(list(map(str, loaded))[:FEW])}"
        if isinstance(loaded, Mapping)
        else (type(loaded).__name__)
    )
    raise UsageError(f"{named}: expected a state dict of tensors, got {printable(what)}")


def _holds_tensors(part: Any) -> bool:
    import torch

    if isinstance(part, Mapping):
        return any(isinstance(v, torch.Tensor) or _holds_tensors(v) for v in part.values())
    if isinstance(part, (list, tuple)):
        return any(isinstance(v, Mapping) and _holds_tensors(v) for v in part)
    return False


def _array(tensor: Any) -> np.ndarray:
    import torch

    tensor = tensor.detach()
    tensor = tensor.to_dense() if tensor.layout != torch.strided else tensor
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    known = (torch.float16, torch.float32)
    if tensor.is_floating_point() and tensor.dtype not in known:
        tensor = tensor.float()
    array: np.ndarray = tensor.cpu().contiguous().numpy()
    return array


def _more(count: int, what: str) -> str:
    return f" and {count:,} more {what}{'s' if count > 1 else ''}" if count > 0 else ""
