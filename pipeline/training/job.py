"""A whole training, from photos to a model or weights: check, read, learn, measure, write."""

import json
import logging
import time
from dataclasses import replace

from pipeline.base.compute import device_of
from pipeline.base.files import check_folder
from pipeline.base.names import ATTENDED
from pipeline.model.card import Settings
from pipeline.results.file import write_row
from pipeline.training.checkpoint import (
    CHECKPOINT,
    RESULT,
    Progress,
    check_settings,
    finished,
    settings_of,
)
from pipeline.training.data import HOLD_OUT, TENTH, Data, read_data
from pipeline.training.delf import attention, fold
from pipeline.training.embedding import PARTS, TRUNK, embedding, read_start, rounded
from pipeline.training.export import card_of, write_trained
from pipeline.training.loop import Plan, Task, learn, show
from pipeline.training.options import (
    EMBEDDINGS,
    FOR_ATTENDED,
    FREE,
    TrainOptions,
    check_counts,
    usual_rate,
)
from pipeline.training.repeatability import matches
from pipeline.training.teacher import fit_class_teacher, fit_head

LOG = logging.getLogger(__name__)


def train(options: TrainOptions) -> int:
    """Check, read, learn, measure, write."""

    settings = settings_of(
        vars(options), FREE if options.what in ATTENDED else FREE | {*FOR_ATTENDED, "first"}
    )
    check_settings(options.out, settings)
    if finished(options.out):
        print(f"{options.out}: finished already; remove it to train once more")
        return record(options)
    device = device_of(options.device)
    valid_side = options.test_px or options.px[-1]
    first = options.start
    if options.what == "delf" and first is None:
        first = options.out / "descriptor"
        train(
            replace(
                options,
                what="embedding",
                out=first,
                local=None,
                quantile=0.0,
                matches=False,
                step_one=True,
            )
        )
    trunk, how = TRUNK, None
    if options.what in ATTENDED:
        trunk = "resnet50"
        how = Settings(
            trunk=trunk,
            attention=options.what.partition("_")[2],
            fusion=options.fusion,
            reduction=options.reduction,
            groups=options.groups,
            first=options.first,
        ).how
    start = read_start("--start", first, trunk, how) if first else None
    local = read_start("--local", options.local) if options.local else None
    data = read_data(
        options.data,
        options.valid,
        options.test,
        round(max(options.px) * 1.3),
        round(valid_side * 1.3),
        1 if options.matches else 2,
        labels=None if options.matches else options.labels,
        hold_out=TENTH if options.what in ATTENDED else HOLD_OUT,
    )
    settings["photos of --data, --valid and --test"] = data.digest[:16]
    check_settings(options.out, settings)
    check_counts(options, len(data.train.labels), len(data.valid.labels) if data.held else 0)
    rate, adam = usual_rate(options), options.adam or options.matches
    check_folder("--out", options.out)
    plan = Plan(
        tuple(options.px),
        options.epochs,
        options.batch,
        rate,
        options.smallest,
        options.seed,
        options.instance,
        options.hidden,
        adam,
        options.last,
        careful=options.what in ATTENDED,
    )
    teacher = None
    if options.teacher:
        teacher = fit_class_teacher(
            str(options.teacher[0]), data.train, valid_side, device, options.bf16
        )
        LOG.info(f"{teacher.name}: validation {teacher.top1(data.valid, valid_side):.4f}")
    if options.what in EMBEDDINGS:
        task = embedding(
            plan,
            data.train.classes,
            start,
            len(PARTS) if options.head_only else options.freeze,
            valid_side,
            options.bf16,
            device,
            trunk,
            how,
            teacher,
        )
    else:
        frozen = local or start
        assert frozen is not None
        task = (
            matches(plan, frozen, options.bf16, device)
            if options.matches
            else attention(plan, data.train.classes, frozen, valid_side, options.bf16, device)
        )
    progress = Progress()
    # where a run goes on, its checkpoint has the head
    if options.fit_head and not (options.out / CHECKPOINT).is_file():
        progress = with_fitted_head(task, data, valid_side, device, options.bf16)
    if options.solved:
        show(options.out, progress)
    else:
        start_share = progress.validation
        progress = learn(task, plan, data.train, data.valid, options.out, settings, start_share)
    weights = rounded(task.model) if options.what in EMBEDDINGS else start
    assert weights is not None
    # of the weights as they are stored
    test = round(task.validate(data.test), 6) if data.test else None
    teacher_test = round(teacher.top1(data.test, valid_side), 6) if teacher and data.test else None
    scores = fold(task.model) if options.what == "delf" else None
    card = card_of(options, data, progress, settings, test)
    if teacher is not None:
        card |= {"teacher": teacher.name, "teacher_test": teacher_test}
    # the code that `distil` learned holds as long as the trunk is the same
    code = {
        name: array
        for name, array in (start or {}).items()
        if options.head_only and name.startswith("code.")
    }
    learned = replace(options, data=data.folders)
    write_trained(learned, weights, local, scores, card, settings, code)
    tested = "" if test is None else f", test {test:.4f}"
    use = (
        f"start from it with `--start {options.out}`"
        if options.weights_only or options.step_one
        else f"use it with `--model {options.out}`"
    )
    when = f"at epoch {progress.best} of {options.epochs}"
    if not progress.best:
        when = f"at the start, on which none of {options.epochs} epochs improved"
    print(f"{options.out}: validation {progress.validation:.4f} {when}{tested}; {use}")
    return record(options)


def with_fitted_head(task: Task, data: Data, px: int, device: str, bf16: bool) -> Progress:
    """Fit the class head of the task's model; the progress is that of a run that ends there."""
    began = time.monotonic()
    loss = fit_head(task.model, data.train, px, device, bf16)
    share, seconds = round(task.validate(data.valid), 6), time.monotonic() - began
    LOG.info(f"--fit-head: validation {share:.4f}, {seconds:.0f} s")
    line = {"epoch": 1, "step": 0, "px": px, "rate": 0.0, "loss": round(loss, 6)}
    line |= {"validation": share, "seconds": round(seconds)}
    return Progress(seconds=seconds, best=1, log=(line,))


def record(options: TrainOptions) -> int:
    """The finished run as a row of --results."""

    if options.results and not options.step_one:
        result = json.loads((options.out / RESULT).read_text("utf-8"))
        figures = {
            name: result[name]
            for name in ("command", "seed", "data", "best_epoch", "validation", "test", "seconds")
        } | {name: result[name] for name in ("teacher", "teacher_test") if name in result}
        model = {"name": options.out.resolve().name, "weights_sha256": result["sha256"]}
        write_row(
            options.results,
            {
                "recipe": options.what,
                "label": f"{options.label or model['name']}, seed {options.seed}",
                "model": model,
                **figures,
            },
        )
    return 0
