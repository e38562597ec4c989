"""What `two-look groups` finds, against perceptual hashes of the same files, and how many false
pairs it accepts for each that is stated.

The library is a folder of folders, each of another kind of thing, so that no photo of one shows
what a photo of another does; truth files say which photos inside show one scene. Copies of some of
the photos are added, whose originals are known. All other pairs inside a kind are left out, for
nobody knows of them.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from pipeline.base.errors import UsageError
from pipeline.base.files import digest
from pipeline.base.images import load_image
from pipeline.base.options import SearchOptions
from pipeline.base.truth import truth_rows
from pipeline.bench.copies import CHANGES, write_copies
from pipeline.bench.photos import photos_in, spread
from stages.records import Bool, Int64

COPIES = "copies"
HASHES = ("phash", "dhash", "whash", "average_hash")  # of imagehash, 64 bits each
STATED = (1, 10, 100)  # false pairs
ASKING = 500  # photos
SCENES = "another photo of the scene"


@dataclass(frozen=True, eq=False)
class Library:
    """What is known of every photo, by its row."""

    names: list[str]
    kind: Int64  # (N,) of what it shows, or its original
    original: Int64  # (N,) row; its own of what is no copy
    scenes: Int64  # (S, 2) rows of photos of one scene
    changed: dict[str, Int64]  # change -> (n, 2) rows of copy and original

    def known(self, pairs: Int64) -> tuple[Bool, Bool]:
        """Pairs (P, 2) of rows -> which are right (P,), which are wrong; neither where nobody
        knows.
        """
        one, other = self.original[pairs.T]
        key = np.minimum(one, other) * len(self.names) + np.maximum(one, other)
        low, high = np.sort(self.scenes, 1).T
        right: Bool = (one == other) | np.isin(key, low * len(self.names) + high)
        return right, ~right & (self.kind[pairs[:, 0]] != self.kind[pairs[:, 1]])


def bench_groups(
    photos: Path,
    work: Path,
    truth: Sequence[Path],
    count: int,
    jobs: int,
    seed: int,
    index: Callable[..., Any],
    groups: Callable[..., Any],
    open_gallery: Callable[..., Any],
) -> dict[str, Any]:
    """photos: the library; work: a folder for its copy and its gallery, which a later run finds
    there; count: photos that are copied; and what the library offers under these names. Raises
    UsageError.
    """
    try:
        import imagehash  # noqa: F401
    except ImportError:
        raise UsageError(
            "groups: expected the package ImageHash, which it is compared with, got none; run"
            " `pip install ImageHash`"
        ) from None
    root, gallery = work / "library", work / "gallery"
    shutil.copytree(photos, root, dirs_exist_ok=True)
    sources = [each for each in photos_in(root, "--photos") if each.parent != root / COPIES]
    (root / COPIES).mkdir(exist_ok=True)
    made = write_copies(spread(sources, count)[:count], root / COPIES, seed)
    index(root, gallery, jobs=jobs, progress=True)
    found = groups(gallery, jobs=jobs, progress=True)
    with open_gallery(gallery, SearchOptions(threads=1)) as opened:
        made_by = opened.engine.binding
        contents = digest(zip(opened.names, opened.engine.contents, strict=True))
        library = known_of(list(opened.names), root, made, truth)
        stated = false_pairs(opened.engine, library, jobs, seed)
    row = {name: place for place, name in enumerate(library.names)}
    pairs = np.array([(row[each.one], row[each.other]) for each in found.pairs]).reshape(-1, 2)
    group = np.arange(len(library.names))
    for number, each in enumerate(found.groups, len(group)):
        group[[row[name] for name in each.photos]] = number
    ours = figures(library, pairs)
    theirs = {
        name: at_precision(library, bits, ours["precision"])
        for name, bits in hashed(library, root).items()
    }
    best = max(theirs, key=lambda name: theirs[name]["found"])
    return {
        "photos": len(library.names) - len(made),
        "copies": len(made),
        "recipe": made_by.recipe,
        "model": {"name": made_by.model, "identity": made_by.identity},
        "data": {"photos": len(library.names), "sha256": contents},
        "pairs": ours,
        "groups": figures(library, _between(group)),
        "components": figures(library, _between(components(len(group), pairs))),
        "hashes": theirs,
        "best": best,
        "stated": stated,
    }


def known_of(
    names: list[str], root: Path, made: Mapping[str, tuple[Path, str]], truth: Sequence[Path]
) -> Library:
    """Raises UsageError for a truth file of photos that are not there."""
    row = {name: place for place, name in enumerate(names)}
    original = np.arange(len(names))
    changed: dict[str, list[tuple[int, int]]] = {change: [] for change in CHANGES}
    for copy, (source, change) in made.items():
        place = row[f"{COPIES}/{copy}"]
        original[place] = row[source.relative_to(root).as_posix()]
        changed[change].append((place, int(original[place])))
    kinds = {kind: n for n, kind in enumerate(sorted({each.split("/")[0] for each in names}))}
    kind = np.array([kinds[each.split("/")[0]] for each in names])[original]
    scenes = []
    for path in truth:
        for _, query, relevant in truth_rows(path):
            ends = [
                [name for name in names if name.endswith(f"/{asked}")]
                for asked in (query, relevant)
            ]
            if any(len(each) != 1 for each in ends):
                raise UsageError(
                    f"{path}: expected photos of --photos, by how their paths end, got {query} and"
                    f" {relevant}"
                )
            scenes.append((row[ends[0][0]], row[ends[1][0]]))
    return Library(
        names,
        kind,
        original,
        np.array(scenes, np.int64).reshape(-1, 2),
        {change: np.array(each, np.int64).reshape(-1, 2) for change, each in changed.items()},
    )


def figures(library: Library, pairs: Int64) -> dict[str, Any]:
    """Of accepted pairs (P, 2) of rows: right and wrong ones, and for each kind of change how many
    copies meet their originals.
    """
    right, wrong = library.known(pairs)
    n = len(library.names)
    low, high = np.sort(pairs, 1).T
    key = low * n + high

    def met(asked: Int64) -> int:
        a, b = np.sort(asked, 1).T
        return int(np.isin(a * n + b, key).sum())

    changes = {change: met(each) for change, each in library.changed.items()}
    return {
        "right": int(right.sum()),
        "wrong": int(wrong.sum()),
        "precision": float(right.sum() / max(1, (right | wrong).sum())),
        "found": sum(changes.values()),
        "changes": {**changes, SCENES: met(library.scenes)},
        "of": {**{k: len(v) for k, v in library.changed.items()}, SCENES: len(library.scenes)},
    }


def components(count: int, pairs: Int64) -> Int64:
    """(count,) what connected components would make of the pairs (P, 2)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), np.int8)
    graph = coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), (count, count))
    found: Int64 = connected_components(graph, directed=False)[1].astype(np.int64)
    return found


def _between(group: Int64) -> Int64:
    """(N,) -> (P, 2) all pairs of rows of one group."""
    made = []
    for number in np.unique(group):
        rows = np.flatnonzero(group == number)
        a, b = np.triu_indices(len(rows), 1)
        made.append(np.stack([rows[a], rows[b]], 1))
    return np.concatenate(made)


def hashed(library: Library, root: Path) -> dict[str, Bool]:
    """Each hash of all photos (N, 64), upright as ours are."""
    import imagehash

    bits: dict[str, list[Bool]] = {name: [] for name in HASHES}
    for each in tqdm(library.names, unit="photo", desc="hashes"):
        photo = Image.fromarray(load_image(root / each).pixels)
        for name, found in bits.items():
            found.append(getattr(imagehash, name)(photo).hash.reshape(-1))
    return {name: np.array(found) for name, found in bits.items()}


def at_precision(library: Library, bits: Bool, precision: float) -> dict[str, Any]:
    """Hashes (N, B) at the largest distance at which pairs are as precise as ours."""
    signs = 2.0 * bits - 1
    distance = ((signs.shape[1] - signs @ signs.T) / 2).round().astype(np.int64)
    a, b = np.triu_indices(len(bits), 1)
    apart = distance[a, b]
    best: dict[str, Any] = {"distance": -1, **figures(library, np.empty((0, 2), np.int64))}
    for most in range(signs.shape[1] // 2):
        near = apart <= most
        seen = figures(library, np.stack([a[near], b[near]], 1))
        if seen["precision"] >= precision and seen["right"]:
            best = {"distance": most, **seen}
        elif seen["wrong"] and seen["precision"] < precision / 2:
            break
    return best


def false_pairs(engine: Any, library: Library, jobs: int, seed: int) -> list[dict[str, Any]]:
    """ASKING photos that are no copies ask those of other kinds alone, so that all accepted are
    false, at several stated numbers: by evidence, and of these the tight ones.
    """
    from pipeline.pairs.judge import judged
    from pipeline.pairs.looks import CANDIDATES, Look, Photos

    photos = Photos.of(engine)
    mine = library.original == np.arange(len(library.names))
    # copies of the photos in one gallery would take places: they are passed over
    kind = np.where(mine, library.kind, -1)[photos.row]
    looks: list[Look | None] = [None] * len(photos)
    asking = np.random.default_rng(seed).permutation(np.flatnonzero(kind >= 0))[:ASKING]

    def look(photo: int) -> Look:
        return photos.look(CANDIDATES, photo, (kind >= 0) & (kind != kind[photo]))

    with ThreadPoolExecutor(jobs) as pool:
        found = pool.map(look, asking.tolist())
        for photo, each in zip(tqdm(asking.tolist(), desc="false pairs"), found, strict=True):
            looks[photo] = each
    null = engine.acceptance.null_of(engine.gallery)
    rows = []
    for stated in STATED:
        # the photos that do not ask have no share
        share = stated * len(photos) / len(asking)
        accepted, verified = judged(photos, looks, null, share)
        rows.append(
            {
                "stated": stated,
                "by evidence": int(verified.likely.sum()),
                "and tight": len(accepted.pairs),
            }
        )
    return rows
