"""The tables of `scripts/bench.py groups`."""

from collections.abc import Sequence

from pipeline.results.tables import Row, commands, markdown, number


def groups(rows: Sequence[Row]) -> list[str]:
    """What is found by kind of change, ours beside the hashes at equal precision; then right and
    wrong pairs of each; then false pairs for each number that is stated.
    """
    row = rows[-1]
    ours = row["pairs"]
    lines = markdown(
        ["", "pairs", "ours", "ours, in one group", *row["hashes"]],
        [
            [
                change,
                str(of),
                str(ours["changes"][change]),
                str(row["groups"]["changes"][change]),
                *(str(each["changes"][change]) for each in row["hashes"].values()),
            ]
            for change, of in ours["of"].items()
        ],
    )
    compared = {
        "our pairs": ours,
        "all pairs of our groups": row["groups"],
        "all pairs of connected components": row["components"],
        **{
            f"{name}, up to {each['distance']} bits" if each["right"] else f"{name}, never": each
            for name, each in row["hashes"].items()
        },
    }
    lines += [
        "",
        *markdown(
            ["", "right", "wrong", "precision"],
            [
                [name, f"{each['right']:,}", f"{each['wrong']:,}", number(each["precision"], ".4f")]
                for name, each in compared.items()
            ],
        ),
    ]
    lines += [
        "",
        *markdown(
            ["false pairs stated", "found by evidence", "of these tight: accepted"],
            [
                [f"{each['stated']:,}", str(each["by evidence"]), str(each["and tight"])]
                for each in row["stated"]
            ],
        ),
    ]
    return lines + commands([row])
