"""The gallery as stages see it: names, codes with what searches them, and packed local features."""

from __future__ import annotations

import itertools
import os
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from stages.errors import ArrayError
from stages.records import (
    Candidates,
    Float32,
    Int32,
    Int64,
    LocalFeatures,
    PackedFeatures,
    check_array,
)
from stages.tree_index import TreeIndex

if TYPE_CHECKING:
    from stages.null import Null


class CodeIndex(Protocol):
    """What finds a gallery's nearest codes: a ball tree, FAISS, packed bits, or the owners of a
    gallery's parts.
    """

    @property
    def kind(self) -> str:
        """ "tree", "flat", "ivf" or "hamming"."""

    @property
    def recall(self) -> float:
        """The share of the truly nearest that it finds; 1 where it is exact."""

    def nearest(self, code: Float32, count: int) -> Candidates:
        """code (D,) finite, 1 <= count <= N -> Candidates (1, count), ordered by distance, equal
        ones by row.
        """


class PartsVotes(Protocol):
    """What counts votes for the photos that hold the query's local features: an inverted index, or
    the owners of a gallery's parts.
    """

    def votes(self, features: LocalFeatures) -> Int32:
        """(N,) of every row."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """What a query meets: one consistent version of a collection, in memory or memory-mapped."""

    # (N,) relative paths, ascending, no two alike: a photo's row is its place among them
    names: tuple[str, ...]
    codes: Float32  # (N, D) what the first look searches
    features: PackedFeatures  # (N,)
    # over codes; None when the gallery is empty
    index: CodeIndex | None = field(default=None, repr=False)
    # what chance does among its own photos; None where they are too few to tell
    null: Null | None = None
    # over local features; None where there is none
    parts: PartsVotes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_array("Gallery", "codes", self.codes, np.float32, len(self.names), None)
        if len(self.features) != len(self.names):
            raise ArrayError(
                f"Gallery.features: expected {len(self.names)} photos, got {len(self.features)}"
            )
        keys = [os.fsencode(name) for name in self.names]
        if any(a >= b for a, b in itertools.pairwise(keys)):
            raise ArrayError("Gallery.names: expected ascending paths, each once")
        if keys and self.index is None:
            raise ArrayError(
                "Gallery.index: expected an index over the codes, got None; make galleries by"
                " Gallery.from_arrays"
            )

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def from_arrays(
        cls,
        names: Sequence[str],
        codes: Float32,
        features: PackedFeatures,
        null: Null | None = None,
        index: Callable[[Float32], CodeIndex] | None = None,
        parts: Callable[[Int64], PartsVotes] | None = None,
    ) -> Gallery:
        """Sort by path and index the codes: the door for photos that were described elsewhere.

        names: N relative paths in any order, no two alike; codes (N, D) float32; features of the N
        photos; index: what makes an index of codes in the order of rows, a ball tree unless given;
        parts: what makes one of local features, given which of the N photos is in each row. Raises
        ArrayError.
        """
        if wrong := [name for name in names if not isinstance(name, str)]:
            raise ArrayError(f"Gallery.names: expected paths as str, got {type(wrong[0]).__name__}")
        check_array("Gallery", "codes", codes, np.float32, len(names), None)
        if not isinstance(features, PackedFeatures):
            raise ArrayError(
                f"Gallery.features: expected PackedFeatures, got {type(features).__name__}; make"
                " them by PackedFeatures.of"
            )
        if len(features) != len(names):
            raise ArrayError(f"Gallery.features: expected {len(names)} photos, got {len(features)}")
        if not np.isfinite(codes).all():
            raise ArrayError("Gallery.codes: expected finite numbers, got NaN or infinity")
        order = np.array(sorted(range(len(names)), key=lambda i: os.fsencode(names[i])), np.int64)
        if (order[1:] > order[:-1]).all():  # as a stored gallery's are: nothing is copied
            names = tuple(names)
        else:
            names, codes, features = (
                tuple(names[i] for i in order),
                codes[order],
                features.part(order),
            )
        codes = np.ascontiguousarray(codes)
        made = (index or TreeIndex.build)(codes) if len(order) else None
        voted = parts(order) if parts is not None and len(order) else None
        return cls(names, codes, features, made, null, voted)

    def row(self, name: str) -> int:
        """The row of a path; KeyError when it is not there."""
        place = bisect_left(self.names, os.fsencode(name), key=os.fsencode)
        if place == len(self.names) or self.names[place] != name:
            raise KeyError(name)
        return place
