"""A server in this process, on a port of its own, and requests that a well-behaved client would
never send.
"""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.base.options import SearchOptions


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]  # lower case
    body: bytes

    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


@dataclass(frozen=True)
class Served:
    port: int

    def ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(
                method,
                target,
                body,
                {name.replace("_", "-"): value for name, value in headers.items()},
            )
            answer = connection.getresponse()
            return Reply(
                answer.status,
                {name.lower(): value for name, value in answer.getheaders()},
                answer.read(),
            )
        finally:
            connection.close()

    def get(self, target: str, **headers: str) -> Reply:
        return self.ask("GET", target, **headers)

    def search(self, photo: Path, query: str = "", where: str = "/search") -> Any:
        return self.ask("POST", where + query, photo.read_bytes()).json()

    def ids(self, query: Path) -> dict[str, str]:
        """Label -> id of all photos."""
        return {
            place["label"]: place["id"]
            for place in self.search(query, "?k=1000", "/look")["places"]
        }

    def raw(self, data: bytes, seconds: float = 30, more: bytes = b"") -> bytes:
        """All that comes back for these bytes; `more` is sent again and again until nobody
        listens."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            answer, end = b"", time.monotonic() + seconds
            try:
                connection.sendall(data)
                while more and time.monotonic() < end:
                    connection.sendall(more)
            except OSError:  # it has closed: what it said may be read none the less
                pass
            try:
                while part := connection.recv(1 << 16):
                    answer += part
            except ConnectionResetError:
                pass
            return answer


@contextmanager
def serving(folder: Path, token: str | None = None, **limits: Any) -> Iterator[Served]:
    """Answers from `folder`/gallery while the block runs, and ends cleanly after it."""
    pytest.importorskip("fastapi", reason="needs the extra `web`")
    pytest.importorskip("uvicorn", reason="needs the extra `web`")
    from pipeline.search.open import open_engine
    from pipeline.web.app import make_app
    from pipeline.web.asked import Defaults
    from pipeline.web.guard import Rules
    from pipeline.web.intake import Limits
    from pipeline.web.live import Live
    from pipeline.web.server import bind, server_for

    with bind("127.0.0.1", 0) as listening:
        live = Live(
            folder / "gallery", lambda: open_engine(folder / "gallery", SearchOptions(device="cpu"))
        )
        server = server_for(make_app(live, Limits(**limits), Defaults(), Rules(token=token)))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield Served(listening.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()
