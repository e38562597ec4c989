"""When is it a match? The answer is measured: what chance does among a gallery's own photos, verified pair by random pair.

A gallery of few photos cannot tell and uses the null that comes with its model. A measured null is derived data: its pairs are
drawn from the photos' contents, so that it does not matter in which order, or in how many runs, they were indexed.
"""

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.flags import HASHING
from pipeline.gallery import Binding, GalleryError, Reading, read_gallery, read_meta
from pipeline.gallery_writer import GalleryWriter
from pipeline.models import DEFAULT, null_from_json, null_to_json
from pipeline.recipes import second_look
from stages.null import SPEAKING, Null
from stages.records import Float32, PackedFeatures
from stages.verify import Verify

FEWEST = 300  # photos
QUERIES, CANDIDATES = 500, 200  # photos drawn, and partners for each: 100,000 pairs at most
NEAR = 0.3  # of the photos, by the first look: left out, they may well show the same thing


def measure_null(contents: Sequence[str], codes: Float32, features: PackedFeatures, verify: Verify) -> Null | None:
    """The null of photos with these contents (sha256), codes (N, D) and features; None where there are too few to tell."""
    seen = np.unique(np.array(contents), return_index=True)[1]  # in the order of contents, each once
    if len(seen) < FEWEST:
        return None
    rng = np.random.default_rng(int(hashlib.sha256("".join(contents[i] for i in seen).encode()).hexdigest()[:16], 16))
    ours, theirs, inliers = [], [], []
    for query in rng.choice(seen, min(QUERIES, len(seen)), replace=False):
        distance = np.square(codes[seen] - codes[query]).sum(1)
        drawn = rng.choice(len(seen), min(CANDIDATES, len(seen) // 2), replace=False)
        rows = seen[drawn[distance[drawn] > np.quantile(distance, NEAR)]]
        inliers.append(verify.many(features[query], features, rows)[1])
        ours.append(np.full(len(rows), features.count[query]))
        theirs.append(features.count[rows])
    try:
        return Null.fit(np.concatenate(ours), np.concatenate(theirs), np.concatenate(inliers), verify.fit.least)
    except ValueError:
        return None


def calibrate(writer: GalleryWriter, threads: int) -> Null | None:
    """Measure the null of a gallery's photos as they are now, unless the manifest says that it is done already."""
    verify, meta = second_look(threads=threads), read_meta(writer.connection)
    if meta.get("recipe", DEFAULT) in HASHING:  # compares no points
        return None
    binding = Binding(meta["model"], meta["identity"], meta["where"], meta["photos"])
    contents = [entry.sha256 for entry in writer.known().values()]
    try:
        known = _stored(meta.get("null", ""), contents, binding, verify)
    except GalleryError:  # a damaged one is forgotten, and measured anew where there are photos enough
        known = None
        writer.write_null("")
    if known is not None or len(contents) < FEWEST:
        return known
    reading = read_gallery(writer.folder)
    null = measure_null(reading.contents, reading.codes, reading.features, verify)
    if null is not None:
        writer.write_null(_text(null, contents, binding, verify))
    return null


def null_text(reading: Reading, verify: Verify) -> str:
    """What a gallery of just these rows would have been given as its null; nothing where they are too few, or compare no points."""
    if reading.binding.recipe in HASHING:
        return ""
    null = measure_null(reading.contents, reading.codes, reading.features, verify)
    return "" if null is None else _text(null, reading.contents, reading.binding, verify)


def gallery_null(reading: Reading, verify: Verify) -> Null | None:
    """The null that was measured on just these photos, model and parameters; None where there is none. Raises GalleryError."""
    return _stored(reading.null, reading.contents, reading.binding, verify)


def _text(null: Null, contents: Sequence[str], binding: Binding, verify: Verify) -> str:
    return json.dumps({"key": _key(contents, binding, verify), **null_to_json(null)})


def _stored(text: str, contents: Sequence[str], binding: Binding, verify: Verify) -> Null | None:
    if not text:
        return None
    try:
        stored = json.loads(text)
        return null_from_json(stored) if stored.pop("key") == _key(contents, binding, verify) else None
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        mend = f"python -m pipeline.index {shlex.quote(binding.photos)}"
        raise GalleryError(f"gallery manifest: want a null as it was measured, got {error}; run `{mend}` with this `--gallery`") from None


def _key(contents: Sequence[str], binding: Binding, verify: Verify) -> str:
    how = (FEWEST, QUERIES, CANDIDATES, NEAR, SPEAKING)
    what = repr((how, sorted(set(contents)), binding.identity, replace(verify, seed=0, threads=1, device="cpu")))
    return hashlib.sha256(what.encode()).hexdigest()
