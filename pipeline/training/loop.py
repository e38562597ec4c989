"""The training loop that every kind of training shares: one cycle of the rate, exact resume, a line
an epoch, the best epoch kept.

A kind of training is one file that makes a `Task`: pipeline/training/embedding.py is the one to
read first.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.base.errors import UsageError
from pipeline.base.files import write_whole
from pipeline.report.plots import plot_training
from pipeline.training.checkpoint import (
    CHECKPOINT,
    Progress,
    State,
    load_checkpoint,
    save_checkpoint,
    writing,
)
from pipeline.training.data import Photos, batches, crop
from stages.records import Int64, UInt8

LOG = logging.getLogger("pipeline.training.loop")

CHECKPOINT_SECONDS = 120


@dataclass(frozen=True, eq=False)
class Task:
    """What is learned. Its model is ready to be trained on when it is made and after each
    validation.
    """

    model: nn.Module  # its state is what is kept
    optimizer: torch.optim.Optimizer  # over the parameters that are trained
    # images (B, px, px, 3), labels (B,), step -> (); draws depend on the step alone
    loss: Callable[[UInt8, Int64, int], Tensor]
    validate: Callable[[Photos], float]  # the higher, the better


@dataclass(frozen=True)
class Plan:
    """How long, on what crops and how fast."""

    px: tuple[int, ...]  # side of the crops, one after the other, each for its share of the epochs
    epochs: int
    batch: int  # images a step
    rate: float  # peak
    smallest: float  # crop, share of the photo's area
    seed: int
    # weight of telling photos apart, beside classes; above 0 every photo comes as a crop and as a
    # scene
    instance: float = 0.0
    # units of a perceptron that tells classes, too, by the vector that is searched; 0 for none
    hidden: int = 0
    # AdamW in place of SGD, for the embedding: folded batch norms leave layers of very different
    # scale
    adam: bool = False
    # the last epoch's weights are kept, whatever its validation: among a few photos the best is
    # chance
    last: bool = False
    # the latest epoch that validates as well as the best, to a standard error: among few photos the
    # best is chance, and the rate has come down to nothing only at the end
    careful: bool = False

    def px_of(self, epoch: int) -> int:
        """The side of an epoch's crops."""
        return self.px[epoch * len(self.px) // self.epochs]

    def steps(self, photos: int) -> int:
        """Of an epoch."""
        return photos // (self.batch // 2 if self.instance else self.batch)


@dataclass(frozen=True, eq=False)
class Schedule:
    """The epochs of a training, whatever its batches are made of."""

    epochs: int
    steps: int  # of an epoch
    rate: float  # peak
    # epoch, the first of its steps that is left -> inputs and labels of each step
    batches: Callable[[int, int], Iterator[tuple[Any, Int64]]]
    describe: Callable[[int], dict[str, Any]]  # epoch -> what its log line says beside the usual
    validate: Callable[[], float] | None = None  # the higher, the better; None: the last epoch's
    last: bool = False  # the last epoch's weights are kept, whatever their validation
    before_epoch: Callable[[int], None] | None = None  # and after the last, with their number
    margin: float = 0.0  # by how much an epoch has to validate better to replace an earlier one
    # where it is a share of so many photos: the latest that is within a standard error of the best
    judged: int = 0
    photos: int = 0  # of an epoch, for the log's speed
    start: float = -1.0  # validation of the weights it begins with, where they may be kept
    # A checkpoint amid an epoch is enough to go on exactly: no random state lives on in it.
    within: bool = True


def learn(
    task: Task,
    plan: Plan,
    train: Photos,
    valid: Photos,
    out: Path,
    settings: dict[str, Any],
    start: float = -1.0,
) -> Progress:
    """Train on photos; afterwards the model has the weights of the epoch that validated best, or of
    the last. start: what the task's model validates already, which competes; -1 where it does not.
    Raises as `run` does.
    """
    photos = len(train.labels)
    LOG.info(f"{photos} photos, {len(train.classes)} classes")

    def made(epoch: int, first: int) -> Iterator[tuple[UInt8, Int64]]:
        pairs = plan.instance > 0
        return batches(
            train, plan.batch, plan.px_of(epoch), plan.seed, epoch, first, plan.smallest, pairs
        )

    schedule = Schedule(
        plan.epochs,
        plan.steps(photos),
        plan.rate,
        made,
        lambda epoch: {"px": plan.px_of(epoch)},
        lambda: task.validate(valid),
        plan.last,
        photos=photos,
        judged=len(valid.labels) if plan.careful else 0,
        start=start,
    )
    return run(task.model, task.optimizer, task.loss, schedule, out, settings)


def run(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Any, Int64, int], Tensor],
    schedule: Schedule,
    out: Path,
    settings: dict[str, Any],
) -> Progress:
    """Train, or go on where a killed run was, in the folder `out`. loss: inputs, labels, step -> a
    scalar.

    A run killed after any step ends with the same bytes as one never killed, on the same CPU with
    as many threads. Raises UsageError where the loss or the weights stop being numbers; the last
    checkpoint stays.
    """
    checkpoint = out / CHECKPOINT
    best: State = _copy(model) if schedule.start >= 0 else {}
    progress = Progress(start=schedule.start)
    if checkpoint.is_file():
        best, progress = load_checkpoint(checkpoint, model, optimizer)
    total = schedule.steps * schedule.epochs
    LOG.info(f"{out}: step {progress.step} of {total}")
    # a kill may have come between a checkpoint and the log that follows from it
    show(out, progress)
    torch.backends.cudnn.deterministic = True
    while progress.step < total:
        progress = _epoch(model, optimizer, loss, schedule, out, settings, best, progress)
        epoch = progress.step // schedule.steps
        _check_finite(model, progress.step, out, schedule.rate)
        began = time.monotonic()
        line = dict(progress.log[-1])
        if schedule.validate is not None:
            line["validation"] = round(schedule.validate(), 6)
            if schedule.judged:
                earlier = [progress.start, *(old["validation"] for old in progress.log[:-1])]
                best_yet = max(*earlier, line["validation"])
                margin = standard_error(best_yet, schedule.judged)
                better = line["validation"] >= best_yet - margin
            else:  # a tie leaves the earlier epoch
                better = line["validation"] > progress.validation + schedule.margin
            if schedule.last or better or not best:
                best, progress = _copy(model), replace(progress, best=epoch)
        progress = replace(progress, seconds=progress.seconds + time.monotonic() - began)
        line["seconds"] = round(progress.seconds)
        progress = replace(progress, log=(*progress.log[:-1], line))
        save_checkpoint(checkpoint, model, optimizer, best, progress, settings)
        show(out, progress)
        LOG.info(json.dumps(line))
    if schedule.before_epoch is not None:
        schedule.before_epoch(schedule.epochs)
    if best:
        model.load_state_dict(best)
    return progress


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Any, Int64, int], Tensor],
    schedule: Schedule,
    out: Path,
    settings: dict[str, Any],
    best: State,
    progress: Progress,
) -> Progress:
    """The steps that are left of the unfinished epoch; its log line, yet without validation, is the
    last of the progress.
    """
    steps = schedule.steps
    epoch, total = progress.step // steps, steps * schedule.epochs
    rate, first = 0.0, progress.step
    began = saved = time.monotonic()
    earlier = progress.seconds
    if schedule.before_epoch is not None and not first % steps:
        schedule.before_epoch(epoch)
    for inputs, labels in schedule.batches(epoch, first % steps):
        rate = learning_rate(progress.step / total, schedule.rate)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("times", 1)
        value = loss(inputs, labels, progress.step)
        figure = value.item()
        if not math.isfinite(figure):
            raise _not_a_number(progress.step + 1, f"loss {figure}", out, schedule.rate)
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        now = time.monotonic()
        progress = replace(
            progress,
            step=progress.step + 1,
            loss=progress.loss + figure,
            seconds=earlier + now - began,
        )
        if progress.step % 50 == 0:
            mean = progress.loss / ((progress.step - 1) % steps + 1)
            done = f"step {progress.step}/{total} loss {mean:.3f} {progress.seconds:.0f} s"
            LOG.info(done)
        # the epoch's end has its own, after its validation
        if schedule.within and now - saved > CHECKPOINT_SECONDS and progress.step % steps:
            _check_finite(model, progress.step, out, schedule.rate)
            save_checkpoint(out / CHECKPOINT, model, optimizer, best, progress, settings)
            saved = now
    line = {"epoch": epoch + 1, "step": progress.step, **schedule.describe(epoch)}
    line |= {"rate": float(f"{rate:.4g}"), "loss": round(progress.loss / steps, 6)}
    if schedule.photos:
        share = (progress.step - first) / steps
        speed = share * schedule.photos / max(time.monotonic() - began, 1e-9)
        line |= {"validation": None, "photos_per_second": round(speed, 1)}
    return replace(progress, loss=0.0, log=(*progress.log, line))


def show(out: Path, progress: Progress) -> None:
    """`log.jsonl`, a line an epoch, and `curves.png`: both follow from the progress, so no line is
    lost or doubled by a kill.
    """
    with writing(out / "log.jsonl"):
        write_whole(
            out / "log.jsonl", "".join(json.dumps(line) + "\n" for line in progress.log).encode()
        )
    if progress.log and progress.validation >= 0:
        with writing(out / "curves.png"):
            picture = plot_training(progress.log, progress.best, progress.start)
            write_whole(out / "curves.png", picture)


def learning_rate(progress: float, peak: float) -> float:
    """One cycle: a linear warm-up over the first fifteenth, then a cosine to nothing (Loshchilov &
    Hutter 2017).
    """
    warm = 1 / 15
    return (
        peak * progress / warm
        if progress < warm
        else peak * 0.5 * (1 + float(np.cos(np.pi * (progress - warm) / (1 - warm))))
    )


def standard_error(share: float, count: int) -> float:
    """Of a share of so many photos; 0 where there are none."""
    return math.sqrt(max(0.0, share * (1 - share)) / count) if count else 0.0


@torch.inference_mode()
def top1(logits: Callable[[UInt8], Tensor], photos: Photos, px: int) -> float:
    """The share of photos whose centre square, px on a side, is given its own class; logits: (B,
    px, px, 3) -> (B, classes).
    """
    right = 0
    for start in range(0, len(photos.labels), 64):
        images = np.stack(
            [crop(pixels, px, None, 1) for pixels in photos.pixels[start : start + 64]]
        )
        right += int(
            (logits(images).argmax(1).cpu().numpy() == photos.labels[start : start + 64]).sum()
        )
    return right / len(photos.labels)


def _copy(model: nn.Module) -> State:
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def _check_finite(model: nn.Module, step: int, out: Path, rate: float) -> None:
    if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
        raise _not_a_number(step, "weights that are none", out, rate)


def _not_a_number(step: int, got: str, out: Path, rate: float) -> UsageError:
    kept = (
        f"the checkpoint before it stays in {out}"
        if (out / CHECKPOINT).is_file()
        else "there was no checkpoint yet"
    )
    return UsageError(
        f"step {step}: expected finite numbers, got {got}; {kept}; run with a `--rate` lower than"
        f" {rate:g} and another `--out`"
    )
