"""`bench.py start`: what whole commands cost from their first instruction to their last, each in a
process of its own.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.base.errors import UsageError
from pipeline.base.files import digest
from pipeline.bench.photos import photos_in
from pipeline.gallery.merge import read_bindings, read_paths

TIMES = 7  # after one that warms the disk's cache


def bench_start(gallery: Path, queries: Path) -> dict[str, Any]:
    """`ratio`: processor seconds of a query / those of `python -c pass`. Raises UsageError."""
    query = photos_in(queries, "--queries")[0]
    opened = f"import pipeline; pipeline.open_gallery({str(gallery)!r})"
    run = [sys.executable, "-m", "pipeline.run"]
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "--help": [*run, "--help"],
        "open_gallery": [sys.executable, "-c", opened],
        "run": [*run, str(query), "--gallery", str(gallery), "-k", "5"],
    }
    spent = {name: whole(command) for name, command in commands.items()}
    made = read_bindings(gallery)
    photos = [(os.fsdecode(path), content) for path, content in read_paths(gallery)[0]]
    return {
        "recipe": made.recipe,
        "model": {"name": made.model, "identity": made.identity},
        "data": {"photos": len(photos), "sha256": digest(photos)},
        **{name: {"cpu": cpu, "clock": clock} for name, (cpu, clock) in spent.items()},
        "ratio": spent["run"][0] / spent["python"][0],
    }


def whole(command: Sequence[str]) -> tuple[float, float]:
    """Medians of processor seconds and of the clock's. Raises UsageError where it fails."""
    cpu, clock = [], []
    for _ in range(1 + TIMES):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        clock.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if done.returncode:
            raise UsageError(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1]}")
    first = min(1, TIMES)
    return statistics.median(cpu[first:]), statistics.median(clock[first:])
