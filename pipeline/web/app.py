"""The interface: what can be asked over HTTP. Its description is at /openapi.json, and readable at
/docs.
"""

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import Depends, FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from pipeline.base.errors import ImageError, QueryError
from pipeline.base.names import INDEXED
from pipeline.search.answer import Answer
from pipeline.search.engine import Engine
from pipeline.search.query import Query
from pipeline.web import pictures, standing
from pipeline.web.asked import (
    CHOICES,
    JPEG,
    NAMED,
    PHOTO,
    SENT,
    Asked,
    Defaults,
    Id,
    only,
    problems,
)
from pipeline.web.guard import COOKIE, App, Rules, guarded, is_local, refuse
from pipeline.web.intake import AROUND, Gate, Limits, Refused, is_form, photo_of, read_body
from pipeline.web.live import LOOK, Live, Opened
from pipeline.web.page_answer import (
    NAME,
    PageAnswer,
    at_rate,
    draw_answer,
    encode_bytes,
)

HERE = Path(__file__).parent
FILES = {
    "/": ("page.html", "text/html"),
    "/docs": ("docs.html", "text/html"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/page.css": ("page.css", "text/css"),
} | {f"/{path.name}": (path.name, "text/javascript") for path in sorted(HERE.glob("*.js"))}
MOVED = "expected a photo that is where it was indexed, got none or one that has changed"
# an id means these bytes and no others
FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
Outcome = TypeVar("Outcome")


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
        opened: Opened, asked: Asked, query: Callable[[Engine], Query], draw: bool, local: bool
    ) -> Response:
        engine = at_rate(opened.engine, asked.false_alarm)
        try:
            asking = query(engine)
        except QueryError as error:  # it begins with the query's name
            raise Refused(422, f"box: expected{str(error).partition('expected')[2]}") from None
        answer = engine.answer(
            asking, asked.k or defaults.k, asked.candidates or defaults.candidates
        )
        body = answer.to_json()
        drawn = draw and draw_answer(engine, live.folder, asking, answer, local)
        whole = {**asdict(drawn), "answer": body} if drawn else body
        return Response(json.dumps(whole), media_type="application/json")

    async def body_of(request: Request) -> Callable[[], bytes]:
        """What was sent has arrived; the photo in it is looked for by a thread."""
        kind = request.headers.get("content-type", "")
        body = await read_body(request.receive, limits, AROUND if is_form(kind) else 0)
        return lambda: photo_of(body, kind, limits)

    async def by_bytes(request: Request, asked: Asked, draw: bool) -> Response:
        with searching.seat():
            sent, opened, local = await body_of(request), live.now, is_local(request.scope, rules)

            def query(engine: Engine) -> Query:
                return encode_bytes(engine, NAME, sent(), asked.edges)

            try:
                return await work(workers, lambda: answered(opened, asked, query, draw, local))
            except ImageError as error:
                raise Refused(400, str(error)) from None

    async def by_id(request: Request, photo: str, asked: Asked, draw: bool) -> Response:
        opened, name = live.now, named(live.now, photo)
        local, asking = is_local(request.scope, rules), INDEXED + name

        def query(engine: Engine) -> Query:
            if asked.edges is None:
                return engine.query(asking)
            data = pictures.read_indexed(engine.file(name), engine.content(name))
            return encode_bytes(engine, asking, data, asked.edges)

        with searching.seat():
            try:
                return await work(workers, lambda: answered(opened, asked, query, draw, local))
            except ImageError:
                raise Refused(404, MOVED) from None

    async def shown(photo: str, make: Callable[[Path, str], bytes]) -> bytes:
        engine, name = live.now.engine, named(live.now, photo)
        with showing.seat():
            try:
                return await work(painter, lambda: make(engine.file(name), engine.content(name)))
            except ImageError:
                raise Refused(404, MOVED) from None

    async def picture(photo: str, make: Callable[[Path, str], bytes]) -> Response:
        return Response(await shown(photo, make), media_type="image/jpeg", headers=FOREVER)

    Choice = Annotated[Asked, Depends()]
    choosing = [*unlocking, Depends(only(CHOICES))]
    unlocking.append(Depends(only(())))

    @app.post(
        "/search",
        dependencies=choosing,
        openapi_extra=PHOTO,
        responses={200: {"model": Answer}, **SENT},
    )
    async def search(request: Request, asked: Choice) -> Response:
        """Rank the gallery for the photo that is the request's body. The answer is the object that
        `pipeline.run --json` prints.
        """
        return await by_bytes(request, asked, draw=False)

    @app.get("/search/{photo}", dependencies=choosing, responses={200: {"model": Answer}, **NAMED})
    async def search_indexed(request: Request, photo: Id, asked: Choice) -> Response:
        """The same for an indexed photo, as `pipeline.run gallery:PATH --json` prints it."""
        return await by_id(request, photo, asked, draw=False)

    @app.post(
        "/look",
        dependencies=choosing,
        openapi_extra=PHOTO,
        responses={200: {"model": PageAnswer}, **SENT},
    )
    async def look_at(request: Request, asked: Choice) -> Response:
        """The same answer with what the page draws: ids, sizes, reasons and match lines."""
        return await by_bytes(request, asked, draw=True)

    @app.get(
        "/look/{photo}", dependencies=choosing, responses={200: {"model": PageAnswer}, **NAMED}
    )
    async def look_at_indexed(request: Request, photo: Id, asked: Choice) -> Response:
        """The same for an indexed photo."""
        return await by_id(request, photo, asked, draw=True)

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

    @app.post(
        "/photos",
        dependencies=unlocking,
        response_class=Response,
        openapi_extra=PHOTO,
        responses={**JPEG, **SENT},
    )
    async def photo_sent(request: Request) -> Response:
        """The photo that is the request's body as /photos/{photo} shows an indexed one, for
        browsers that cannot show its format.
        """
        with showing.seat():
            sent = await body_of(request)
            try:
                data = await work(painter, lambda: pictures.jpeg(sent(), pictures.LARGE))
            except ImageError as error:
                raise Refused(400, str(error)) from None
        return Response(data, media_type="image/jpeg")

    @app.get(
        "/files/{photo}",
        dependencies=unlocking,
        response_class=Response,
        responses={200: {"description": "the file"}, **NAMED},
    )
    async def files(request: Request, photo: Id) -> Response:
        """An indexed photo's own file, whole, for who sits at the server's machine."""
        if not is_local(request.scope, rules):
            raise Refused(
                403, "expected a request of the server's own machine, got another's; see /photos"
            )
        data = await shown(photo, pictures.read_indexed)
        kind, name = (
            pictures.kind_of(data),
            quote(Path(named(live.now, photo)).name, errors="replace"),
        )
        how = "attachment" if kind is None else "inline"
        return Response(
            data,
            media_type=kind or "application/octet-stream",
            headers={**FOREVER, "content-disposition": f"{how}; filename*=UTF-8''{name}"},
        )

    @app.get("/gallery", dependencies=unlocking, responses=problems())
    async def gallery(request: Request) -> dict[str, Any]:
        """What is searched, how it stands, and what a request that does not say is answered
        with.
        """
        opened, local = live.now, is_local(request.scope, rules)

        def stands() -> dict[str, Any]:
            tried = standing.samples(opened.engine)
            return {
                "version": opened.version,
                "indexing": standing.progress(live.folder),
                "missing": standing.missing(opened.engine, live.folder, (), local),
                "samples": [asdict(sample) for sample in tried],
            }

        return {
            **standing.described(opened.engine),
            "k": defaults.k,
            "candidates": defaults.candidates or opened.engine.recipe.candidates,
            "max_bytes": limits.max_bytes,
            **await asyncio.to_thread(stands),
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

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        allowed = (error.headers or {}).get("Allow", "")
        reason = (
            f"expected {allowed} here, got another method"
            if allowed
            else "expected a path of this server, got another; /docs lists them"
        )
        return Saying(Refused(error.status_code, reason), allowed)

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

    def __init__(self, error: Refused, allowed: str = "") -> None:
        super().__init__(status_code=error.status)
        self.error, self.allowed = error, allowed

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await refuse(self.error, send, self.allowed)


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
