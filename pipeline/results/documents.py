"""The README's tables, made from artifacts/results/*.json: what stands between two markers is never
typed by hand.

`<!-- table: NAME -->` and `<!-- end: NAME -->` enclose a table. A name of TABLES has a form of its
own; any other NAME is artifacts/results/NAME.json as `scripts/evaluate.py --out` writes it, and
becomes a table of quality.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.results.attention import attention
from pipeline.results.capacity import capacity, first_look, plan
from pipeline.results.hashing import hamming, hashing
from pipeline.results.tables import (
    Row,
    accuracy,
    classes,
    false_alarms,
    gallery_size,
    quality,
    selection,
    sweep,
    table2,
    verify,
)

MARKER = re.compile(r"^<!-- (table|end): (\w+) -->\n", re.MULTILINE)

TABLES: dict[str, tuple[str, Callable[[Sequence[Row]], list[str]]]] = {
    "museum": ("museum", sweep),
    "classes": ("classes", classes),
    "accuracy": ("accuracy", accuracy),
    "selection": ("selection", selection),
    "gallery_size": ("gallery_size", gallery_size),
    "gallery_size_seed004": ("gallery_size_seed004", gallery_size),
    "verify": ("verify", verify),
    "table2": ("seed004_table2", table2),
    "false_alarms": ("false_alarms", false_alarms),
    "cifar10": ("cifar10", hashing),
    "hamming": ("hamming", hamming),
    "attention": ("attention", attention),
    "first_look": ("first_look", first_look),
    "capacity": ("capacity", capacity),
    "plan": ("capacity", plan),
    "imagenette_candidates": ("imagenette_candidates", sweep),
}


def make_table(name: str, results: Path) -> str:
    """The lines of one table. Raises UsageError that names the file and what is wrong with it."""
    file, form = TABLES.get(name, (name, quality))
    path = results / f"{file}.json"
    try:
        return "".join(told + "\n" for told in form(json.loads(path.read_text("utf-8"))["rows"]))
    except KeyError as error:
        wrong = f"none called {error.args[0]}"
    except OSError as error:
        wrong = str(error.strerror)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        wrong = str(error).splitlines()[0]
    how = (
        f"pipeline/results/tables.py, {form.__name__}, says what makes it"
        if name in TABLES
        else f"run `python scripts/evaluate.py --out {path}`"
    )
    raise UsageError(f"{path}: expected the figures of the table {name}, got {wrong}; {how}")


def fill(readme: str, results: Path) -> tuple[str, list[str]]:
    """The README with every marked table made anew, and the names of those that were otherwise."""
    marks = list(MARKER.finditer(readme))
    stale, parts, at = [], [], 0
    for i in range(0, len(marks), 2):
        begin, end = marks[i], marks[min(i + 1, len(marks) - 1)]
        if (begin[1], *end.groups()) != ("table", "end", begin[2]):
            got = f"{begin[0].strip()} without its other"
            raise UsageError(
                f"README.md: expected a table and its end in turn, got {got}; run `git diff"
                " README.md`"
            )
        table = make_table(begin[2], results)
        if readme[begin.end() : end.start()] != table:
            stale.append(begin[2])
        parts += [readme[at : begin.end()], table]
        at = end.start()
    return "".join([*parts, readme[at:]]), stale
