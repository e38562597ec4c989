"""What searches a gallery's codes: the ball tree or FAISS, by size or as asked. How well FAISS finds is measured once and kept.

The kept file holds two numbers for just these codes, checked when they are read; the index itself is always built from the codes.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pipeline.flags import UsageError
from pipeline.install import add_extra
from pipeline.shards import write_whole
from stages.neighbours import COUNT, FLAT_ENDS, QUERIES, RECALL, Neighbours, cells_for
from stages.records import Float32

TREE_ENDS = 30_000  # codes: the tree finds 4,000 in 8 ms then, FAISS in 2; at 100,000 it is 26 ms against 2.7 (scripts/bench.py first_look)
KEPT = "first_look.json"  # beside the manifest

Finder = Callable[[Float32], Neighbours]


def choose(how: str, codes: int, bits: bool, folder: Path | None) -> Finder | None:
    """What makes the index of so many codes; None: the ball tree, or what compares bits. folder: the one gallery that they lie in.

    Raises UsageError where FAISS is asked for and cannot be.
    """
    if how == "faiss" and bits:
        raise UsageError("--search faiss: want a recipe that compares distances, got one that compares bits, which has its own; run without it")
    if how == "faiss" and find_spec("faiss") is None:
        raise UsageError(f"--search faiss: want FAISS, got none; run {add_extra('faiss')}")
    if how == "tree" or bits or (how == "auto" and codes <= TREE_ENDS):
        return None
    if find_spec("faiss") is None:
        print(f"first look: {codes:,} codes in a ball tree; FAISS finds them sooner: {add_extra('faiss')}", file=sys.stderr)
        return None
    return lambda sorted_codes: build(sorted_codes, folder)


def build(codes: Float32, folder: Path | None) -> Neighbours:
    """codes (N, D) in the order of the gallery's rows."""
    key = hashlib.sha256(repr((codes.shape, COUNT, QUERIES, RECALL)).encode() + np.ascontiguousarray(codes).data).hexdigest()
    known = None if folder is None else read_kept(folder / KEPT, key, cells_for(len(codes)))
    made = Neighbours.fit(codes, known)
    if known is None and folder is not None and len(codes) > FLAT_ENDS:
        cells = 0 if made.cells is None else made.cells.nlist
        kept = {"key": key, "index": made.kind, "cells": cells, "probes": made.probes, "recall": made.recall, "count": COUNT}
        with suppress(OSError):  # a gallery that may only be read
            write_whole(folder / KEPT, json.dumps(kept).encode())
    if made.cells is not None:
        how = f"{made.probes} of {made.cells.nlist} cells a query, recall {made.recall:.4f}"
        print(f"first look: {len(codes):,} codes on FAISS, {how}", file=sys.stderr)
    return made


def read_kept(path: Path, key: str, cells: int) -> tuple[int, float] | None:
    """Probes and recall as they were measured on just these codes; None where they were not, or the file is damaged."""
    try:
        kept = json.loads(path.read_bytes())
        probes, recall = kept["probes"], kept["recall"]
        fine = kept["key"] == key and isinstance(probes, int) and 0 <= probes <= cells and isinstance(recall, float) and 0 <= recall <= 1
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
    return (probes, recall) if fine else None
