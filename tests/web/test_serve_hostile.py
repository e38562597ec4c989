"""Requests that mean harm, or make no sense: each is refused in one line that names no path of the
machine, and the next is answered.
"""

import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpus import bad_and_odd
from planted import NOISE, png, save
from serving import Served, serving

LIMIT = 200_000  # bytes of a photo
BAD = {kind.name: kind.make for kind in bad_and_odd() if isinstance(kind.make, bytes)}
WHOLE = save(NOISE, "PNG")
NUMBER = "0" * 32
CHOICES = [
    "k=0",
    "k=-1",
    "k=1001",
    "k=1e3",
    "k=",
    "k=ten",
    "k=%00",
    "k=" + "9" * 400,
    "candidates=0",
    "candidates=-4",
    "candidates=4y",
    "candidates=x",
    "candidates=" + "9" * 400,
    "candidates=..%2F..%2Fetc%2Fpasswd",
    "false_alarm=0",
    "false_alarm=-1",
    "false_alarm=nan",
    "false_alarm=inf",
    "false_alarm=1e999",
    "false_alarm=/etc/passwd",
]
IDS = [
    "1",
    "-1",
    "0" * 31,
    "0" * 33,
    NUMBER,
    "Z" * 32,
    "A" * 32,
    "..",
    "%2e%2e",
    "..%2f..%2fetc%2fpasswd",
    "%2fetc%2fpasswd",
    "a.png",
    "%00",
    "%ff%fe",
    "http:%2f%2f127.0.0.1%2f",
    "file:%2f%2f%2fetc%2fpasswd",
    "%0d%0aset-cookie:%20a=b",
    "0" * 9000,
    "*",
    "%25%32%65",
]
TARGETS = [
    "/../../etc/passwd",
    "//etc/passwd",
    "/page.js/../../app.py",
    "/%2e%2e/app.py",
    "/app.py",
    "/static",
    "/docs/../../live.py",
    "/?token=x",
    "/\\..\\..",
]
POST = b"POST /search HTTP/1.1\r\nHost: localhost\r\n"
HEADS = {
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
    "old": b"GET / HTTP/1.0\r\n\r\n",
    "two-hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
    "evil-host": b"GET /gallery HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "rebound": b"GET /gallery HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n",
    "user": b"GET /gallery HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n",
    "no-http": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "words": b"hello\r\n\r\n",
    "huge-head": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "many-heads": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    "bad-length": POST + b"Content-Length: -1\r\n\r\n",
    "huge-length": POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
    "two-lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "bad-chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "smuggled": POST
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    "absolute": b"GET http://evil.example/gallery HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "websocket": b"GET / HTTP/1.1\r\nHost: evil\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\n\r\n",
    "connect": b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.fixture(scope="module")
def served(indexed_photos: Path) -> Iterator[Served]:
    with serving(indexed_photos, max_bytes=LIMIT, upload_seconds=1) as here:
        yield here


def harmless(body: bytes, root: Path) -> None:
    """Nothing of the machine's folders, nothing of the program's insides."""
    for secret in (
        str(root),
        str(Path(__file__).resolve().parents[2]),
        "Traceback",
        "site-packages",
        "root:",
    ):
        assert secret.encode() not in body


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("where", ["/search", "/look"])
def test_a_bad_photo_is_refused_with_the_loaders_reason(
    served: Served, indexed_photos: Path, name: str, where: str
) -> None:
    reply = served.ask("POST", where, BAD[name])
    if len(BAD[name]) > LIMIT:
        assert reply.status == 413
    else:
        assert (reply.status, reply.json()["detail"].startswith("expected ")) == (400, True)
    harmless(reply.body, indexed_photos)


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice[:30])
def test_a_bad_choice_is_refused(served: Served, indexed_photos: Path, choice: str) -> None:
    for reply in (
        served.ask("POST", f"/search?{choice}", WHOLE),
        served.get(f"/search/{NUMBER}?{choice}"),
    ):
        assert reply.status == 422
        assert "passwd" not in reply.json()["detail"]
        harmless(reply.body, indexed_photos)


@pytest.mark.parametrize("photo", IDS, ids=lambda photo: photo[:20])
def test_a_bad_id_is_refused(served: Served, indexed_photos: Path, photo: str) -> None:
    for where in ("photos", "thumbnails", "search", "look"):
        reply = served.get(f"/{where}/{photo}")
        assert reply.status in (404, 405, 422)
        assert b"passwd" not in reply.body
        harmless(reply.body, indexed_photos)


@pytest.mark.parametrize("target", TARGETS)
def test_there_are_no_other_files(served: Served, indexed_photos: Path, target: str) -> None:
    reply = served.get(target)
    assert reply.status == (200 if target == "/?token=x" else 404)
    harmless(reply.body, indexed_photos)


@pytest.mark.parametrize("head", HEADS)
def test_a_broken_request_is_refused(served: Served, indexed_photos: Path, head: str) -> None:
    answer = served.raw(HEADS[head] + b"\r\n", 3)
    status = re.match(rb"HTTP/1\.1 (\d+) ", answer)
    assert status
    # large, but whole
    assert int(status[1]) in (400, 404, 405, 408, 413, 421, 431) or (
        status[1] == b"200" and head in ("huge-head", "many-heads")
    )
    harmless(answer, indexed_photos)


@pytest.mark.parametrize(
    "method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "GET"]
)
def test_a_wrong_method_is_refused(served: Served, method: str) -> None:
    assert served.ask(method, "/search", WHOLE).status == 405


@pytest.mark.parametrize(
    "kind",
    [
        "text/html",
        "application/json",
        "multipart/form-data; boundary=x",
        "image/svg+xml",
        "a" * 5000,
    ],
)
def test_what_the_type_says_does_not_matter(served: Served, kind: str) -> None:
    assert (
        served.ask(
            "POST",
            "/search",
            b'{"path": "/etc/passwd", "url": "http://127.0.0.1/"}',
            content_type=kind,
        ).status
        == 400
    )
    assert served.ask("POST", "/search", WHOLE, content_type=kind).status == 200


def test_too_much_is_refused_while_it_comes(served: Served) -> None:
    head = b"POST /search HTTP/1.1\r\nHost: localhost\r\n"
    assert served.ask("POST", "/search", WHOLE + bytes(LIMIT)).status == 413
    assert served.raw(head + b"Content-Length: 99999999999\r\n\r\n", 10, bytes(1 << 16)).startswith(
        b"HTTP/1.1 413 "
    )
    chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    assert served.raw(head + b"Transfer-Encoding: chunked\r\n\r\n", 10, chunk).startswith(
        b"HTTP/1.1 413 "
    )
    bomb = png(17000, 17000, 1, 0, bytes(2126 * 17000))
    assert "pixels" in served.ask("POST", "/search", bomb).json()["detail"]


def test_what_is_slow_or_cut_off_is_refused(served: Served) -> None:
    head = b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    answer = served.raw(head + WHOLE[:100])
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer
    for end in range(0, len(head) + 100, 13):
        cut(served, (head + WHOLE)[:end])
    assert served.ask("POST", "/search", WHOLE).status == 200


def cut(served: Served, data: bytes) -> None:
    """Send so much and hang up at once, without a farewell."""
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(data)


def test_a_head_that_never_ends_is_cut_off(
    indexed_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra `web`")
    monkeypatch.setattr("pipeline.web.server.HEAD_SECONDS", 0.2)
    monkeypatch.setattr("pipeline.web.server.IDLE_SECONDS", 1)
    with serving(indexed_photos) as served:
        assert served.raw(b"", 20) == b""
        assert served.raw(b"GET / HTTP/1.1\r\nHost: localh", 20) == b""
        whole = b"GET /icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert served.raw(whole + b"GET / HT", 20).count(b"HTTP/1.1 ") == 1
