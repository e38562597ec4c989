"""`scripts/train.py RECIPE`: a hashing recipe's code learned on folders of classes, and the model
that `pipeline.index --model` takes.
"""

import argparse

import numpy as np

from pipeline.base.errors import UsageError
from pipeline.model.card import Settings
from pipeline.model.weights import write_model
from pipeline.training.checkpoint import WEIGHTS, writing
from pipeline.training.data import list_rows
from pipeline.training.hashing.learn import settings_of, teach
from pipeline.training.hashing.loop import Plan
from pipeline.training.hashing.maps import check_side, photos_digest, read_maps, read_trunk
from pipeline.training.hashing.methods import METHODS
from stages.trunk import pick_device

RATE, SIDE = 1e-3, 224


def train_code(args: argparse.Namespace) -> int:
    """All of --data is learned from: nothing is chosen, so nothing is held out. Raises
    UsageError."""
    if args.start is None:
        raise UsageError(
            "--start: expected the weights of a trunk, which stays as it is, got none; run with"
            " `--start resnet18.safetensors`"
        )
    weights, trunk = read_trunk(args.start)
    rows, _ = list_rows(args.data, "--data")
    names = sorted({label for _, label, _ in rows})
    if len(names) < 2:
        raise UsageError(
            f"--data {' '.join(map(str, args.data))}: expected a folder a class and at least two,"
            f" got {len(names)}"
        )
    paths = [path for path, _, _ in rows]
    labels = np.eye(len(names), dtype=np.uint8)[[names.index(label) for _, label, _ in rows]]
    side, bits = args.embed_side or SIDE, args.bits or Settings.bits
    check_side("--embed-side", side)
    try:
        device = pick_device(args.device)
    except ValueError as error:
        raise UsageError(str(error)) from None
    digest = photos_digest(paths, args.jobs)
    maps = read_maps(paths, digest, trunk, weights, side, args.maps, args.jobs, device)
    plan = Plan(args.epochs, args.batch, args.rate or RATE, args.width, args.seed, device)
    settings = settings_of(args.what, weights, digest, side, labels, bits, plan)
    taught, seconds = teach(
        METHODS[args.what],
        maps,
        np.arange(len(paths)),
        labels,
        bits,
        plan,
        args.out / "code",
        settings,
    )
    arrays = {f"hash.{name}": array for name, array in taught.arrays.items() if name != "gallery"}
    arrays |= {f"trunk.{name}": array.astype(np.float16) for name, array in weights.items()}
    card = {
        "command": args.command,
        "seed": args.seed,
        "data": {
            "folders": [str(folder) for folder in args.data],
            "sha256": digest,
            "photos": len(paths),
        },
        "classes": names,
        "seconds": round(seconds),
        "accept": {"inliers": 0},  # no points are compared
        **args.more,
    }
    with writing(args.out / WEIGHTS):
        write_model(
            args.out,
            arrays,
            Settings(trunk, side, recipe=args.what, bits=bits, width=args.width),
            card,
            args.mend or args.command,
        )
    print(
        f"{args.out}: {bits} bits from {len(paths):,} photos of {len(names)} classes; use it with"
        f" `--model {args.out}`"
    )
    return 0
