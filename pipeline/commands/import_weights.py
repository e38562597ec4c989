"""Make a model from any ResNet18 or ResNet50's weights, safetensors or .pth: both PCAs and the
acceptance are fitted on your photos.

The attention is the length of a feature until one is trained. Of a .pth file tensors alone are
read; prefixes and the names of checkpoints' parts do not matter. Two controls for every comparison:
--untrained in place of the weights, and --features rootsift in place of the local features.
"""

import argparse
import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.errors import UsageError
from pipeline.base.names import LITE
from pipeline.base.values import at_least_one
from pipeline.cli import Parser, add_seed, finish
from pipeline.model.card import CHOICES, FINE, LITE0
from pipeline.results.file import command

if TYPE_CHECKING:
    import numpy as np

    from stages.reduce import Reduce

FINE_SIDE = 640  # px, of RootSIFT, too
LITE_SIDE = 320  # px
CONV3 = "layer1.0.conv3.weight"  # a tensor of bottlenecks
STEM = "_conv_stem.weight"  # of EfficientNet-Lite0
RECIPE_TRUNKS = {"two_stage": "a ResNet", "resnet50": "a resnet50", LITE: f"an {LITE0}"}


def make_parser() -> Parser:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument(
        "weights",
        type=Path,
        nargs="?",
        metavar="FILE",
        help="safetensors or .pth: a ResNet18 or ResNet50 under torchvision's or timm's names, or a"
        " model's weights",
    )
    parser.add_argument(
        "--untrained",
        choices=("resnet18", "resnet50"),
        help="instead of a file: random weights, by --seed",
    )
    parser.add_argument(
        "--photos",
        type=Path,
        required=True,
        metavar="DIR",
        help="at least 80 photos to fit on, 300 for a chance model of its own; no labels",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the model's folder")
    parser.add_argument(
        "--recipe",
        choices=("two_stage", "resnet50", LITE),
        help="whose model it is to be (default: lite for its weights, else two_stage)",
    )
    parser.add_argument(
        "--features",
        choices=CHOICES["features"],
        default="delf",
        help="what the second look sees (default: delf)",
    )
    parser.add_argument(
        "--fine",
        type=Path,
        metavar="RUN|FILE",
        help="the network of the fine features: a run of `train fine`",
    )
    parser.add_argument(
        "--embed-side",
        type=at_least_one,
        metavar="PX",
        help=f"the first look's photo, a side of its square (default: 224, lite {LITE_SIDE})",
    )
    parser.add_argument(
        "--describe-side",
        type=at_least_one,
        metavar="PX",
        help=f"the second's, its longest side (default: 320 for delf, else {FINE_SIDE})",
    )
    parser.add_argument(
        "--keep",
        type=at_least_one,
        default=500,
        metavar="N",
        help="local features a photo, at most (default: 500)",
    )
    parser.add_argument("--source", default="", help="where the weights come from, for the card")
    parser.add_argument(
        "--card",
        type=Path,
        metavar="FILE.json",
        help="entries to add to the model's card: data, figures",
    )
    parser.add_argument(
        "--mend", help="the command that the card gives for a damaged file (default: this one)"
    )
    add_seed(parser)
    parser.add_argument(
        "--jobs",
        type=at_least_one,
        default=os.cpu_count() or 1,
        metavar="N",
        help="threads (default: all cores)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    given = sys.argv[1:] if argv is None else argv
    return finish(
        "import_weights", lambda: import_weights(args, command("scripts/import_weights.py", given))
    )


def import_weights(args: argparse.Namespace, command: str) -> int:
    import numpy as np

    from pipeline.model.card import Settings
    from pipeline.model.weights import write_model
    from pipeline.training.fit import encode_sample, fit
    from pipeline.training.options import read_entries

    more = read_entries(args.card)
    if (args.weights is None) == (args.untrained is None):
        raise UsageError(
            "weights: expected FILE, safetensors or .pth, or --untrained, got "
            + ("neither" if args.weights is None else "both")
        )
    if not args.photos.is_dir():
        raise UsageError(f"--photos {args.photos}: expected a folder of photos, got none")
    weights, digest = (
        untrained(args.untrained, args.seed) if args.untrained else read_weights(args.weights)
    )
    trunk = LITE0 if STEM in weights else "resnet50" if CONV3 in weights else "resnet18"
    recipe = args.recipe or (LITE if trunk == LITE0 else "two_stage")
    if recipe not in {LITE0: (LITE,), "resnet50": ("two_stage", "resnet50")}.get(
        trunk, ("two_stage",)
    ):
        raise UsageError(
            f"--recipe {recipe}: expected the weights of {RECIPE_TRUNKS[recipe]}, got a {trunk}'s;"
            " run with others or without --recipe"
        )
    if (args.fine is None) == (args.features in FINE):
        raise UsageError(
            f"--fine: expected it with --features {' or '.join(FINE)}, got"
            f" {'none' if args.fine is None else 'another'}"
        )
    fine = None if args.fine is None else read_fine(args.fine)
    code = {name: weights.pop(name) for name in [*weights] if name.startswith("code.")}
    settings = Settings(
        trunk=trunk,
        recipe=recipe,
        embed_side=args.embed_side or (LITE_SIDE if recipe == LITE else 224),
        describe_side=args.describe_side or (320 if args.features == "delf" else FINE_SIDE),
        keep=args.keep,
        features=args.features,
    )
    try:
        seen = encode_sample([args.photos], weights, settings, None, args.jobs, fine=fine)
        arrays, accept = fit(seen, args.seed, args.jobs, code=learned(code), keep=settings.keep)
    except ValueError as error:
        raise UsageError(str(error)) from None
    stored = {f"trunk.{name}": array.astype(np.float16) for name, array in weights.items()}
    stored |= {f"fine.{name}": array.astype(np.float16) for name, array in (fine or {}).items()}
    source = args.source or (
        f"{args.untrained}, random, seed {args.seed}" if args.untrained else args.weights.name
    )
    card = {
        "accept": accept,
        "data": {"weights": source, "weights_sha256": digest, "photos": args.photos.name},
        "attention": {
            "rootsift": "none: RootSIFT",
            "delf": "length of the feature, not trained",
        }.get(args.features, "trained with the fine features"),
        "seed": args.seed,
    }
    write_model(
        args.out,
        {**stored, **{name: array.astype(np.float32) for name, array in arrays.items()}},
        settings,
        card | more,
        args.mend or command,
    )
    print(f"{args.out}: {settings.trunk} and {settings.features}, use it with `--model {args.out}`")
    return 0


def read_weights(path: Path) -> "tuple[dict[str, np.ndarray], str]":
    """A trunk's tensors, of a state dict or a model of ours, finite and known; and the file's
    sha256. Raises UsageError.
    """
    from pipeline.model.resnets import check_resnet, resnet_of, with_head
    from pipeline.model.tensors import check_finite, read_tensors

    named = str(path)
    arrays, digest = read_tensors(named, path)
    weights = resnet_of(named, arrays)
    if STEM not in weights:
        weights = with_head(weights)
        trunk = "resnet50" if CONV3 in weights else "resnet18"
        check_resnet(named, trunk, weights, "a ResNet18 or a ResNet50")
    check_finite(named, weights)
    return weights, digest


def read_fine(path: Path) -> "dict[str, np.ndarray]":
    """The network of the fine features. Raises UsageError."""
    from pipeline.training.embedding import read_weights as read_tensors
    from stages.fine_network import load_fine

    tensors = read_tensors("--fine", path)
    try:
        load_fine(tensors)
    except ValueError as error:
        raise UsageError(f"--fine {path}: {error}") from None
    return {**tensors}


def learned(code: "dict[str, np.ndarray]") -> "Reduce | None":
    """The code that a run of `train distil` learned; None: principal components serve."""
    import numpy as np

    from stages.reduce import Reduce

    if not code:
        return None
    try:
        mean, components = (
            code[f"code.{name}"].astype(np.float32) for name in ("mean", "components")
        )
        return Reduce(mean, components, unit=True)
    except (KeyError, ValueError) as error:
        raise UsageError(f"weights: expected a whole code, got: {error}") from None


def untrained(name: str, seed: int) -> "tuple[dict[str, np.ndarray], str]":
    """A network that has seen nothing, its ten-way head included, and the sha256 of its tensors as
    they are stored.
    """
    import numpy as np
    import torch

    from stages.trunk import build_resnet

    torch.manual_seed(seed)
    state = build_resnet(name, 10).state_dict()
    weights = {
        key: tensor.numpy().astype(np.float16)
        for key, tensor in state.items()
        if not key.endswith("num_batches_tracked")
    }
    return (
        weights,
        hashlib.sha256(b"".join(weights[key].tobytes() for key in sorted(weights))).hexdigest(),
    )


if __name__ == "__main__":
    sys.exit(main())
