"""Names that the whole program shares, so that `--help` needs nothing else; and names from files,
safe to print.
"""

import os

HASHING = (
    "am_vggh",
    "vggh",
    "dpsh",
    "dnnh",
    "cnnh_plus",
    "cnnh",
    "adsh",
    "adsh_attention",
    "ksh",
    "lsh",
)
ATTENDED = ("resnet50", "resnet50_se", "resnet50_cbam", "resnet50_gam")
LITE = "lite"  # two_stage with another trunk, whose weights an extra brings
RECIPES = ("two_stage", "seed004", LITE, *HASHING, *ATTENDED)
TRAINED = (*HASHING, *ATTENDED)  # recipes that have to be trained first: none ships a model
OF_THEIR_OWN = (LITE, *TRAINED)  # recipes with models of their own
IMPORTED = "imported"  # the recipe of features that another program computed
FUSIONS = ("residual", "product", "concatenation")  # of attention with what it weights
STORED = ("pca", "bits")  # the row of a recipe's `encode` that a gallery keeps as its code
SHORTLISTS = ("global", "parts", "both")  # how candidates are found: by codes, votes, or the odds
TURNS = ("auto", "none", "all")  # when a query asks turned, too: if it finds nothing, never, always
FLOAT32, INT8 = PRECISIONS = ("float32", "int8")  # of the networks that encode a photo
LONGEST_CODE = 1024  # bits
INDEXED = "gallery:"  # a query that names an indexed photo
ASKING = "queries:"  # one that names a photo of the gallery that asks


def printable(name: str) -> str:
    """A path as one line of text: what is not UTF-8, cannot be printed, or would turn the text
    round, is escaped.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def count_candidates(text: str, k: int) -> int:
    """`4000` is 4,000 candidates, `4x` is four times k."""
    return int(text[:-1]) * k if text.endswith("x") else int(text)
