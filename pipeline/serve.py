"""python -m pipeline.serve --gallery DIR --port N: serve a web page that searches a gallery, and
the same as an HTTP API.

Only this machine can ask unless --host says otherwise; then a token is required. Needs the extra
`web`.
"""

import argparse
import importlib.util
import ipaddress
import os
import secrets
import socket
import sys

from pipeline.base.errors import UsageError
from pipeline.base.install import add_extra
from pipeline.base.values import at_least_one, natural
from pipeline.cli import (
    Parser,
    add_gallery,
    add_model,
    add_search,
    add_turns,
    finish,
    search_options,
)

LEAST_TOKEN = 16  # characters


def require_extra() -> None:
    """Raises UsageError where the extra is not installed."""
    if missing := [
        name
        for name in ("fastapi", "python_multipart", "uvicorn")
        if importlib.util.find_spec(name) is None
    ]:
        raise UsageError(
            f"expected the packages of the extra `web`, got no {' and no '.join(missing)}; run"
            f" {add_extra('web')}"
        )


def bound(host: str, port: int) -> socket.socket:
    """Raises UsageError where it cannot be had."""
    from pipeline.web.server import bind

    try:
        return bind(host, port)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"--host {host} --port {port}: expected an address of this machine and a free port,"
            f" got: {reason}; run with another"
        ) from None


def is_loopback(listening: socket.socket) -> bool:
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def token_of(given: str | None, loopback: bool) -> str | None:
    """The word that every request must bring; None where only this machine can ask. Raises
    UsageError.
    """
    if given is None:
        return None if loopback else secrets.token_urlsafe(24)
    if len(given) < LEAST_TOKEN or not all(
        c.isascii() and (c.isalnum() or c in "-._~") for c in given
    ):
        raise UsageError(
            f"--token: expected at least {LEAST_TOKEN} letters, digits or -._~, got other ones;"
            " leave it out and one is made"
        )
    return given


def where(listening: socket.socket, host: str) -> str:
    """The address to open. A server on every address of a machine is called by its name from
    elsewhere.
    """
    address, port = listening.getsockname()[:2]
    if ipaddress.ip_address(address).is_unspecified:
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def make_parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.serve",
        description=__doc__.split("\n\n")[0],
        epilog=__doc__.split("\n\n")[1],
    )
    parser.add_argument(
        "--port",
        type=port_number,
        default=8000,
        metavar="N",
        help="port (default: 8000; 0: any free one)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen at; another machine's requests need the token",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a host name that requests may use; repeatable",
    )
    parser.add_argument(
        "--token",
        metavar="WORD",
        help=(
            "token that requests must send (default: none where only this machine can ask,"
            " else one that is made and printed)"
        ),
    )
    add_gallery(parser, several=True)
    add_search(parser)
    add_turns(parser)
    add_model(parser)
    parser.add_argument(
        "--workers",
        type=at_least_one,
        metavar="N",
        help="photos searched for at once (default: one per core)",
    )
    parser.add_argument(
        "--waiting",
        type=natural,
        default=16,
        metavar="N",
        help="requests that may wait; one more is answered 503 (default: 16)",
    )
    parser.add_argument(
        "--max-bytes",
        type=at_least_one,
        default=32 << 20,
        metavar="N",
        help="most bytes of a photo that is sent (default: 33554432)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        require_extra()

        from pipeline.gallery.merge import listed
        from pipeline.search.open import open_engine
        from pipeline.web.app import make_app
        from pipeline.web.asked import Defaults
        from pipeline.web.guard import Rules
        from pipeline.web.intake import Limits
        from pipeline.web.live import Live
        from pipeline.web.server import run

        with bound(args.host, args.port) as listening:
            loopback = is_loopback(listening)
            token = token_of(args.token, loopback)
            names = {name.lower() for name in (args.host, *args.allow_host)}
            hosts = (
                Rules.hosts
                | names
                | {f"[{name}]" for name in names if ":" in name}
                | (set() if loopback else {socket.gethostname().lower()})
            )
            options = search_options(args)
            live = Live(
                args.gallery,
                lambda: open_engine(args.gallery, options),
                args.search,
                args.shortlist,
            )
            engine = live.now.engine
            # what is compiled is loaded before the first request waits for it
            if engine.verify and len(engine.gallery):
                engine.verify.pair(engine.gallery.features[0], engine.gallery.features[0])
            workers = args.workers or len(os.sched_getaffinity(0))
            limits = Limits(workers=workers, waiting=args.waiting, max_bytes=args.max_bytes)
            app = make_app(
                live,
                limits,
                Defaults(args.k, args.candidates),
                Rules(frozenset(hosts), not loopback, token),
            )
            address = where(listening, args.host) + (f"#token={token}" if token else "")
            print(
                f"serve: {address} answers from {listed(args.gallery)}, {len(engine.gallery):,}"
                " photos; Ctrl-C ends it",
                file=sys.stderr,
            )
            run(app, listening)
        return 0

    return finish("serve", job)


def port_number(text: str) -> int:
    if (number := natural(text)) > 65535:
        raise argparse.ArgumentTypeError(f"expected a number of 0 to 65535, got {text}")
    return number


if __name__ == "__main__":
    sys.exit(main())
