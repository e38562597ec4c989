"""`scripts/bench.py first_look`: the ball tree against FAISS over generated codes of 32 numbers, at
sizes up to ten million and beyond.

The codes are of a thousand kinds, normal around normal centres at half their spread, each number's
spread falling from 1 to .45 as those of real PCA codes do; without kinds they are one normal cloud,
the worst case for an index of cells. Seconds are those of one thread's processor time, so that
other work on the machine does not count, and of the whole stage, exact order included; both ways
take turns.
"""

import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from pipeline.base.errors import UsageError
from pipeline.base.install import add_extra
from stages.faiss_index import FaissIndex
from stages.records import Candidates, Float32
from stages.tree_index import TreeIndex

D, QUERIES, ROUNDS = 32, 20, 3
# the tree's last is what FAISS is held against
TREE_SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
FEW = 40  # candidates: what `--candidates 4x` takes for ten results
AT_ONCE = 250_000  # codes drawn at once


def generate(count: int, kinds: int, seed: int, stream: int = 0) -> Float32:
    """(count, 32) codes of these kinds, in no order; another stream draws others of the same
    kinds."""
    spread = np.linspace(1, 0.45, D).astype(np.float32)
    centres = (
        np.random.default_rng([seed, kinds]).standard_normal((kinds, D), dtype=np.float32) * spread
    )
    codes = np.empty((count, D), np.float32)
    for start in range(0, count, AT_ONCE):
        rng = np.random.default_rng([seed, kinds, start, stream])
        part = codes[start : start + AT_ONCE]
        rng.standard_normal(out=part, dtype=np.float32)
        part *= spread
        if kinds:
            part *= 0.5
            part += centres[rng.integers(0, kinds, len(part))]
    return codes


def bench_first_look(count: int, kinds: int, candidates: int, seed: int) -> dict[str, Any]:
    """`recall`: of the `candidates` nearest, on queries that nothing was tuned on. Sizes where the
    tree is tried end at a million.
    """
    if find_spec("faiss") is None:
        raise UsageError(f"first_look: expected FAISS, got none; run {add_extra('faiss')}")
    import faiss

    faiss.omp_set_num_threads(1)
    codes, asked = generate(count, kinds, seed), generate(QUERIES, kinds, seed, stream=1)
    rows: list[dict[str, Any]] = []
    for size in [*(size for size in TREE_SIZES if size < count), count]:
        part, wanted = codes[:size], min(candidates, size)
        row: dict[str, Any] = {"codes": size, "candidates": wanted}
        row["faiss_build_seconds"], index = timed(partial(FaissIndex.fit, part))
        row |= {
            "index": index.kind,
            "cells": index.cells.nlist if index.cells else 0,
            "probes": index.probes,
            "tuned_recall": index.recall,
        }
        # beside the codes themselves
        row["index_bytes"] = (size * (D * 4 + 8) + index.cells.nlist * D * 4) if index.cells else 0

        ways: dict[str, Callable[[Float32, int], Candidates]] = {"faiss": index.nearest}
        if size <= TREE_SIZES[-1]:
            row["tree_build_seconds"], tree = timed(partial(TreeIndex.build, part))
            row["tree_bytes"] = sum(np.asarray(array).nbytes for array in tree.tree.get_arrays())
            ways["tree"] = tree.nearest
        exact = faiss.knn(asked, part, wanted)[1]
        found = [index.nearest(code, wanted).rows[0] for code in asked]
        shares = [
            len(np.intersect1d(mine, theirs)) / wanted
            for mine, theirs in zip(found, exact, strict=True)
        ]
        row |= {"recall": statistics.mean(shares), "least_recall": min(shares)}
        for name, k in (("seconds", wanted), (f"seconds_{FEW}", FEW)):
            for way, spent in taking_turns(ways, asked, k).items():
                row[f"{way}_{name}"] = spent
        rows.append(row)
    tree_last = next(row["tree_seconds"] for row in reversed(rows) if "tree_seconds" in row)
    return {
        "kinds": kinds,
        "queries": QUERIES,
        "ratio": tree_last / rows[-1]["faiss_seconds"],
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "sizes": rows,
    }


def timed(make: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of this process's processor time."""
    began = time.process_time()
    made = make()
    return time.process_time() - began, made


def taking_turns(
    ways: dict[str, Callable[[Float32, int], Candidates]], asked: Float32, k: int
) -> dict[str, float]:
    """Median seconds a query of each way, over queries and rounds, after one that warms up."""
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(ROUNDS + 1):
        for code in asked if turn else asked[:2]:
            for way, find in ways.items():
                began = time.thread_time()
                find(code, k)
                if turn:
                    spent[way].append(time.thread_time() - began)
    return {way: statistics.median(times) for way, times in spent.items()}
