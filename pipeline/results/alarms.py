"""The table of false alarms by the length of the list of candidates."""

from collections.abc import Sequence

from pipeline.results.tables import Row, commands, markdown, number


def alarm_lists(rows: Sequence[Row]) -> list[str]:
    """scripts/study.py alarm-lists: found over stated, by gallery and list."""
    rates = [key for key in rows[0] if key.startswith("at ")]
    body = [
        [
            f"{row['photos']:,}",
            str(row["list"]),
            "all" if row["candidates"] == row["photos"] else f"{row['candidates']:,}",
            *("{} [{}, {}]".format(*(number(each, ".2f") for each in row[rate])) for rate in rates),
        ]
        for row in rows
    ]
    head = [f"stated {rate.removeprefix('at ')}: found / stated" for rate in rates]
    return markdown(["photos", "list by", "candidates", *head], body) + commands(rows[:1])
