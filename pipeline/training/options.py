"""The flags of scripts/train.py: what goes together, what is filled in, and what may differ when a
run goes on.
"""

import argparse
import json
from typing import Any

from pipeline.base.errors import UsageError
from pipeline.base.names import ATTENDED, HASHING

# what may differ when a run goes on
FREE = {"out", "device", "jobs", "card", "mend", "results", "label", "command", "step_one", "more"}
EMBEDDINGS = ("embedding", *ATTENDED)
FOR_CODES = ("bits", "width", "maps")  # flags of hashing recipes, which have settings of their own
NOT_FOR_CODES = (
    "last",
    "px",
    "smallest",
    "bf16",
    "describe_side",
    "valid",
    "test",
    "test_px",
    "results",
    "label",
)
FREE |= set(FOR_CODES)
FOR_ATTENDED = ("setting", "fusion", "reduction", "groups", "eyes")
# of seeds 000 and 001: as published, on a GPU; and one that two cores train in minutes
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {"px": [224], "epochs": 200, "freeze": 0, "first": 1},
    # the first two stages stay; attention in the last two
    "reduced": {"px": [128], "epochs": 15, "freeze": 3, "first": 3},
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
WRITTEN |= {"best_epoch", "validation", "test", "seconds", "log"}


def fill(args: argparse.Namespace) -> None:
    """What was not said, by what is trained."""
    usual: dict[str, Any] = {
        "px": [128],
        "epochs": 10 if args.what in HASHING else 5,
        "freeze": 0,
        "first": 1,
    }
    if args.what in ATTENDED:
        usual = SETTINGS[args.setting]
        args.adam = True  # folded batch norms leave layers of very different scale
    for name, value in usual.items():
        setattr(args, name, value if getattr(args, name, None) is None else getattr(args, name))
    args.batch = args.batch or (
        128 if args.what in HASHING else 32 if args.what in ATTENDED else 64
    )


def usual_rate(args: argparse.Namespace) -> float:
    """The peak of the rate, unless told."""
    return 1e-3 if args.matches else 1e-4 if args.adam else 0.1


def check_flags(args: argparse.Namespace, usual: dict[str, Any]) -> None:
    """Flags that do not go together; usual: their defaults."""
    for flag, given, what in (
        ("--local", args.local, "delf"),
        ("--quantile", args.quantile, "delf"),
        ("--matches", args.matches, "delf"),
        ("--head-only", args.head_only, "embedding"),
        ("--freeze", args.freeze, "embedding"),
        ("--adam", args.adam, "embedding"),
        ("--instance", args.instance, "embedding"),
        ("--weights-only", args.weights_only, "embedding"),
    ):
        if given and args.what != what and not (what == "embedding" and args.what in EMBEDDINGS):
            raise UsageError(
                f"{flag}: expected it with `{what}`, got `{args.what}`; run without it"
            )
    wrong, right = (
        (NOT_FOR_CODES, "`embedding` or `delf`")
        if args.what in HASHING
        else (FOR_CODES, "a hashing recipe")
    )
    for name in wrong:
        if getattr(args, name) != usual[name]:
            raise UsageError(
                f"--{name.replace('_', '-')}: expected it with {right}, got `{args.what}`; run"
                " without it"
            )
    for name in FOR_ATTENDED if args.what not in ATTENDED else ():
        if getattr(args, name) != usual[name]:
            raise UsageError(
                f"--{name}: expected it with {', '.join(ATTENDED)}, got `{args.what}`; run"
                " without it"
            )
    if len(args.px) > args.epochs:
        raise UsageError(
            f"--px {' '.join(map(str, args.px))}: expected at most one size an epoch, got"
            f" {len(args.px)} for {args.epochs} epochs"
        )
    if args.matches and args.start and args.test_px:
        raise UsageError(
            f"--test-px {args.test_px}: expected none with --matches, which sees all photos at one"
            " side; run without it"
        )
    if (
        args.what in ATTENDED
        and args.start is None
        and args.freeze == SETTINGS[args.setting]["freeze"] > 0
    ):
        raise UsageError(
            f"--setting {args.setting}: expected --start, whose first stages stay, got none; run"
            " with `--start WEIGHTS` or `--setting full`"
        )
    for flag, given in (("--head-only", args.head_only), ("--freeze", args.freeze)):
        if given and args.start is None:
            raise UsageError(
                f"{flag}: expected --start, whose trunk stays, got none; run with `--start RUN` or"
                " train the whole"
            )
    try:
        args.more = json.loads(args.card.read_text("utf-8")) if args.card else {}
    except (OSError, ValueError) as error:
        raise UsageError(f"--card {args.card}: expected a JSON file, got: {error}") from None
    if not isinstance(args.more, dict):
        raise UsageError(f"--card {args.card}: expected a JSON object, got another value")
    if taken := sorted(WRITTEN & args.more.keys()):
        raise UsageError(
            f"--card {args.card}: expected entries that the trainer does not write itself, got"
            f" {', '.join(taken)}; rename them"
        )


def check_counts(args: argparse.Namespace, train: int, held: int) -> None:
    """What would go wrong hours later; train, held: photos of --data."""
    from pipeline.training.fit import DESCRIPTOR

    least = 2 * DESCRIPTOR
    if not 2 <= args.batch <= train:
        raise UsageError(
            f"--batch {args.batch}: expected 2 or more and at most the {train} photos to train on;"
            " run with another `--batch`"
        )
    if args.instance and args.batch % 2:
        raise UsageError(
            f"--batch {args.batch}: expected an even number with --instance, two images a photo;"
            " run with another `--batch`"
        )
    if not args.weights_only and train + held < least:
        raise UsageError(
            f"--data: expected at least {least} photos to fit a model on, got {train + held}; run"
            " with `--weights-only` for weights alone"
        )
