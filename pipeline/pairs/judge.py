"""Which pairs of a gallery's photos show the same thing, at a stated number of false pairs among
all of them.

Each of n photos asks once and has an n-th of the number. Of its candidates the third stands for
three, and so on, as in a search (stages/rank.py), so that all of them together have that share. A
pair is accepted if one of its two photos accepts the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.pairs.evidence import Evidence
from pipeline.pairs.looks import Look, Photos
from pipeline.search.query import Query
from stages.null import Null
from stages.overlap import near_duplicates
from stages.rank import judge, stands_for
from stages.records import Bool, Float32, Float64, Int32, Int64

# the chance of so many inliers at which two photos of one group agree: pairs that join groups have
# to be accepted, and those between two groups that are to become one to agree
AGREES = 0.01


@dataclass(frozen=True, eq=False)
class Accepted:
    """Pairs of photos that show the same thing, best evidence first."""

    pairs: Int64  # (E, 2) of the n photos, the lower number first
    inliers: Int32  # (E,)
    alarms: (
        Float64  # (E,) logarithm of the expected unrelated photos as good, of the one that asked
    )
    near: Bool  # (E,) near-duplicates


@dataclass(frozen=True, eq=False)
class Verified:
    """All pairs that were verified, whoever asked: inliers, and whether they are near-duplicates."""

    key: Int64  # (V,) ascending: lower number x n + higher
    inliers: Int32  # (V,) the most of both directions
    near: Bool  # (V,)


def judged(
    photos: Photos, looks: Sequence[Look | None], null: Null, false_pairs: float
) -> tuple[Accepted, Verified]:
    """looks: of each of the photos; null: what chance does among them."""
    features, n = photos.engine.gallery.features, len(photos)
    counts, sizes = features.count[photos.row], features.size[photos.row]
    parts: list[tuple[Int64, Int64, Int32, Int32, Float32, Float64]] = []
    for asking, look in enumerate(looks):
        if look is None or not len(look.rows):
            continue
        place = look.rows["place"].astype(np.int64)
        standing = np.broadcast_to(stands_for(null, place, look.among), place.shape)
        found = np.array(
            [photos.places.get(each.tobytes(), -1) for each in look.rows["content"]], np.int64
        )
        here = found >= 0  # the others are no longer in the gallery
        seen = look.rows["seen"][here]
        inliers = seen["inliers"].astype(np.int32)
        alarms, _, _ = judge(
            null,
            int(counts[asking]),
            counts[found[here]],
            inliers,
            standing[here],
            share=np.minimum(place[here] / look.among, 1.0),
        )
        alarms = np.where(inliers >= null.least, alarms, np.inf)
        asked = np.full(len(alarms), asking, np.int64)
        matches = seen["matches"].astype(np.int32)
        parts.append((asked, found[here], matches, inliers, seen["affine"], alarms))
    if not parts:
        parts.append(
            (
                *(np.empty(0, np.int64),) * 2,
                *(np.empty(0, np.int32),) * 2,
                np.empty((0, 2, 3), np.float32),
                np.empty(0),
            )
        )
    one, other, matches, inliers, affine, alarms = map(np.concatenate, zip(*parts, strict=True))
    near = near_duplicates(affine, sizes[one], sizes[other], matches, inliers)
    key = np.minimum(one, other) * n + np.maximum(one, other)
    # the best of both directions first
    order = np.lexsort((alarms, key))
    key, inliers, alarms, near = key[order], inliers[order], alarms[order], near[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    most = np.maximum.reduceat(inliers, first) if len(first) else inliers
    either = np.logical_or.reduceat(near, first) if len(first) else near
    kept = alarms[first] <= np.log(false_pairs / max(n, 1))
    best = first[kept][np.argsort(alarms[first][kept], kind="stable")]
    pairs = np.stack(np.divmod(key[best], max(n, 1)), 1)
    place = np.searchsorted(key[first], key[best])
    accepted = Accepted(pairs, inliers[best], alarms[best], either[place])
    return accepted, Verified(key[first], most, either)


@dataclass(frozen=True, eq=False)
class Agreement:
    """Whether pairs of photos agree; those that nobody has verified yet are, and kept."""

    photos: Photos
    null: Null
    accepted: Accepted
    verified: Verified
    evidence: Evidence
    near: bool = False  # agree only where they are near-duplicates
    later: dict[int, tuple[int, bool]] = field(default_factory=dict)  # as `Verified`

    def __call__(self, pairs: Int64) -> Bool:
        n, (low, high) = len(self.photos), np.sort(pairs, 1).T
        key = low * n + high
        place = np.minimum(np.searchsorted(self.verified.key, key), len(self.verified.key) - 1)
        known = self.verified.key[place] == key
        inliers, near = self.verified.inliers[place].copy(), self.verified.near[place].copy()
        self._verify(low[~known], high[~known])
        for each in np.flatnonzero(~known).tolist():
            inliers[each], near[each] = self.later[int(key[each])]
        if self.near:
            return near
        counts = self.photos.engine.gallery.features.count[self.photos.row]
        chance = self.null.odds(counts[low], counts[high]).log_chance(inliers)
        return (inliers >= self.null.least) & (chance <= np.log(AGREES))

    def _verify(self, low: Int64, high: Int64) -> None:
        """One photo of a pair asks with all its others at once."""
        photos, gallery = self.photos, self.photos.engine.gallery
        for asking in np.unique(low).tolist():
            others = [
                each
                for each in np.unique(high[low == asking]).tolist()
                if asking * len(photos) + each not in self.later
            ]
            kept = {
                each: seen
                for each in others
                if (seen := self.evidence.pair(photos.contents[asking], photos.contents[each]))
                is not None
            }
            lacking = [each for each in others if each not in kept]
            row = int(photos.row[asking])
            query = Query("", gallery.codes[row], gallery.features[row], {})
            found = photos.seen(query, photos.row[lacking])
            for each, seen in zip(lacking, found, strict=True):
                self.evidence.keep_pair(photos.contents[asking], photos.contents[each], seen)
                kept[each] = seen
            for each, seen in kept.items():
                alike = near_duplicates(
                    seen["affine"][None],
                    gallery.features.size[[row]],
                    gallery.features.size[photos.row[[each]]],
                    seen["matches"][None],
                    seen["inliers"][None],
                )
                self.later[asking * len(photos) + each] = int(seen["inliers"]), bool(alike[0])
