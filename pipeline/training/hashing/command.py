"""`scripts/train.py RECIPE`: a hashing recipe's code learned on folders of classes, and the model
that `pipeline.index --model` takes.
"""

import numpy as np

from pipeline.base.compute import device_of
from pipeline.base.errors import UsageError
from pipeline.model.card import Settings
from pipeline.model.weights import write_model
from pipeline.training.checkpoint import WEIGHTS, writing
from pipeline.training.folders import list_rows, split_rows
from pipeline.training.hashing.learn import learn_code, settings_of
from pipeline.training.hashing.loop import Plan
from pipeline.training.hashing.maps import check_side, photos_digest, read_maps, read_trunk
from pipeline.training.hashing.methods import METHODS, check_photos
from pipeline.training.options import TrainOptions
from stages.squaremap import MAPS

RATE, SIDE = 1e-3, 224


def train_code(options: TrainOptions) -> int:
    """All of --data is learned from: nothing is chosen, so nothing is held out. Raises
    UsageError."""
    if options.start is None:
        raise UsageError(
            "--start: expected the weights of a trunk, which stays as it is, got none; run with"
            " `--start resnet18.safetensors`"
        )
    weights, trunk = read_trunk(options.start)
    rows = split_rows(options.data, list_rows(options.data, "--data", options.labels)[0])[0][
        "train"
    ]
    names = sorted({label for _, label, _ in rows})
    if len(names) < 2:
        raise UsageError(
            f"--data {' '.join(map(str, options.data))}: expected a folder a class and at least"
            f" two, got {len(names)}"
        )
    paths = [path for path, _, _ in rows]
    check_photos(options.what, METHODS[options.what], len(paths))
    labels = np.eye(len(names), dtype=np.uint8)[[names.index(label) for _, label, _ in rows]]
    side, bits = options.embed_side or SIDE, options.bits or Settings.bits
    check_side("--embed-side", side)
    device = device_of(options.device)
    digest = photos_digest(paths, options.jobs)
    method = METHODS[options.what]
    maps = read_maps(
        paths, digest, trunk, weights, side, method.two, options.maps, options.jobs, device
    )
    plan = Plan(
        options.epochs,
        options.batch,
        options.rate or RATE,
        options.width,
        options.seed,
        device,
        options.bf16,
    )
    settings = settings_of(options.what, weights, digest, side, labels, bits, plan)
    learned, seconds = learn_code(
        method,
        maps,
        np.arange(len(paths)),
        labels,
        bits,
        plan,
        options.out / "code",
        settings,
        MAPS[trunk].earlier,
    )
    arrays = {f"hash.{name}": array for name, array in learned.arrays.items() if name != "gallery"}
    arrays |= {f"trunk.{name}": array.astype(np.float16) for name, array in weights.items()}
    card = {
        "command": options.command,
        "seed": options.seed,
        "data": {
            "folders": [str(folder) for folder in options.data],
            "sha256": digest,
            "photos": len(paths),
        },
        "classes": names,
        "seconds": round(seconds),
        "accept": {"inliers": 0},  # no points are compared
        **options.more,
    }
    with writing(options.out / WEIGHTS):
        write_model(
            options.out,
            arrays,
            Settings(trunk, side, recipe=options.what, bits=bits, width=options.width),
            card,
            options.mend or options.command,
        )
    print(
        f"{options.out}: {bits} bits from {len(paths):,} photos of {len(names)} classes; use it"
        f" with `--model {options.out}`"
    )
    return 0
