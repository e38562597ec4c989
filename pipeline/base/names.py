"""Names that the whole program shares, so that `--help` needs nothing else; and names from files,
safe to print, and those that a wrong one may have meant.
"""

import os
import unicodedata
from collections.abc import Iterable

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
LABELS = ("folder", "top", "parent")  # which folder of a path is a photo's class
INDEXED = "gallery:"  # a query that names an indexed photo
ASKING = "queries:"  # one that names a photo of the gallery that asks


def printable(name: str) -> str:
    """A path as one line of text: what is not UTF-8, cannot be printed, or would turn the text
    round, is escaped.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def composed(name: str) -> str:
    """A name as most systems write it, in Unicode's NFC: macOS takes letters and their accents
    apart. Names that a person cannot tell apart are equal then.
    """
    return unicodedata.normalize("NFC", name)


def nearest(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Up to `count` of the names that a wrong one may have meant, likeliest first; none where none
    is like it. Takes a fifth of a second for 100,000 names: ask for one wrong name, not for all.

    Case and the way in which accents are written do not matter. The last part of a path says most.
    """
    import heapq
    from difflib import SequenceMatcher

    def folded(path: str) -> str:
        return composed(path).replace("\\", "/").casefold()

    def stem(path: str) -> str:
        return os.path.splitext(path.rsplit("/", 1)[-1])[0]

    whole = folded(name)
    pieces = {whole[i : i + 3] for i in range(max(1, len(whole) - 2))}

    def rough(path: str) -> tuple[int, int]:
        text = folded(path)
        return sum(piece in text for piece in pieces), -len(text)

    def alike(path: str) -> float:
        text = folded(path)
        last = SequenceMatcher(None, stem(whole), stem(text))
        return 0.7 * last.ratio() + 0.3 * SequenceMatcher(None, whole, text).ratio()

    scored = [(alike(path), path) for path in heapq.nlargest(50, names, rough)]
    return [path for score, path in sorted(scored, key=lambda each: -each[0]) if score > 0.6][
        :count
    ]


def nearest_text(name: str, names: Iterable[str]) -> str:
    """`, nearest a.jpg, b.jpg`, to stand behind "got NAME" in a message; empty where none is
    like it.
    """
    found = nearest(name, names)
    return f", nearest {', '.join(map(printable, found))}" if found else ""


def count_candidates(text: str, k: int) -> int:
    """`4000` is 4,000 candidates, `4x` is four times k."""
    return int(text[:-1]) * k if text.endswith("x") else int(text)
