"""What searches a gallery's codes: the ball tree or FAISS, by size or as asked. How well FAISS
finds is measured once and kept.

The kept file holds two numbers for just these codes, checked when they are read; the index itself
is always built from the codes.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pipeline.base.errors import UsageError
from pipeline.base.files import write_whole
from pipeline.base.install import add_extra
from stages.faiss_index import COUNT, FLAT_ENDS, QUERIES, RECALL, FaissIndex, cells_for
from stages.gallery import CodeIndex
from stages.hashing import HammingIndex
from stages.records import Float32
from stages.tree_index import TreeIndex

LOG = logging.getLogger(__name__)
# codes: the tree finds 4,000 in 8 ms then, FAISS in 2; at 100,000 it is 26 ms against 2.7
# (scripts/bench.py first_look)
TREE_ENDS = 30_000
KEPT = "first_look.json"  # beside the manifest

Builder = Callable[[Float32], CodeIndex]  # codes (N, D) in the order of the gallery's rows


def choose(how: str, codes: int, binary: bool, folder: Path | None) -> Builder:
    """What makes the index of so many codes. how: `--search`; binary: they are compared by their
    bits; folder: the one gallery that they lie in.

    Raises UsageError where FAISS is asked for and cannot be.
    """
    if how == "faiss" and binary:
        raise UsageError(
            "--search faiss: expected a recipe that compares distances, got one that compares bits,"
            " which has its own; run without it"
        )
    if how == "faiss" and find_spec("faiss") is None:
        raise UsageError(f"--search faiss: expected FAISS, got none; run {add_extra('faiss')}")
    if binary:
        return HammingIndex.build
    if how == "tree" or (how == "auto" and codes <= TREE_ENDS):
        return TreeIndex.build
    if find_spec("faiss") is None:
        LOG.info(
            f"first look: {codes:,} codes in a ball tree; FAISS finds them sooner:"
            f" {add_extra('faiss')}"
        )
        return TreeIndex.build
    return lambda sorted_codes: build(sorted_codes, folder)


def keep(codes: Float32, folder: Path) -> None:
    """After indexing: measure what a search would measure each time that it opens the gallery.
    Nothing where a tree searches so few codes, or FAISS is not installed.
    """
    if len(codes) <= max(TREE_ENDS, FLAT_ENDS) or find_spec("faiss") is None:
        return
    key = _key(codes)
    if read_kept(folder / KEPT, key, cells_for(len(codes))) is not None:
        return
    made = FaissIndex.fit(codes, None)
    kept = {
        "key": key,
        "index": made.kind,
        "cells": 0 if made.cells is None else made.cells.nlist,
        "probes": made.probes,
        "recall": made.recall,
        "count": COUNT,
    }
    write_whole(folder / KEPT, json.dumps(kept).encode())


def _key(codes: Float32) -> str:
    return hashlib.sha256(
        repr((codes.shape, COUNT, QUERIES, RECALL)).encode() + np.ascontiguousarray(codes).data
    ).hexdigest()


def build(codes: Float32, folder: Path | None) -> FaissIndex:
    """codes (N, D) in the order of the gallery's rows; folder: where an index run has kept what it
    measured.
    """
    cells = cells_for(len(codes))
    known = None if folder is None else read_kept(folder / KEPT, _key(codes), cells)
    made = FaissIndex.fit(codes, known)
    if made.cells is not None:
        how = f"{made.probes} of {made.cells.nlist} cells a query, recall {made.recall:.4f}"
        LOG.info(f"first look: {len(codes):,} codes on FAISS, {how}")
    return made


def read_kept(path: Path, key: str, cells: int) -> tuple[int, float] | None:
    """Probes and recall as they were measured on just these codes; None where they were not, or the
    file is damaged.
    """
    try:
        kept = json.loads(path.read_bytes())
        probes, recall = kept["probes"], kept["recall"]
        fine = (
            kept["key"] == key
            and isinstance(probes, int)
            and 0 <= probes <= cells
            and isinstance(recall, float)
            and 0 <= recall <= 1
        )
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
    return (probes, recall) if fine else None
