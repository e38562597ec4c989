"""The tables of capacity: what `scripts/bench.py first_look` and `capacity` measured, and what
follows for larger collections.
"""

import math
from collections.abc import Sequence

from pipeline.results.tables import Row, commands, fraction, markdown, number

# bytes of memory, how much of it may be filled, cores: assumed
MACHINE, SHARE, CORES = 64e9, 0.75, 16
PLANNED = (1_000_000, 100_000_000, 1_000_000_000)  # photos


def first_look(rows: Sequence[Row]) -> list[str]:
    """A line a size, of one run of the bench each."""
    body = []
    for row in rows:
        for at in row["sizes"]:
            tree = [
                number(1000 * at[f"tree_{name}"], ".1f") if f"tree_{name}" in at else ""
                for name in ("seconds", "seconds_40")
            ]
            faiss = [
                number(1000 * at[f"faiss_{name}"], ".1f") for name in ("seconds", "seconds_40")
            ]
            how = (
                "all"
                if at["index"] == "flat"
                else f"{number(at['probes'], ',d')} of {number(at['cells'], ',d')} cells"
            )
            kept = f"{fraction(at['recall'], '.4f')} ({fraction(at['least_recall'], '.4f')})"
            builds = [
                number(at[name], ".1f") if name in at else "-"
                for name in ("tree_build_seconds", "faiss_build_seconds")
            ]
            sizes = [
                number(at[name] / 1e6, ",.0f") if name in at else "-"
                for name in ("tree_bytes", "index_bytes")
            ]
            clusters = number(row["kinds"], ",d") if row["kinds"] else "one"
            body.append(
                [
                    number(at["codes"], ",d"),
                    clusters,
                    tree[0],
                    faiss[0],
                    tree[1],
                    faiss[1],
                    how,
                    kept,
                    " / ".join(builds),
                    " / ".join(sizes),
                ]
            )
    few = [
        "ball tree, ms",
        "FAISS, ms",
        "40 candidates: ball tree",
        "FAISS",
        "compared",
        "recall, mean (least)",
    ]
    return markdown(
        ["codes", "clusters", *few, "build, s: tree / FAISS", "memory, MB: tree / FAISS"], body
    ) + commands(rows)


def capacity(rows: Sequence[Row]) -> list[str]:
    """What was measured, a line a size."""
    body = [
        [
            number(at["photos"], ",d"),
            number(at["bytes_a_photo"], ",.0f"),
            number(at["memory_a_photo"], ",.0f"),
            number(1000 * at["write_seconds_a_photo"], ".2f"),
            number(at["read_seconds"] + at["index_seconds"], ".2f"),
            (
                f"{number(1000 * at['search_seconds'], '.1f')}"
                f" ({'ball tree' if at['search'] == 'tree' else 'FAISS'})"
            ),
            f"{number(1000 * at['verify_seconds'], ',.0f')} ({number(at['candidates'], ',d')})",
        ]
        for at in rows[0]["sizes"]
    ]
    head = [
        "photos",
        "bytes per photo on disk",
        "bytes of memory per photo",
        "ms to write a photo",
        "s to open",
        "ms to search",
        "ms to verify (candidates)",
    ]
    return markdown(head, body) + commands(rows)


def plan(rows: Sequence[Row]) -> list[str]:
    """What PLANNED photos need, by the formulas that stand above the table. rows: of `capacity`,
    then of `first_look`.
    """
    photo, sizes = rows[0]["sizes"][-1], rows[1]["sizes"]
    # photos a machine
    most = (
        MACHINE * SHARE / (photo["memory_a_photo"] + sizes[-1]["index_bytes"] / sizes[-1]["codes"])
    )
    encode = rows[0]["encode_seconds_a_photo"]
    verify = photo["verify_seconds"] / CORES
    body = []
    for photos in PLANNED:
        machines = math.ceil(photos / most)
        each = photos / machines
        at = next((size for size in sizes if size["codes"] >= each), sizes[-1])
        memory = photo["memory_a_photo"] + at["index_bytes"] / at["codes"]
        search = at["faiss_seconds"] * each / at["codes"]
        opens = each * (
            photo["read_seconds"] / photo["photos"] + at["faiss_build_seconds"] / at["codes"]
        )
        body.append(
            [
                number(photos, ",d"),
                number(machines, ",d"),
                number(photos * photo["bytes_a_photo"] / 1e12, ",.2f"),
                number(each * memory / 1e9, ",.1f"),
                number(photos * encode / CORES / machines / 3600, ",.1f"),
                number(opens / 60, ",.1f"),
                (
                    f"{number(1000 * encode, ',.0f')} + {number(1000 * search, ',.0f')} +"
                    f" {number(1000 * verify, ',.0f')}"
                ),
            ]
        )
    head = [
        "photos",
        "machines",
        "total disk, TB",
        "memory per machine, GB",
        "hours to index",
        "minutes to open",
        "ms per query: encode + search + verify",
    ]
    return markdown(head, body)
