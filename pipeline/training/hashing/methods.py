"""The methods of hashing, a row each: how its codes are learned, and what its network looks like.
Read this file first.

The networks are those of `stages/hash_forms.py`; a method without a form trains none.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.training.hashing.adsh import asymmetric, asymmetric_sharpened
from pipeline.training.hashing.cnnh import regress, regress_and_classify
from pipeline.training.hashing.dnnh import triplets
from pipeline.training.hashing.dpsh import pairs
from pipeline.training.hashing.loop import Problem
from pipeline.training.hashing.projections import ksh, lsh
from pipeline.training.hashing.vggh import classify
from stages.hash_forms import FORMS, Form
from stages.hashnet import KernelCode, LinearCode


@dataclass(frozen=True)
class Method:
    """`problem` (net, labels, bits, plan) -> Problem, or `solve` (pooled maps, labels, bits, seed)
    -> its stage.
    """

    problem: Callable[..., Problem] | None = None
    form: Form | None = None  # what its network looks like
    solve: Callable[..., LinearCode | KernelCode] | None = None


METHODS: dict[str, Method] = {
    #                       loss                     network
    "am_vggh": Method(classify, FORMS["am_vggh"]),
    "vggh": Method(classify, FORMS["vggh"]),
    "dpsh": Method(pairs, FORMS["dpsh"]),
    "dnnh": Method(triplets, FORMS["dnnh"]),
    "cnnh_plus": Method(regress_and_classify, FORMS["cnnh_plus"]),
    "cnnh": Method(regress, FORMS["cnnh"]),
    "adsh": Method(asymmetric, FORMS["adsh"]),
    "adsh_attention": Method(asymmetric_sharpened, FORMS["adsh_attention"]),
    "ksh": Method(solve=ksh),
    "lsh": Method(solve=lambda pooled, labels, bits, seed: lsh(pooled, bits, seed)),
}

ABLATED: dict[str, dict[str, Method]] = {  # a recipe without one of its parts
    "adsh_attention": {
        "attention": Method(asymmetric_sharpened, FORMS["adsh"]),
        "quantisation": Method(asymmetric, FORMS["adsh_attention"]),
    },
}
