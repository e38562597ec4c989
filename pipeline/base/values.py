"""Values of flags, checked as they are read: what argparse takes as the type of one."""

import argparse
from math import isfinite

from pipeline.base.names import LONGEST_CODE


def cluster_address(text: str) -> str:
    kind, _, rest = text.partition(":")
    host, _, port = rest.removeprefix("//").rpartition(":")
    local = kind == "local" and rest.isdecimal() and int(rest)
    if not local and not (
        kind in ("tcp", "tls") and rest[:2] == "//" and host and port.isdecimal()
    ):
        raise argparse.ArgumentTypeError(
            f"expected local:N, tcp://HOST:PORT or tls://HOST:PORT, got {text}"
        )
    return text


def prefix(text: str) -> tuple[str, str]:
    """`OLD=NEW`, folders before a name; `=NEW` puts one before all, `OLD=` takes one away."""
    old, equals, new = text.replace("\\", "/").partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected OLD=NEW, got {text}")
    return old if old == "/" else old.rstrip("/"), new.rstrip("/") or new[:1]


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def zero_or_more(text: str) -> float:
    return 0.0 if text.strip("0") in ("", ".") and text != "." else positive(text)


def share(text: str) -> float:
    value = positive(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and at most 1, got {text}")
    return value


def quantile(text: str) -> float:
    value = zero_or_more(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"expected a number of 0 or more and below 1, got {text}")
    return value


def natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number of 0 or more, got {text}")
    return int(text)


def at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of 1 or more, got {text}")
    return int(text)


def box(text: str) -> tuple[float, float, float, float]:
    """X,Y,W,H -> left, top, right, bottom."""
    try:
        left, top, width, height = map(float, text.split(","))
    except ValueError:
        left = top = width = height = float("nan")
    if not (isfinite(left + top) and 0 < width < float("inf") and 0 < height < float("inf")):
        raise argparse.ArgumentTypeError(
            "expected X,Y,W,H: left, top, width and height in px of the upright photo, got"
            f" {text or 'nothing'}"
        )
    return left, top, left + width, top + height


def code_length(text: str) -> int:
    if at_least_one(text) > LONGEST_CODE:
        raise argparse.ArgumentTypeError(f"expected a number of 1 to {LONGEST_CODE}, got {text}")
    return int(text)


def candidates(text: str) -> str:
    at_least_one(text.removesuffix("x"))
    return text
