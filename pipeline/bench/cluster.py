"""`scripts/bench.py cluster`: `scripts/rerank.py` by processes of joblib and of a cluster here,
whole commands in turns, start included.
"""

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pipeline.base.errors import UsageError
from pipeline.base.install import SOURCES
from pipeline.base.names import INDEXED
from pipeline.base.options import SearchOptions
from pipeline.search.open import open_engine

TURNS = ("joblib", "cluster", "cluster", "joblib")  # so that a drifting clock hits both alike


def bench_cluster(
    gallery: Path, model: str | None, queries: int, candidates: int, jobs: int, seed: int
) -> dict[str, Any]:
    """Photos of the gallery ask, with the nearest by the first look for candidates."""
    engine = open_engine([gallery], SearchOptions(model=model, device="cpu", seed=seed))
    names = engine.gallery.names
    asked = [names[row] for row in range(0, len(names), max(1, len(names) // queries))][:queries]
    how = {"joblib": ("--jobs", str(jobs)), "cluster": ("--cluster", f"local:{jobs}")}
    spent: dict[str, list[float]] = {way: [] for way in how}
    written = set()
    with tempfile.TemporaryDirectory() as scratch:
        lists, out = Path(scratch, "lists.csv"), Path(scratch, "out.csv")
        with lists.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("query", "image"))
            for name in asked:
                found = engine.coarse(engine.query(INDEXED + name), candidates).rows[0]
                rows.writerows((INDEXED + name, names[row]) for row in found)
        given = [
            "--gallery",
            os.fspath(gallery),
            "--candidates",
            os.fspath(lists),
            "--out",
            os.fspath(out),
            "--seed",
            str(seed),
        ]
        given += [] if model is None else ["--model", model]
        for way in TURNS:
            command = [sys.executable, "-m", "pipeline.commands.rerank", *given, *how[way]]
            began = time.perf_counter()
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": os.fspath(SOURCES)},
                check=False,
            )
            spent[way].append(time.perf_counter() - began)
            if done.returncode:
                raise UsageError(
                    "cluster: expected a job that ends well, got:"
                    f" {done.stderr.strip().splitlines()[-1]}"
                )
            written.add(out.read_bytes())
            out.unlink()
    joblib, cluster = (sum(spent[way]) / 2 for way in ("joblib", "cluster"))
    pairs = len(asked) * min(candidates, len(names))
    told = {
        "queries": len(asked),
        "pairs": pairs,
        "processes": jobs,
        "joblib_seconds": joblib,
        "cluster_seconds": cluster,
    }
    return {**told, "identical": len(written) == 1, "ratio": joblib / cluster}
