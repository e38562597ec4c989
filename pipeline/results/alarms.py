"""The table of false alarms by the length of the list of candidates."""

from collections.abc import Sequence

from pipeline.results.tables import Row, commands, markdown, number


def alarm_lists(rows: Sequence[Row]) -> list[str]:
    """scripts/study.py alarm-lists: found over stated, a line for each gallery and list, a column
    for each length, and a table for each rate.
    """
    lengths = sorted({row["candidates"] for row in rows if row["candidates"] != row["photos"]})
    kinds = list(dict.fromkeys((row["label"], row["photos"], row["list"]) for row in rows))
    lines = []
    for rate in (key for key in rows[0] if key.startswith("at ")):
        told = {
            (row["label"], row["photos"], row["list"], row["candidates"]): "{} [{}, {}]".format(
                *(number(each, ".2f") for each in row[rate])
            )
            for row in rows
        }
        head = ["queries", "photos", "list by", *(f"{n:,} candidates" for n in lengths), "all"]
        body = [
            [
                str(label),
                f"{photos:,}",
                str(name),
                *(told.get((label, photos, name, n), "") if n < photos else "" for n in lengths),
                told[label, photos, name, photos],
            ]
            for label, photos, name in kinds
        ]
        lines += [f"Found / stated, at a stated {rate.removeprefix('at ')}:", ""]
        lines += [*markdown(head, body), ""]
    return lines[:-1] + commands(list({row["command"]: row for row in rows}.values()))
