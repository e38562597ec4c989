"""The groups of a gallery: its photos ask each other, pairs are judged, groups are made of them.

What is slow, the looks, is kept as it is found; the rest is made anew each time, so that groups
follow the gallery as it is.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.pairs.best import Quality, best_of, qualities
from pipeline.pairs.evidence import Evidence, keeping
from pipeline.pairs.judge import Accepted, Agreement, judged
from pipeline.pairs.looks import Look, Photos, bar
from pipeline.search.engine import Engine
from stages.linkage import linked
from stages.null import Null
from stages.records import Int64

COPIES, SCENE = "near-duplicate", "same scene"


@dataclass(frozen=True)
class Pair:
    """Two photos that show the same thing."""

    one: str
    other: str
    inliers: int  # of equal files: all features
    near: bool  # near-duplicates


@dataclass(frozen=True)
class Group:
    """Photos that show the same thing."""

    photos: tuple[str, ...]  # the best first, then by path
    kind: str  # "near-duplicate" where all are of one picture, else "same scene"
    near_duplicates: tuple[tuple[str, ...], ...]  # of its photos, those that are one picture
    pairs: tuple[Pair, ...]  # accepted, of its photos, most inliers first
    qualities: dict[str, Quality]

    @property
    def best(self) -> str:
        return self.photos[0]

    @property
    def near_duplicate(self) -> bool:
        return self.kind == COPIES

    def to_json(self, number: int) -> dict[str, Any]:
        """The object that the command prints."""
        by_photo = [self.qualities[name] for name in self.photos]
        return {
            "group": number,
            "photos": list(self.photos),
            "best": self.best,
            "kind": self.kind,
            "near_duplicates": [list(each) for each in self.near_duplicates],
            "pairs": [[pair.one, pair.other, pair.inliers] for pair in self.pairs],
            "sizes": [[each.width, each.height] for each in by_photo],
            "sharpness": [each.sharpness for each in by_photo],
        }


@dataclass(frozen=True)
class Groups:
    """What was found in a gallery."""

    photos: int  # in the gallery
    false_pairs: float  # expected at most, among all pairs
    groups: tuple[Group, ...]  # near-duplicates, then scenes, each from the largest
    # all that were accepted, most inliers first; some lie between groups
    pairs: tuple[Pair, ...]


def find_groups(
    engine: Engine,
    null: Null,
    candidates: int,
    false_pairs: float,
    near: bool,
    kept: Path | None,
    own: bool,
    jobs: int,
    *,
    quiet: bool,
) -> Groups:
    """As `pipeline.groups` says. engine: its verification on one thread; null: what chance does in
    its gallery; kept, own: as `keeping` takes them.
    """
    photos = Photos.of(engine)
    with keeping(kept, made_by(engine, candidates), own=own) as evidence:
        looks = asked(photos, candidates, evidence, jobs, quiet=quiet)
        accepted, verified = judged(photos, looks, null, false_pairs)
        agreement = partial(Agreement, photos, null, verified, evidence)
        copies = grouped(photos, accepted, agreement, near=True)
        scenes = copies if near else grouped(photos, accepted, agreement, near=False)
        rows: dict[int, list[int]] = {}
        for row, photo in enumerate(photos.number.tolist()):
            rows.setdefault(int(scenes[photo]), []).append(row)
        several = [each for each in rows.values() if len(each) > 1]
        shown = sorted({int(photos.number[row]) for each in several for row in each})
        quality = qualities(photos, shown, evidence, jobs, quiet=quiet)
        evidence.forget_others(set(photos.contents))
    pairs = tuple(pair for pair in named_pairs(photos, accepted) if pair.near or not near)
    group_of = dict(zip(engine.gallery.names, scenes[photos.number].tolist(), strict=True))
    inside: dict[int, list[Pair]] = {}
    for pair in pairs:
        one, other = (group_of[name] for name in (pair.one, pair.other))
        if one == other:
            inside.setdefault(one, []).append(pair)
    made = [
        _group(photos, each, copies, inside.get(number, ()), quality)
        for number, each in rows.items()
        if len(each) > 1
    ]
    made.sort(
        key=lambda group: (
            not group.near_duplicate,
            -len(group.photos),
            min(map(os.fsencode, group.photos)),
        )
    )
    return Groups(len(engine.gallery), false_pairs, tuple(made), pairs)


def made_by(engine: Engine, candidates: int) -> str:
    """What the looks of photos depend on beside their contents, as one line."""
    verify = engine.verify
    assert verify is not None
    made = {
        "version": 1,
        "model": engine.binding.identity,
        "code": engine.code,
        "shortlist": engine.recipe.shortlist,
        "candidates": candidates,
        "match": asdict(verify.match),
        "fit": asdict(verify.fit),
        "seed": verify.seed,
    }
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


def asked(photos: Photos, count: int, evidence: Evidence, jobs: int, *, quiet: bool) -> list[Look]:
    """The look of each photo; those that have not asked yet do so now, and those most of whose
    candidates have left the gallery ask again.
    """
    looks: dict[int, Look] = {}
    for place, content in enumerate(photos.contents):
        look = evidence.look(content)
        if look is not None and (not len(look.rows) or _here(photos, look) >= len(look.rows) / 2):
            looks[place] = look
    # one that found no others, or few, asks again where there are others now
    fewer = min(count, len(photos) - 1)
    lacking = [
        place
        for place in range(len(photos))
        if place not in looks
        or (len(looks[place].rows) < fewer and len(photos) > 2 * looks[place].among)
    ]
    with bar(len(lacking), "pairs", quiet) as progress:
        for place, look in photos.looks(lacking, count, jobs):
            evidence.keep_look(photos.contents[place], look)
            looks[place] = look
            progress.update()
    return [looks[place] for place in range(len(photos))]


def _here(photos: Photos, look: Look) -> int:
    return sum(each.tobytes() in photos.places for each in look.rows["content"])


def grouped(photos: Photos, accepted: Accepted, agreement: Any, *, near: bool) -> Int64:
    """(n,) the group of each of the different photos, named by one of them."""
    pairs = accepted.pairs[accepted.near] if near else accepted.pairs
    found: Int64 = linked(len(photos), pairs, agreement(near))
    return found


def named_pairs(photos: Photos, accepted: Accepted) -> tuple[Pair, ...]:
    """All accepted pairs by their paths, equal files among them."""
    gallery = photos.engine.gallery
    names: list[list[str]] = [[] for _ in range(len(photos))]
    for name, photo in zip(gallery.names, photos.number.tolist(), strict=True):
        names[photo].append(name)
    made = []
    for photo, same in enumerate(names):
        count = int(gallery.features.count[photos.row[photo]])
        made += [Pair(same[0], each, count, True) for each in same[1:]]
    for (a, b), inliers, near in zip(
        accepted.pairs.tolist(), accepted.inliers.tolist(), accepted.near.tolist(), strict=True
    ):
        one, other = sorted((names[a][0], names[b][0]), key=os.fsencode)
        made.append(Pair(one, other, inliers, near))
    made.sort(key=lambda pair: (-pair.inliers, os.fsencode(pair.one), os.fsencode(pair.other)))
    return tuple(made)


def _group(
    photos: Photos,
    rows: Sequence[int],
    copies: Int64,
    pairs: Sequence[Pair],
    quality: dict[int, Quality],
) -> Group:
    gallery = photos.engine.gallery
    by_name = {
        gallery.names[row]: replace(
            quality[int(photos.number[row])], file=photos.engine.file(gallery.names[row])
        )
        for row in rows
    }
    names = list(by_name)
    best = names[best_of([by_name[name] for name in names])]
    same: dict[int, list[str]] = {}
    for row in rows:
        same.setdefault(int(copies[photos.number[row]]), []).append(gallery.names[row])
    sets = tuple(tuple(each) for each in same.values() if len(each) > 1)
    return Group(
        (best, *(name for name in names if name != best)),
        COPIES if len(same) == 1 else SCENE,
        sets,
        tuple(pairs),
        by_name,
    )
