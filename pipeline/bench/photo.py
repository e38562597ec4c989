"""`bench.py photo`: one photo's file to its row, at every precision that the model has, against
reading it with OpenCV and finding 500 SIFT features in it at 640 px.

Photos of a phone's size are made from the given ones, enlarged and stored as JPEG. All ways take
turns on one thread; milliseconds are medians of its processor time.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2

from pipeline.base.errors import UsageError
from pipeline.base.files import digest, file_sha256
from pipeline.base.folders import Found
from pipeline.base.images import load_image
from pipeline.base.names import INT8, PRECISIONS
from pipeline.bench.index import bench_index
from pipeline.bench.photos import photos_in, spread
from pipeline.gallery.encode import Failed, encode_file
from pipeline.model.card import (
    DEFAULT,
    default_precision,
    find_model,
    read_card,
    read_identity,
    read_settings,
)
from pipeline.recipes import load_encoder

PHONE = "12 megapixels"  # what ratios are of
SIZES = {PHONE: (4000, 3000), "48 megapixels": (8000, 6000)}  # px
FEWER = 4  # times: of what is so large
SIFT_SIDE, SIFT_FEATURES, QUALITY = 640, 500, 90


def bench_photo(photos: Path, model: str | None, count: int, jobs: int) -> dict[str, Any]:
    """`ratio`: milliseconds of the last precision / those of SIFT, at 12 megapixels. Raises
    UsageError and ModelError.
    """
    name = model or DEFAULT
    sample = spread(photos_in(photos, "--photos"), count)
    some = PRECISIONS[: 2 if INT8 in read_card(find_model(name)) else 1]
    ways: dict[str, Callable[[Path], object]] = {"sift": sift}
    for precision in some:
        ways[precision] = way(name, precision)
    with tempfile.TemporaryDirectory() as scratch:
        files = {"as they are": sample}
        for size, (width, height) in SIZES.items():
            fewer = sample if size == PHONE else sample[::FEWER]
            files[size] = [
                enlarged(path, Path(scratch, f"{width}_{i}.jpg"), width, height)
                for i, path in enumerate(fewer)
            ]
        rows = {size: timed(ways, paths) for size, paths in files.items()}
        phones = files[PHONE]
        threads = [seconds(ways[some[-1]], phones, each) for each in (1, jobs)]
    given = [(path.name, file_sha256(path)) for path in sample]
    return {
        "recipe": read_settings(name).recipe,
        "model": dict(zip(("name", "identity"), read_identity(name, some[-1]), strict=True)),
        "data": {"photos": len(sample), "sha256": digest(given)},
        "photos": len(sample),
        "milliseconds": rows,
        "threads": jobs,
        "times_faster_on_all_threads": threads[0] / threads[1],
        "ratio": rows[PHONE][some[-1]] / rows[PHONE]["sift"],
    }


def bench_megapixels(
    photos: Path, model: str | None, device: str, count: int, jobs: int, megapixels: float
) -> dict[str, Any]:
    """`bench_index` of photos enlarged to so many megapixels, and one of them on one thread against
    reading it with OpenCV and SIFT, which `ratio` is of. Raises UsageError and ModelError.
    """
    name = model or DEFAULT
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    ways = {"sift": sift, "ours": way(name, default_precision(name))}
    with tempfile.TemporaryDirectory() as scratch:
        files = [
            enlarged(path, Path(scratch, f"{i:06d}.jpg"), width, height)
            for i, path in enumerate(spread(photos_in(photos, "--photos"), count))
        ]
        whole = bench_index(Path(scratch), name, device, count, jobs)
        spent = timed(ways, files)
    return {
        **whole,
        "megapixels": megapixels,
        "seconds_per_photo": spent["ours"] / 1000,
        "opencv_sift_seconds_per_photo": spent["sift"] / 1000,
        "ratio": spent["ours"] / spent["sift"],
    }


def way(model: str, precision: str) -> Callable[[Path], object]:
    encode = load_encoder(model, "cpu", precision)

    def file_to_row(path: Path) -> object:
        row = encode_file(Found(path.name, path), encode)
        if isinstance(row, Failed):
            raise UsageError(f"{path}: {row.reason}")
        return row

    return file_to_row


def sift(path: Path) -> object:
    """As people who write it in an afternoon do."""
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    shrink = min(1.0, SIFT_SIDE / max(grey.shape))
    small = cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return cv2.SIFT.create(SIFT_FEATURES).detectAndCompute(small, None)


def enlarged(photo: Path, out: Path, width: int, height: int) -> Path:
    """On its side or upright, as it is."""
    pixels = load_image(photo).pixels
    size = (width, height) if pixels.shape[1] >= pixels.shape[0] else (height, width)
    larger = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(out), larger[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return out


def timed(ways: dict[str, Callable[[Path], object]], files: Sequence[Path]) -> dict[str, float]:
    """Milliseconds a file, by way."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for each in ways.values():
        each(files[0])
    for file in files:
        for name, each in ways.items():
            began = time.thread_time()
            each(file)
            spent[name].append(1000 * (time.thread_time() - began))
    return {name: statistics.median(times) for name, times in spent.items()}


def seconds(work: Callable[[Path], object], files: Sequence[Path], threads: int) -> float:
    """By the clock."""
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        list(pool.map(work, [*files, *files]))
        return time.perf_counter() - began
