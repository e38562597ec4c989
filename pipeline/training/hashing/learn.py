"""One code learned, measured and kept: what `scripts/train.py` and `scripts/study.py hashing`
share.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save

from pipeline.base.errors import UsageError
from pipeline.base.files import check_folder, write_whole
from pipeline.training.checkpoint import (
    RESULT,
    WEIGHTS,
    check_settings,
    finished,
    write_result,
    writing,
)
from pipeline.training.hashing.loop import Maps, Plan, encode, learn
from pipeline.training.hashing.maps import weights_sha256
from pipeline.training.hashing.methods import Method
from stages.hash_forms import complete_form
from stages.hashnet import NetCode, head_of, net_of, pool
from stages.records import Float32, Int64, UInt8

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class LearnedCode:
    """The arrays of a code as a model stores them, float16-rounded, and what of its network is no
    array.
    """

    arrays: Arrays
    form: dict[str, Any]
    bits: int

    def codes(self, maps: Maps, rows: Int64, device: str) -> Float32:
        """(n, b) of these maps."""
        head = head_of(
            {name: array for name, array in self.arrays.items() if name != "gallery"},
            self.form,
            self.bits,
            device,
        )
        return (
            encode(head.net, maps, rows, device)
            if isinstance(head, NetCode)
            else head.of(pooled(maps, rows))
        )


def pooled(maps: Maps, rows: Int64) -> Float32:
    """(n, C)."""
    return np.concatenate(
        [pool(maps[rows[i : i + 1024]].astype(np.float32)) for i in range(0, len(rows), 1024)]
    )


def settings_of(
    recipe: str,
    weights: dict[str, Float32],
    photos: str,
    side: int,
    labels: UInt8,
    bits: int,
    plan: Plan,
) -> dict[str, Any]:
    """All that a code follows from; photos: their digest, labels: of the training photos."""
    of_labels = hashlib.sha256(labels.tobytes()).hexdigest()[:16]
    of_data = {
        "--start": weights_sha256(weights)[:16],
        "photos": photos[:16],
        "px": side,
        "labels": of_labels,
    }
    # bf16 goes without saying where it is not asked for, as in runs of earlier versions
    free = {"device"} if plan.bf16 else {"device", "bf16"}
    of_plan = {name: value for name, value in vars(plan).items() if name not in free}
    return {"recipe": recipe, "--bits": bits, **of_data, **of_plan}


def learn_code(
    method: Method,
    maps: Maps,
    train: Int64,
    labels: UInt8,
    bits: int,
    plan: Plan,
    out: Path,
    settings: dict[str, Any],
    earlier: int = 0,
) -> tuple[LearnedCode, float]:
    """The code and the seconds it took; a finished run is read, a killed one goes on. labels (n, L)
    of maps[train]; earlier: channels of the earlier map beside the last one, for a method that
    reads two. Raises UsageError.
    """
    if method.two:
        settings = {**settings, "maps": "two"}
    check_settings(out, settings)
    channels, cells = maps.shape[1] - (4 * earlier if method.two else 0), maps[0, 0].size
    form = complete_form(method.form, plan.width, channels, cells, earlier, labels.shape[1])
    if finished(out):
        return LearnedCode(load_file(out / WEIGHTS), form, bits), seconds_of(out)
    check_folder("--out", out)
    began = time.monotonic()
    if method.solve is not None:
        arrays = vars(method.solve(pooled(maps, train), labels, bits, plan.seed))
        seconds = time.monotonic() - began
    else:
        assert method.problem is not None
        if len(train) < 2 * plan.batch:
            raise UsageError(
                f"--batch {plan.batch}: expected at most half of the {len(train)} training photos;"
                " run with a smaller `--batch`"
            )
        torch.manual_seed(plan.seed)
        problem = method.problem(net_of(form, bits), labels, bits, plan)
        seconds = time.monotonic() - began
        seconds += learn(problem, maps, train, plan, out, settings)
        arrays = {
            name: tensor.cpu().numpy()
            for name, tensor in problem.net.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }
        if "gallery" in problem.model.state_dict():
            arrays["gallery"] = problem.model.state_dict()["gallery"].cpu().numpy()
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise UsageError(
            f"{out}: expected weights that are numbers, got others; run with a lower `--rate`"
        )
    kept = {
        name: np.ascontiguousarray(array, np.float16 if form else np.float32)
        for name, array in sorted(arrays.items())
    }
    with writing(out / WEIGHTS):
        write_whole(out / WEIGHTS, save(kept))
    write_result(out, {"bits": bits, "seconds": round(seconds, 1)}, settings)
    return LearnedCode(kept, form, bits), seconds


def seconds_of(out: Path) -> float:
    """What a finished run took."""
    return float(json.loads((out / RESULT).read_text("utf-8"))["seconds"])
