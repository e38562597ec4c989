"""What a method of hashing learns, by the training loop that all trainings share: batches of cached
maps, a checkpoint an epoch.

Nothing is chosen: the weights are those of the last epoch.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.base.errors import UsageError
from pipeline.training.loop import Schedule, run
from stages.hashnet import HashNet
from stages.records import Int64, UInt8

LOG = logging.getLogger("pipeline.training.hashing.loop")

Maps = npt.NDArray[np.float16]  # (N, C, h, w), perhaps on the disk


@dataclass(frozen=True, eq=False)
class Problem:
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
    bf16: bool = False


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
    problem: Problem, maps: Maps, train: Int64, plan: Plan, out: Path, settings: dict[str, Any]
) -> float:
    """Learn from maps[train], or go on where a killed run was; returns the seconds of work. Raises
    UsageError where the loss is no number.
    """
    model = problem.model.to(plan.device)
    problem.net.bf16 = plan.bf16
    chosen = problem.chosen or (lambda epoch: np.arange(len(train)))
    steps = len(chosen(0)) // plan.batch
    if not steps:
        raise UsageError(
            f"--batch {plan.batch}: expected at most the {len(chosen(0))} photos of an epoch; run"
            " with a smaller `--batch`"
        )

    def before_epoch(epoch: int) -> None:
        if problem.between:
            codes = partial(encode, problem.net, maps, device=plan.device)
            problem.between(epoch, lambda rows: torch.from_numpy(codes(rows=train[rows])))

    def batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Int64]]:
        # of the dropout
        torch.manual_seed(int(np.random.SeedSequence([plan.seed, epoch]).generate_state(1)[0]))
        order = np.random.default_rng([plan.seed, epoch]).permutation(chosen(epoch))
        model.train()
        for i in range(steps):
            # ascending: a friendlier way over the disk
            rows = np.sort(order[i * plan.batch : (i + 1) * plan.batch])
            yield torch.from_numpy(maps[train[rows]].astype(np.float32)).to(plan.device), rows

    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.rate, weight_decay=1e-2, fused=True)
    schedule = Schedule(
        plan.epochs,
        steps,
        plan.rate,
        batches,
        lambda epoch: {},
        before_epoch=before_epoch,
        within=False,  # the dropout's random state is that of the epoch's first step
    )
    loss = problem.loss
    progress = run(model, optimizer, lambda x, rows, _: loss(x, rows), schedule, out, settings)
    LOG.info(f"{out}: loss {progress.log[-1]['loss']}, {progress.seconds:.0f} s")
    return progress.seconds
