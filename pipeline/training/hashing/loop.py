"""What a method of hashing teaches, and the loop that teaches it: batches of cached maps, one cycle
of the rate, a checkpoint an epoch.

Nothing is chosen: the weights are those of the last epoch.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipeline.base.errors import UsageError
from pipeline.base.files import write_whole
from pipeline.training.checkpoint import (
    CHECKPOINT,
    Progress,
    load_checkpoint,
    save_checkpoint,
    writing,
)
from pipeline.training.loop import learning_rate
from stages.hashnet import HashNet
from stages.records import Int64, UInt8

Maps = npt.NDArray[np.float16]  # (N, C, h, w), perhaps on the disk


@dataclass(frozen=True, eq=False)
class Lesson:
    """A network and what it is to learn. `between` runs before every epoch and after the last,
    given a function that encodes training photos by number.
    """

    net: HashNet
    model: nn.Module  # holds the net and whatever else is kept in a checkpoint
    # maps (B, C, h, w) and their numbers among the training photos (B,) -> ()
    loss: Callable[[Tensor, Int64], Tensor]
    between: Callable[[int, Callable[[Int64], Tensor]], None] | None = None
    # epoch -> the training photos it sees; all of them without
    chosen: Callable[[int], Int64] | None = None


@dataclass(frozen=True)
class Plan:
    """How long and how fast. width: hidden units of the network."""

    epochs: int = 10
    batch: int = 128
    rate: float = 1e-3  # peak, of AdamW
    width: int = 256
    seed: int = 0
    device: str = "cpu"


def similar(labels: UInt8, others: UInt8) -> Tensor:
    """(n, L), (m, L) zeros and ones -> (n, m) float32: 1 where two photos share a label."""
    return (torch.from_numpy(labels).float() @ torch.from_numpy(others).float().T > 0).float()


def encode(
    net: HashNet, maps: Maps, rows: Int64, device: str, batch: int = 256
) -> npt.NDArray[np.float32]:
    """Codes (n, b) of these maps."""
    net.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), batch):
            x = torch.from_numpy(maps[rows[start : start + batch]].astype(np.float32)).to(device)
            parts.append(net(x).float().cpu().numpy())
    return np.concatenate(parts)


def learn(
    lesson: Lesson, maps: Maps, train: Int64, plan: Plan, out: Path, settings: dict[str, Any]
) -> float:
    """Teach on maps[train], or go on where a killed run was; returns the seconds of work. Raises
    UsageError where the loss is no number.
    """
    model, path = lesson.model.to(plan.device), out / CHECKPOINT
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.rate, weight_decay=1e-2)
    progress = load_checkpoint(path, model, optimizer)[1] if path.is_file() else Progress()
    for epoch in tqdm(
        range(len(progress.log), plan.epochs),
        desc=out.name,
        unit="epoch",
        initial=len(progress.log),
        total=plan.epochs,
    ):
        began, step = time.monotonic(), progress.step
        if lesson.between:
            lesson.between(
                epoch,
                lambda rows: torch.from_numpy(encode(lesson.net, maps, train[rows], plan.device)),
            )
        # of the dropout
        torch.manual_seed(int(np.random.SeedSequence([plan.seed, epoch]).generate_state(1)[0]))
        rng = np.random.default_rng([plan.seed, epoch])
        order = rng.permutation(len(train) if lesson.chosen is None else lesson.chosen(epoch))
        model.train()
        losses = []
        steps = len(order) // plan.batch
        if not steps:
            raise UsageError(
                f"--batch {plan.batch}: expected at most the {len(order)} photos of an epoch; run"
                " with a smaller `--batch`"
            )
        for i in range(steps):
            # ascending: a friendlier way over the disk
            rows = np.sort(order[i * plan.batch : (i + 1) * plan.batch])
            for group in optimizer.param_groups:
                group["lr"] = learning_rate((epoch + i / steps) / plan.epochs, plan.rate)
            value = lesson.loss(
                torch.from_numpy(maps[train[rows]].astype(np.float32)).to(plan.device), rows
            )
            if not math.isfinite(value.item()):
                raise UsageError(
                    f"{out}: step {step}: expected a finite loss, got {value.item()}; run with a"
                    f" `--rate` lower than {plan.rate:g}"
                )
            optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(value.item())
            step += 1
        seconds = progress.seconds + time.monotonic() - began
        line = {
            "epoch": epoch + 1,
            "loss": round(float(np.mean(losses)), 6),
            "seconds": round(seconds, 1),
        }
        progress = replace(progress, step=step, seconds=seconds, log=(*progress.log, line))
        save_checkpoint(path, model, optimizer, {}, progress, settings)
        with writing(out / "log.jsonl"):
            write_whole(
                out / "log.jsonl",
                "".join(json.dumps(each) + "\n" for each in progress.log).encode(),
            )
    if lesson.between:
        lesson.between(
            plan.epochs,
            lambda rows: torch.from_numpy(encode(lesson.net, maps, train[rows], plan.device)),
        )
    print(f"{out}: loss {progress.log[-1]['loss']}, {progress.seconds:.0f} s", file=sys.stderr)
    return progress.seconds
