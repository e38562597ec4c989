"""Who may ask, and how many at once."""

import socket
import threading
import time
from pathlib import Path

import pytest
from serving import Reply, serving

from pipeline.base.errors import UsageError
from pipeline.serve import token_of
from pipeline.web.guard import Rules, check
from pipeline.web.intake import Refused

TOKEN = "a-word-of-sixteen"
PHOTO = Path("photos/a.png")


def refusal(rules: Rules, method: str = "GET", path: str = "/gallery", **headers: str) -> int:
    """The status with which a request is refused; 0 where it is not."""
    pairs = [
        (name.replace("_", "-").encode(), value.encode("latin-1"))
        for name, value in headers.items()
    ]
    try:
        check({"type": "http", "method": method, "path": path, "headers": pairs}, rules)
    except Refused as refused:
        return refused.status
    return 0


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "LOCALHOST:9", "127.0.0.1:8000", "[::1]", "[::1]:8000"]
)
def test_this_machine_goes_by_its_own_names(host: str) -> None:
    assert refusal(Rules(), host=host) == 0


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.2",
        "10.0.0.1:8000",
        "[::2]",
        "0.0.0.0",
        "localhost.",
    ],
)
def test_and_by_no_other(host: str) -> None:
    assert refusal(Rules(), host=host) == 421


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "a b",
        "localhost/",
        "user@localhost",
        "localhost:port",
        "localhost:999999",
        "loc\xe4lhost",
        "[::1",
    ],
)
def test_what_is_no_host_is_a_bad_request(host: str) -> None:
    assert refusal(Rules(), host=host) == 400


def test_a_server_for_others_goes_by_addresses() -> None:
    rules = Rules(hosts=frozenset(("photos.example",)), addresses=True)
    assert [
        refusal(rules, host=host)
        for host in ("10.0.0.1:8000", "[fe80::1]", "Photos.example", "evil.example")
    ] == [0, 0, 0, 421]


def test_another_sites_page_cannot_ask() -> None:
    for site in ("cross-site", "same-site"):
        assert refusal(Rules(), host="localhost", sec_fetch_site=site) == 403
        assert (
            refusal(Rules(), host="localhost", sec_fetch_site=site, sec_fetch_mode="navigate") == 0
        )
        assert (
            refusal(
                Rules(), "POST", host="localhost", sec_fetch_site=site, sec_fetch_mode="navigate"
            )
            == 403
        )
    assert refusal(Rules(), host="localhost", sec_fetch_site="same-origin") == 0
    assert refusal(Rules(), "POST", host="localhost:80", origin="http://localhost:80") == 0
    for origin in ("http://evil.example", "null", "http://localhost:81", "http://[", ""):
        assert refusal(Rules(), "POST", host="localhost:80", origin=origin) == 403


def test_the_token_is_asked_for_wherever_the_gallery_shows() -> None:
    rules = Rules(token=TOKEN)
    assert [
        refusal(rules, host="localhost", path=path)
        for path in ("/", "/page.js", "/gallery", "/search", "/photos/x", "//")
    ] == [
        0,
        0,
        401,
        401,
        401,
        401,
    ]
    given = [
        f"Bearer {TOKEN}",
        f"bearer  {TOKEN} ",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer",
        "Bearer \xff",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
    ]
    assert [refusal(rules, host="localhost", authorization=word) for word in given] == [
        0,
        0,
        401,
        401,
        401,
        401,
        401,
        401,
    ]
    given = [
        f"two_look_token={TOKEN}",
        f"a=b; two_look_token={TOKEN}; c",
        "two_look_token=",
        f"token={TOKEN}",
        "\xff=\xff;;=;",
    ]
    assert [refusal(rules, host="localhost", cookie=word) for word in given] == [
        0,
        0,
        401,
        401,
        401,
    ]


def test_a_token_is_made_where_others_can_ask() -> None:
    assert token_of(None, loopback=True) is None
    assert len({token_of(None, loopback=False) for _ in range(9)}) == 9
    assert token_of(TOKEN, loopback=True) == TOKEN
    for bad in ("", "short", "with spaces in it, many", "sixteen-letters;", "\xe4" * 16):
        with pytest.raises(UsageError, match="--token: expected"):
            token_of(bad, loopback=False)


def test_a_page_with_the_token_gets_its_pictures(here: Path) -> None:
    with serving(here, token=TOKEN) as served:
        assert served.get("/").status == 200
        refused = served.ask("POST", "/search", PHOTO.read_bytes())
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert served.ask("POST", "/session").status == 401
        reply = served.ask("POST", "/session", authorization=f"Bearer {TOKEN}")
        assert reply.status == 204
        cookie, _, how = reply.headers["set-cookie"].partition("; ")
        assert how == "HttpOnly; SameSite=Strict; Path=/"
        looked = served.ask("POST", "/look", PHOTO.read_bytes(), cookie=cookie).json()
        assert served.get(f"/thumbnails/{looked['places'][0]['id']}", cookie=cookie).status == 200


def test_beyond_the_queue_is_503_and_a_time_to_come_again(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi", reason="needs the extra `web`")
    from pipeline.web import app

    go, encode = threading.Event(), app.encode_bytes
    monkeypatch.setattr(app, "encode_bytes", lambda *given: go.wait(60) and encode(*given))
    with serving(here, workers=1, waiting=2) as served:
        replies: list[Reply] = []
        threads = [
            threading.Thread(
                target=lambda: replies.append(served.ask("POST", "/search", PHOTO.read_bytes()))
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 30
        while len(replies) < 5 and time.monotonic() < end:
            time.sleep(0.01)
        assert [(reply.status, reply.headers["retry-after"]) for reply in replies] == [
            (503, "1")
        ] * 5
        assert served.get("/gallery").status == 200  # what is cheap is answered meanwhile
        go.set()
        for thread in threads:
            thread.join(60)
        assert sorted(reply.status for reply in replies) == [200] * 3 + [503] * 5
        assert served.ask("POST", "/search", PHOTO.read_bytes()).status == 200


def test_one_connection_too_many_is_told_when_to_come_again(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra `web`")
    from pipeline.web import server

    monkeypatch.setattr(server, "CONNECTIONS", 2)
    with serving(here) as served:
        assert served.get("/gallery").status == 200
        with (
            socket.create_connection(("127.0.0.1", served.port)),
            socket.create_connection(("127.0.0.1", served.port)),
        ):
            end = time.monotonic() + 10  # for both to have been taken in
            while (reply := served.get("/gallery")).status == 200 and time.monotonic() < end:
                time.sleep(0.01)
            assert (reply.status, reply.headers["retry-after"], reply.headers["connection"]) == (
                503,
                "1",
                "close",
            )
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert "expected a free connection" in reply.json()["detail"]
        while (reply := served.get("/gallery")).status == 503 and time.monotonic() < end:
            time.sleep(0.01)
        assert reply.status == 200
