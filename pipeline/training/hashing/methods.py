"""The methods of hashing, a row each: how its codes are learned, and what its network looks like.
Read this file first.

The networks are those of `stages/hash_forms.py`; a method without a form trains none.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.base.errors import UsageError
from pipeline.training.hashing.adsh import asymmetric, asymmetric_sharpened
from pipeline.training.hashing.cnnh import regress, regress_and_classify
from pipeline.training.hashing.dnnh import triplets
from pipeline.training.hashing.dpsh import pairs
from pipeline.training.hashing.loop import Problem
from pipeline.training.hashing.projections import ksh, lsh
from pipeline.training.hashing.vggh import classify
from stages.hash_forms import FORMS, Form, reads_earlier
from stages.hashnet import KernelCode, LinearCode


@dataclass(frozen=True)
class Method:
    """`problem` (net, labels, bits, plan) -> Problem, or `solve` (pooled maps, labels, bits, seed)
    -> its stage.
    """

    problem: Callable[..., Problem] | None = None
    form: Form | None = None  # what its network looks like
    solve: Callable[..., LinearCode | KernelCode] | None = None
    most: int | None = None  # training photos: the similarities of all are kept whole

    @property
    def two(self) -> bool:
        """Whether it learns from an earlier map, too."""
        return reads_earlier(self.form)


METHODS: dict[str, Method] = {
    #                       loss                     network
    "am_vggh": Method(classify, FORMS["am_vggh"]),
    "vggh": Method(classify, FORMS["vggh"]),
    "dpsh": Method(pairs, FORMS["dpsh"]),
    "dnnh": Method(triplets, FORMS["dnnh"]),
    "cnnh_plus": Method(regress_and_classify, FORMS["cnnh_plus"], most=20_000),
    "cnnh": Method(regress, FORMS["cnnh"], most=20_000),
    "adsh": Method(asymmetric, FORMS["adsh"]),
    "adsh_attention": Method(asymmetric_sharpened, FORMS["adsh_attention"]),
    "ksh": Method(solve=ksh),
    "lsh": Method(solve=lambda pooled, labels, bits, seed: lsh(pooled, bits, seed)),
}

BESIDE = {"squash": "tanh", "earlier": True}
ABLATED: dict[str, dict[str, Method]] = {  # a recipe without one of its parts
    "adsh_attention": {
        # the earlier map as it is
        "attention": Method(asymmetric_sharpened, {**BESIDE, "attention": "none"}),
        # the earlier map guided by the last one's mean
        "classes": Method(asymmetric_sharpened, {**BESIDE, "attention": "guided"}),
        # the last map alone, guided by its own mean
        "earlier": Method(asymmetric_sharpened, {"squash": "tanh", "attention": "guided"}),
        "quantisation": Method(asymmetric, FORMS["adsh_attention"]),
    },
}


def check_photos(recipe: str, method: Method, photos: int) -> None:
    """Before so many training photos are encoded. Raises UsageError."""
    if method.most is not None and photos > method.most:
        raise UsageError(
            f"{recipe}: expected at most {method.most:,} training photos, whose similarities are"
            f" factorised, got {photos:,}; run with fewer, as CIFAR-10's protocols A and B have"
        )
