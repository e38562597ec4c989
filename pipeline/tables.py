"""The README's tables, made from artifacts/results/*.json: what stands between two markers is never typed by hand.

`<!-- table: NAME -->` and `<!-- end: NAME -->` enclose a table. A name of TABLES has a form of its own; any other NAME is
artifacts/results/NAME.json as `scripts/evaluate.py --out` writes it, and becomes a quality table.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.flags import UsageError

Row = Mapping[str, Any]  # one row of a results file

MODELS = {"two_stage": "embedded", "imported ImageNet ResNet18": "ImageNet, imported"}
BETWEEN_OTHERS = (20, 400, 800)  # candidates that tell nothing their neighbours do not
MARKER = re.compile(r"^<!-- (table|end): (\w+) -->\n", re.MULTILINE)


def fraction(value: float, form: str = ".3f") -> str:
    """.912, +.100: without the zero before the point."""
    return re.sub(r"^([+-]?)0\.", r"\1.", number(value, form))


def number(value: float, form: str) -> str:
    """Refuses what is no number. What rounds to nothing gets no minus."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} for a number")
    told = format(value, form)
    return format(0.0, form) if form.endswith("f") and float(told.replace(",", "")) == 0 else told


def bounded(row: Row, name: str, form: str = ".3f", ends: str = ".3f") -> str:
    """A figure and its interval."""
    return f"{fraction(row[name], form)} [{fraction(row[name + '_low'], ends)}, {fraction(row[name + '_high'], ends)}]"


def line(cells: Iterable[str]) -> str:
    """One row of a table."""
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def markdown(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """Cells -> lines."""
    return [line(head), "|" + "---|" * len(head), *(line(cells) for cells in body)]


def by_model(rows: Iterable[Row], queries: str) -> dict[str, list[Row]]:
    """A sweep's rows on these queries: model -> the first look's row, then one a candidate size."""
    models: dict[str, list[Row]] = {}
    for row in rows:
        if row["data"] == queries:
            name = str(row["model"])
            models.setdefault(MODELS.get(name, name), []).append(row)
    return models


def museum(rows: Sequence[Row]) -> list[str]:
    """scripts/sweep.py --truth: quality against candidates."""
    body = []
    for model, (first, *looked) in by_model(rows, "museum queries").items():
        body.append([model, "first look alone", fraction(first["hit@1"]), fraction(first["mAP"]), "", ""])
        for row in looked:
            if row["candidates"] not in BETWEEN_OTHERS:
                size, gain, accepted = number(row["candidates"], ",d"), bounded(row, "mAP_gain", "+.3f"), number(row["accepted_mean"], ".1f")
                body.append([model, size, fraction(row["hit@1"]), fraction(row["mAP"]), gain, accepted])
    return markdown(["model", "candidates", "hit@1", "mAP", "gain in mAP over the first look, 95 % interval", "accepted a query"], body)


def classes(rows: Sequence[Row]) -> list[str]:
    """scripts/sweep.py --labels folder: what the second look does to classes."""
    models = by_model(rows, "folders as classes, leave-one-out")
    first, *looked = next(iter(models.values()), [{}])
    sizes = [number(row["candidates"], ",d") for row in looked]
    head = [f"classes by folder, {first['queries']:,} queries left out in turn", "first look: hit@1, mAP"]
    head += [f"{sizes[0]} candidates: gain in hit@1", *sizes[1:], f"gain in mAP, {sizes[-1]}"]
    body = []
    for model, (first, *looked) in models.items():
        hits = [bounded(row, "hit@1_gain", "+.3f", "+.3f") for row in looked]
        gain, low, high = (number(looked[-1][f"mAP_gain{end}"], "+.4f") for end in ("", "_low", "_high"))
        body.append([model, f"{number(first['hit@1'], '.3f')}, {number(first['mAP'], '.3f')}", *hits, f"{gain} [{low}, {high}]"])
    return markdown(head, body)


def verify(rows: Sequence[Row]) -> list[str]:
    """scripts/bench.py verify: our second look against three others on the same pairs."""
    (row,) = rows
    skimage, opencv, a_query = row["reference"], row["opencv"], row["pairs"] / row["queries"]
    threads = {1: "one thread", 2: "two threads"}.get(row["threads"], f"{row['threads']} threads")

    def against(way: str, other: Row, faster: float) -> list[str]:
        ours, theirs = other["inliers_same_pairs"]
        return [way, number(other["seconds_per_pair"], ".2g"), f"{number(faster, ',.0f' if faster > 99 else '.1f')} x", f"{ours:,}, {theirs:,}"]

    first = f"ours, {threads}: {number(row['pairs_per_second'], ',.0f')} pairs/s, {number(row['seconds_per_query'], '.3f')} s a query"
    bare = number(row["bare_matmul_seconds_per_query"] / a_query, ".2g")
    body = [
        [first, number(row["seconds_per_query"] / a_query, ".2g"), "", ""],
        against(f"cKDTree + skimage `ransac`, 1,000 trials, {skimage['pairs']:,} of the pairs", skimage, row["speedup"]),
        against(f"one float32 product a pair + OpenCV USAC, {threads}, {opencv['pairs']:,} of the pairs", opencv, row["speedup_opencv"]),
        [f"the bare float32 product of those pairs, {threads}", bare, f"{number(1 / row['bare_matmul_ratio'], '.1f')} x", ""],
    ]
    return markdown(["way", "seconds a pair", "ours is faster by", "inliers on the same pairs: ours, theirs"], body)


def table2(rows: Sequence[Row]) -> list[str]:
    """scripts/reproduce_seed004.py: seed 004's Table 2, mean inliers of the best ten."""
    (row,) = rows
    body = [
        ["published", *(number(n, ".1f") for n in row["published"])],
        ["ours, with the query itself", *(number(n, ".1f") for n in row["mean_inliers_with_self"])],
        ["ours, without it", *(number(n, ".1f") for n in row["mean_inliers"])],
        ["correlation with the published, by query", *(number(n, ".3f") for n in row["correlation_with_published"])],
    ]
    return markdown(["candidates / k", *(number(n, "g") for n in row["multiples"])], body)


def false_alarms(rows: Sequence[Row]) -> list[str]:
    """scripts/false_alarms.py: found over stated, over all queries, and by their feature count where that differs."""
    rates = [key for key in rows[0] if key.startswith("at ")]
    body = []
    for row in rows:
        edges, whose = [number(edge, "g") for edge in row["feature_count_edges"]], row["label"].split(": ")[0]
        counts = [f"of them with under {edges[0]} features", *(f"{a} to {b}" for a, b in pairwise(edges)), f"{edges[-1]} and more"]
        labels = {"all": row["label"], **{f"bin {i}": f"{whose}: {count}" for i, count in enumerate(counts, 1)}}
        found = [{part["queries"]: part for part in row[rate]} for rate in rates]
        for part in found[0] if len(found[0]) > 2 else ["all"]:  # one bin is all of them again
            told = (tuple(number(by[part][name], ".2f") for name in ("accepted_over_stated", "low", "high")) for by in found)
            body.append([labels[part], row["against"], *(f"{ratio} [{low}, {high}]" for ratio, low, high in told)])
    return markdown(["queries", "candidates", *(f"stated {rate.removeprefix('at ')}: found / stated" for rate in rates)], body)


def quality_table(rows: Sequence[Row]) -> list[str]:
    """scripts/evaluate.py --out: both looks beside the first alone; below, the commands in the rows' order."""
    body = []
    for row in rows:
        first = [fraction(row["coarse"][name]) for name in ("hit@1", "precision@10", "mAP")]
        both = [bounded(row, "hit@1"), fraction(row["precision@10"]), bounded(row, "mAP")]
        body.append([row["label"].replace("|", r"\|"), *first, *both])
        if "\n" in row["label"] + row["command"] or "```" in row["command"]:
            raise ValueError(f"{row['label']!r}, {row['command']!r} for a label and a command of one line")
    head = ["", "first look: hit@1", "precision@10", "mAP", "both looks: hit@1, 95 % interval", "precision@10", "mAP, 95 % interval"]
    return [*markdown(head, body), "", "```sh", *(row["command"] for row in rows), "```"]


TABLES: dict[str, tuple[str, Callable[[Sequence[Row]], list[str]]]] = {
    "museum": ("museum", museum),
    "classes": ("museum", classes),
    "verify": ("verify", verify),
    "table2": ("seed004_table2", table2),
    "false_alarms": ("false_alarms", false_alarms),
}


def make_table(name: str, results: Path) -> str:
    """The lines of one table. Raises UsageError that names the file and what is wrong with it."""
    file, form = TABLES.get(name, (name, quality_table))
    path = results / f"{file}.json"
    try:
        return "".join(told + "\n" for told in form(json.loads(path.read_text("utf-8"))["rows"]))
    except KeyError as error:
        wrong = f"none called {error.args[0]}"
    except OSError as error:
        wrong = str(error.strerror)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        wrong = str(error).splitlines()[0]
    command = f"git checkout {path}" if name in TABLES else f"python scripts/evaluate.py --out {path}"
    raise UsageError(f"{path}: want the figures of the table {name}, got {wrong}; run `{command}`")


def fill(readme: str, results: Path) -> tuple[str, list[str]]:
    """The README with every marked table made anew, and the names of those that were otherwise."""
    marks = list(MARKER.finditer(readme))
    stale, parts, at = [], [], 0
    for i in range(0, len(marks), 2):
        begin, end = marks[i], marks[min(i + 1, len(marks) - 1)]
        if (begin[1], *end.groups()) != ("table", "end", begin[2]):
            got = f"{begin[0].strip()} without its other"
            raise UsageError(f"README.md: want a table and its end in turn, got {got}; run `git diff README.md`")
        table = make_table(begin[2], results)
        if readme[begin.end() : end.start()] != table:
            stale.append(begin[2])
        parts += [readme[at : begin.end()], table]
        at = end.start()
    return "".join([*parts, readme[at:]]), stale
