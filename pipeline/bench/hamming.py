"""`scripts/bench.py hamming`: exact search of generated codes in packed form, against FAISS's flat
index and its multi-index hashing.

Random codes are the worst case for an index of hash tables: nothing is near, so that the 4,000
nearest lie beyond every small radius.
"""

import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import UsageError
from pipeline.base.install import add_extra
from stages.hashing import nearest_words

# multi-index hashing: three tables of 16 bits, buckets within two flipped bits
QUERIES, TABLES, FLIPS = 20, 3, 2


def bench_hamming(codes: int, bits: int, count: int, seed: int, jobs: int) -> dict[str, Any]:
    """Seconds a query, medians of three rounds; `ratio`: ours / the faster of FAISS flat's two
    ways.

    `memory_ratio`: the most that the process grew by while it searched, beside the packed codes.
    """
    try:
        import faiss
    except ImportError:
        raise UsageError(
            f"hamming: expected FAISS, the baseline, got none; run {add_extra('faiss')}"
        ) from None
    if bits % 16:
        raise UsageError(
            f"--bits {bits}: expected a multiple of 16, which FAISS and we pack alike, got another"
            " number"
        )
    count = min(count, codes)
    rng = np.random.default_rng(seed)
    packed, asked = (rng.integers(0, 256, (n, bits // 8), dtype=np.uint8) for n in (codes, QUERIES))
    words, queries = np.ascontiguousarray(packed.view(np.uint16).T), asked.view(np.uint16)
    nearest_words(queries[0], count, np.ascontiguousarray(words[:, :10_000]))  # compile
    faiss.omp_set_num_threads(jobs)
    flat = faiss.IndexBinaryFlat(bits)
    flat.add(packed)

    def ours() -> list[Any]:
        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(lambda query: nearest_words(query, count, words), queries))

    before = _memory(reset=True)
    found = ours()
    added = _memory() - before
    seconds = {"ours": _median(ours)}
    for way in ("heaps", "counting"):
        flat.use_heap = way == "heaps"
        seconds[way] = _median(partial(flat.search, asked, count))
    fastest = min(seconds["heaps"], seconds["counting"])
    distances = flat.search(asked, count)[0]
    same = all(
        np.array_equal(np.sort(theirs), mine[1])
        for theirs, mine in zip(distances, found, strict=True)
    )
    result: dict[str, Any] = {
        "codes": codes,
        "bits": bits,
        "count": count,
        "queries": QUERIES,
        "threads": jobs,
    }
    result |= {"seconds_per_query": seconds["ours"], "ratio": seconds["ours"] / fastest}
    result |= {f"faiss_flat_{way}_seconds_per_query": seconds[way] for way in ("heaps", "counting")}
    result |= {
        "same_distances": same,
        "packed_bytes": words.nbytes,
        "memory_ratio": 1 + max(0, added) / words.nbytes,
    }
    if bits == 48:
        multi = faiss.IndexBinaryMultiHash(bits, TABLES, 16)
        multi.nflip = FLIPS
        multi.add(packed)
        result["faiss_multi_index_seconds_per_query"] = _median(partial(multi.search, asked, count))
        kept = [
            np.sum(row[row >= 0] <= mine[1][-1])
            for row, mine in zip(multi.search(asked, count)[0], found, strict=True)
        ]
        result["faiss_multi_index_recall"] = float(np.mean(kept)) / count
    return result


def _median(step: Callable[[], Any]) -> float:
    spent = []
    for _ in range(3):
        began = time.perf_counter()
        step()
        spent.append((time.perf_counter() - began) / QUERIES)
    return statistics.median(spent)


def _memory(reset: bool = False) -> int:
    """Bytes of this process: now where the peak is reset, else the peak since then. Linux."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"Vm{'RSS' if reset else 'HWM'}:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0
