"""A whole training from a teacher, of the first look or of the fine local features: from photos and
what the teacher said of them to weights that `import-weights` makes a model of.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor

from pipeline.base.compute import device_of
from pipeline.base.errors import UsageError
from pipeline.base.files import check_folder, write_whole
from pipeline.training.checkpoint import (
    WEIGHTS,
    Progress,
    check_settings,
    finished,
    settings_of,
    write_result,
    writing,
)
from pipeline.training.data import TENTH, read_data
from pipeline.training.distil import (
    JUDGED,
    distil,
    learned_code,
    network_teacher,
    stored_teacher,
    views,
)
from pipeline.training.embedding import read_start, read_weights, rounded
from pipeline.training.fine import (
    Batch,
    batches,
    fit_teacher,
    losses,
    make_batch,
    read_examples,
)
from pipeline.training.loop import Plan, Schedule, run, standard_error
from pipeline.training.options import FOR_ATTENDED, FREE, TrainOptions, usual_rate
from pipeline.training.teacher import load_teacher
from stages.fine_network import FineNetwork, load_fine
from stages.fine_quantised import STRIDE
from stages.lite import NETWORKS
from stages.records import Float32, Int64

STEEPEST = 5.0  # length of the gradient that a step of the fine network may follow
TOGETHER = 8  # photos of a batch in its validation


@dataclass(frozen=True, eq=False)
class Learned:
    """What a training leaves."""

    arrays: Mapping[str, np.ndarray]
    data: Mapping[str, Any]  # for the result: which photos
    progress: Progress
    said: str  # what its validation means, and what to do with it


def train_taught(options: TrainOptions) -> int:
    """Check, read, learn, write the weights."""
    settings = settings_of(vars(options), FREE | {*FOR_ATTENDED, "first"})
    check_settings(options.out, settings)
    if finished(options.out):
        print(f"{options.out}: finished already; remove it to train once more")
        return 0
    learn = learn_first_look if options.what == "distil" else learn_fine
    learned = learn(options, settings)
    with writing(options.out / WEIGHTS):
        write_whole(options.out / WEIGHTS, save(dict(sorted(learned.arrays.items()))))
    figures = {
        "command": options.command,
        "seed": options.seed,
        "data": {
            "folders": [str(folder) for folder in options.data],
            "teacher": [str(given) for given in options.teacher],
            **learned.data,
        },
        "best_epoch": learned.progress.best,
        "validation": learned.progress.validation,
        "seconds": round(learned.progress.seconds),
        "log": [
            f"epoch {line['epoch']}: {line['px']} px, loss {line['loss']}, validation"
            f" {line['validation']}"
            for line in learned.progress.log
        ],
    }
    write_result(options.out, figures, settings)
    print(f"{options.out}: {learned.progress.validation:.4f} {learned.said}")
    return 0


def learn_first_look(options: TrainOptions, settings: dict[str, Any]) -> Learned:
    """The trunk, and the code in place of principal components."""
    if len(options.teacher) != 1:
        raise UsageError(f"--teacher: expected one file or network, got {len(options.teacher)}")
    assert options.start is not None
    device = device_of(options.device)
    start = read_start("--start", options.start)
    name = str(options.teacher[0])
    # what is missing is said before photos are decoded
    if name in NETWORKS:
        network = load_teacher(name, device)
    else:
        teacher = stored_teacher(options.data, Path(name), device)
    side = round(max(options.px) * 1.3)
    data = read_data(
        options.data, options.valid, None, side, side, least=1, hold_out=TENTH, labels=None
    )
    settings["photos of --data"] = data.digest[:16]
    check_settings(options.out, settings)
    photos, held = len(data.train.labels), len(data.valid.labels)
    if not 4 <= options.batch <= 2 * photos or options.batch % 2:
        raise UsageError(
            f"--batch {options.batch}: expected an even number, 4 or more and at most twice the"
            f" {photos} photos to train on; run with another `--batch`"
        )
    plan = Plan(
        options.px,
        options.epochs,
        options.batch,
        usual_rate(options),
        options.smallest,
        options.seed,
        instance=options.instance or 1.0,
        adam=True,
    )
    if name in NETWORKS:
        teacher = network_teacher(network, NETWORKS[name], data.train, device)
    task = distil(plan, start, teacher, options.bf16, device)

    schedule = Schedule(
        plan.epochs,
        plan.steps(photos),
        plan.rate,
        lambda epoch, first: views(data.train, plan, epoch, first),
        lambda epoch: {"px": plan.px_of(epoch)},
        lambda: task.validate(data.valid),
        margin=standard_error(0.5, min(JUDGED, held)),  # the greatest of any share
        photos=photos,
    )
    check_folder("--out", options.out)
    progress = run(task.model, task.optimizer, task.loss, schedule, options.out, settings)
    code = learned_code(task.model)
    weights: dict[str, Float32] = rounded(task.model.get_submodule("trunk"))
    arrays: dict[str, np.ndarray] = {
        name: array.astype(np.float16) for name, array in weights.items()
    }
    arrays |= {"code.mean": code.mean, "code.components": code.components}
    return Learned(
        arrays,
        {
            "sha256": data.digest,
            "photos": {"train": photos, "validation": held},
            "unreadable": data.unreadable,
        },
        progress,
        f"of scenes find their photo first, at epoch {progress.best} of {options.epochs}; make a"
        f" model of it with `import-weights {options.out / WEIGHTS}`",
    )


def begin_fine(start: Path | None) -> FineNetwork:
    """A network to learn: a new one, or as an earlier run left it. Raises UsageError."""
    if start is None:
        return FineNetwork()
    try:
        return load_fine(read_weights("--start", start)).requires_grad_(True)
    except ValueError as error:
        raise UsageError(f"--start {start}: {error}") from None


def learn_fine(options: TrainOptions, settings: dict[str, Any]) -> Learned:
    """The network of the fine local features."""
    if options.px[-1] % STRIDE:
        raise UsageError(f"--px {options.px[-1]}: expected a multiple of {STRIDE}, got another")
    device = device_of(options.device)
    train, held, digest = read_examples(options.data, options.teacher)
    settings["photos of --data and features of --teacher"] = digest[:16]
    check_settings(options.out, settings)
    if not 2 <= options.batch <= len(train):
        raise UsageError(
            f"--batch {options.batch}: expected 2 or more and at most the {len(train)} photos to"
            " train on; run with another `--batch`"
        )
    plan = Plan(
        options.px, options.epochs, options.batch, usual_rate(options), 1.0, options.seed, last=True
    )
    teacher = fit_teacher(train)
    torch.manual_seed(plan.seed)
    network = begin_fine(options.start).train().to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), plan.rate, weight_decay=1e-2)
    optimizer.register_step_pre_hook(
        lambda *_: (torch.nn.utils.clip_grad_norm_(network.parameters(), STEEPEST), None)[1]
    )

    def loss(batch: Batch, labels: Int64, step: int) -> Tensor:
        return losses(network, batch, options.bf16, device)[0]

    @torch.no_grad()
    def validate() -> float:
        network.eval()
        found = []
        for first in range(0, len(held), TOGETHER):
            draw = (plan.seed, plan.epochs)  # the same views after every epoch
            batch = make_batch(held[first : first + TOGETHER], plan.px[-1], teacher, draw)
            found.append(losses(network, batch, options.bf16, device)[1].cpu().numpy())
        network.train()
        return float(np.concatenate(found).mean())

    schedule = Schedule(
        plan.epochs,
        plan.steps(len(train)),
        plan.rate,
        lambda epoch, first: batches(train, plan, teacher, epoch, first),
        lambda epoch: {"px": plan.px[-1]},
        validate,
        last=True,
        photos=len(train),
    )
    check_folder("--out", options.out)
    progress = run(network, optimizer, loss, schedule, options.out, settings)
    return Learned(
        {name: array.astype(np.float16) for name, array in rounded(network).items()},
        {"sha256": digest, "photos": {"train": len(train), "validation": len(held)}},
        progress,
        f"of the keypoints found again; make a model with `import-weights --features fine+rootsift"
        f" --fine {options.out}`",
    )
