"""Revisited Oxford and Paris (Radenovic, Iscen, Tolias, Avrithis, Chum, CVPR 2018): its protocols
and its own measures.

Junk is taken out of a ranking before it is measured, and so are the photos that queries were cut
from: they are no part of the database that the protocol ranks. Photos beyond its list are
distractors. What differs from ours: average precision is a trapezoid, precision@K of a query stops
at its last positive, and ties stand as they were ranked.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pipeline.base.errors import UsageError
from pipeline.evaluate.ground_truth import Case
from stages.records import Bool

# ok, junk
PROTOCOLS = {
    "easy": (("easy",), ("hard", "junk")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("easy", "junk")),
}
MEASURES = ("mAP", "mP@1", "mP@5", "mP@10")
MAP = (
    "the mean of trapezoidal average precision (Radenovic et al. 2018), divided by the number of a"
    " query's positives, junk removed"
)
AS_JSON = (
    "import json, pickle, sys; json.dump(pickle.load(open(sys.argv[1], 'rb')), open(sys.argv[2],"
    " 'w'), default=lambda array: array.tolist())"
)


def read_revisited(path: Path, protocol: str, photos: Path, names: Sequence[str]) -> list[Case]:
    """The cases of a published ground truth turned into JSON: {"imlist": [...], "qimlist": [...],
    "gnd": [{"bbx", "easy", "hard", "junk"}]}.

    photos: the folder of the query photos; names: the indexed paths, of which the last parts
    without suffix are found in `imlist`. A query without positives under this protocol is none.
    Raises UsageError.
    """
    if path.suffix == ".pkl":
        raise UsageError(
            f"{path}: expected JSON, got a pickle, which could run anything; run `python -c"
            f' "{AS_JSON}" gnd.pkl gnd.json` if you trust it'
        )
    stems: dict[str, list[str]] = defaultdict(list)
    for name in names:
        stems[PurePosixPath(name).stem].append(name)
    try:
        truth = json.loads(path.read_bytes())
        listed, asked, answers = truth["imlist"], truth["qimlist"], truth["gnd"]
        _want_once(path, [str(image) for image in listed], stems)
        outside = frozenset(
            name for image in asked if image not in set(listed) for name in stems.get(image, ())
        )
        rows = [stems[image][0] for image in listed]
        cases = [
            _case(photos / f"{image}.jpg", answer, protocol, rows, outside)
            for image, answer in zip(asked, answers, strict=True)
        ]
    except OSError as error:
        raise UsageError(f"{path}: expected a readable JSON, got {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        got = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(
            f"{path}: expected the keys imlist, qimlist and gnd as they are published, got {got}"
        ) from None
    cases = [case for case in cases if case.relevant]
    if not cases:
        raise UsageError(f"{path}: expected a query with positives under {protocol}, got none")
    return cases


def _want_once(path: Path, listed: Sequence[str], stems: dict[str, list[str]]) -> None:
    if missing := [image for image in listed if image not in stems]:
        raise UsageError(
            f"{path}: expected all {len(listed)} photos of its imlist indexed, got {len(missing)}"
            f" that are not, as {missing[0]}; index them"
        )
    if twice := [image for image in listed if len(stems[image]) > 1]:
        raise UsageError(
            f"{path}: expected one indexed photo {twice[0]}, got"
            f" {' and '.join(stems[twice[0]][:2])}"
        )


def _case(
    query: Path,
    answer: dict[str, Any],
    protocol: str,
    listed: Sequence[str],
    outside: frozenset[str],
) -> Case:
    def photos(kinds: Sequence[str]) -> frozenset[str]:
        places = [place for kind in kinds for place in answer[kind]]
        if any(not isinstance(place, int) or place < 0 for place in places):
            raise ValueError("a place in imlist that is none")
        return frozenset(listed[place] for place in places)

    left, top, right, bottom = (float(edge) for edge in answer["bbx"])
    if not np.isfinite([left, top, right, bottom]).all():
        raise ValueError(f"a box {answer['bbx']}")
    positive, junk = (photos(kinds) for kinds in PROTOCOLS[protocol])
    if both := positive & (junk | outside):
        raise ValueError(f"{min(both)} both as an answer and as one that does not count")
    return Case(str(query), positive, junk | outside, (left, top, right, bottom))


def measures(relevant: Bool, total: int) -> list[float]:
    """Ranking (N,) of relevance without junk, number of positives -> average precision,
    precision@1, @5 and @10 of one query.

    Average precision is the mean over positives of the precisions just before and at each;
    precision@K looks at the first K places, or up to the last positive where that comes earlier.
    Its positives are all in the ranking.
    """
    found = np.flatnonzero(relevant)  # places, from 0
    before = np.where(found == 0, 1.0, np.arange(len(found)) / np.maximum(found, 1))
    average = ((before + np.arange(1, len(found) + 1) / (found + 1)) / 2).sum() / total
    depths = [min(int(found[-1]) + 1, k) for k in (1, 5, 10)]
    return [float(average), *(float(relevant[:depth].sum() / depth) for depth in depths)]
