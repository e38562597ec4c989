"""Measure speed against a baseline in the same run: a ratio travels between machines, a time does
not.

index       photos a second of the whole job, decoding and writing included, against the bare
            forward passes of the same networks at the same sizes on the same threads, on tensors
            already in memory; ratio = job / bare. With --megapixels also one photo enlarged to so
            many, on one thread, against reading it with OpenCV and SIFT; ratio = ours / SIFT
photo       milliseconds from one photo's file to its row, small and of a phone's size, against
            reading it with OpenCV and 500 SIFT features; ratio = ours / SIFT at 12 megapixels
start       processor and clock seconds of whole commands over --gallery, each in a process of its
            own; ratio = a query / `python -c pass`
query       seconds a query by stage, medians after a warm-up, against the bare forward passes;
            ratio = bare / total
verify      pairs a second with seed 004's rule on published features, --features, against its own
            way, a good OpenCV loop and the bare float32 product; or seconds a pair by our second
            look in --gallery, against the bare product
first_look  seconds a query over generated codes of 32 numbers, the ball tree against FAISS, by
            size; ratio = tree at 1,000,000 codes / FAISS at the largest size; extra `faiss`
hamming     seconds a query over generated binary codes, exactly and in packed form, against FAISS;
            ratio = ours / FAISS flat; extra `faiss`
cluster     queries a second of rerank with --cluster against joblib; ratio = cluster / joblib;
            extra `cluster`
capacity    bytes and seconds a photo of galleries of generated rows, 1,000 to 100,000, and what
            thirty of --photos take to encode
parts       what the index of parts finds and costs, 1,000 to 100,000 real photos and generated ones
            up to a million, against FAISS's IndexIVFPQ where the extra `faiss` is installed;
            ratio = FAISS / ours at the most real photos
groups      right and wrong pairs of `groups` among --photos, folders of unlike things, and copies
            of --count of them, against imagehash's hashes at equal precision, and false pairs for
            each that is stated; --gallery is a folder to work in; the package ImageHash is wanted
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.base.errors import UsageError
from pipeline.base.values import at_least_one, natural, positive
from pipeline.cli import Parser, add_gallery, add_jobs, add_model, add_seed, finish, search_options
from pipeline.results.file import check_results, command, write_row


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The bench that is named, loaded with what it alone needs."""
    match args.name:
        case "photo":
            from pipeline.bench.photo import bench_photo

            return bench_photo(args.photos, args.model, args.count, args.jobs)
        case "start":
            from pipeline.bench.start import bench_start

            return bench_start(args.gallery, args.queries)
        case "index":
            given = (args.photos, args.model, args.device, args.count, args.jobs)
            if args.megapixels is not None:
                from pipeline.bench.photo import bench_megapixels

                return bench_megapixels(*given, args.megapixels)
            from pipeline.bench.index import bench_index

            return bench_index(*given)
        case "query":
            from pipeline.bench.query import bench_query

            # --bits is of `hamming` here
            options = replace(search_options(args), bits=None)
            return bench_query(args.gallery, options, args.queries, args.count)
        case "verify":
            from pipeline.bench.verify import bench_pairs, bench_verify

            if args.features is None and args.gallery.is_dir():
                return bench_pairs(args.gallery, args.candidates, args.jobs, args.seed)
            return bench_verify(args.features, args.candidates, args.count, args.jobs, args.seed)
        case "cluster":
            from pipeline.bench.cluster import bench_cluster

            return bench_cluster(
                args.gallery, args.model, args.count, args.candidates, args.jobs, args.seed
            )
        case "capacity":
            from pipeline.bench.capacity import bench_capacity

            photos = args.photos if args.photos.is_dir() else None
            return bench_capacity(photos, args.codes, args.candidates, args.model, args.seed)
        case "parts":
            from pipeline.bench.parts import bench_parts

            if not args.truth:
                raise UsageError("parts: expected --truth FILE.csv, got none; see --help")
            return bench_parts(
                args.gallery,
                args.queries,
                args.truth,
                args.padding,
                args.codes,
                args.jobs,
                args.seed,
                args.dial,
            )
        case "groups":
            from pipeline.bench.groups import bench_groups
            from pipeline.groups import groups
            from pipeline.indexing import index
            from pipeline.library import open_gallery

            known = (args.photos, args.gallery, args.truth or (), args.count)
            return bench_groups(*known, args.jobs, args.seed, index, groups, open_gallery)
        case "first_look":
            from pipeline.bench.code_search import bench_first_look

            return bench_first_look(args.codes, args.kinds, args.candidates, args.seed)
    from pipeline.bench.hamming import bench_hamming

    return bench_hamming(args.codes, args.bits, args.candidates, args.seed, args.jobs)


KEPT = ("photo", "start", "parts", "groups")  # a row of a results file each


def make_parser() -> Parser:
    parser = Parser(
        description=__doc__.split("\n\n")[0],
        epilog=__doc__.split("\n\n")[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name",
        choices=(
            "index",
            "photo",
            "start",
            "query",
            "verify",
            "hamming",
            "first_look",
            "capacity",
            "cluster",
            "parts",
            "groups",
        ),
    )
    parser.add_argument(
        "--photos",
        type=Path,
        default=Path("demo/photos"),
        metavar="DIR",
        help="index, photo, groups: photos (default: the demo's)",
    )
    parser.add_argument(
        "--megapixels",
        type=positive,
        metavar="N",
        help="index: photos are enlarged to so many megapixels",
    )
    parser.add_argument(
        "--queries",
        type=Path,
        default=Path("demo/queries"),
        metavar="DIR",
        help=(
            "query, start: the query photos (default: the demo's); parts: a gallery of the same"
            " model, whose photos are the queries"
        ),
    )
    parser.add_argument(
        "--truth",
        type=Path,
        nargs="+",
        metavar="FILE.csv",
        help="parts, groups: queries and their relevant photos, by how their paths end",
    )
    parser.add_argument(
        "--padding",
        type=Path,
        metavar="DIR",
        help="parts: features of further photos, as `prepare padding` makes them",
    )
    parser.add_argument(
        "--dial",
        action="store_true",
        help="parts: also recall at fewer features a photo and fewer bytes a feature",
    )
    parser.add_argument(
        "--count",
        type=at_least_one,
        default=300,
        metavar="N",
        help=(
            "index, photo, query, cluster: photos or queries at most; groups: photos that are"
            " copied; verify: pairs per query that"
            " OpenCV verifies, skimage a twentieth of them (default: 300)"
        ),
    )
    parser.add_argument(
        "--features",
        type=Path,
        metavar="DIR",
        help="verify: published features, as reproduce-seed004 takes them",
    )
    parser.add_argument(
        "--candidates",
        type=at_least_one,
        default=4000,
        metavar="N",
        help="candidates of each query (default: 4000)",
    )
    parser.add_argument(
        "--codes",
        type=at_least_one,
        default=10_000_000,
        metavar="N",
        help=(
            "first_look, hamming, capacity: generated codes; parts: photos at most, a million"
            " itself at most (default: 10000000)"
        ),
    )
    parser.add_argument(
        "--kinds",
        type=natural,
        default=1000,
        metavar="N",
        help="first_look: clusters of the generated codes, 0: none (default: 1000)",
    )
    parser.add_argument(
        "--bits",
        type=at_least_one,
        default=48,
        metavar="N",
        help="hamming: length of a code (default: 48)",
    )
    add_seed(parser)
    add_gallery(parser)
    add_model(parser)
    add_jobs(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.json",
        help="photo, start, parts, groups: also a row of this results file",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        if args.out is not None and args.name not in KEPT:
            raise UsageError(
                f"--out {args.out}: expected it with {', '.join(KEPT)}, got {args.name}"
            )
        check_results("--out", args.out)
        result = run(args)
        if args.out is not None:
            given = sys.argv[1:] if argv is None else argv
            row = {"label": args.name, "seed": args.seed, **result}
            write_row(args.out, {"command": command("scripts/bench.py", given), **row})
        if args.json:
            print(json.dumps(result))
        else:
            for key, value in result.items():
                print(f"{key:32s}{value:.4f}" if isinstance(value, float) else f"{key:32s}{value}")
        return 0

    return finish("bench", job)


if __name__ == "__main__":
    sys.exit(main())
