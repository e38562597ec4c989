"""A model from any torchvision ResNet state dict in safetensors: both PCAs and the acceptance are fitted on your photos.

The attention is the length of a feature until one is trained. Weights from `.pth` files: see scripts/fetch_weights.py.
"""

import argparse
import hashlib
import os
import sys
from pathlib import Path

from pipeline.flags import Parser, UsageError, at_least_one, finish


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument("weights", type=Path, metavar="FILE.safetensors", help="a ResNet18 or ResNet50 state dict under torchvision's names")
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="at least 80 photos to fit on; labels are not needed")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the model's folder")
    parser.add_argument("--source", default="", help="where the weights come from, for the card")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=at_least_one, default=os.cpu_count() or 1, metavar="N", help="threads (default: all cores)")
    args = parser.parse_args(argv)
    return finish("import_weights", lambda: import_weights(args))


def import_weights(args: argparse.Namespace) -> int:
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    from pipeline.fit import fit, look
    from pipeline.models import Settings, write_model

    try:
        data = args.weights.read_bytes()
        weights = {name: array for name, array in load(data).items() if not name.endswith("num_batches_tracked")}
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{args.weights}: want a safetensors file, got {error}; `.pth` files go through scripts/fetch_weights.py") from None
    if not args.photos.is_dir():
        raise UsageError(f"--photos {args.photos}: want a folder of photos, got none")
    settings = Settings(trunk="resnet50" if "layer1.0.conv3.weight" in weights else "resnet18")
    try:
        arrays, accept = fit(look([args.photos], weights, settings, None, args.jobs), args.seed, args.jobs)
    except ValueError as error:
        raise UsageError(str(error)) from None
    trunk = {f"trunk.{name}": array.astype(np.float16) for name, array in weights.items()}
    card = {
        "accept": accept,
        "data": {"weights": args.source or args.weights.name, "weights_sha256": hashlib.sha256(data).hexdigest(), "photos": args.photos.name},
        "attention": "length of the feature, not trained",
        "seed": args.seed,
    }
    mend = f"python scripts/import_weights.py {args.weights} --photos {args.photos} --out {args.out}"
    write_model(args.out, {**trunk, **{name: array.astype(np.float32) for name, array in arrays.items()}}, settings, card, mend)
    print(f"{args.out}: {settings.trunk}, use it with `--model {args.out}`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
