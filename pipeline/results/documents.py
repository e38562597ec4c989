"""The tables of README.md and docs/, made from artifacts/results/*.json: what stands between two
markers is never typed by hand.

`<!-- table: NAME -->` and `<!-- end: NAME -->` enclose a table. A name of TABLES has a form of its
own; any other NAME is artifacts/results/NAME.json as `scripts/evaluate.py --out` writes it, and
becomes a table of quality.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.results import seeds
from pipeline.results.alarms import alarm_lists
from pipeline.results.attention import attention, chosen, gain, gam, networks, paired
from pipeline.results.capacity import capacity, first_look, plan
from pipeline.results.groups import groups
from pipeline.results.hashing import hamming, hashing
from pipeline.results.parts import parts, parts_dial, parts_plan, parts_sets
from pipeline.results.photo import photo, start
from pipeline.results.tables import (
    Row,
    accuracy,
    by_set,
    by_set_first,
    classes,
    false_alarms,
    gallery_size,
    headline,
    quality,
    selection,
    shortlists,
    sweep,
    table2,
    verify,
)

MARKER = re.compile(r"^<!-- (table|end): (\w+) -->\n", re.MULTILINE)

# name -> its results files, and the form that takes the rows of each
TABLES: dict[str, tuple[tuple[str, ...], Callable[..., list[str]]]] = {
    "headline": (("models", "corel"), headline),
    "hard": (("hard",), by_set),
    "hard_first": (("hard",), by_set_first),
    "shortlists": (("shortlists",), shortlists),
    "museum": (("museum",), sweep),
    "classes": (("classes",), classes),
    "accuracy": (("accuracy",), accuracy),
    "selection": (("selection",), selection),
    "selection_fine": (("selection_fine",), selection),
    "gallery_size": (("gallery_size",), gallery_size),
    "gallery_size_seed004": (("gallery_size_seed004",), gallery_size),
    "verify": (("verify",), verify),
    "table2": (("seed004_table2",), table2),
    "false_alarms": (("false_alarms",), false_alarms),
    "alarm_lists": (("alarm_lists",), alarm_lists),
    "groups": (("groups",), groups),
    "cifar10": (("cifar10",), hashing),
    "paper_004": (("accuracy", "imagenette", "seed004_table2"), seeds.two_looks),
    "paper_002": (("cifar10",), seeds.hash_codes),
    "paper_003": (("cifar10",), seeds.asymmetric_codes),
    "paper_000": (("attention",), seeds.attention_networks),
    "hamming": (("hamming",), hamming),
    "attention": (("attention",), attention),
    "attention_networks": (("attention",), networks),
    "attention_chosen": (("attention",), chosen),
    "attention_paired": (("attention_paired",), paired),
    "attention_gam": (("attention",), gam),
    "attention_gain": (("attention",), gain),
    "first_look": (("first_look",), first_look),
    "capacity": (("capacity",), capacity),
    "photo": (("photo",), photo),
    "start": (("start",), start),
    "parts": (("parts",), parts),
    "parts_sets": (("parts",), parts_sets),
    "parts_dial": (("parts",), parts_dial),
    "parts_plan": (("parts",), parts_plan),
    "plan": (("capacity",), plan),
    "imagenette_candidates": (("imagenette_candidates",), sweep),
}


def documents(root: Path) -> list[Path]:
    """The files that may hold tables."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def make_table(name: str, results: Path) -> str:
    """The lines of one table. Raises UsageError that names the file and what is wrong with it."""
    files, form = TABLES.get(name, ((name,), quality))
    paths = [results / f"{file}.json" for file in files]
    path = paths[0]
    try:
        rows = []
        for path in paths:
            rows.append(read_rows(path))
        return "".join(line + "\n" for line in form(*rows))
    except KeyError as error:
        wrong = f"none called {error.args[0]}"
    except OSError as error:
        wrong = str(error.strerror)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        wrong = str(error).splitlines()[0]
    how = (
        f"pipeline/results/documents.py, TABLES, names the form that reads it, {form.__name__}"
        if name in TABLES
        else f"run `python scripts/evaluate.py --out {path}`"
    )
    raise UsageError(f"{path}: expected the figures of the table {name}, got {wrong}; {how}")


def read_rows(path: Path) -> list[Row]:
    """The rows of a results file; one without a command of its own has the file's."""
    found = json.loads(path.read_text("utf-8"))
    shared = {"command": found["command"]} if "command" in found else {}
    return [{**shared, **row} for row in found["rows"]]


def fill(text: str, results: Path, document: str) -> tuple[str, list[str]]:
    """A document with every marked table made anew, and the names of those that were otherwise.
    Raises UsageError that names the document or the results file.
    """
    marks = list(MARKER.finditer(text))
    stale, parts, at = [], [], 0
    for i in range(0, len(marks), 2):
        begin, end = marks[i], marks[min(i + 1, len(marks) - 1)]
        if (begin[1], *end.groups()) != ("table", "end", begin[2]):
            raise UsageError(
                f"{document}: expected a table and its end in turn, got {begin[0].strip()} without"
                f" its other; run `git diff {document}`"
            )
        table = make_table(begin[2], results)
        if text[begin.end() : end.start()] != table:
            stale.append(begin[2])
        parts += [text[at : begin.end()], table]
        at = end.start()
    return "".join([*parts, text[at:]]), stale
