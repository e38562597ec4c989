"""The flags of scripts/train.py: what goes together, what is filled in, and what may differ when a
run goes on.
"""

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pipeline.base.errors import UsageError
from pipeline.base.names import ATTENDED, HASHING
from stages.lite import NETWORKS

# what may differ when a run goes on
FREE = {"out", "device", "jobs", "card", "mend", "results", "label", "command", "step_one", "more"}
FREE |= {"labels"}  # which classes there are is in the digest of the photos
EMBEDDINGS = ("embedding", *ATTENDED)
TAUGHT = ("distil", "fine")  # what learns from a teacher
FOR_CODES = ("bits", "width", "maps")  # flags of hashing recipes, which have settings of their own
NOT_FOR_CODES = (
    "last",
    "px",
    "smallest",
    "describe_side",
    "valid",
    "test",
    "test_px",
    "results",
    "label",
)
# flags that mean nothing where a teacher teaches
NOT_TAUGHT = (
    "labels",
    "test",
    "test_px",
    "last",
    "weights_only",
    "embed_side",
    "describe_side",
    "card",
    "mend",
    "results",
    "label",
)
NOT_FINE = ("valid", "smallest")
FREE |= set(FOR_CODES)
FOR_ATTENDED = ("setting", "fusion", "reduction", "groups", "features_of")
# of seeds 000 and 001: as published, on a GPU; and one that two cores train in minutes
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {"px": (224,), "epochs": 200, "freeze": 0, "first": 1},
    # the first two stages stay; attention in the last two
    "reduced": {"px": (128,), "epochs": 15, "freeze": 3, "first": 3},
}

WRITTEN = {
    "format",
    "name",
    "sha256",
    "bytes",
    "mend",
    "settings",
    "accept",
    "attention",
    "command",
    "seed",
    "data",
    "classes",
    "descriptor",
}
# entries of a card that --card may not replace
WRITTEN |= {"best_epoch", "validation", "start_validation", "test", "teacher", "teacher_test"}
WRITTEN |= {"seconds", "log"}


@dataclass(frozen=True)
class TrainOptions:
    """What a training is asked for, as the flags of scripts/train.py name it; `complete` fills in
    what was not said.
    """

    what: str  # "embedding", "delf", "distil", "fine" or a recipe of TRAINED
    data: tuple[Path, ...]  # folders of classes
    out: Path
    labels: str = "folder"  # which folder of a path is the class: of pipeline.base.names.LABELS
    valid: Path | None = None
    last: bool = False
    test: Path | None = None
    start: Path | None = None
    local: Path | None = None
    # of `fine`: features of each folder of data; of `distil`: one file of vectors
    teacher: tuple[Path, ...] = ()
    head_only: bool = False
    fit_head: bool = False
    freeze: int = -1  # here and below: -1, () and 0 for what is to be filled in
    adam: bool = False
    px: tuple[int, ...] = ()
    test_px: int | None = None
    epochs: int = 0
    batch: int = 0
    rate: float | None = None
    smallest: float = 0.3
    instance: float = 0.0
    hidden: int = 0
    matches: bool = False
    seed: int = 0
    bf16: bool = False
    embed_side: int | None = None
    describe_side: int | None = None
    quantile: float = 0.0
    bits: int | None = None
    width: int = 256
    maps: Path = Path("maps")
    setting: str = "reduced"
    fusion: str = "residual"
    reduction: int = 16
    groups: int = 1
    # whose local features a ResNet50 of seeds 000 and 001 takes
    features_of: str = "two_stage"
    weights_only: bool = False
    device: str = "auto"
    jobs: int = 1
    card: Path | None = None
    mend: str | None = None
    results: Path | None = None
    label: str | None = None
    command: str = ""  # as it was typed, for the card
    step_one: bool = False  # the first step of `delf`, which trains a trunk
    first: int = 0  # of the trunk's stages that has attention
    more: dict[str, Any] = field(default_factory=dict)  # entries of `card`

    @property
    def solved(self) -> bool:
        """Whether a class head is fitted and nothing is learned step by step."""
        return self.head_only and self.fit_head


FIELDS = frozenset(TrainOptions.__dataclass_fields__)


def complete(options: TrainOptions) -> TrainOptions:
    """What was not said, by what is trained. Raises UsageError for flags that do not go
    together."""
    usual: dict[str, Any] = {
        "px": (128,),
        "epochs": 1 if options.solved else 10 if options.what in HASHING else 5,
        "freeze": 0,
        "first": 1,
    }
    if options.what in ATTENDED:
        usual = dict(SETTINGS[options.setting])
        # folded batch norms leave layers of very different scale
        options = replace(options, adam=True)
    usual["batch"] = 128 if options.what in HASHING else 32 if options.what in ATTENDED else 64
    if options.what == "fine":
        usual |= {"px": (256,), "batch": 8}
    unsaid = {
        name: value
        for name, value in usual.items()
        if getattr(options, name) == getattr(TrainOptions, name)
    }
    options = replace(options, **unsaid)
    check_flags(options)
    return replace(options, more=read_entries(options.card))


def usual_rate(options: TrainOptions) -> float:
    """The peak of the rate: the one given, or the usual one."""
    if options.rate is not None:
        return options.rate
    if options.what in TAUGHT:
        return {"fine": 2e-3, "distil": 5e-4}[options.what]
    return 1e-3 if options.matches else 1e-4 if options.adam else 0.1


def check_flags(options: TrainOptions) -> None:
    """Raises UsageError for flags that do not go together."""
    usual = {each.name: each.default for each in fields(TrainOptions)} | {"px": (128,)}
    for flag, given, what in (
        ("--local", options.local, "delf"),
        ("--quantile", options.quantile, "delf"),
        ("--matches", options.matches, "delf"),
        ("--head-only", options.head_only, "embedding"),
        ("--fit-head", options.fit_head, "embedding"),
        ("--freeze", options.freeze, "embedding"),
        ("--adam", options.adam, "embedding"),
        ("--weights-only", options.weights_only, "embedding"),
    ):
        if (
            given
            and options.what != what
            and not (what == "embedding" and options.what in EMBEDDINGS)
        ):
            raise UsageError(
                f"{flag}: expected it with `{what}`, got `{options.what}`; run without it"
            )
    if options.hidden and options.what not in EMBEDDINGS:
        raise UsageError(
            f"--hidden: expected it with {', '.join(EMBEDDINGS)}, got `{options.what}`; run without"
            " it"
        )
    if options.instance and options.what not in (*EMBEDDINGS, "distil"):
        raise UsageError(
            f"--instance: expected it with `embedding` or `distil`, got `{options.what}`; run"
            " without it"
        )
    trained = "`embedding` or `delf`"
    for wrong, names, right in (
        (options.what in HASHING, NOT_FOR_CODES, trained),
        (options.what not in HASHING, FOR_CODES, "a hashing recipe"),
        (options.what not in ATTENDED, FOR_ATTENDED, ", ".join(ATTENDED)),
        (options.what in TAUGHT, NOT_TAUGHT, trained),
        (options.what == "fine", NOT_FINE, trained),
    ):
        for name in names if wrong else ():
            if getattr(options, name) != usual[name]:
                raise UsageError(
                    f"--{name.replace('_', '-')}: expected it with {right}, got `{options.what}`;"
                    " run without it"
                )
    if options.what == "fine" and len(options.px) > 1:
        raise UsageError(
            f"--px {' '.join(map(str, options.px))}: expected one size with `fine`, got"
            f" {len(options.px)}; run with one"
        )
    if options.solved and (options.epochs > 1 or options.teacher):
        flag = "--teacher" if options.teacher else f"--epochs {options.epochs}"
        raise UsageError(
            f"{flag}: expected none with --head-only --fit-head, whose head is solved for, not"
            " trained; run without it"
        )
    if len(options.px) > options.epochs:
        raise UsageError(
            f"--px {' '.join(map(str, options.px))}: expected at most one size an epoch, got"
            f" {len(options.px)} for {options.epochs} epochs"
        )
    if options.teacher and options.what in EMBEDDINGS:
        if len(options.teacher) > 1 or str(options.teacher[0]) not in NETWORKS:
            raise UsageError(
                f"--teacher {' '.join(map(str, options.teacher))}: expected one of"
                f" {', '.join(NETWORKS)} with `{options.what}`, got another"
            )
    elif bool(options.teacher) != (options.what in TAUGHT):
        takes = ", ".join((*TAUGHT, *EMBEDDINGS))
        raise UsageError(
            f"--teacher: expected it with {takes} alone, got `{options.what}`; run without it"
            if options.teacher
            else f"--teacher: expected it with `{options.what}`, got none; {options.what} learns"
            " from it"
        )
    if options.what == "distil" and options.start is None:
        raise UsageError("--start: expected weights to go on from, got none; run `embedding` first")
    if options.matches and options.start and options.test_px:
        raise UsageError(
            f"--test-px {options.test_px}: expected none with --matches, which sees all photos at"
            " one side; run without it"
        )
    if (
        options.what in ATTENDED
        and options.start is None
        and options.freeze == SETTINGS[options.setting]["freeze"] > 0
    ):
        raise UsageError(
            f"--setting {options.setting}: expected --start, whose first stages stay, got none; run"
            " with `--start WEIGHTS` or `--setting full`"
        )
    for flag, given, why in (
        ("--head-only", options.head_only, "whose trunk stays"),
        ("--freeze", options.freeze, "whose trunk stays"),
        ("--fit-head", options.fit_head, "whose vectors it is fitted on"),
    ):
        if given and options.start is None:
            raise UsageError(
                f"{flag}: expected --start, {why}, got none; run with `--start RUN` or train the"
                " whole"
            )


def read_entries(path: Path | None) -> dict[str, Any]:
    """The entries of --card. Raises UsageError for others than the trainer leaves to the caller."""
    if path is None:
        return {}
    try:
        more = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"--card {path}: expected a JSON file, got: {error}") from None
    if not isinstance(more, dict):
        raise UsageError(f"--card {path}: expected a JSON object, got another value")
    if taken := sorted(WRITTEN & more.keys()):
        raise UsageError(
            f"--card {path}: expected entries that the trainer does not write itself, got"
            f" {', '.join(taken)}; rename them"
        )
    return more


def check_counts(options: TrainOptions, train: int, held: int) -> None:
    """What would go wrong hours later; train, held: photos of --data."""
    from pipeline.training.fit import DESCRIPTOR

    least = 2 * DESCRIPTOR
    if not 2 <= options.batch <= train:
        raise UsageError(
            f"--batch {options.batch}: expected 2 or more and at most the {train} photos to train"
            " on; run with another `--batch`"
        )
    if options.instance and options.batch % 2:
        raise UsageError(
            f"--batch {options.batch}: expected an even number with --instance, two images a photo;"
            " run with another `--batch`"
        )
    if not options.weights_only and train + held < least:
        raise UsageError(
            f"--data: expected at least {least} photos to fit a model on, got {train + held}; run"
            " with `--weights-only` for weights alone"
        )
