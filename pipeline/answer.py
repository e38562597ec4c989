"""The answer to one query, as people and programs read it: the object that `pipeline.run --json` prints."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from stages.records import Bool, Float32


@dataclass(frozen=True)
class Result:
    """One place in a ranking."""

    rank: int  # from 1
    image: str  # path relative to the gallery's photos
    coarse_rank: int  # its place by the first look alone, from 1
    distance: float  # of the codes
    matches: int  # local features matched; 0 beyond the looked-at candidates
    inliers: int  # of them, those that agree with `affine`
    affine: list[list[float]] | None  # (2, 3) query px -> candidate px
    false_alarms: float | None  # how many non-matches are expected to look as good among all looked at; None where nobody calibrated
    accepted: bool  # the second look put it here; otherwise coarse order did
    code_distance: float | None = None  # of the real-valued codes, by which hashing recipes look twice; `distance` counts their bits then


@dataclass(frozen=True)
class Answer:
    """A query's ranking and what it rests on."""

    query: str
    recipe: str
    k: int  # places asked for
    candidates: int  # photos looked at twice
    accepted: int  # of all candidates; none: nothing in this gallery matches
    false_alarm: float | None  # non-matches accepted, expected; None where a fixed count decides
    null: str | None  # whose photos say what chance does: "gallery", or "model" where the gallery has too few
    fell_back: bool  # some returned place was filled from coarse order
    results: tuple[Result, ...]  # at most k
    seconds: dict[str, float]  # by stage
    null_reason: str = ""  # why the model's null stands in for the gallery's own; not part of the JSON
    first_look: dict[str, str | float] | None = None  # on FAISS: its index, and the recall that was measured when it was built

    @property
    def by_codes(self) -> bool:
        """Whether the second look compared real-valued codes in place of points."""
        return any(result.code_distance is not None for result in self.results)

    def to_json(self) -> dict[str, Any]:
        """`first_look` only where it was on FAISS."""
        left_out = {"null_reason"} if self.first_look is not None else {"null_reason", "first_look"}
        return {name: value for name, value in asdict(self).items() if name not in left_out}


@dataclass(frozen=True, eq=False)
class Evidence:
    """The point pairs behind one result, for drawing."""

    query_xy: Float32  # (n, 2) px
    candidate_xy: Float32  # (n, 2) px
    inlier: Bool  # (n,) it agrees with the affine map


def round_digits(number: float) -> float | None:
    """Six digits, however small it is; None for NaN."""
    return None if math.isnan(number) else float(f"{number:.6g}")
