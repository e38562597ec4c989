"""`scripts/bench.py parts`: the index of parts while photos join it, what it finds, and what it
costs.

Real photos up to a hundred thousand: those of a gallery that are relevant to some query, its other
photos, then padding (`pipeline/bench/parts_photos.py`); beyond, generated ones on top of all real
ones (`pipeline/bench/parts_index.py`). A query finds its photo among the first K when one that is
relevant is there; recall is the mean over the queries of a truth file, and over the files.

Seconds of one thread are its processor time, medians over queries after one that warms up, of votes
and order together; FAISS takes turns with ours. Seconds of all threads are those of the clock.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.base.compute import one_thread_each
from pipeline.base.errors import UsageError
from pipeline.base.files import digest, file_sha256
from pipeline.bench.parts_faiss import LEARNS, FaissParts
from pipeline.bench.parts_index import Asked, Entries, build_seconds, halved
from pipeline.bench.parts_photos import Ends, Padding, Photos, Truth, read_truth
from pipeline.gallery.merge import check_model
from pipeline.gallery.store import Reading, read_gallery
from pipeline.model.codebook import read_codebook
from stages.inverted_index import KEEP, LEAST, LIST, PROBES
from stages.records import Int32, Int64, LocalFeatures
from stages.search import search_parts
from stages.visual_words import BYTES

SIZES = (1_000, 10_000, 100_000)  # of real photos
MOST = 1_000_000
FIRST = (40, 200, 1_000, 4_000)  # photos with most votes
DIALLED, FEATURES, DIAL_FIRST = 10_000, (50, 100, 150, 200, KEEP), (40, 200)
BUILT = 250  # photos that are built to know how long one takes
ORDERED = 20  # queries whose ordering alone is timed

Find = Callable[[LocalFeatures], Int64]  # a query -> places of photos, most votes first


def bench_parts(
    gallery: Path,
    queries: Path,
    truth: Sequence[Path],
    padding: Path | None,
    largest: int,
    jobs: int,
    seed: int,
    dial: bool = False,
) -> dict[str, Any]:
    """`ratio`: FAISS's seconds / ours at the largest size of real photos. `kept`: recall among
    4,000 with the gallery's photos and a hundred thousand more, as far as there are, / with the
    gallery's alone. Raises UsageError, GalleryError and ModelError.
    """
    one_thread_each()
    reading, asking = read_gallery(gallery), read_gallery(queries)
    check_model(queries, asking.binding, gallery, reading.binding)
    codebook = read_codebook(reading.binding.where) if reading.binding.where else None
    if codebook is None:
        raise UsageError(
            f"--gallery {gallery}: expected one whose model has a codebook, got model"
            f" {reading.binding.model}, which has none"
        )
    asked_ends, asking_ends = Ends(reading.names), Ends(asking.names)
    truths = {name_of(path): read_truth(path, asking_ends, asked_ends) for path in truth}
    if len(truths) < len(truth):
        raise UsageError(
            f"--truth: expected files of different names, got {', '.join(map(name_of, truth))};"
            " rename one"
        )
    photos = Photos.of(reading, list(truths.values()), Padding.open(padding), seed)
    cases = Cases(asking, photos, truths)
    entries = Entries(codebook.codebook)
    sample = next(photos.batches(0, len(photos), BUILT))
    learns = find_spec("faiss") is not None and sum(map(len, sample)) >= LEARNS
    rival = FaissParts(codebook.codebook, sample) if learns else None
    also = None if rival is None else rival.add

    rows = []
    for size in sizes_of(min(largest, len(photos))):
        entries.extend(photos, size, jobs, also)
        found = Asked.of(codebook.codebook, entries.segments(size), seed)
        rows.append({**cases.row(found, jobs, rival), "generated": 0})
        rows[-1]["build_seconds_a_photo"] = build_seconds(codebook.codebook, sample)
    result: dict[str, Any] = {
        "words": len(codebook.codebook.words),
        "most_features": KEEP,
        "most_probes": PROBES,
        "least_probes": LEAST,
        "full_list": LIST,
        "threads": jobs,
        "queries": len(cases.features),
        "truth": {name: len(each) for name, each in truths.items()},
        "gallery_photos": len(reading.names),
        "padding_photos": len(photos.padding),
        "sizes": rows,
    }
    if rival is not None:
        result["ratio"] = rows[-1]["faiss_seconds"] / rows[-1]["seconds"]
    result |= kept_with_further(entries, photos, cases, jobs, seed, min(largest, SIZES[-1]))
    if dial:
        result["dial"] = memory_dial(entries, cases, jobs, seed)
    more = min(largest, MOST) - len(entries.count)
    if largest > SIZES[-1] and more > 0:
        segments = [*entries.segments(len(entries.count)), *entries.generated(more, seed)]
        found = Asked.of(codebook.codebook, segments, seed)
        rows.append({**cases.row(found, jobs, None), "generated": more})
    return {**result, **said(reading, asking, truth, photos)}


def name_of(truth: Path) -> str:
    """What a set of queries is called: as its file, or as the folder of a truth.csv."""
    return truth.resolve().parent.name if truth.stem == "truth" else truth.stem


def sizes_of(most: int) -> list[int]:
    return sorted({min(size, most) for size in SIZES})


class Cases:
    """The queries of all truth files, each once, and what each file says is relevant to them."""

    def __init__(self, asking: Reading, photos: Photos, truths: dict[str, Truth]) -> None:
        rows = sorted({row for truth in truths.values() for row in truth})
        self.features = {row: asking.features[row] for row in rows}
        self.truths = {
            name: {query: {photos.place[row] for row in found} for query, found in truth.items()}
            for name, truth in truths.items()
        }

    def row(self, asked: Asked, jobs: int, rival: FaissParts | None) -> dict[str, Any]:
        """What one index finds, and what it costs."""
        ways: dict[str, Find] = {"": ours(asked, 1)}
        if rival is not None:
            probes = asked.index.probes
            ways["faiss_"] = lambda query: rival.search(query, probes, FIRST[-1], asked.place)
        ranks, spent = self.ask(ways)
        photos = len(asked.place)
        walked = [asked.walked(query) for query in self.features.values()]
        row: dict[str, Any] = {
            "photos": photos,
            "features_a_photo": asked.entries / photos,
            "bytes_a_photo": asked.bytes() / photos,
            "segments": len(asked.index.segments),
            "probes": asked.index.probes,
            "entries_a_query": statistics.mean(walked),
        }
        for way in ways:
            row |= self.recalls(ranks[way], FIRST, way)
            row[f"{way}seconds"] = statistics.median(spent[way])
        together, find = [], ours(asked, jobs)
        for query in self.features.values():
            began = time.perf_counter()
            find(query)
            together.append(time.perf_counter() - began)
        row["order_seconds"] = statistics.median(
            order_seconds(asked, query) for query in list(self.features.values())[:ORDERED]
        )
        row["seconds_all_threads"] = statistics.median(together)
        return row

    def ask(
        self, ways: dict[str, Find]
    ) -> tuple[dict[str, dict[int, Int64]], dict[str, list[float]]]:
        """By way: each query's photos, and seconds."""
        found: dict[str, dict[int, Int64]] = {way: {} for way in ways}
        spent: dict[str, list[float]] = {way: [] for way in ways}
        for find in ways.values():
            find(next(iter(self.features.values())))
        for query, features in self.features.items():
            for way, find in ways.items():
                began = time.thread_time()
                found[way][query] = find(features)
                spent[way].append(time.thread_time() - began)
        return found, spent

    def recalls(
        self, found: dict[int, Int64], first: Sequence[int], way: str = ""
    ) -> dict[str, Any]:
        """`recall@K` over the truth files, and of each by its name."""
        by_truth = {
            name: {f"recall@{most}": share(found, truth, most) for most in first}
            for name, truth in self.truths.items()
        }
        means = {
            f"{way}recall@{most}": statistics.mean(
                each[f"recall@{most}"] for each in by_truth.values()
            )
            for most in first
        }
        return {**means, f"{way}by_truth": by_truth}


def share(found: dict[int, Int64], truth: dict[int, set[int]], most: int) -> float:
    """Of queries that have a relevant photo among the first."""
    hits = [
        not relevant.isdisjoint(found[query][:most].tolist()) for query, relevant in truth.items()
    ]
    return statistics.mean(map(float, hits))


def ours(asked: Asked, threads: int) -> Find:
    """Places of the photos with most votes, as the program finds them."""
    gallery = asked.with_threads(threads)

    def find(query: LocalFeatures) -> Int64:
        found: Int64 = asked.place[search_parts(query, FIRST[-1], gallery).rows[0]]
        return found

    return find


@dataclass(frozen=True, eq=False)
class Counted:
    """Votes that were counted before."""

    found: Int32  # (N,)

    def votes(self, _: LocalFeatures) -> Int32:
        return self.found


def order_seconds(asked: Asked, query: LocalFeatures) -> float:
    """Of `search_parts` without the votes."""
    gallery = replace(asked.gallery, parts=Counted(asked.index.votes(query)))
    began = time.thread_time()
    search_parts(query, FIRST[-1], gallery)
    return time.thread_time() - began


def kept_with_further(
    entries: Entries, photos: Photos, cases: Cases, jobs: int, seed: int, most: int
) -> dict[str, Any]:
    """What is left of the recall that the gallery alone has, with so many further photos at most:
    the share of what it was.
    """
    alone = len(photos.order)
    whole = min(alone + most, len(photos))
    entries.extend(photos, whole, jobs)
    recalls = []
    for size in (alone, whole):
        asked = Asked.of(entries.codebook, entries.segments(size), seed)
        found, _ = cases.ask({"": ours(asked, jobs)})
        recalls.append(cases.recalls(found[""], FIRST[-1:])[f"recall@{FIRST[-1]}"])
    kept = recalls[1] / recalls[0] if recalls[0] else 0.0
    return {"further": whole - alone, "kept": kept, "recall_alone": recalls[0]}


def memory_dial(entries: Entries, cases: Cases, jobs: int, seed: int) -> list[dict[str, Any]]:
    """Fewer features a photo, and half the bytes of each: a point for each of both."""
    size = min(DIALLED, len(entries.count))
    book, code = halved(entries.codebook, entries.code)
    points = []
    for a_code, codebook, codes in ((BYTES, entries.codebook, None), (BYTES // 2, book, code)):
        for keep in FEATURES:
            asked = Asked.of(codebook, entries.segments(size, keep, codes), seed)
            found, _ = cases.ask({"": ours(asked, jobs)})
            points.append(
                {
                    "photos": size,
                    "features": keep,
                    "code_bytes": a_code,
                    "bytes_a_photo": asked.bytes(a_code) / size,
                    **cases.recalls(found[""], DIAL_FIRST),
                }
            )
    return points


def said(
    reading: Reading, asking: Reading, truth: Sequence[Path], photos: Photos
) -> dict[str, Any]:
    """On what it was measured, for a results file."""
    made = reading.binding
    return {
        "recipe": made.recipe,
        "model": {"name": made.model, "identity": made.identity},
        "data": {
            "photos": len(reading.names),
            "sha256": digest(zip(reading.names, reading.contents, strict=True)),
            "queries": {
                "photos": len(asking.names),
                "sha256": digest(zip(asking.names, asking.contents, strict=True)),
            },
            "truth": [{"name": path.name, "sha256": file_sha256(path)} for path in truth],
            "padding": {
                "photos": len(photos.padding),
                "sha256": digest((file.name, file_sha256(file)) for file in photos.padding.files),
            },
        },
    }
