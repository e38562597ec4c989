"""A whole training of the fine local features, from photos and a teacher's features to the
network's weights.
"""

import numpy as np
import torch
from torch import Tensor

from pipeline.base.compute import device_of
from pipeline.base.errors import UsageError
from pipeline.base.files import check_folder, write_whole
from pipeline.training.checkpoint import (
    WEIGHTS,
    check_settings,
    finished,
    settings_of,
    write_result,
    writing,
)
from pipeline.training.embedding import rounded
from pipeline.training.fine import Batch, batches, fit_teacher, losses, make_batch, read_examples
from pipeline.training.loop import Plan, Schedule, run
from pipeline.training.options import FOR_ATTENDED, FREE, TrainOptions, usual_rate
from stages.fine_network import STRIDE, FineNetwork
from stages.records import Int64

STEEPEST = 5.0  # length of the gradient that a step may follow
JUDGED_TOGETHER = 8  # photos of a batch in validation


def train_fine(options: TrainOptions) -> int:
    """Check, read, learn, write the weights."""
    settings = settings_of(vars(options), FREE | {*FOR_ATTENDED, "first"})
    check_settings(options.out, settings)
    if finished(options.out):
        print(f"{options.out}: finished already; remove it to train once more")
        return 0
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
    network = FineNetwork().train().to(device)
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
        for first in range(0, len(held), JUDGED_TOGETHER):
            draw = (plan.seed, plan.epochs)  # the same views after every epoch
            batch = make_batch(held[first : first + JUDGED_TOGETHER], plan.px[-1], teacher, draw)
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
    weights = rounded(network)
    from safetensors.numpy import save

    with writing(options.out / WEIGHTS):
        write_whole(
            options.out / WEIGHTS,
            save({name: array.astype(np.float16) for name, array in sorted(weights.items())}),
        )
    figures = {
        "command": options.command,
        "seed": options.seed,
        "data": {
            "folders": [str(folder) for folder in options.data],
            "teacher": [str(folder) for folder in options.teacher],
            "sha256": digest,
            "photos": {"train": len(train), "validation": len(held)},
        },
        "validation": progress.validation,
        "seconds": round(progress.seconds),
        "log": [
            f"epoch {line['epoch']}: loss {line['loss']}, validation {line['validation']}"
            for line in progress.log
        ],
    }
    write_result(options.out, figures, settings)
    print(
        f"{options.out}: {progress.validation:.4f} of the keypoints found again; make a model with"
        f" `--features fine+rootsift --fine {options.out}`"
    )
    return 0
