"""Which pairs of a gallery's photos show the same thing, at a stated number of false pairs among
all of them.

Each of n photos asks once and has an n-th of the number. Of its candidates the third stands for
three, and so on, as in a search (stages/rank.py), so that all of them together have that share. A
pair is accepted if one of its two photos accepts the other, and if its inliers are tight
(stages/overlap.py), for things that are alike are no pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.pairs.evidence import Evidence
from pipeline.pairs.looks import SEEN, Look, Photos
from pipeline.search.query import Query
from stages.null import Null
from stages.overlap import TIGHT, near_duplicates
from stages.rank import judge, stands_for
from stages.records import Bool, Float64, Int32, Int64

# pairs that join groups are accepted ones; those between two groups that are to become one agree if
# they are accepted, too, or tight and by chance no more likely than this: what `pipeline.verify`
# allows
AGREES = 0.001


@dataclass(frozen=True, eq=False)
class Accepted:
    """Pairs of photos that show the same thing, best evidence first."""

    pairs: Int64  # (E, 2) of the n photos, the lower number first
    inliers: Int32  # (E,)
    near: Bool  # (E,) near-duplicates


@dataclass(frozen=True, eq=False)
class Verified:
    """All pairs that were verified, whoever asked."""

    key: Int64  # (V,) ascending: lower number x n + higher
    inliers: Int32  # (V,) of the direction with more evidence
    tight: Bool  # (V,) in one of both directions, as the next
    near: Bool  # (V,) near-duplicates
    likely: Bool  # (V,) evidence enough to be accepted


def judged(
    photos: Photos, looks: Sequence[Look | None], null: Null, false_pairs: float
) -> tuple[Accepted, Verified]:
    """looks: of each of the photos; null: what chance does among them."""
    features, n = photos.engine.gallery.features, len(photos)
    counts, sizes = features.count[photos.row], features.size[photos.row]
    parts: list[tuple[Int64, Int64, npt.NDArray[np.void], Float64]] = [
        (*(np.empty(0, np.int64),) * 2, np.empty(0, SEEN), np.empty(0))
    ]
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
        parts.append((np.full(len(alarms), asking, np.int64), found[here], seen, alarms))
    one, other, seen, alarms = map(np.concatenate, zip(*parts, strict=True))
    near, tight = alike(seen, sizes[one], sizes[other])
    key = np.minimum(one, other) * n + np.maximum(one, other)
    order = np.lexsort((alarms, key))  # of both directions the one with more evidence first
    key, alarms, inliers = key[order], alarms[order], seen["inliers"][order].astype(np.int32)
    first = np.flatnonzero(np.diff(key, prepend=-1))
    near, tight = (
        np.logical_or.reduceat(each[order], first) if len(first) else each for each in (near, tight)
    )
    key, alarms, inliers = key[first], alarms[first], inliers[first]
    likely = alarms <= (np.log(false_pairs / n) if n else 0.0)
    best = np.flatnonzero(likely & tight)
    best = best[np.argsort(alarms[best], kind="stable")]
    pairs = np.stack(np.divmod(key[best], max(n, 1)), 1)
    return Accepted(pairs, inliers[best], near[best]), Verified(key, inliers, tight, near, likely)


def alike(seen: npt.NDArray[np.void], size: Int32, other: Int32) -> tuple[Bool, Bool]:
    """Pairs (P,) of SEEN, sizes (P, 2) of both photos -> near-duplicates, and tight ones (P,)."""
    near = near_duplicates(seen["affine"], size, other, seen["matches"], seen["inliers"])
    tight: Bool = (seen["tight"] >= TIGHT * seen["inliers"]) & (seen["inliers"] > 0)
    return near & tight, tight


@dataclass(frozen=True, eq=False)
class Agreement:
    """Whether pairs of photos agree; those that nobody has verified yet are, and kept."""

    photos: Photos
    null: Null
    verified: Verified
    evidence: Evidence
    near: bool = False  # agree only where they are near-duplicates
    # as `Verified`: inliers, tight, near
    later: dict[int, tuple[int, bool, bool]] = field(default_factory=dict)

    def __call__(self, pairs: Int64) -> Bool:
        n, (low, high) = len(self.photos), np.sort(pairs, 1).T
        key = low * n + high
        known = self.verified
        place = np.minimum(np.searchsorted(known.key, key), len(known.key) - 1)
        there = known.key[place] == key
        inliers, tight, near = (each[place] for each in (known.inliers, known.tight, known.near))
        likely = known.likely[place] & there
        self._verify(low[~there], high[~there])
        for each in np.flatnonzero(~there).tolist():
            inliers[each], tight[each], near[each] = self.later[int(key[each])]
        if self.near:
            agreed: Bool = near
            return agreed
        counts = self.photos.engine.gallery.features.count[self.photos.row]
        chance = self.null.odds(counts[low], counts[high]).log_chance(inliers)
        weak = (inliers >= self.null.least) & (chance <= np.log(AGREES))
        agreed = tight & (weak | likely)
        return agreed

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
                sizes = gallery.features.size[[row]], gallery.features.size[photos.row[[each]]]
                near, tight = alike(np.array([seen], SEEN), *sizes)
                key = asking * len(photos) + each
                self.later[key] = int(seen["inliers"]), bool(tight[0]), bool(near[0])
