"""What a finished training leaves: weights to start from, or a model fitted on the photos it
learned from, and the card that tells how.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from safetensors.numpy import save

from pipeline.base.errors import ModelError, UsageError
from pipeline.base.files import write_whole
from pipeline.base.names import ATTENDED, HASHING
from pipeline.model.card import Settings
from pipeline.model.weights import open_model, write_model
from pipeline.recipes import encode
from pipeline.training.checkpoint import RESULT, WEIGHTS, Progress, write_result, writing
from pipeline.training.data import Data
from pipeline.training.fit import encode_sample, fit
from pipeline.training.options import TrainOptions
from stages.delf import Attention
from stages.records import Float32, Image, LocalFeatures
from stages.trunk import local_part

# arrays of a model that are its local features' alone
OF_LOCAL = ("delf", "attention", "fine", "reduce_fine", "reduce_rootsift")


def card_of(
    options: TrainOptions,
    data: Data,
    progress: Progress,
    settings: Mapping[str, Any],
    test: float | None,
) -> dict[str, Any]:
    """How it was trained, on what, and how well it does. test: the figure of the best epoch on
    --test.
    """
    photos = {
        "train": len(data.train.labels),
        "validation": len(data.valid.labels),
        "test": len(data.test.labels) if data.test else 0,
    }
    return {
        "command": options.command,
        "seed": options.seed,
        "data": {
            "folders": [str(folder) for folder in options.data],
            "sha256": data.digest,
            "valid": settings["--valid"],
            "test": settings["--test"],
            "photos": photos,
            "unreadable": data.unreadable,
        },
        "classes": list(data.train.classes),
        "best_epoch": progress.best,
        "validation": progress.validation,
        **({"start_validation": progress.start} if progress.start >= 0 else {}),
        "test": test,
        "seconds": round(progress.seconds),
        "log": [
            f"epoch {line['epoch']}: {line['px']} px, loss {line['loss']}, validation"
            f" {line['validation']}"
            for line in progress.log
        ],
    }


def write_trained(
    options: TrainOptions,
    weights: dict[str, Float32],
    local: dict[str, Float32] | None,
    attention: Attention | None,
    card: dict[str, Any],
    settings: Mapping[str, Any],
    code: Mapping[str, Float32],
) -> None:
    """Weights alone or a whole model into options.out, then the result that says the run is
    finished. Raises UsageError.

    weights: the trunk of both looks; local: of the second alone, if it has its own; attention: None
    for the length of a feature; code: a learned one that goes with the weights, `code.*`.
    """
    if options.weights_only or options.step_one:
        half = {name: array.astype(np.float16) for name, array in sorted(weights.items())}
        with writing(options.out / WEIGHTS):
            write_whole(options.out / WEIGHTS, save({**half, **code}))
    else:
        sides = {
            name: side
            for name in ("embed_side", "describe_side")
            if (side := getattr(options, name))
        }
        model_settings, describe = Settings(**sides), None
        second: dict[str, np.ndarray] = {}
        if options.what in ATTENDED:
            model_settings, second, describe = with_features_of(options, sides)
        try:
            sample = encode_sample(
                options.data,
                weights,
                model_settings,
                attention,
                options.jobs,
                local=local,
                describe_with=describe,
            )
            arrays, accept = fit(sample, options.seed, options.jobs, quantile=options.quantile)
        except ValueError as error:
            raise UsageError(str(error)) from None
        arrays |= (
            {f"attention.{name}": array for name, array in vars(attention).items()}
            if attention
            else {}
        )
        arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
        arrays |= second | {
            f"trunk.{name}": array.astype(np.float16) for name, array in weights.items()
        }
        arrays |= (
            {f"local.{name}": array.astype(np.float16) for name, array in local_part(local).items()}
            if local
            else {}
        )
        scored_by = (
            f"of the model {options.features_of}"
            if second
            else "trained"
            if attention
            else "length of the feature, not trained"
        )
        card = {**card, "accept": accept, "attention": scored_by}
        if options.what == "delf" and options.start is None:
            step_one = json.loads((options.out / "descriptor" / RESULT).read_text("utf-8"))
            card["descriptor"] = {
                name: step_one[name]
                for name in ("best_epoch", "validation", "test", "seconds", "log")
            }
        card |= options.more
        with writing(options.out / WEIGHTS):
            write_model(options.out, arrays, model_settings, card, options.mend or options.command)
    write_result(
        options.out, {name: value for name, value in card.items() if name != "accept"}, settings
    )


def with_features_of(
    options: TrainOptions, sides: Mapping[str, Any]
) -> tuple[Settings, dict[str, np.ndarray], Callable[[Image], LocalFeatures]]:
    """A ResNet50 of seeds 000 and 001 beside the local features of another model: the settings of
    both, those features' arrays, and their stage. Raises ModelError or UsageError.
    """
    model = open_model(options.features_of)
    model = replace(model, settings=replace(model.settings, **sides))
    other = model.settings
    if other.recipe in HASHING:
        raise ModelError(
            f"model {model.name}: expected one with local features, got {other.recipe}; run with"
            " another `--features-of`"
        )
    own = {name: getattr(options, name) for name in ("fusion", "reduction", "groups", "first")}
    delf = other.features == "delf"
    settings = Settings(
        trunk="resnet50",
        embed_side=other.embed_side,
        describe_side=other.describe_side,
        keep=other.keep,
        features=other.features,
        recipe=options.what,
        attention=options.what.partition("_")[2],
        local_trunk=(other.local_trunk or other.trunk) if delf else "",
        **(own if options.what != "resnet50" else {}),
    )
    arrays = {name: array for name, array in model.arrays.items() if name.split(".")[0] in OF_LOCAL}
    if delf:
        trunk = local_part(model.part("local") or model.part("trunk"))
        arrays |= {f"local.{name}": array for name, array in trunk.items()}
    return settings, arrays, encode(model, "cpu").stage("features")
