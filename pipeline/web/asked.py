"""What a request may say, and how it may end: FastAPI checks it, and describes it at
/openapi.json.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Annotated, Any

from fastapi import Path as InPath
from fastapi import Query, Request

from pipeline.search.query import Box
from pipeline.web.intake import FORM, Refused

PHOTO = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}
JPEG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "a JPEG",
        "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
    }
}
Id = Annotated[str, InPath(pattern="^[0-9a-f]{32}$", description="a photo's id, as /look gives it")]


@dataclass(frozen=True)
class Problem:
    """Why a request was not answered."""

    detail: str


@dataclass(frozen=True)
class Defaults:
    """What a request that does not say is answered with."""

    k: int = 10
    candidates: str | None = None  # None: the recipe's


@dataclass(frozen=True)
class Asked:
    """What of a search a request may choose."""

    k: Annotated[int | None, Query(ge=1, le=1000, description="results")] = None
    candidates: Annotated[
        str | None,
        Query(
            pattern="^[1-9][0-9]{0,6}x?$",
            description="photos that are verified: a number, or `4x` for four times k",
        ),
    ] = None
    false_alarm: Annotated[
        float | None, Query(gt=0, le=1e6, description="unrelated photos accepted a query, expected")
    ] = None
    box: Annotated[
        str | None,
        Query(
            pattern="^[0-9]{1,6},[0-9]{1,6},[1-9][0-9]{0,5},[1-9][0-9]{0,5}$",
            description="a part of the photo that is looked for: left, top, width and height in px"
            " of the upright photo, as `10,20,300,200`",
        ),
    ] = None

    @property
    def edges(self) -> Box | None:
        if self.box is None:
            return None
        left, top, width, height = map(int, self.box.split(","))
        return left, top, left + width, top + height


CHOICES = tuple(field.name for field in fields(Asked))


def problems(**reasons: str) -> dict[int | str, dict[str, Any]]:
    """How else a request may end."""
    always = {
        "_400": "no Host, or a broken request",
        "_403": "another site's request",
        "_421": "not this server's Host",
    }
    return {
        int(code[1:]): {"model": Problem, "description": why}
        for code, why in {**always, **reasons}.items()
    }


BUSY = "the queue is full: ask again after Retry-After seconds"
SENT = problems(
    _400="no photo, with the reason",
    _408="the photo takes too long to arrive",
    _413="too many bytes",
    _422="a bad parameter",
    _503=BUSY,
)
NAMED = problems(_404="no such id", _422="a bad parameter", _503=BUSY)


def only(names: Collection[str]) -> Callable[[Request], None]:
    """A check that a request has no other parameters, and none of them twice."""

    def check(request: Request) -> None:
        """Raises Refused (422), which never says what was sent: it may be anything."""
        given = [name for name, _ in request.query_params.multi_items()]
        for name in given:
            if name not in names:
                near = get_close_matches(name[:40].lower(), names, 1)
                known = f"the parameters {', '.join(names)}" if names else "no parameters"
                meant = f"; did you mean {near[0]}?" if near else ""
                raise Refused(422, f"expected {known}, got another{meant}")
            if given.count(name) > 1:
                raise Refused(422, f"{name}: expected it once, got it again")

    return check
