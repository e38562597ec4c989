"""`bench.py verify`: pairs a second with seed 004's rule, against its own way, an OpenCV loop and
the bare product.
"""

import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.base.errors import UsageError


@dataclass
class Sample:
    """A slow way of verifying, on a random few of the pairs."""

    seconds: float = 0.0
    pairs: int = 0
    ours: int = 0  # inliers, ours on the same pairs
    theirs: int = 0

    def to_json(self, name: str) -> dict[str, Any]:
        per_pair = self.seconds / max(1, self.pairs)
        return {
            "name": name,
            "pairs": self.pairs,
            "seconds_per_pair": per_pair,
            "inliers_same_pairs": [self.ours, self.theirs],
        }


def timed(step: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    done = step()
    return time.perf_counter() - began, done


def bench_verify(
    features: Path | None, candidates: int, count: int, jobs: int, seed: int
) -> dict[str, Any]:
    """Every query of Table 2 with its nearest photos by seed 004's constants; the slow ways see a
    random few of the same pairs.
    """
    import numpy as np

    from pipeline.base.compute import one_thread_each
    from pipeline.bench.baselines import bare_products, opencv_pair, skimage_pair, unit
    from pipeline.datasets.published import read_published, read_table
    from pipeline.recipes import published_second_look
    from stages.search import search

    if features is None:
        raise UsageError("verify: expected published features, got none; run with `--features DIR`")
    one_thread_each()
    gallery, rng = read_published(features), np.random.default_rng(seed)
    queries = [gallery.row(name) for name in read_table(features)] or list(
        range(0, len(gallery), max(1, len(gallery) // 14))
    )
    verify = published_second_look(seed, jobs)
    # compile
    verify.many(gallery.features[queries[0]], gallery.features, np.arange(min(64, len(gallery))))
    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    skimage, opencv = Sample(), Sample()
    pairs = inliers = 0
    for row in queries:
        query, rows = gallery.features[row], search(gallery.codes[row], candidates, gallery).rows[0]
        spent, (_, counts, _) = timed(partial(verify.many, query, gallery.features, rows))
        seconds["ours"].append(spent)
        pairs, inliers = pairs + len(rows), inliers + int(counts.sum())
        mine, ready = unit(query), [unit(gallery.features[other]) for other in rows]
        seconds["bare"].append(timed(partial(bare_products, mine, np.concatenate(ready), jobs))[0])
        for sample, size in ((skimage, -(-count // 20)), (opencv, count)):
            places = rng.choice(len(rows), min(size, len(rows)), replace=False)
            others = [gallery.features[rows[place]] for place in places]
            with ThreadPoolExecutor(jobs) as pool:
                if sample is skimage:
                    ways: Iterable[int] = map(partial(skimage_pair, query, seed=seed), others)
                else:
                    ways = pool.map(
                        partial(opencv_pair, query, mine),
                        others,
                        [ready[place] for place in places],
                    )
                spent, found = timed(partial(list, ways))
            sample.seconds, sample.pairs = sample.seconds + spent, sample.pairs + len(places)
            sample.ours, sample.theirs = (
                sample.ours + int(counts[places].sum()),
                sample.theirs + sum(found),
            )
    ours, bare, each = (
        statistics.mean(seconds["ours"]),
        statistics.mean(seconds["bare"]),
        sum(seconds["ours"]) / pairs,
    )
    result: dict[str, Any] = {
        "queries": len(queries),
        "pairs": pairs,
        "seconds_per_query": ours,
        "bare_matmul_seconds_per_query": bare,
    }
    result |= {"bare_matmul_ratio": ours / bare, "pairs_per_second": 1 / each, "inliers": inliers}
    result |= {
        "reference": skimage.to_json("cKDTree + skimage ransac"),
        "opencv": opencv.to_json("matmul a pair + USAC"),
    }
    return {
        **result,
        "speedup": skimage.seconds / skimage.pairs / each,
        "speedup_opencv": opencv.seconds / opencv.pairs / each,
    }


def bench_pairs(gallery: Path, candidates: int, jobs: int, seed: int) -> dict[str, Any]:
    """Fourteen photos of a gallery with their nearest by codes, by our second look, against the
    bare products of all their descriptors. Raises GalleryError.
    """
    import numpy as np

    from pipeline.base.compute import one_thread_each
    from pipeline.bench.baselines import bare_products, unit
    from pipeline.gallery.store import read_gallery
    from pipeline.recipes import second_look
    from stages.search import search

    one_thread_each()
    reading = read_gallery(gallery)
    photos = reading.gallery(reading.codes, None)
    verify, count = second_look(seed, jobs), min(candidates, len(photos))
    if not count:
        raise UsageError(f"--gallery {gallery}: expected photos, got none")
    queries = np.linspace(0, len(photos) - 1, min(14, len(photos))).astype(int).tolist()
    ours, bare, inliers = [], [], 0
    for row in queries:
        query, rows = photos.features[row], search(photos.codes[row], count, photos).rows[0]
        verify.many(query, photos.features, rows)  # compiled, and read from disk
        spent, (_, counts, _) = timed(partial(verify.many, query, photos.features, rows))
        ours.append(spent)
        inliers += int(counts.sum())
        ready = np.concatenate([unit(photos.features[other]) for other in rows])
        bare.append(timed(partial(bare_products, unit(query), ready, jobs))[0])
    middle, products = statistics.median(ours), statistics.median(bare)
    return {
        "queries": len(queries),
        "pairs": count * len(queries),
        "seconds_per_query": middle,
        "seconds_per_pair": middle / count,
        "bare_matmul_seconds_per_query": products,
        "bare_matmul_ratio": middle / products,
        "inliers": inliers,
    }
