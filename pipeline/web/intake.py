"""What comes in is counted: requests before they begin, bytes while they stream, and the seconds
both may take. A photo comes as the body, or as the one file of a form.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

# seconds in which the rest of a refused body is thrown away, so that the client reads why
LINGER = 2.0
FORM = "multipart/form-data"
AROUND = 16 << 10  # bytes of a form besides its photo, at most

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class Refused(Exception):
    """A request that is not answered: an HTTP status and one line that says why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class Limits:
    """What one server takes on."""

    workers: int = 2  # photos searched for at once
    waiting: int = 16  # requests that may wait for a worker, beside those at work
    max_bytes: int = 32 << 20  # of a photo
    upload_seconds: float = 30.0  # for a photo to arrive
    pictures: int = 64  # thumbnails and photos asked for at once


class Gate:
    """So many inside at once; the next is refused, not queued. Used by the event loop's one
    thread."""

    def __init__(self, room: int) -> None:
        self.room = room

    @contextlib.contextmanager
    def seat(self) -> Iterator[None]:
        """Raises Refused (503)."""
        if not self.room:
            raise Refused(
                503, "expected a free place in the queue, got a full one; ask again in a second"
            )
        self.room -= 1
        try:
            yield
        finally:
            self.room += 1


async def read_body(receive: Receive, limits: Limits, around: int = 0) -> bytes:
    """The whole body; around: bytes that it may hold besides a photo. Raises Refused: 413 as soon
    as it is too long, 408 when it takes too long, 400 when the client goes away.
    """
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(limits.upload_seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refused(400, "expected a whole photo, got a connection that ended")
                part = message.get("body", b"")
                size += len(part)
                if size > limits.max_bytes + around:
                    raise Refused(413, f"expected at most {limits.max_bytes:,} bytes, got more")
                parts.append(part)
                more = message.get("more_body", False)
    except TimeoutError:
        raise Refused(
            408, f"expected the photo within {limits.upload_seconds:g} seconds, got a part of it"
        ) from None
    return b"".join(parts)


def is_form(kind: str) -> bool:
    return kind.partition(";")[0].strip().lower() == FORM


def photo_of(body: bytes, kind: str, limits: Limits) -> bytes:
    """The photo that a body is, or that its form holds, as `curl -F file=@photo.jpg` sends it;
    kind: its Content-Type, which is not believed where the body begins otherwise. Raises Refused.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    boundary = parse_options_header(kind)[1].get(b"boundary", b"") if is_form(kind) else b""
    if not boundary or not body.startswith(b"--" + boundary):
        if len(body) > limits.max_bytes:
            raise Refused(413, f"expected at most {limits.max_bytes:,} bytes, got more")
        return body
    photo, parts, ended = bytearray(), 0, False

    def begin() -> None:
        nonlocal parts
        parts += 1
        if parts > 1:
            raise Refused(
                400,
                "expected one photo in the form, got more parts; options go into the address, as"
                " in /search?k=10",
            )

    def end() -> None:
        nonlocal ended
        ended = True

    def more(data: bytes, start: int, stop: int) -> None:
        photo.extend(memoryview(data)[start:stop])

    try:
        MultipartParser(
            boundary, {"on_part_begin": begin, "on_part_data": more, "on_end": end}
        ).write(body)
    except FormParserError:
        ended = False
    if not ended or not parts:
        raise Refused(
            400,
            "expected a form with one photo, got a broken one; send it as `curl -F file=@PHOTO`",
        )
    if len(photo) > limits.max_bytes:
        raise Refused(413, f"expected at most {limits.max_bytes:,} bytes, got more")
    return bytes(photo)


async def drain(receive: Receive) -> None:
    """Throw away what still comes, for a moment: a connection that is closed on a client amid its
    sending loses the answer.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            while (message := await receive())["type"] == "http.request" and message.get(
                "more_body", False
            ):
                pass
