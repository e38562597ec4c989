"""Results files: rows that stay, rows that are replaced, and what is said above them."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.base.errors import UsageError
from pipeline.base.files import check_folder, check_place, digest
from pipeline.results.file import VARIOUS, command, figures, write_row


def row(label: str, **more: Any) -> dict[str, Any]:
    return {
        "recipe": "r",
        "label": label,
        "command": "c",
        "data": {"photos": 3},
        "model": {"name": "m", "identity": "1"},
        "seed": 0,
        **more,
    }


def test_rows_stay_and_one_of_the_same_label_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for one in (row("a", mAP=0.1), row("b", mAP=0.2, command="d"), row("a", mAP=0.3)):
        write_row(path, one)
    file = json.loads(path.read_text())
    assert [(one["label"], one["mAP"]) for one in file["rows"]] == [("a", 0.3), ("b", 0.2)]
    assert {name: file[name] for name in ("command", "data", "model", "seed")} == {
        **{n: row("a")[n] for n in ("data", "model", "seed")},
        "command": VARIOUS,
    }
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["r.json"]


def test_rows_of_an_older_file_keep_what_the_file_said_of_them(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(
        json.dumps(
            {
                "command": "old",
                "data": "photos",
                "model": "m",
                "seed": 7,
                "rows": [{"recipe": "r", "model": "n"}],
            }
        )
    )
    write_row(path, row("a"))
    file = json.loads(path.read_text())
    assert file["rows"] == [
        {"recipe": "r", "model": "n", "command": "old", "data": "photos", "seed": 7},
        row("a"),
    ]
    assert file["seed"] == VARIOUS


def test_a_row_that_does_not_stand_alone_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="row: expected model"):
        write_row(
            tmp_path / "r.json",
            {name: value for name, value in row("a").items() if name != "model"},
        )
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"rows": 1}', '{"rows": [1]}', "\udcff", "[" * 100_000]
)
def test_what_is_no_results_file_is_left_alone(text: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match="expected a results file, got"):
        write_row(path, row("a"))
    assert path.read_bytes() == text.encode("utf-8", "surrogateescape")


def test_a_command_can_be_typed_again() -> None:
    assert (
        command("scripts/x.py", ["--label", "a b", "--out", "r.json"])
        == "python scripts/x.py --label 'a b' --out r.json"
    )


def test_a_digest_is_of_names_and_contents_in_any_order() -> None:
    files = [("a", "1" * 64), ("b\udcff", "2" * 64)]
    assert digest(files) == digest(reversed(files))
    assert (
        len(
            {
                digest(files),
                digest([("a", "1" * 64)]),
                digest([("b\udcff", "1" * 64), ("a", "2" * 64)]),
                digest([]),
            }
        )
        == 4
    )


def test_figures_are_named_by_look() -> None:
    part = {"mAP": 0.5, "interval": {"mAP": [0.4, 0.6]}}
    named = figures(
        {**part, "coarse": part, "gain": {"mAP": 0.0, "interval": {"mAP": [-0.1, 0.1]}}}, ["mAP"]
    )
    assert list(named) == [
        start + end for start in ("mAP", "coarse_mAP", "mAP_gain") for end in ("", "_low", "_high")
    ]
    assert named["mAP_gain_low"] == -0.1


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    check_place("--out", None)
    check_place("--out", tmp_path / "new")
    with pytest.raises(UsageError, match="expected a file, got a folder"):
        check_place("--out", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="expected a folder, got"):
        check_folder("--out", tmp_path / "file" / "x")
