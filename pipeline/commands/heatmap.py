"""Draw a model's attention: photos, the heat of their attention scores, and the local features
that are kept.

The heat of a place is its score, with DELF the mean over all scales of the pyramid; the dots are
as bright as they score. With --first-look the embeddings of train.py's runs are drawn side by side
instead: how strongly the last map of each responds.
"""

import argparse
import sys
from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.cli import Parser, add_model, finish


def make_parser() -> Parser:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument("photos", nargs="+", metavar="PHOTO")
    parser.add_argument(
        "--first-look",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="runs of train.py, such as those of the resnet50 recipes",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    add_model(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return finish("heatmap", lambda: heatmap(args))


def heatmap(args: argparse.Namespace) -> int:
    from pipeline.base.compute import one_thread_each
    from pipeline.base.errors import QueryError
    from pipeline.base.files import check_place, write_file
    from pipeline.model.card import DEFAULT
    from pipeline.model.weights import open_model
    from pipeline.recipes import attentive_of
    from pipeline.report.heatmap import compare, draw
    from pipeline.search.query import read_query
    from pipeline.training.embedding_search import embedder, read_run

    check_place("--out", args.out)
    one_thread_each()
    try:
        photos = [(Path(name).name, read_query(name)) for name in args.photos]
    except QueryError as error:
        raise UsageError(str(error)) from None
    if args.first_look:
        runs = [read_run(run) for run in args.first_look]
        write_file(
            args.out, compare([(trained.run.name, embedder(trained)) for trained in runs], photos)
        )
    else:
        model = open_model(args.model or DEFAULT)
        write_file(args.out, draw(attentive_of(model, args.device), photos, model.name))
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
