"""The forms of the documents' tables: rows of a results file -> lines of markdown.
pipeline/results/documents.py puts them in their place.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

Row = Mapping[str, Any]  # one row of a results file

BETWEEN_OTHERS = (20, 400, 800)  # candidates whose rows repeat their neighbours: left out


def fraction(value: float, form: str = ".3f") -> str:
    """.912, +.100: without the zero before the point."""
    return re.sub(r"^([+-]?)0\.", r"\1.", number(value, form))


def number(value: float, form: str) -> str:
    """Refuses what is no number. What rounds to nothing gets no minus."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} for a number")
    text = format(value, form)
    return format(0.0, form) if form.endswith("f") and float(text.replace(",", "")) == 0 else text


def bounded(row: Row, name: str, form: str = ".3f", ends: str = ".3f") -> str:
    """A figure and its interval."""
    return (
        f"{fraction(row[name], form)} [{fraction(row[name + '_low'], ends)},"
        f" {fraction(row[name + '_high'], ends)}]"
    )


def line(cells: Iterable[str]) -> str:
    """One row of a table."""
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def markdown(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """Cells -> lines."""
    return [line(head), "|" + "---|" * len(head), *(line(cells) for cells in body)]


def commands(rows: Iterable[Row]) -> list[str]:
    """The commands that make these rows, each once, folded away below their table."""
    each = list(dict.fromkeys(row["command"] for row in rows))
    if any("\n" in command or "```" in command for command in each):
        raise ValueError(f"{each!r} for commands of one line")
    return [
        "",
        "<details><summary>commands that made these rows</summary>",
        "",
        "```sh",
        *each,
        "```",
        "",
        "</details>",
    ]


def by_label(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of several runs, which are labelled `RUN, WHAT`: run -> its rows."""
    runs: dict[str, list[Row]] = {}
    for row in rows:
        runs.setdefault(row["label"].rpartition(", ")[0], []).append(row)
    return runs


def sweep(rows: Sequence[Row]) -> list[str]:
    """scripts/sweep.py --truth: quality against candidates."""
    body = []
    for run, (first, *sizes_of) in by_label(rows).items():
        body.append(
            [run, "first look only", fraction(first["hit@1"]), fraction(first["mAP"]), "", ""]
        )
        for row in sizes_of:
            if row["candidates"] not in BETWEEN_OTHERS:
                size, gain, accepted = (
                    number(row["candidates"], ",d"),
                    bounded(row, "mAP_gain", "+.3f"),
                    number(row["accepted_mean"], ".1f"),
                )
                body.append(
                    [run, size, fraction(row["hit@1"]), fraction(row["mAP"]), gain, accepted]
                )
    return markdown(
        [
            "model",
            "candidates",
            "hit@1",
            "mAP",
            "gain in mAP over the first look, 95 % interval",
            "accepted per query",
        ],
        body,
    ) + commands(rows)


def classes(rows: Sequence[Row]) -> list[str]:
    """scripts/sweep.py --labels folder: what the second look does to classes."""
    runs = by_label(rows)
    first, *sizes_of = next(iter(runs.values()), [{}])
    sizes = [number(row["candidates"], ",d") for row in sizes_of]
    head = [
        f"classes by folder, {first['queries']:,} queries",
        "first look: hit@1, precision@10, mAP",
    ]
    head += [f"{sizes[0]} candidates: gain in hit@1", *sizes[1:], f"gain in mAP, {sizes[-1]}"]
    body = []
    for run, (first, *sizes_of) in runs.items():
        if [number(row["candidates"], ",d") for row in sizes_of] != sizes:
            raise ValueError(f"other sizes of {run}")
        hits = [bounded(row, "hit@1_gain", "+.3f", "+.3f") for row in sizes_of]
        gain, low, high = (
            number(sizes_of[-1][f"mAP_gain{end}"], "+.4f") for end in ("", "_low", "_high")
        )
        body.append(
            [
                run,
                ", ".join(fraction(first[name]) for name in ("hit@1", "precision@10", "mAP")),
                *hits,
                f"{gain} [{low}, {high}]",
            ]
        )
    return markdown(head, body) + commands(rows)


def verify(rows: Sequence[Row]) -> list[str]:
    """scripts/bench.py verify: our second look against three others on the same pairs."""
    (row,) = rows
    skimage, opencv, a_query = row["reference"], row["opencv"], row["pairs"] / row["queries"]
    threads = {1: "one thread", 2: "two threads"}.get(row["threads"], f"{row['threads']} threads")

    def against(way: str, other: Row, faster: float) -> list[str]:
        ours, theirs = other["inliers_same_pairs"]
        return [
            way,
            number(other["seconds_per_pair"], ".2g"),
            f"{number(faster, ',.0f' if faster > 99 else '.1f')} x",
            f"{ours:,}, {theirs:,}",
        ]

    first = (
        f"ours, {threads}: {number(row['pairs_per_second'], ',.0f')} pairs/s,"
        f" {number(row['seconds_per_query'], '.3f')} s per query"
    )
    bare = number(row["bare_matmul_seconds_per_query"] / a_query, ".2g")
    body = [
        [first, number(row["seconds_per_query"] / a_query, ".2g"), "", ""],
        against(
            (
                "cKDTree + skimage `ransac`, one thread, 1,000 trials,"
                f" {skimage['pairs']:,} of the pairs"
            ),
            skimage,
            row["speedup"],
        ),
        against(
            f"one float32 product per pair + OpenCV USAC, {threads}, {opencv['pairs']:,} of the"
            " pairs",
            opencv,
            row["speedup_opencv"],
        ),
        [
            f"the bare float32 product of those pairs, {threads}",
            bare,
            f"{number(1 / row['bare_matmul_ratio'], '.1f')} x",
            "",
        ],
    ]
    head = ["method", "seconds per pair", "ours is faster by"]
    return markdown([*head, "inliers on the same pairs: ours, theirs"], body) + commands(rows)


def table2(rows: Sequence[Row]) -> list[str]:
    """scripts/reproduce_seed004.py: seed 004's Table 2, mean inliers of the best ten."""
    (row,) = rows
    body = [
        ["published", *(number(n, ".1f") for n in row["published"])],
        ["ours, with the query itself", *(number(n, ".1f") for n in row["mean_inliers_with_self"])],
        ["ours, without it", *(number(n, ".1f") for n in row["mean_inliers"])],
        [
            "correlation with the published, by query",
            *(number(n, ".3f") for n in row["correlation_with_published"]),
        ],
    ]
    head = ["candidates / k", *(number(n, "g") for n in row["multiples"])]
    return markdown(head, body) + commands(rows)


def false_alarms(rows: Sequence[Row]) -> list[str]:
    """scripts/study.py false-alarms: found over stated, over all queries, and by their feature
    count where that differs.
    """
    rates = [key for key in rows[0] if key.startswith("at ")]
    body = []
    for row in rows:
        edges, whose = (
            [math.ceil(edge) for edge in row["feature_count_edges"]],
            row["label"].split(": ")[0],
        )
        counts = [
            f"of them with under {edges[0]} features",
            *(f"{a}\u2013{b - 1}" for a, b in pairwise(edges)),  # an edge is the next bin's
            f"{edges[-1]} and more",
        ]
        labels = {
            "all": row["label"],
            **{f"bin {i}": f"{whose}: {count}" for i, count in enumerate(counts, 1)},
        }
        found = [{part["queries"]: part for part in row[rate]} for rate in rates]
        for part in found[0] if len(found[0]) > 2 else ["all"]:  # one bin is all of them again
            figures = (
                tuple(
                    number(by[part][name], ".2f")
                    for name in ("accepted_over_stated", "low", "high")
                )
                for by in found
            )
            body.append(
                [
                    labels[part],
                    row["against"],
                    *(f"{ratio} [{low}, {high}]" for ratio, low, high in figures),
                ]
            )
    head = [f"stated {rate.removeprefix('at ')}: found / stated" for rate in rates]
    # the file names its runs in one line, all but the first by their flags alone
    runs = rows[0]["command"].split("; ")
    program = runs[0].partition(" --")[0]
    made = [{"command": f"{program} {run.removeprefix(program).strip()}"} for run in runs]
    return markdown(["queries", "candidates", *head], body) + commands(made)


def quality(rows: Sequence[Row]) -> list[str]:
    """scripts/evaluate.py --out: both looks beside the first alone."""
    body = []
    for row in rows:
        first = [fraction(row[f"coarse_{name}"]) for name in ("hit@1", "precision@10", "mAP")]
        both = [bounded(row, "hit@1"), bounded(row, "precision@10"), bounded(row, "mAP")]
        body.append([row["label"].replace("|", r"\|"), *first, *both])
    head = [
        "",
        "first look: hit@1",
        "precision@10",
        "mAP",
        "both looks: hit@1, 95 % interval",
        "precision@10",
        "mAP",
    ]
    return markdown(head, body) + commands(rows)


def by_set(rows: Sequence[Row]) -> list[str]:
    """scripts/evaluate.py, labels `KIND, SET`: how many queries of each set find their photo first
    by both looks.
    """
    return sets_table(rows, "both looks: hit@1", ("hit@1",)) + commands(rows)


def by_set_first(rows: Sequence[Row]) -> list[str]:
    """The same of the first look's shortlists, below whose other table the commands stand; kinds
    that share a first look are one line, that of the first.
    """
    names = ("coarse_hit@10", "coarse_hit@100")
    head, rule, *body = sets_table(rows, "first look: hit@10, hit@100", names)
    figures = {each.split("|", 2)[2]: each for each in reversed(body)}
    return [head, rule, *(each for each in body if each in figures.values())]


def shortlists(rows: Sequence[Row]) -> list[str]:
    """scripts/sweep.py, labels `KIND, SET`: how many queries have their photo among the candidates,
    and how many find it first by both looks.
    """
    turned = [
        {**row, "label": f"{kind}, {number(row['candidates'], ',d')}, {name}"}
        for run, (_, *sizes) in by_label(rows).items()
        for kind, _, name in [run.rpartition(", ")]
        for row in sizes
    ]
    title = "candidates found by, and how many: the photo among them, first by both looks"
    return sets_table(turned, title, ("ceiling", "hit@1")) + commands(rows)


def sets_table(rows: Sequence[Row], title: str, names: Sequence[str]) -> list[str]:
    """A column for each set, in the order of the first kind's rows, and the mean over sets."""
    kinds = by_label(rows)
    first = next(iter(kinds.values()), [])
    sets = [row["label"].rpartition(", ")[2] for row in first]
    body = []
    for kind, of_kind in kinds.items():
        if [row["label"].rpartition(", ")[2] for row in of_kind] != sets:
            raise ValueError(f"other sets of {kind}")
        cells = [[row[name] for name in names] for row in of_kind]
        cells.append([sum(column) / len(column) for column in zip(*cells, strict=True)])
        body.append([kind, *(", ".join(map(fraction, cell)) for cell in cells)])
    head = [
        f"{name}, {number(row['queries'], ',d')} queries"
        for name, row in zip(sets, first, strict=True)
    ]
    return markdown([title, *head, "mean of the sets"], body)


def accuracy(rows: Sequence[Row]) -> list[str]:
    """scripts/train.py --results, a row a seed: how often the class head is right on photos that
    chose nothing.
    """
    body = []
    for run, seeds in by_label(rows).items():
        shares = [seed["test"] for seed in seeds]
        ends = (
            f"{number(100 * min(shares), '.2f')} to {number(100 * max(shares), '.2f')}"
            if len(shares) > 1
            else ""
        )
        minutes = number(sum(seed["seconds"] for seed in seeds) / len(seeds) / 60, ".0f")
        share = number(100 * sum(shares) / len(shares), ".2f")
        taught = [seed["teacher_test"] for seed in seeds if "teacher_test" in seed]
        teacher = number(100 * sum(taught) / len(taught), ".2f") if taught else ""
        body.append([run, share, ends, teacher, str(len(shares)), minutes])
    head = ["", "top-1 on the test photos, %", "from, to", "its teacher's", "seeds"]
    return markdown([*head, "minutes per training"], body) + commands(rows)


def selection(rows: Sequence[Row]) -> list[str]:
    """scripts/study.py attention: which features are kept, at how many per photo."""
    body = []
    for row in rows:
        counts = (number(row[name], ".1f") for name in ("true_inliers", "best_false_inliers"))
        body.append([number(row["keep"], ",d"), row["selection"], bounded(row, "hit@1"), *counts])
    return markdown(
        [
            "features per photo",
            "chosen by",
            "hit@1, 95 % interval",
            "inliers of true pairs",
            "of the best false pair",
        ],
        body,
    ) + commands(rows)


def gallery_size(rows: Sequence[Row]) -> list[str]:
    """scripts/study.py gallery-size: what the second look adds in parts of a gallery."""
    body = []
    for row in rows:
        gains = (bounded(row, f"{name}_gain", "+.3f", "+.3f") for name in ("hit@1", "precision@10"))
        first = (fraction(row[f"coarse_{name}"]) for name in ("hit@1", "precision@10"))
        body.append([number(row["photos"], ",.0f"), number(row["matches"], ",.0f"), *first, *gains])
    head = [
        "photos",
        "true matches",
        "first look: hit@1",
        "precision@10",
        "gain of both looks in hit@1",
        "in precision@10",
    ]
    return markdown(head, body) + commands(rows)


def headline(instances: Sequence[Row], by_class: Sequence[Row]) -> list[str]:
    """README: what finds the same thing, and what finds the same class; rows of `models` and of
    `corel`, paired by label.
    """
    classes_of = {row["label"]: row for row in by_class}
    body = []
    for row in instances:
        other = classes_of.get(row["label"])
        same_thing = [fraction(row["coarse_hit@1"]), bounded(row, "hit@1"), fraction(row["mAP"])]
        same_class = (
            [fraction(other[key]) for key in ("coarse_hit@1", "hit@1", "mAP")]
            if other
            else [""] * 3
        )
        body.append([row["label"], *same_thing, *same_class])
    head = [
        "model, local features",
        "museum, first look: hit@1",
        "both looks: hit@1, 95 % interval",
        "mAP",
    ]
    return markdown([*head, "classes, first look: hit@1", "both looks: hit@1", "mAP"], body)
