"""The tables of the index of parts: what `scripts/bench.py parts` measured, and what follows for
larger collections.
"""

import math
from collections.abc import Sequence

from pipeline.results.capacity import CORES, MACHINE, PLANNED, SHARE
from pipeline.results.tables import Row, commands, fraction, markdown, number

FIRST = (40, 200, 1_000, 4_000)  # photos with most votes
NUMBERS = 8  # bytes of memory a photo beside the lists: its row and its contents, by number


def parts(rows: Sequence[Row]) -> list[str]:
    """A line a size, and what is left of the recall among further photos."""
    (row,) = rows
    body = []
    for at in row["sizes"]:
        made = f" ({number(at['generated'], ',d')} generated)" if at["generated"] else ""
        rival = (
            [
                number(1000 * at["faiss_seconds"], ",.1f"),
                f"{fraction(at['faiss_recall@40'])}, {fraction(at['faiss_recall@4000'])}",
            ]
            if "faiss_seconds" in at
            else ["", ""]
        )
        built = at.get("build_seconds_a_photo")
        body.append(
            [
                number(at["photos"], ",d") + made,
                *(fraction(at[f"recall@{most}"]) for most in FIRST),
                number(at["bytes_a_photo"], ",.0f"),
                number(at["probes"], "d"),
                number(1000 * at["seconds"], ",.1f"),
                number(1000 * at["seconds_all_threads"], ",.1f"),
                *rival,
                "" if built is None else number(1000 * built, ",.1f"),
            ]
        )
    first, *more = (f"{most:,}" for most in FIRST)
    head = [
        "photos",
        f"photo among the first {first}",
        *more,
        "bytes per photo",
        "words looked into",
        "ms per query, one thread",
        f"{row['threads']} threads",
        "FAISS, one thread",
        "FAISS: among the first 40, 4,000",
        "ms to build a photo",
    ]
    kept = (
        f"With {number(row['further'], ',d')} further photos the first 4,000 hold a query's photo"
        f" {fraction(row['kept'])} times as often as without them."
    )
    return [*markdown(head, body), "", kept, *commands(rows)]


def parts_sets(rows: Sequence[Row]) -> list[str]:
    """The same recall, by truth file."""
    (row,) = rows
    body = [
        [
            number(at["photos"], ",d"),
            *(
                ", ".join(fraction(at["by_truth"][name][f"recall@{most}"]) for most in FIRST)
                for name in row["truth"]
            ),
        ]
        for at in row["sizes"]
    ]
    sets = [f"{name}, {number(queries, ',d')} queries" for name, queries in row["truth"].items()]
    return markdown(["photos", *sets], body)


def parts_dial(rows: Sequence[Row]) -> list[str]:
    """What fewer bytes a photo find: a line for so many features, a pair of columns for so many
    bytes a feature.
    """
    (row,) = rows
    points = {(at["features"], at["code_bytes"]): at for at in row["dial"]}
    features, sizes = (sorted({key[i] for key in points}, reverse=True) for i in (0, 1))
    (photos,) = {at["photos"] for at in row["dial"]}

    def cells(at: Row) -> list[str]:
        found = (fraction(at[f"recall@{most}"]) for most in (40, 200))
        return [number(at["bytes_a_photo"], ",.0f"), ", ".join(found)]

    body = [
        [number(most, "d"), *(cell for size in sizes for cell in cells(points[most, size]))]
        for most in features
    ]
    head = [f"features per photo, {number(photos, ',d')} photos"]
    for size in sizes:
        head += [f"2 + {size} bytes a feature: bytes per photo", "among the first 40, 200"]
    return markdown(head, body)


def parts_plan(rows: Sequence[Row]) -> list[str]:
    """What PLANNED photos need, by the formulas that stand above the table."""
    (row,) = rows
    at = row["sizes"][-1]
    a_photo = at["bytes_a_photo"] + NUMBERS
    walk = (at["seconds"] - at["order_seconds"]) / at["entries_a_query"]  # seconds an entry
    body = []
    for photos in PLANNED:
        machines = math.ceil(photos * a_photo / (MACHINE * SHARE))
        each = photos / machines
        looked = probes(row, photos)
        entries = at["entries_a_query"] * each / at["photos"] * looked / at["probes"]
        order = at["order_seconds"] * each / at["photos"]
        body.append(
            [
                number(photos, ",d"),
                number(machines, ",d"),
                number(photos * at["bytes_a_photo"] / 1e12, ",.3f"),
                number(each * a_photo / 1e9, ",.1f"),
                number(looked, "d"),
                number(entries / 1e6, ",.0f"),
                (
                    f"{number(1000 * walk * entries / CORES, ',.0f')} +"
                    f" {number(1000 * order, ',.0f')}"
                ),
            ]
        )
    head = [
        "photos",
        "machines",
        "total disk, TB",
        "mapped per machine, GB",
        "words looked into",
        "million entries walked per query and machine",
        "ms per query: walk + order",
    ]
    return markdown(head, body)


def probes(row: Row, photos: int) -> int:
    """As `PartsIndex.probes` of stages/inverted_index.py has them among so many photos."""
    most: int = row["most_probes"]
    length = max(1, photos * row["most_features"] // row["words"])
    fewer = math.isqrt(most * most * row["full_list"] // length)
    least: int = row["least_probes"]
    return min(most, max(least, fewer))
