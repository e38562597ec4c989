"""The tables of what one photo and one command cost: `scripts/bench.py photo` and `start`."""

from collections.abc import Sequence

from pipeline.results.tables import Row, commands, markdown, number

COMMANDS = {
    "python": "`python -c pass`",
    "--help": "`python -m pipeline.run --help`",
    "open_gallery": "`import pipeline; pipeline.open_gallery(...)`",
    "run": "`python -m pipeline.run QUERY --gallery GALLERY -k 5`",
}


def photo(rows: Sequence[Row]) -> list[str]:
    """A line a size: milliseconds, and as a multiple of SIFT's."""
    (row,) = rows
    body = []
    for size, spent in row["milliseconds"].items():
        base = spent["sift"]
        ours = [spent[name] for name in ("int8", "float32")]
        body.append(
            [
                size,
                number(base, ",.0f"),
                *(f"{number(each, ',.0f')}, {number(each / base, '.2f')} x" for each in ours),
            ]
        )
    head = ["photo", "`cv2.imread` and SIFT, ms", "`int8`, ms", "`float32`, ms"]
    said = (
        f"{number(row['threads'], 'd')} threads encode photos of 12 megapixels"
        f" {number(row['times_faster_on_all_threads'], '.2f')} times as fast as one."
    )
    return [*markdown(head, body), "", said, *commands(rows)]


def start(rows: Sequence[Row]) -> list[str]:
    """A line a command."""
    (row,) = rows
    body = [
        [said, number(row[name]["cpu"], ".2f"), number(row[name]["clock"], ".2f")]
        for name, said in COMMANDS.items()
    ]
    head = ["command", "processor, s", "clock, s"]
    return [*markdown(head, body), *commands(rows)]
