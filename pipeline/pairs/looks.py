"""Every photo of a gallery asks the others: a short list of candidates, each verified once.

A photo's look depends on the gallery as it was when it asked, and stays as it is: photos that join
later ask themselves, and find those that were there.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.search.engine import Engine
from pipeline.search.query import Query
from stages.overlap import in_the_middle
from stages.records import Bool, Candidates, Int64
from stages.verify import Verify

# of each photo. In a trial twice as many found no more pairs of one scene, a quarter of them a
# tenth less
CANDIDATES = 40
# what the second look saw of a candidate, as it is kept
# tight: of the inliers, those in the middle of the tolerance
SEEN = np.dtype(
    [("matches", "<i4"), ("inliers", "<i4"), ("tight", "<i4"), ("affine", "<f4", (2, 3))]
)
FEW = 6  # inliers: nobody asks how tight fewer are
# a candidate of a look: the sha256 of its bytes, its place from 1, of equal ones the last
ROW = np.dtype([("content", "u1", 32), ("place", "<i4"), ("seen", SEEN)])
AHEAD = 64  # photos whose looks are waited for


@dataclass(frozen=True, eq=False)
class Look:
    """What one photo found when it asked."""

    among: int  # different photos that there were
    rows: npt.NDArray[np.void]  # (K,) of ROW, best first


@dataclass(frozen=True, eq=False)
class Photos:
    """The different photos of a gallery in the order of their contents: equal bytes are one, and
    what they are called changes nothing.
    """

    engine: Engine
    row: Int64  # (n,) of the gallery, the first that has these bytes
    number: Int64  # (N,) of each row of the gallery: which of the n it is
    places: dict[bytes, int]  # sha256, 32 bytes -> which of the n has these contents

    @classmethod
    def of(cls, engine: Engine) -> "Photos":
        contents = [bytes.fromhex(each) for each in engine.contents]
        places = {each: place for place, each in enumerate(sorted(set(contents)))}
        number = np.array([places[each] for each in contents], np.int64)
        return cls(engine, np.unique(number, return_index=True)[1], number, places)

    def __len__(self) -> int:
        return len(self.row)

    @cached_property
    def contents(self) -> tuple[bytes, ...]:
        """(n,) sha256, 32 bytes each."""
        return tuple(self.places)

    @property
    def verify(self) -> Verify:
        found = self.engine.verify
        assert found is not None
        return found

    def look(self, count: int, photo: int, others: Bool | None = None) -> Look:
        """One of the photos asks for so many others, of these (n,) alone where they are given."""
        engine, row = self.engine, int(self.row[photo])
        gallery = engine.gallery
        query = Query("", gallery.codes[row], gallery.features[row], {})
        asked = min(len(gallery), count + 1)
        while True:
            found = engine.find(query, asked, 0)[1]
            numbers = self.number[found.rows[0]]
            first = np.sort(np.unique(numbers, return_index=True)[1])
            first = first[numbers[first] != photo]
            if others is not None:
                first = first[others[numbers[first]]]
            first = first[:count]
            # copies of itself, or of others, took the places
            if len(first) == count or asked >= len(gallery):
                break
            asked = min(len(gallery), 4 * asked)
        among = len(self) if others is None else 1 + int(others.sum())
        return Look(among, self._verified(query, found, numbers[first], first))

    def _verified(
        self, query: Query, found: Candidates, numbers: Int64, kept: Int64
    ) -> npt.NDArray[np.void]:
        rows = np.zeros(len(kept), ROW)
        distance = found.distance[0, kept]
        rows["place"] = np.searchsorted(distance, distance, "right")
        contents = b"".join(self.contents[each] for each in numbers.tolist())
        rows["content"] = np.frombuffer(contents, np.uint8).reshape(-1, 32)
        rows["seen"] = self.seen(query, self.row[numbers])
        return rows

    def seen(self, query: Query, rows: Int64) -> npt.NDArray[np.void]:
        """A photo verified with those of these gallery rows (P,) -> (P,) of SEEN."""
        seen = np.zeros(len(rows), SEEN)
        seen["matches"], seen["inliers"], seen["affine"] = self.verify.many(
            query.features, self.engine.gallery.features, rows
        )
        size = self.engine.gallery.features.size[rows].max(1, initial=0)
        for place in np.flatnonzero(seen["inliers"] >= FEW).tolist():
            other = self.engine.gallery.features[int(rows[place])]
            pairs, affine, inlier = self.verify.pair(query.features, other)
            ours, theirs = query.features.xy[pairs[inlier, 0]], other.xy[pairs[inlier, 1]]
            reach = self.verify.fit.relative * float(size[place])
            seen["tight"][place] = in_the_middle(affine, ours, theirs, reach)
        return seen

    def looks(self, asking: Sequence[int], count: int, jobs: int) -> Iterator[tuple[int, Look]]:
        """These photos ask, `jobs` at a time, in their order."""
        with ThreadPoolExecutor(jobs) as pool:
            for begin in range(0, len(asking), AHEAD):
                some = asking[begin : begin + AHEAD]
                yield from zip(some, pool.map(partial(self.look, count), some), strict=True)


def bar(total: int, what: str, quiet: bool) -> Any:
    """Progress on stderr; none where there is nothing to do."""
    from tqdm import tqdm

    return tqdm(total=total, desc=what, unit="photo", disable=quiet or not total or None)
