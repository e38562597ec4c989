"""A row of the table of hashing: learn a recipe's codes at several lengths on a frozen trunk's maps
and measure them under a named protocol.

The maps are computed once and kept under --maps; every code length is a run of its own under --out,
and what is learned is not learned again: run the same command after a kill. Nothing is chosen on
the queries: the weights are those of the last epoch.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.errors import UsageError
from pipeline.base.files import check_folder
from pipeline.base.values import at_least_one, code_length, natural, positive
from pipeline.cli import Parser, finish
from pipeline.results.file import check_results, command, write_row

if TYPE_CHECKING:
    from pipeline.training.hashing.measures import Found
    from pipeline.training.hashing.protocols import Split
    from stages.metrics import Floats

BITS = (12, 24, 32, 48)
NUS_WIDE = "NUS-WIDE-21"


def job(args: argparse.Namespace) -> int:
    """Read, learn, measure, write; one length after the other."""
    import numpy as np

    from pipeline.base.compute import device_of
    from pipeline.base.files import write_file
    from pipeline.report.plots import plot_precision_recall
    from pipeline.training.hashing.learn import learn_code, settings_of
    from pipeline.training.hashing.loop import Plan
    from pipeline.training.hashing.maps import (
        check_side,
        photos_digest,
        read_maps,
        read_trunk,
        weights_sha256,
    )
    from pipeline.training.hashing.measures import measure
    from pipeline.training.hashing.methods import METHODS, check_photos, without
    from stages.squaremap import MAPS

    if args.recipe not in METHODS:
        raise UsageError(f"RECIPE {args.recipe}: expected one of {', '.join(METHODS)}")
    parts = sorted(set(args.without))
    method = without(args.recipe, parts)
    check_side("--side", args.side)
    check_results("--results", args.results)
    check_folder("--out", args.out)
    device = device_of(args.device)
    name = f"{args.recipe} without {' and '.join(parts)}" if parts else args.recipe
    split = split_of(args)
    check_photos(args.recipe, method, len(split.train))
    weights, trunk = read_trunk(args.start)
    photos = photos_digest(split.paths, args.jobs)
    maps = read_maps(
        split.paths, photos, trunk, weights, args.side, method.two, args.maps, args.jobs, device
    )
    place = np.full(len(split.paths), -1)
    place[split.database] = np.arange(len(split.database))
    # training photos that are searched
    searched = np.flatnonzero(place[split.train] >= 0)
    curves, labels = {}, split.labels[split.train]
    for bits in args.bits:
        plan = Plan(args.epochs, args.batch, args.rate, args.width, args.seed, device, args.bf16)
        out = args.out / f"{name.replace(' ', '_')}_{args.protocol}_{bits}_{args.seed}"
        settings = {
            **settings_of(name, weights, photos, args.side, labels, bits, plan),
            "--protocol": args.protocol,
        }
        learned, seconds = learn_code(
            method, maps, split.train, labels, bits, plan, out, settings, MAPS[trunk].earlier
        )
        query, database = (
            learned.codes(maps, rows, device) for rows in (split.query, split.database)
        )
        found = measure(
            query,
            database,
            split.labels[split.query],
            split.labels[split.database],
            args.candidates,
            split.depth,
        )
        mean, values = mean_precision(found, split.depth)
        curves[f"{bits} bits"] = (found.recall, found.precision)
        row: dict[str, Any] = {
            "recipe": name,
            "label": (
                f"{name}, {split.name}, {trunk} at {args.side} px, {bits} bits, seed {args.seed}"
            ),
            "protocol": split.name,
            "bits": bits,
            mean: values.mean(),
            **({} if split.depth else {"mAP_stable_sort": found.stable.mean()}),
            f"{mean}_both_looks": found.both.mean(),
            "precision_radius_2": found.radius2.mean(),
        }
        # the learned codes of training photos that are searched, in place of the network's
        if "gallery" in learned.arrays and len(searched):
            codes = learned.arrays["gallery"].astype(np.float32)
            database[place[split.train[searched]]] = codes[searched]
            by_learned = measure(
                query,
                database,
                split.labels[split.query],
                split.labels[split.database],
                args.candidates,
                split.depth,
            )
            mean, values = mean_precision(by_learned, split.depth)
            row |= {f"{mean}_learned_codes": values.mean()}
        row = {
            name: round(float(value), 6) if isinstance(value, np.floating) else value
            for name, value in row.items()
        }
        print(
            row["label"],
            *(f"{name} {value:.4f}" for name, value in row.items() if isinstance(value, float)),
            sep=", ",
            flush=True,
        )
        if args.results:
            held = "its package" if str(args.start) == trunk else args.start.name
            source = {
                "name": f"{trunk} of {held}, {args.side} px",
                "weights_sha256": weights_sha256(weights),
            }
            data = {"name": args.data.name, "photos": len(split.paths), "sha256": photos}
            write_row(
                args.results,
                {
                    **row,
                    "model": source,
                    "data": data,
                    "seed": args.seed,
                    "command": args.command,
                    "seconds": round(seconds),
                },
            )
    write_file(
        args.out / f"{name.replace(' ', '_')}_{args.protocol}_{args.seed}.png",
        plot_precision_recall(curves, f"{name}, {split.name}"),
    )
    return 0


def split_of(args: argparse.Namespace) -> "Split":
    """The photos under --protocol. Raises UsageError."""
    from pipeline.training.hashing.protocols import cifar10, nus_wide

    if args.protocol != NUS_WIDE:
        if args.photos is not None:
            raise UsageError(
                f"--photos {args.photos}: expected it with `--protocol {NUS_WIDE}`, whose"
                f" --data are lists, got {args.protocol}; run without it"
            )
        return cifar10(args.data, args.protocol)
    split = nus_wide(args.data, args.photos)
    if args.photos is None:
        raise UsageError(
            f"--photos: expected the folder of the {len(split.paths):,} photos that the lists name,"
            f" got none; the lists are in order: {len(split.query):,} queries,"
            f" {len(split.train):,} training photos, {len(split.database):,} searched"
        )
    return split


def mean_precision(found: "Found", depth: int | None) -> tuple[str, "Floats"]:
    """A row's main figure: its name, and each query's (Q,). A depth cuts through ties: they are
    as a stable sort leaves them.
    """
    return ("mAP", found.tied) if depth is None else (f"mAP@{depth}", found.stable)


def make_parser() -> Parser:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    add = parser.add_argument
    add(
        "recipe",
        metavar="RECIPE",
        help="am_vggh, vggh, dpsh, dnnh, cnnh_plus, cnnh, adsh, adsh_attention, ksh or lsh",
    )
    add(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="CIFAR-10 as photos: DIR/train/CLASS and DIR/test/CLASS; or the lists of NUS-WIDE-21:"
        " DIR/test.txt, train.txt and database.txt",
    )
    add(
        "--photos",
        type=Path,
        metavar="DIR",
        help="NUS-WIDE-21: the folder that the lists' paths are relative to",
    )
    add(
        "--start",
        type=Path,
        required=True,
        metavar="RUN|FILE|NAME",
        help="the frozen trunk, VGG16, a ResNet or EfficientNet-Lite0: a run, a model, a file of"
        " weights, or efficientnet_lite0, of its package",
    )
    add(
        "--protocol",
        choices=("A", "B", "C", NUS_WIDE),
        default="A",
        help="CIFAR-10: 1,000 queries, 5,000 training photos, 54,000 (A) or 59,000 (B) photos "
        "searched; 10,000, 50,000, 50,000 (C); or NUS-WIDE-21, as its lists say (default: A)",
    )
    add(
        "--without",
        nargs="+",
        default=[],
        metavar="PART",
        help="adsh_attention without its attention, the classes that guide it, the earlier map that"
        " it attends (it then attends the last one) or its quantisation: attention, classes,"
        " earlier, quantisation",
    )
    add(
        "--bits",
        nargs="+",
        type=code_length,
        default=list(BITS),
        metavar="N",
        help="code lengths (default: 12 24 32 48)",
    )
    add(
        "--side",
        type=at_least_one,
        default=224,
        metavar="N",
        help="px that photos are brought to (default: 224)",
    )
    add("--epochs", type=at_least_one, default=10, metavar="N", help="epochs (default: 10)")
    add("--batch", type=at_least_one, default=128, metavar="N")
    add("--rate", type=positive, default=1e-3, help="peak learning rate (default: 1e-3)")
    add("--width", type=at_least_one, default=256, metavar="N", help="hidden units (default: 256)")
    add(
        "--candidates",
        type=at_least_one,
        default=4000,
        metavar="N",
        help="photos of the second look (default: 4000)",
    )
    add("--bf16", action="store_true", help="bfloat16 arithmetic, where the processor has it")
    add("--seed", type=natural, default=0, help="of all random draws (default: 0)")
    add(
        "--maps",
        type=Path,
        default=Path("maps"),
        metavar="DIR",
        help="where maps are kept: 50 KB a photo at 224 px of a ResNet18, of adsh_attention 150"
        " (default: maps)",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="where runs and curves go")
    add("--results", type=Path, metavar="FILE.json", help="also rows of this results file")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add(
        "--jobs",
        type=at_least_one,
        default=os.cpu_count() or 1,
        metavar="N",
        help="threads that decode (default: all cores)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    args.command = command("scripts/study.py hashing", sys.argv[1:] if argv is None else argv)
    return finish("hashing", lambda: job(args))


if __name__ == "__main__":
    sys.exit(main())
