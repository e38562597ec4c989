"""The interface: what can be asked over HTTP. Its description is at /openapi.json, and readable at
/docs.
"""

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Query, Request, Response, Security
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer

from pipeline.base.errors import ImageError
from pipeline.base.names import INDEXED
from pipeline.search.answer import Answer
from pipeline.search.engine import Engine
from pipeline.search.query import Query as Asking
from pipeline.web import pictures
from pipeline.web.guard import COOKIE, App, Rules, guarded, refuse
from pipeline.web.intake import Gate, Limits, Refused, read_body
from pipeline.web.live import LOOK, Live, Opened
from pipeline.web.page_answer import PageAnswer, at_rate, described, draw_answer, encode_bytes

HERE = Path(__file__).parent
FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/docs": ("docs.html", "text/html"),
    "/docs.js": ("docs.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
PHOTO = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/*",)
        },
    }
}
JPEG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "a JPEG",
        "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
    }
}
# an id means these bytes and no others
FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
Id = Annotated[str, InPath(pattern="^[0-9a-f]{32}$", description="a photo's id, as /look gives it")]
Outcome = TypeVar("Outcome")


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


def make_app(live: Live, limits: Limits, defaults: Defaults, rules: Rules) -> App:
    """The whole application, guarded. Photos are searched for in `limits.workers` threads, pictures
    are made in one more.
    """
    searching, showing = Gate(limits.workers + limits.waiting), Gate(limits.pictures)
    workers, painter, watcher = (
        ThreadPoolExecutor(limits.workers),
        ThreadPoolExecutor(1),
        ThreadPoolExecutor(1),
    )
    unlocking = (
        []
        if rules.token is None
        else [
            Security(HTTPBearer(auto_error=False, description="the token that the server printed"))
        ]
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(watch(live, watcher))
        yield
        watching.cancel()
        for pool in (workers, painter, watcher):
            pool.shutdown(cancel_futures=True)

    app = FastAPI(
        title="Two-look photo search",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )

    async def work(pool: ThreadPoolExecutor, job: Callable[[], Outcome]) -> Outcome:
        return await asyncio.get_running_loop().run_in_executor(pool, job)

    def answered(
        opened: Opened, asked: Asked, query: Callable[[Engine], Asking], draw: bool
    ) -> Response:
        engine = at_rate(opened.engine, asked.false_alarm)
        asking = query(engine)
        answer = engine.answer(
            asking, asked.k or defaults.k, asked.candidates or defaults.candidates
        )
        body = answer.to_json()
        whole = {**asdict(draw_answer(engine, asking, answer)), "answer": body} if draw else body
        return Response(json.dumps(whole), media_type="application/json")

    async def by_bytes(request: Request, asked: Asked, draw: bool) -> Response:
        with searching.seat():
            data, opened = await read_body(request.receive, limits), live.now
            try:
                return await work(
                    workers,
                    lambda: answered(
                        opened, asked, lambda engine: encode_bytes(engine, data), draw
                    ),
                )
            except ImageError as error:
                raise Refused(400, str(error)) from None

    async def by_id(photo: str, asked: Asked, draw: bool) -> Response:
        opened, name = live.now, named(live.now, photo)
        with searching.seat():
            return await work(
                workers,
                lambda: answered(opened, asked, lambda engine: engine.query(INDEXED + name), draw),
            )

    async def picture(photo: str, make: Callable[[Path, str], bytes]) -> Response:
        engine, name = live.now.engine, named(live.now, photo)
        with showing.seat():
            try:
                data = await work(painter, lambda: make(engine.file(name), engine.content(name)))
            except ImageError:
                raise Refused(
                    404,
                    "expected a photo that is where it was indexed, got none or one that has"
                    " changed",
                ) from None
        return Response(data, media_type="image/jpeg", headers=FOREVER)

    Choice = Annotated[Asked, Depends()]

    @app.post(
        "/search",
        dependencies=unlocking,
        openapi_extra=PHOTO,
        responses={200: {"model": Answer}, **SENT},
    )
    async def search(request: Request, asked: Choice) -> Response:
        """Rank the gallery for the photo that is the request's body. The answer is the object that
        `pipeline.run --json` prints.
        """
        return await by_bytes(request, asked, draw=False)

    @app.get("/search/{photo}", dependencies=unlocking, responses={200: {"model": Answer}, **NAMED})
    async def search_indexed(photo: Id, asked: Choice) -> Response:
        """The same for an indexed photo, as `pipeline.run gallery:PATH --json` prints it."""
        return await by_id(photo, asked, draw=False)

    @app.post(
        "/look",
        dependencies=unlocking,
        openapi_extra=PHOTO,
        responses={200: {"model": PageAnswer}, **SENT},
    )
    async def look_at(request: Request, asked: Choice) -> Response:
        """The same answer with what the page draws: ids, sizes, reasons and match lines."""
        return await by_bytes(request, asked, draw=True)

    @app.get(
        "/look/{photo}", dependencies=unlocking, responses={200: {"model": PageAnswer}, **NAMED}
    )
    async def look_at_indexed(photo: Id, asked: Choice) -> Response:
        """The same for an indexed photo."""
        return await by_id(photo, asked, draw=True)

    @app.get(
        "/photos/{photo}",
        dependencies=unlocking,
        response_class=Response,
        responses={**JPEG, **NAMED},
    )
    async def photos(photo: Id) -> Response:
        """An indexed photo, upright, at most 2,048 px, without its own metadata."""
        return await picture(photo, pictures.large)

    @app.get(
        "/thumbnails/{photo}",
        dependencies=unlocking,
        response_class=Response,
        responses={**JPEG, **NAMED},
    )
    async def thumbnails(photo: Id) -> Response:
        """The same at most 320 px."""
        return await picture(photo, pictures.thumbnail)

    @app.get("/gallery", dependencies=unlocking, responses=problems())
    async def gallery() -> dict[str, Any]:
        """What is searched, and what a request that does not say is answered with."""
        engine = live.now.engine
        candidates = defaults.candidates or engine.recipe.candidates
        return {
            **described(engine),
            "k": defaults.k,
            "candidates": candidates,
            "max_bytes": limits.max_bytes,
        }

    @app.post(
        "/session",
        dependencies=unlocking,
        status_code=204,
        response_class=Response,
        responses=problems(),
    )
    async def session() -> Response:
        """Give a browser that sent the token a cookie, so that its pictures load."""
        cookie = (
            {}
            if rules.token is None
            else {"set-cookie": f"{COOKIE}={rules.token}; HttpOnly; SameSite=Strict; Path=/"}
        )
        return Response(status_code=204, headers=cookie)

    for where, (name, kind) in FILES.items():
        app.add_api_route(where, file(HERE / name, kind), include_in_schema=False)

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return Saying(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        problems_found = "; ".join(
            f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()
        )
        return Saying(Refused(422, problems_found))  # never what was sent: it may be anything

    return guarded(app, rules)


class Saying(Response):
    """A refusal as a response, the same bytes as before the app."""

    def __init__(self, error: Refused) -> None:
        super().__init__(status_code=error.status)
        self.error = error

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await refuse(self.error, send)


def file(path: Path, kind: str) -> Callable[[], Any]:
    """An endpoint that answers with one of the page's files, read when the server starts."""
    data = path.read_bytes()

    async def answer() -> Response:
        return Response(data, media_type=kind)

    return answer


def named(opened: Opened, photo: str) -> str:
    """The path of an id. Raises Refused (404)."""
    try:
        return opened.names[photo]
    except KeyError:
        raise Refused(404, "expected the id of a photo in this gallery, got another") from None


async def watch(live: Live, pool: ThreadPoolExecutor) -> None:
    """Look at the manifest once a second. What goes wrong in an unforeseen way is shown whole, and
    does not end the watch.
    """
    while True:
        await asyncio.sleep(LOOK)
        try:
            await asyncio.get_running_loop().run_in_executor(pool, live.refresh)
        except Exception:
            traceback.print_exc()
