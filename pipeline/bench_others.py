"""The benches that `scripts/bench.py` has in files of their own."""

import argparse
from typing import Any


def bench_others(args: argparse.Namespace) -> dict[str, Any]:
    from pipeline.bench_capacity import bench_capacity
    from pipeline.bench_cluster import bench_cluster
    from pipeline.bench_first_look import bench_first_look
    from pipeline.bench_hamming import bench_hamming

    if args.name == "cluster":
        return bench_cluster(args.gallery, args.model, args.count, args.candidates, args.jobs, args.seed)
    if args.name == "capacity":
        return bench_capacity(args.photos if args.photos.is_dir() else None, args.codes, args.candidates, args.model, args.seed)
    if args.name == "first_look":
        return bench_first_look(args.codes, args.kinds, args.candidates, args.seed)
    return bench_hamming(args.codes, args.bits, args.candidates, args.seed, args.jobs)
