"""The answer to one query, as people and programs read it: the object that `pipeline.run --json`
prints.
"""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from stages.records import Bool, Float32

MAYBE = 0.5  # unrelated photos expected to look as good: where it is no more, it may be a match


@dataclass(frozen=True)
class Result:
    """One place in a ranking."""

    rank: int  # from 1
    image: str  # path relative to the gallery's photos
    coarse_rank: int  # its place by the first look alone, from 1
    distance: float  # of the codes
    matches: int  # local features matched; 0 beyond the candidates
    inliers: int  # of them, those that agree with `affine`
    affine: list[list[float]] | None  # (2, 3) query px -> candidate px
    # unrelated photos expected to match as well among all candidates; None without a calibrated
    # rate
    false_alarms: float | None
    accepted: bool  # the second look put it here; otherwise coarse order did
    # of the real-valued codes, by which hashing recipes re-rank; None beyond the candidates
    code_distance: float | None = None
    # bits in which the codes differ; None where the first look compares no bits
    hamming: int | None = None
    # its place by votes of local features, from 1; None beyond that list, or where there is none
    parts_rank: int | None = None
    # the list that brought it among the candidates: "global", "parts" or "both"; None beyond them
    found_by: str | None = None
    # the accepted photo that asked for it, where the query itself did not get it accepted
    through: str | None = None
    # degrees, clockwise, from -179 to 180, by which the query is to be turned to lie as `affine`
    # maps it; None where there is no map
    turned: int | None = None
    mirrored: bool = False  # and whether it is to be mirrored before
    # degrees by which it was turned when this was found: 0, 90, 180 or 270
    query_turned: int = 0
    # where several photos asked together, which of them this tells of, from 1
    asked_by: int | None = None

    @property
    def verdict(self) -> str:
        """For people: a match, maybe one, or no match; "ranked" where codes are compared, which do
        not say whether photos match.
        """
        if self.hamming is not None:
            return "ranked"
        if self.accepted:
            return "match"
        return (
            "maybe" if self.false_alarms is not None and self.false_alarms <= MAYBE else "no match"
        )


@dataclass(frozen=True)
class Answer:
    """A query's ranking and what it rests on."""

    query: str
    recipe: str
    k: int  # places asked for
    candidates: int  # photos that were verified
    accepted: int  # of all candidates; none: nothing in this gallery matches
    # unrelated photos accepted, expected; None where a fixed count decides
    false_alarm: float | None
    # whose photos say what chance does: "gallery", or "model" where the gallery has too few
    null: str | None
    fell_back: bool  # some returned place was filled from coarse order
    results: tuple[Result, ...]  # at most k
    seconds: dict[str, float]  # by stage
    # on FAISS: its index, and the recall that was measured when it was built
    first_look: dict[str, str | float] | None = None
    shortlist: str = "global"  # how candidates are found: by codes, by votes ("parts"), or "both"
    # left, top, right, bottom px of the part of the photo that asked; None: all of it did
    box: list[int] | None = None
    features: int = 0  # local features of what asked
    bits: int | None = None  # of a code, where the recipe compares codes in place of points
    # the photos that asked together: `query` and `box` of each
    together: list[dict[str, Any]] | None = None
    # why the model's null stands in for the gallery's own; not part of the JSON
    null_reason: str = ""

    @property
    def by_codes(self) -> bool:
        """Whether the second look compares real-valued codes in place of points."""
        return self.bits is not None

    @property
    def radius(self) -> int | None:
        """Hamming radius: in so many bits at most the codes of the results differ from the
        query's.
        """
        differ = [each.hamming for each in self.results if each.hamming is not None]
        return max(differ, default=None)

    def to_json(self) -> dict[str, Any]:
        """`first_look` only where it was on FAISS."""
        left_out = {"null_reason"} if self.first_look is not None else {"null_reason", "first_look"}
        whole = {name: value for name, value in asdict(self).items() if name not in left_out}
        return {**whole, "radius": self.radius, "results": list(whole["results"])}

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict a result, with the query's name: what `pandas.DataFrame` takes."""
        names = [field.name for field in fields(Result)]
        return [
            {"query": self.query, **{name: getattr(result, name) for name in names}}
            for result in self.results
        ]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What two photos share: the point pairs that were matched, and the map that most of them agree
    on.
    """

    query_xy: Float32  # (n, 2) px
    candidate_xy: Float32  # (n, 2) px
    inlier: Bool  # (n,) it agrees with `affine`
    affine: list[list[float]] | None  # (2, 3) query px -> candidate px; None where no map was found
    # unrelated photos expected to match as well; None without a calibrated rate
    false_alarms: float | None
    accepted: bool

    @property
    def matches(self) -> int:
        return len(self.inlier)

    @property
    def inliers(self) -> int:
        return int(self.inlier.sum())

    def to_json(self) -> dict[str, Any]:
        """Counts, map and acceptance, without the points."""
        return {
            "matches": self.matches,
            "inliers": self.inliers,
            "affine": self.affine,
            "false_alarms": self.false_alarms,
            "accepted": self.accepted,
        }


def affine_rows(affine: Float32) -> list[list[float]] | None:
    """(2, 3) as it is printed; None for NaN, which says that no map was found."""
    if affine.shape != (2, 3) or any(math.isnan(value) for value in affine.flat):
        return None
    return [[round(float(value), 6) for value in row] for row in affine]


def round_digits(number: float) -> float | None:
    """Six digits, however small it is; None for NaN."""
    return None if math.isnan(number) else float(f"{number:.6g}")
