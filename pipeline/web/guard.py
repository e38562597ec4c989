"""Who may ask: the checks before any request is read, and the headers that go with every
answer.

A page of another site cannot read from here, nor make this machine work: its requests carry another
Host (after DNS rebinding), or the browser marks them as another site's.
"""

import hmac
import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.web.intake import Message, Receive, Refused, drain

HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; "
        b"img-src 'self' blob:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
# without a token: they say nothing of the gallery
OPEN = frozenset(
    f"/{name}"
    for name in (
        *("", "docs", "icon.svg", "openapi.json", "page.css", "docs.js", "page.js", "answer.js"),
        *("box.js", "kept.js", "large.js", "lines.js", "make.js"),
    )
)
LOCAL = frozenset(("localhost", "127.0.0.1", "[::1]"))  # this machine's names for itself
# what a proxy says of whom it asks for
FORWARDED = (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip")
COOKIE = "two_look_token"

Scope = Message
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Rules:
    """By what name a server may be called, and with what word."""

    hosts: frozenset[str] = LOCAL  # lower case
    addresses: bool = False  # also any address in figures: no site can give itself such a name
    token: str | None = None


def is_local(scope: Scope, rules: Rules) -> bool:
    """Whether the person who asks sits at this machine: the server listens to nobody else, goes by
    no other name, and no proxy says that it asks for somebody.
    """
    proxied = any(name in FORWARDED for name, _ in scope["headers"])
    return rules.hosts <= LOCAL and not rules.addresses and not proxied


def guarded(app: App, rules: Rules) -> App:
    """The app behind its rules, every answer with the headers. HEAD is answered as GET, of which
    the server leaves out the body. What of a body nobody read is thrown away before the answer
    goes out.
    """

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        whole = False  # the body has been read to its end

        async def receiving() -> Message:
            nonlocal whole
            message = await receive()
            whole = not message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                if not whole:
                    await drain(receiving)
                said = [*message.get("headers", ())]
                said += [
                    pair
                    for pair in (*HEADERS, (b"cache-control", b"no-store"))
                    if pair[0] not in {name for name, _ in said}
                ]
                message = {
                    **message,
                    "headers": said if whole else [*said, (b"connection", b"close")],
                }
            await send(message)

        try:
            check(scope, rules)
        except Refused as refused:
            await refuse(refused, sending)
        else:
            head = scope["method"] == "HEAD"
            await app({**scope, "method": "GET"} if head else scope, receiving, sending)

    return guard


async def refuse(refused: Refused, send: Send, allowed: str = "") -> None:
    """allowed: the methods that would be answered, where another was asked for."""
    body = json.dumps({"detail": refused.reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    extra = {401: (b"www-authenticate", b"Bearer"), 503: (b"retry-after", b"1")}
    headers += [extra[refused.status]] if refused.status in extra else []
    headers += [(b"allow", allowed.encode())] if allowed else []
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def check(scope: Scope, rules: Rules) -> None:
    """Raises Refused."""
    named = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    called = HOST.fullmatch(named[0]) if len(named) == 1 else None
    if called is None:
        raise Refused(400, "expected one Host header with a name, got none")
    host = called[1].lower()
    if host not in rules.hosts and not (rules.addresses and is_address(host)):
        raise Refused(
            421,
            "expected a Host that this server goes by, got another; run it with `--allow-host"
            " NAME`",
        )
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    # a link that a person followed
    came_along = scope["method"] == "GET" and headers.get(b"sec-fetch-mode") == "navigate"
    if headers.get(b"sec-fetch-site", "none") not in ("none", "same-origin") and not came_along:
        raise Refused(403, "expected a request of this server's own page, got another site's")
    if (
        scope["method"] != "GET"
        and b"origin" in headers
        and address_of(headers[b"origin"]) != named[0].lower()
    ):
        raise Refused(403, "expected a request of this server's own page, got another site's")
    if (
        rules.token is not None
        and scope["path"] not in OPEN
        and not has_token(headers, rules.token)
    ):
        raise Refused(
            401,
            "expected the token that the server printed, got none or another; send `Authorization:"
            " Bearer TOKEN`",
        )


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def address_of(origin: str) -> str:
    """`https://host:port` -> `host:port`; nothing for what is no such thing."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def has_token(headers: Mapping[bytes, str], token: str) -> bool:
    """In the Authorization header, as programs send it, or in the cookie that POST /session gave
    the page.
    """
    kind, _, word = headers.get(b"authorization", "").partition(" ")
    cookies = [part.strip().partition("=") for part in headers.get(b"cookie", "").split(";")]
    offered = [word.strip()] if kind.lower() == "bearer" else []
    offered += [value for name, _, value in cookies if name == COOKIE]
    return any(hmac.compare_digest(one.encode(), token.encode()) for one in offered)
