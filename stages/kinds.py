"""Several kinds of local features in one photo, as one record: matched each among its own, one map
fitted through all correspondences, one evidence.

A descriptor's last number says its kind, and takes so large a share of its length that features of
two kinds are farther apart than a right angle, from which nothing is matched. So whatever stores,
sends, matches or counts features need not know that there are kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from stages.records import Image, LocalFeatures
from stages.rootsift import RootSift

# of 127: with + and - of it, features of two kinds are 180 apart or more; a right angle is 179.6
MARK = 90
REST = (127**2 - MARK**2) ** 0.5  # the length that is left to say what a feature looks like


@dataclass(frozen=True)
class DescribeBoth:
    """Image -> LocalFeatures of two kinds, of one length, whose best take turns."""

    known_as: ClassVar[str] = "describe"
    first: Callable[[Image], LocalFeatures]
    second: Callable[[Image], LocalFeatures]
    keep: int = 500  # features a photo at most: where one kind has few, the other has more
    # no more of the second kind are described than are kept; the scores alone tell the difference
    frugal: bool = False
    threads: int = 1  # 2: both kinds at once. Changes how long it takes and nothing else

    def __call__(self, image: Image) -> LocalFeatures:
        if self.threads == 1:
            first = self.first(image)
            return join_kinds((first, self._second(len(first))(image)), self.keep)
        with ThreadPoolExecutor(1) as beside:
            later = beside.submit(self._second(self.keep), image)
            first = self.first(image)
            second = later.result()
        if self._second(len(first)) != self._second(self.keep):
            second = self._second(len(first))(image)
        return join_kinds((first, second), self.keep)

    def _second(self, found: int) -> Callable[[Image], LocalFeatures]:
        """What describes the second kind, where so many of the first were found."""
        if not self.frugal or not isinstance(self.second, RootSift):
            return self.second
        wanted = self.keep - min(found, -(-self.keep // 2))
        return replace(self.second, keep=min(wanted, self.second.keep))


def join_kinds(kinds: Sequence[LocalFeatures], keep: int) -> LocalFeatures:
    """Two kinds of features of one photo, descriptors (M, D) and (N, D) -> (min(M + N, keep), D +
    1). Their scores do not compare: the best of each kind take turns, and a score falls from 1 by
    place.
    """
    if len(kinds) != 2 or kinds[0].descriptor.shape[1] != kinds[1].descriptor.shape[1]:
        raise ValueError(
            "join_kinds: expected two kinds with descriptors of one length, got "
            + " and ".join(str(each.descriptor.shape[1]) for each in kinds)
        )
    return _in_turn([_marked(kind, sign) for kind, sign in zip(kinds, (1, -1), strict=True)], keep)


def with_first(whole: LocalFeatures, first: LocalFeatures, keep: int) -> LocalFeatures:
    """Features of two kinds, with others (M, D) in place of those of the first kind."""
    second = whole.descriptor[:, -1] < 0
    kept = replace(
        whole,
        xy=whole.xy[second],
        descriptor=whole.descriptor[second],
        score=whole.score[second],
    )
    return _in_turn([_marked(first, 1), kept], keep)


def _marked(kind: LocalFeatures, sign: int) -> LocalFeatures:
    rest = np.rint(kind.descriptor * np.float32(REST / 127))
    whole = np.pad(rest, ((0, 0), (0, 1)), constant_values=sign * MARK)
    return replace(kind, descriptor=whole.astype(np.int8))


def _in_turn(kinds: Sequence[LocalFeatures], keep: int) -> LocalFeatures:
    place = np.concatenate([np.arange(len(each)) for each in kinds])
    order = np.argsort(place, kind="stable")[:keep]
    score = 1 - place[order] / max(1, *(len(each) for each in kinds))
    return LocalFeatures(
        np.concatenate([each.xy for each in kinds])[order],
        np.concatenate([each.descriptor for each in kinds])[order],
        score.astype(np.float32),
        kinds[0].size,
    )
