"""`bench.py query`: seconds a query by stage, against the bare forward passes."""

import statistics
import time
from pathlib import Path
from typing import Any

from pipeline.base.options import SearchOptions
from pipeline.bench.forward import inputs
from pipeline.bench.photos import photos_in


def bench_query(gallery: Path, options: SearchOptions, queries: Path, count: int) -> dict[str, Any]:
    """One query after another, as `pipeline.run` answers them."""
    from pipeline.search.open import open_engine
    from pipeline.search.query import read_query

    engine = open_engine(gallery, options)
    names = [str(path) for path in photos_in(queries, "--queries")]
    engine.answer(engine.query(names[0]), 10)
    spent: list[dict[str, float]] = []
    bare: list[float] = []
    for name in names[:count]:
        began = time.perf_counter()
        query = engine.query(name)
        engine.answer(query, 10)
        spent.append({**query.seconds, "total": time.perf_counter() - began})
        steps = inputs(engine.recipe.encode, read_query(name))
        began = time.perf_counter()
        for step in steps:
            step()
        bare.append(time.perf_counter() - began)
    # not every query is turned
    stages = dict.fromkeys(stage for each in spent for stage in each)
    seconds = {stage: statistics.median(s.get(stage, 0.0) for s in spent) for stage in stages}
    total, forward = seconds.pop("total"), statistics.median(bare)
    return {
        "queries": len(spent),
        "photos": len(engine.gallery),
        "seconds": seconds,
        "total": total,
        "bare_forward": forward,
        "ratio": forward / total,
    }
