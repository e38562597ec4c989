"""The documents' tables are what the results files say, and a figure that is changed in either is
found.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.base.errors import UsageError
from pipeline.commands import tables
from pipeline.results.alarms import alarm_lists
from pipeline.results.attention import paired
from pipeline.results.documents import MARKER, TABLES, documents, fill, make_table
from pipeline.results.tables import (
    accuracy,
    by_set,
    by_set_first,
    false_alarms,
    fraction,
    gallery_size,
    headline,
    number,
    selection,
    shortlists,
    sweep,
)

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "artifacts/results"
TEXTS = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in documents(ROOT)}
SHOWN = [
    (document, mark[2])
    for document, text in TEXTS.items()
    for mark in MARKER.finditer(text)
    if mark[1] == "table"
]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the documents and the results, which the command takes for its own."""
    (tmp_path / "artifacts/results").mkdir(parents=True)
    for document, text in TEXTS.items():
        (tmp_path / document).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / document).write_text(text, "utf-8")
    for path in RESULTS.glob("*.json"):
        (tmp_path / "artifacts/results" / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("document", TEXTS)
def test_a_document_says_what_the_files_say(document: str) -> None:
    text, stale = fill(TEXTS[document], RESULTS, document)
    assert stale == [], "run `python scripts/tables.py`"
    assert text == TEXTS[document]


def test_every_table_and_every_results_file_is_shown_somewhere() -> None:
    shown = {name for _, name in SHOWN}
    assert TABLES.keys() <= shown
    files = {file for name in shown for file in TABLES.get(name, ((name,),))[0]}
    assert files == {path.stem for path in RESULTS.glob("*.json")}
    assert ("README.md", "headline") in SHOWN


@pytest.mark.parametrize(("document", "name"), SHOWN)
def test_a_figure_changed_by_hand_is_found_and_mended(
    document: str, name: str, house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table's last digit, one more."""
    before, end, after = TEXTS[document].partition(f"<!-- end: {name} -->")
    planted = (
        re.sub(r"\d(?=\D*$)", lambda digit: str((int(digit[0]) + 1) % 10), before) + end + after
    )
    assert sum(a != b for a, b in zip(TEXTS[document], planted, strict=True)) == 1
    (house / document).write_text(planted, "utf-8")
    assert tables.main(["--check"]) == 1
    assert (
        capsys.readouterr().err
        == f"{document}: the table {name} is not what its results file says; run `python"
        " scripts/tables.py`\n"
    )
    assert (house / document).read_text("utf-8") == planted  # --check writes nothing
    assert tables.main([]) == 0
    assert capsys.readouterr().out == f"{document}: {name} changed\n"
    assert (house / document).read_text("utf-8") == TEXTS[document]
    assert tables.main(["--check"]) == 0


def test_a_figure_changed_in_a_file_is_found(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = house / "artifacts/results/corel.json"
    changed = json.loads(path.read_text())
    changed["rows"][0]["mAP"] = 0.123456
    path.write_text(json.dumps(changed))
    assert tables.main(["--check"]) == 1
    assert [line.split(" is not")[0] for line in capsys.readouterr().err.splitlines()] == [
        "README.md: the table headline",
        "docs/benchmarks/classes.md: the table corel",
    ]
    text, stale = fill(TEXTS["README.md"], path.parent, "README.md")
    assert stale == ["headline"]
    assert "| .123 |" in text


def row(label: str, **figures: Any) -> dict[str, Any]:
    """As scripts/evaluate.py --out writes it."""
    both = {
        "hit@1": 0.96666,
        "hit@1_low": 0.9,
        "hit@1_high": 1.0,
        "precision@10": 0.1,
        "precision@10_low": 0.09,
        "precision@10_high": 0.11,
    }
    both |= {
        "mAP": 0.97777,
        "mAP_low": 0.9333,
        "mAP_high": 1.0,
        "coarse_hit@1": 0.6,
        "coarse_precision@10": 0.0766,
        "coarse_mAP": 0.6514,
    }
    return {
        "label": label,
        "command": f"python scripts/evaluate.py --label {label}",
        "queries": 30,
        **both,
        **figures,
    }


def test_a_new_results_file_needs_a_marker_only(house: Path) -> None:
    path = house / "artifacts/results/planted.json"
    path.write_text(json.dumps({"rows": [row("b"), row("a|c", mAP=0.0)]}))
    assert tables.main(["--check"]) == 0  # no document asks for it
    text, stale = fill(
        "Before.\n<!-- table: planted -->\nold\n<!-- end: planted -->\nAfter.\n",
        path.parent,
        "a.md",
    )
    assert stale == ["planted"]
    assert text.splitlines() == [
        "Before.",
        "<!-- table: planted -->",
        (
            "| | first look: hit@1 | precision@10 | mAP | both looks: hit@1, 95 % interval |"
            " precision@10 | mAP |"
        ),
        "|---|---|---|---|---|---|---|",
        "| b | .600 | .077 | .651 | .967 [.900, 1.000] | .100 [.090, .110] | .978 [.933, 1.000] |",
        (
            r"| a\|c | .600 | .077 | .651 | .967 [.900, 1.000] | .100 [.090, .110] | .000 [.933,"
            r" 1.000] |"
        ),
        "",
        "<details><summary>commands that made these rows</summary>",
        "",
        "```sh",
        "python scripts/evaluate.py --label b",
        "python scripts/evaluate.py --label a|c",
        "```",
        "",
        "</details>",
        "<!-- end: planted -->",
        "After.",
    ]


def test_a_table_of_sets() -> None:
    """A row for each kind of features, a column for each set, and their mean."""
    rows = [
        {
            "label": f"{kind}, {name}",
            "command": f"c {name}",
            "queries": queries,
            "hit@1": found,
            "coarse_hit@10": 0.25,
            "coarse_hit@100": found,
        }
        for kind, shares in (("SIFT", (0.5, 1.0)), ("ours", (0.75, 0.5)), ("again", (0.5, 1.0)))
        for (name, queries), found in zip((("dvd", 100), ("walk", 55)), shares, strict=True)
    ]
    assert by_set(rows)[:4] == [
        "| both looks: hit@1 | dvd, 100 queries | walk, 55 queries | mean of the sets |",
        "|---|---|---|---|",
        "| SIFT | .500 | 1.000 | .750 |",
        "| ours | .750 | .500 | .625 |",
    ]
    assert by_set_first(rows)[2:] == [  # what repeats another's first look is left out
        "| SIFT | .250, .500 | .250, 1.000 | .250, .750 |",
        "| ours | .250, .750 | .250, .500 | .250, .625 |",
    ]
    with pytest.raises(ValueError, match="other sets of ours"):
        by_set(rows[:3])


def test_the_other_forms() -> None:
    """One planted row of each."""
    run = {
        "command": "c",
        "candidates": 0,
        "hit@1": 0.5,
        "mAP": 0.25,
        "mAP_gain": 0.1,
        "mAP_gain_low": 0.0,
        "mAP_gain_high": 0.2,
        "accepted_mean": 1.5,
    }
    lines = sweep(
        [
            {**run, "label": "mine, coarse"},
            {**run, "label": "mine, 10", "candidates": 10},
            {**run, "label": "mine, 20", "candidates": 20},
        ]
    )
    assert lines[2:4] == [
        "| mine | first look only | .500 | .250 | | |",
        "| mine | 10 | .500 | .250 | +.100 [.000, .200] | 1.5 |",
    ]
    assert lines[4:] == [
        "",
        "<details><summary>commands that made these rows</summary>",
        "",
        "```sh",
        "c",
        "```",
        "",
        "</details>",
    ]
    seeds = [
        {
            "command": f"c{seed}",
            "label": f"mine, seed {seed}",
            "test": 0.98 + seed / 100,
            "seconds": 60 * seed,
        }
        for seed in (0, 1)
    ]
    assert accuracy(seeds)[2] == "| mine | 98.50 | 98.00 to 99.00 | | 2 | 0 |"
    kept = {
        "command": "c",
        "keep": 1000,
        "selection": "attention",
        "hit@1": 1.0,
        "hit@1_low": 0.9,
        "hit@1_high": 1.0,
        "true_inliers": 316.45,
        "best_false_inliers": 8.0,
    }
    assert selection([kept])[2] == "| 1,000 | attention | 1.000 [.900, 1.000] | 316.4 | 8.0 |"
    gains = {
        f"{name}_gain{end}": -0.1
        for name in ("hit@1", "precision@10")
        for end in ("", "_low", "_high")
    }
    part = {
        "command": "c",
        "photos": 1286.0,
        "matches": 28.9,
        "coarse_hit@1": 0.8,
        "coarse_precision@10": 0.7,
        **gains,
    }
    assert (
        gallery_size([part])[2]
        == "| 1,286 | 29 | .800 | .700 | -.100 [-.100, -.100] | -.100 [-.100, -.100] |"
    )
    assert headline([row("a"), row("b")], [row("b", mAP=0.5)])[2:] == [
        "| a | .600 | .967 [.900, 1.000] | .978 | | | |",
        "| b | .600 | .967 [.900, 1.000] | .978 | .600 | .967 | .500 |",
    ]
    rate = {"queries": "all", "accepted_over_stated": 1.44, "low": 1.04, "high": 1.9}
    alarms = false_alarms(
        [
            {
                "command": "p false-alarms --features f; --gallery g --against h",
                "label": "mine",
                "against": "h",
                "feature_count_edges": [108.0],
                "at 0.1": [rate],
            }
        ]
    )
    assert alarms[2] == "| mine | h | 1.44 [1.04, 1.90] |"
    assert alarms[7:9] == [
        "p false-alarms --features f",
        "p false-alarms --gallery g --against h",
    ]


def test_lists_of_candidates_have_a_column_each() -> None:
    rows = [
        {
            "command": "p alarm-lists --gallery g --against h",
            "label": "mine",
            "photos": photos,
            "list": "codes",
            "candidates": count,
            "at 0.1": [1.5, 1.25, count / 100],
            "at 1": [1, 0.9, 1.1],
        }
        for photos, count in ((30, 2), (30, 30), (1287, 2), (1287, 40), (1287, 1287))
    ]
    table = alarm_lists(rows)
    assert table[0] == "Found / stated, at a stated 0.1:"
    assert table[2] == "| queries | photos | list by | 2 candidates | 40 candidates | all |"
    assert table[4:6] == [
        "| mine | 30 | codes | 1.50 [1.25, 0.02] | | 1.50 [1.25, 0.30] |",
        "| mine | 1,287 | codes | 1.50 [1.25, 0.02] | 1.50 [1.25, 0.40] | 1.50 [1.25, 12.87] |",
    ]
    assert table[7] == "Found / stated, at a stated 1:"
    assert sum("p alarm-lists" in line for line in table) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("{", "Expecting property name"),
        ('{"figures": []}', "none called rows"),
        (json.dumps({"rows": [{"label": "a", "command": "b"}]}), "none called coarse_hit@1"),
        (json.dumps({"rows": [row("a", mAP=None)]}), "None for a number"),
        (json.dumps({"rows": [row("a", mAP=float("nan"))]}), "nan for a number"),
        (json.dumps({"rows": [row("a", command="x\n```")]}), "for commands of one line"),
    ],
)
def test_a_file_that_is_wrong_is_named(
    content: str | None, said: str, house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = house / "artifacts/results/planted.json"
    if content is not None:
        path.write_text(content)
    (house / "docs/new.md").write_text("<!-- table: planted -->\n<!-- end: planted -->\n", "utf-8")
    assert tables.main(["--check"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"tables: {path}: expected the figures of the table planted, got ")
    assert said in error
    assert error.count("\n") == 1
    with pytest.raises(UsageError, match=r"run `python scripts/evaluate\.py --out"):
        make_table("planted", path.parent)


@pytest.mark.parametrize(
    "text",
    [
        "<!-- table: museum -->\n",
        "<!-- end: museum -->\n",
        "<!-- table: museum -->\n<!-- end: classes -->\n",
        "<!-- table: museum -->\n<!-- table: museum -->\n<!-- end: museum -->\n",
        "<!-- table: museum -->\n<!-- end: museum -->\n<!-- end: museum -->\n",
    ],
)
def test_a_marker_without_its_other_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^docs/a\.md: expected .* without its other"):
        fill(text, RESULTS, "docs/a.md")


def test_numbers_are_short() -> None:
    assert [fraction(value) for value in (0.9118, 1.0, 0.0, -0.0093, -0.0004)] == [
        ".912",
        "1.000",
        ".000",
        "-.009",
        ".000",
    ]
    assert [fraction(value, "+.3f") for value in (0.1002, -0.0093, -0.0004)] == [
        "+.100",
        "-.009",
        "+.000",
    ]
    assert [number(1301.03, ",.0f"), number(4.07e-5, ".2g"), number(4000, ",d")] == [
        "1,301",
        "4.1e-05",
        "4,000",
    ]


def test_a_sets_column_says_how_many_queries_it_has() -> None:
    rows = [
        {
            "label": f"both, {name}, {size}",
            "candidates": size,
            "queries": queries,
            "ceiling": 0.5,
            "hit@1": 0.25,
            "command": "sweep",
        }
        for name, queries in (("covers", 100), ("walk", 55))
        for size in ("coarse", 40, 200)
    ]
    for row in rows:
        row["candidates"] = 0 if row["candidates"] == "coarse" else row["candidates"]
    assert "| covers, 100 queries | walk, 55 queries |" in shortlists(rows)[0]


def test_a_paired_gain_has_its_interval_and_its_seeds() -> None:
    row = {"command": "c", "label": "photos, a less b", "queries": 9, "data": {"these": [1, 2]}}
    for name in ("hit@1, first look", "mAP, first look"):
        row |= {name: 0.0162, f"{name}_low": -0.0004, f"{name}_high": 0.03}
    assert paired([row])[2] == (
        "| photos, a less b | 9 | 2 | +.016 [+.000, +.030] | +.016 [+.000, +.030] |"
    )
