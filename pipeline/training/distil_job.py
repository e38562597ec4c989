"""A whole training of the first look from a teacher, from photos and the teacher's vectors to the
trunk's weights and its code.
"""

import numpy as np
from safetensors.numpy import save

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
from pipeline.training.data import read_data
from pipeline.training.distil import JUDGED, distil, learned_code, read_taught, views
from pipeline.training.embedding import read_start, rounded
from pipeline.training.loop import Plan, Schedule, run
from pipeline.training.options import FOR_ATTENDED, FREE, TrainOptions, usual_rate
from stages.records import Float32

HOLD_OUT = 10  # one photo in ten chooses the epoch


def train_distil(options: TrainOptions) -> int:
    """Check, read, learn, write the weights."""
    settings = settings_of(vars(options), FREE | {*FOR_ATTENDED, "first"})
    check_settings(options.out, settings)
    if finished(options.out):
        print(f"{options.out}: finished already; remove it to train once more")
        return 0
    if len(options.teacher) != 1:
        raise UsageError(f"--teacher: expected one .npy file, got {len(options.teacher)}")
    assert options.start is not None
    device = device_of(options.device)
    start = read_start("--start", options.start)
    taught = read_taught(options.data, options.teacher[0])
    side = round(max(options.px) * 1.3)
    data = read_data(options.data, options.valid, None, side, side, least=1, hold_out=HOLD_OUT)
    settings["photos of --data"] = data.digest[:16]
    check_settings(options.out, settings)
    photos = len(data.train.labels)
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
    task = distil(plan, start, taught, options.bf16, device)

    def px(epoch: int) -> int:
        return plan.px[epoch * len(plan.px) // plan.epochs]

    schedule = Schedule(
        plan.epochs,
        plan.steps(photos),
        plan.rate,
        lambda epoch, first: views(data.train, plan, px(epoch), epoch, first),
        lambda epoch: {"px": px(epoch)},
        lambda: task.validate(data.valid),
        # one standard error of a share of so many photos
        margin=0.5 / min(JUDGED, len(data.valid.labels)) ** 0.5,
        photos=photos,
    )
    check_folder("--out", options.out)
    progress = run(task.model, task.optimizer, task.loss, schedule, options.out, settings)
    code = learned_code(task.model)
    weights: dict[str, Float32] = rounded(task.model.get_submodule("trunk"))
    stored: dict[str, np.ndarray] = {
        name: array.astype(np.float16) for name, array in sorted(weights.items())
    }
    stored |= {"code.mean": code.mean, "code.components": code.components}
    with writing(options.out / WEIGHTS):
        write_whole(options.out / WEIGHTS, save(stored))
    figures = {
        "command": options.command,
        "seed": options.seed,
        "data": {
            "folders": [str(folder) for folder in options.data],
            "teacher": str(options.teacher[0]),
            "sha256": data.digest,
            "photos": {"train": photos, "validation": len(data.valid.labels)},
            "unreadable": data.unreadable,
        },
        "best_epoch": progress.best,
        "validation": progress.validation,
        "seconds": round(progress.seconds),
        "log": [
            f"epoch {line['epoch']}: {line['px']} px, loss {line['loss']}, validation"
            f" {line['validation']}"
            for line in progress.log
        ],
    }
    write_result(options.out, figures, settings)
    print(
        f"{options.out}: {progress.validation:.4f} of scenes find their photo first, at epoch"
        f" {progress.best} of {options.epochs}; make a model of it with `import-weights"
        f" {options.out / WEIGHTS}`"
    )
    return 0
