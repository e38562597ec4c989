"""uvicorn with what it lacks: a deadline for a request's head, a word to those for whom there is no
room, a socket that is bound before the model is loaded, and a quiet end.
"""

import asyncio
import signal
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.web.guard import HEADERS, App, Scope, Send, refuse
from pipeline.web.intake import Message, Receive, Refused

HEAD_SECONDS = 10  # for a request's head to arrive
IDLE_SECONDS = 15  # between two requests of a connection
END_SECONDS = 10  # for requests that are being answered when the server is told to stop
CONNECTIONS = 256


class Impatient(H11Protocol):
    """uvicorn's protocol waits for ever for the end of a head: here the connection is closed. One
    too many is told when to come again.
    """

    head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            self.app = full
        self.watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.unwatch()

    def watch(self) -> None:
        """The clock runs from a head's first byte, or the connection's beginning, and stops when a
        request has begun.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            self.unwatch()
        elif self.head_due is None:
            self.head_due = self.loop.call_later(HEAD_SECONDS, self.give_up)

    def unwatch(self) -> None:
        if self.head_due is not None:
            self.head_due.cancel()
            self.head_due = None

    def give_up(self) -> None:
        self.head_due = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


async def full(scope: Scope, receive: Receive, send: Send) -> None:
    async def sending(message: Message) -> None:
        more = (
            [*HEADERS, (b"connection", b"close")]
            if message["type"] == "http.response.start"
            else []
        )
        await send(
            {**message, "headers": [*message.get("headers", ()), *more]} if more else message
        )

    await refuse(
        Refused(503, "expected a free connection, got all in use; ask again in a second"), sending
    )


def bind(host: str, port: int) -> socket.socket:
    """Raises OSError."""
    family, *_, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    return socket.create_server(address[:2], family=family)


def server_for(app: App) -> uvicorn.Server:
    options: dict[str, Any] = {
        "http": Impatient,
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "log_level": "error",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": IDLE_SECONDS,
        "timeout_graceful_shutdown": END_SECONDS,
        "h11_max_incomplete_event_size": 16 << 10,
    }
    return uvicorn.Server(uvicorn.Config(app, **options))


def run(app: App, listening: socket.socket) -> None:
    """Answer until SIGINT or SIGTERM; then what is being answered is finished."""
    server = server_for(app)

    # uvicorn raises the signal once more when it has ended: to be told to stop is no mistake
    def stop(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    server.run(sockets=[listening])
