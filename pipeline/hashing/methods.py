"""The methods of hashing, a row each: how its codes are learned, and what its network looks like. Read this file first.

`none` and its like are forms of `stages/hashnet.py`; a method without a form trains no network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.hashing.adsh import asymmetric, asymmetric_sharpened
from pipeline.hashing.cnnh import regress, regress_and_classify
from pipeline.hashing.dnnh import triplets
from pipeline.hashing.dpsh import pairs
from pipeline.hashing.lesson import Lesson
from pipeline.hashing.projections import ksh, lsh
from pipeline.hashing.vggh import classify
from stages.hashnet import KernelCode, LinearCode


@dataclass(frozen=True)
class Method:
    """`teach` (net, labels, bits, plan) -> Lesson, or `solve` (pooled maps, labels, bits, seed) -> its stage."""

    teach: Callable[..., Lesson] | None = None
    form: dict[str, Any] | None = None  # arguments of HashNet beside bits, channels, cells and width
    solve: Callable[..., LinearCode | KernelCode] | None = None


METHODS: dict[str, Method] = {
    #                       loss                     network
    "am_vggh": Method(classify, {"attention": "cbam", "squash": "sigmoid"}),
    "vggh": Method(classify, {"attention": "none", "squash": "sigmoid"}),
    "dpsh": Method(pairs, {"attention": "none", "squash": "linear"}),
    "dnnh": Method(triplets, {"attention": "none", "squash": "sigmoid", "slices": 8}),
    "cnnh_plus": Method(regress_and_classify, {"attention": "none", "squash": "sigmoid"}),
    "cnnh": Method(regress, {"attention": "none", "squash": "sigmoid"}),
    "adsh": Method(asymmetric, {"attention": "none", "squash": "tanh"}),
    "adsh_attention": Method(asymmetric_sharpened, {"attention": "guided", "squash": "tanh"}),
    "ksh": Method(solve=ksh),
    "lsh": Method(solve=lambda pooled, labels, bits, seed: lsh(pooled, bits, seed)),
}


ABLATED: dict[str, dict[str, Method]] = {  # a recipe without one of its parts
    "adsh_attention": {
        "attention": Method(asymmetric_sharpened, {"attention": "none", "squash": "tanh"}),
        "quantisation": Method(asymmetric, {"attention": "guided", "squash": "tanh"}),
    },
}


def form_of(method: Method, width: int, channels: int, cells: int) -> dict[str, Any]:
    """Arguments of its HashNet but the bits, {} for a projection."""
    return {} if method.form is None else {**method.form, "channels": channels, "cells": cells, "width": width}
