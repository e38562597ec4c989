"""The methods of hashing, a row each: how its codes are learned, and what its network looks like.
Read this file first.

The networks are those of `stages/hash_forms.py`; a method without a form trains none.
"""

from collections.abc import Callable, Collection
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

PARTS = {"adsh_attention": ("attention", "classes", "earlier", "quantisation")}


def without(recipe: str, parts: Collection[str]) -> Method:
    """The recipe without some of its PARTS: the attention; the classes that guide it, in whose
    place the mean of the last map does; the earlier map that is attended, in whose place the last
    one is; the quantisation loss. Raises UsageError for others.
    """
    own = PARTS.get(recipe, ())
    for part in parts:
        if part not in own:
            raise UsageError(
                f"--without {part}: expected a part of {recipe} that can be left out,"
                f" {', '.join(own) or 'nothing'}, got another"
            )
    if not parts:
        return METHODS[recipe]
    form = dict(METHODS[recipe].form or {})
    if "attention" in parts:
        form["attention"] = "none"
    if not {"attention", "classes", "earlier"}.isdisjoint(parts):
        del form["classes"]  # of the last map they guide nothing
    if "earlier" in parts:
        del form["earlier"]
    return Method(asymmetric if "quantisation" in parts else asymmetric_sharpened, form)


def check_photos(recipe: str, method: Method, photos: int) -> None:
    """Before so many training photos are encoded. Raises UsageError."""
    if method.most is not None and photos > method.most:
        raise UsageError(
            f"{recipe}: expected at most {method.most:,} training photos, whose similarities are"
            f" factorised, got {photos:,}; run with fewer, as CIFAR-10's protocols A and B have"
        )
