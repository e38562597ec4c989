"""When is it a match? The answer is measured: what chance does among a gallery's own photos,
verified pair by random pair.

A gallery of few photos cannot tell and uses the null that comes with its model. A measured null is
derived data: its pairs are drawn from the photos' contents, so that it does not matter in which
order, or in how many runs, they were indexed.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.base.errors import GalleryError
from pipeline.base.names import HASHING
from pipeline.gallery.binding import Binding
from pipeline.gallery.store import Reading, read_gallery, read_meta
from pipeline.model.card import DEFAULT
from pipeline.model.chance import null_from_json, null_to_json
from stages.null import SPEAKING, Null
from stages.records import Float32, Int32, Int64, PackedFeatures
from stages.verify import Verify

if TYPE_CHECKING:
    from pipeline.gallery.writer import GalleryWriter

FEWEST = 300  # photos
QUERIES, CANDIDATES = 500, 200  # photos drawn, and partners for each: 100,000 pairs at most
UNMEASURABLE = "too few random pairs of this gallery's photos agree on a map"
NEAR = 0.3  # of the photos, by the first look: left out, they may well show the same thing


# photos with rows (P,) -> inliers (P,) of each
Count = Callable[[PackedFeatures, Sequence[tuple[int, Int64]]], Sequence[Int32]]


def measure_null(
    contents: Sequence[str],
    codes: Float32,
    features: PackedFeatures,
    verify: Verify,
    count: Count | None = None,
) -> Null | None:
    """The null of photos with these contents (sha256), codes (N, D) and features; None where there
    are too few to tell.

    count: what counts the inliers of photos that were drawn, where the features lie elsewhere.
    """
    # in the order of contents, each once
    seen = np.unique(np.array(contents), return_index=True)[1]
    if len(seen) < FEWEST:
        return None
    rng = np.random.default_rng(
        int(hashlib.sha256("".join(contents[i] for i in seen).encode()).hexdigest()[:16], 16)
    )
    drawn_pairs: list[tuple[int, Int64]] = []
    for query in rng.choice(seen, min(QUERIES, len(seen)), replace=False):
        distance = np.square(codes[seen] - codes[query]).sum(1)
        drawn = rng.choice(len(seen), min(CANDIDATES, len(seen) // 2), replace=False)
        near = -1.0 if not distance.any() else np.quantile(distance, NEAR)  # one code for all: any
        rows = seen[drawn[distance[drawn] > near]]
        drawn_pairs.append((int(query), rows))
    if count is None:
        inliers: Sequence[Int32] = [
            verify.many(features[query], features, rows)[1] for query, rows in drawn_pairs
        ]
    else:
        inliers = count(features, drawn_pairs)
    ours = [np.full(len(rows), features.count[query]) for query, rows in drawn_pairs]
    theirs = [features.count[rows] for _, rows in drawn_pairs]
    try:
        return Null.fit(
            np.concatenate(ours), np.concatenate(theirs), np.concatenate(inliers), verify.fit.least
        )
    except ValueError:
        return None


def calibrate(writer: "GalleryWriter", verify: Verify) -> Null | None:
    """Measure the null of a gallery's photos as they are now, unless the manifest says that it is
    done already.
    """
    meta = read_meta(writer.connection)
    if meta.get("recipe", DEFAULT) in HASHING:  # compares no points
        return None
    binding = writer.binding
    contents = [entry.sha256 for entry in writer.known().values()]
    try:
        known, reason = _stored(meta.get("null", ""), contents, binding, verify)
    # a damaged one is forgotten, and measured anew where there are photos enough
    except GalleryError:
        known, reason = None, "damaged"
        writer.write_null("")
    if known is not None or len(set(contents)) < FEWEST or reason == UNMEASURABLE:
        return known
    reading = read_gallery(writer.folder)
    null = measure_null(reading.contents, reading.codes, reading.features, verify)
    writer.write_null(_text(null, contents, binding, verify))
    return null


def null_text(reading: Reading, verify: Verify, count: Count | None = None) -> str:
    """What a gallery of just these rows would have been given as its null; nothing where they are
    too few, or compare no points.
    """
    if reading.binding.recipe in HASHING or len(set(reading.contents)) < FEWEST:
        return ""
    null = measure_null(reading.contents, reading.codes, reading.features, verify, count)
    return _text(null, reading.contents, reading.binding, verify)


def gallery_null(reading: Reading, verify: Verify) -> tuple[Null | None, str]:
    """The null that was measured on just these photos, model and parameters; or None and the reason
    why there is none. Raises GalleryError.
    """
    null, reason = _stored(reading.null, reading.contents, reading.binding, verify)
    if null is None and (photos := len(set(reading.contents))) < FEWEST:
        return None, (f"this gallery's {photos} different photos are too few, {FEWEST} are needed")
    return null, reason


def _text(null: Null | None, contents: Sequence[str], binding: Binding, verify: Verify) -> str:
    return json.dumps(
        {"key": _key(contents, binding, verify), "null": null_to_json(null) if null else None}
    )


def _stored(
    text: str, contents: Sequence[str], binding: Binding, verify: Verify
) -> tuple[Null | None, str]:
    """What the manifest holds, where its key is the key of what is asked; else None and the
    reason."""
    mend = f"`python -m pipeline.index {binding.photos}` with this `--gallery`"
    if not text:
        return None, f"this gallery's has not been measured yet; run {mend}"
    try:
        stored = json.loads(text)
        got, want = stored.pop("key"), _key(contents, binding, verify)
        if isinstance(got, str):  # a manifest of version 1
            got = {}
        if other := [name for name in want if got.get(name) != want[name]]:
            return None, (f"this gallery's was measured with other {', '.join(other)}; run {mend}")
        if stored["null"] is None:
            return None, UNMEASURABLE
        return null_from_json(stored["null"]), ""
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise GalleryError(
            f"gallery manifest: expected a null as it was measured, got {error}; run {mend}"
        ) from None


def _key(contents: Sequence[str], binding: Binding, verify: Verify) -> dict[str, Any]:
    """What a null depends on, named: seeds, threads and devices change nothing of it. A new
    parameter of matching or fitting is added here with the value that it had before, or under a new
    version.
    """
    match, fit = verify.match, verify.fit
    return {
        "version": 2,
        "photos": hashlib.sha256("\n".join(sorted(set(contents))).encode()).hexdigest(),
        "model": binding.identity,
        "pairs": {
            "fewest": FEWEST,
            "queries": QUERIES,
            "candidates": CANDIDATES,
            "near": NEAR,
            "speaking": SPEAKING,
        },
        "match": {"mutual": match.mutual, "distance": match.distance},
        "fit": {
            "relative": fit.relative,
            # 2: in both photos, and scales by the photos' sides
            "inliers": 2,
            "threshold": fit.threshold,
            "trials": fit.trials,
            "polish": fit.polish,
            "least": fit.least,
            "largest_scale": fit.largest_scale,
            "largest_stretch": fit.largest_stretch,
            "backward": fit.backward,
        },
    }
