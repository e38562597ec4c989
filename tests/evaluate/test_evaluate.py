"""What evaluate prints and writes: measures that ties and copies cannot flatter, intervals, lines,
rows and the sheet of failures.
"""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pictures import picture, write_picture
from PIL import Image as Pillow
from planted_engine import families
from planted_gallery import planted, taken
from small import complaint

from pipeline.commands import evaluate
from pipeline.evaluate.ground_truth import Case
from pipeline.evaluate.quality import evaluate_query, short
from pipeline.report.failures import Failure, Tile, draw, thumbnail
from pipeline.search.engine import Ranked
from stages.records import Candidates, Matches, Ranking

MEASURES = ("mAP", "precision@1", "precision@10", "hit@1", "hit@10", "hit@100")


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    capsys.readouterr()
    assert evaluate.main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("other", ["a/2.png", "z/2.png"])
def test_the_names_of_tied_photos_decide_nothing(
    other: str, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy of q/2.png in another folder is no answer: q/1.png finds the two tied, (1 + 1/2) / 2;
    q/2.png finds the copy first, 1/2, or nothing but q/1.png where copies of the query are left
    out.
    """
    photos = planted(
        tmp_path / "g", small_model, [taken("q/1.png", 1), taken("q/2.png", 2), taken(other, 2)]
    )
    asked = ["--gallery", str(photos), "--labels", "folder", "--json"]
    for more, wanted in ((["--allow-self"], 0.625), ([], 0.875)):
        assert evaluate.main([*asked, *more]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["coarse"]["mAP"] == wanted
        assert ("byte for byte, which is left out, too: 1; first gallery:q/2.png\n" in err) == (
            not more
        )


def test_what_is_left_out_leaves_the_ties_of_the_others(indexed_photos: Path) -> None:
    """24 photos, which both looks rank in reverse; the last two are tied there, and one of them is
    the answer: (1 + 1/2) / 2.
    """
    engine = families(indexed_photos / "gallery")
    places = np.arange(24)
    coarse = Candidates(places[None], places[None].astype(np.float32))
    ranking = Ranking(
        places[::-1][None].copy(),
        np.ones((1, 24), np.bool_),
        np.zeros((1, 24)),
        np.ones((1, 24)),
    )
    ties = np.maximum(places - 1, 0)
    zeros = np.zeros((1, 24), np.int32)
    ranked = Ranked(
        coarse,
        places,
        coarse,
        Matches(zeros, zeros, np.zeros((1, 24, 2, 3), np.float32)),
        ranking,
        places[::-1],
        ties,
    )
    case = Case(
        "gallery:0/a.png",
        frozenset({engine.gallery.names[23]}),
        frozenset(engine.gallery.names[:3]),
    )
    planted_engine = SimpleNamespace(
        gallery=engine.gallery, query=engine.query, rank=lambda *_: ranked
    )
    outcome = evaluate_query(planted_engine, case, 10, None)  # type: ignore[arg-type]
    assert (outcome.both[0], outcome.coarse[0], outcome.found, outcome.accepted) == (
        0.75,
        1 / 21,
        (1, 21),
        21,
    )


@pytest.fixture
def gallery(small_model: Path, tmp_path: Path) -> Path:
    """Six folders of three photos without anything in common: most first results are wrong."""
    return planted(
        tmp_path / "g",
        small_model,
        [taken(f"{c}/{i}.png", 10 * c + i) for c in range(6) for i in range(3)],
    )


def test_every_measure_has_its_interval_and_its_gain(
    gallery: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = printed(capsys, "--gallery", gallery, "--labels", "folder")
    assert result["queries"] == 18
    assert "divided by the number of a query's relevant photos" in result["mAP_is"]
    for part in (result, result["coarse"], result["gain"]):
        assert set(part["interval"]) == set(MEASURES)
        for name in MEASURES:
            low, high = part["interval"][name]
            assert low <= part[name] <= high
    assert result["coarse"]["interval"]["mAP"][0] < result["coarse"]["mAP"]
    assert [result["gain"][name] for name in MEASURES] == pytest.approx(
        [result[name] - result["coarse"][name] for name in MEASURES], abs=2e-6
    )


def test_a_line_for_every_query(
    gallery: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = printed(
        capsys, "--gallery", gallery, "--labels", "folder", "--per-query", tmp_path / "q.csv"
    )
    with (tmp_path / "q.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "query",
        "AP",
        "hit@1",
        "first_relevant",
        "coarse_AP",
        "coarse_hit@1",
        "coarse_first_relevant",
        "accepted",
    ]
    assert [row["query"] for row in rows[:2]] == ["gallery:0/0.png", "gallery:0/1.png"]
    for column, value in (
        ("AP", result["mAP"]),
        ("coarse_AP", result["coarse"]["mAP"]),
        ("hit@1", result["hit@1"]),
    ):
        assert np.mean([float(row[column]) for row in rows]) == pytest.approx(value, abs=1e-5)
    assert all((row["first_relevant"] == "1") == (row["hit@1"] == "1") for row in rows)
    assert max(int(row["coarse_first_relevant"]) for row in rows) <= 16


def test_a_row_says_all_that_is_needed(
    gallery: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, typed = (
        tmp_path / "results.json",
        ["--gallery", str(gallery), "--labels", "folder", "--seed", "3"],
    )
    result = printed(capsys, *typed, "--out", out, "--label", "a label")
    (row,) = json.loads(out.read_text())["rows"]
    assert (row["recipe"], row["label"], row["seed"], row["queries"]) == (
        "two_stage",
        "a label",
        3,
        18,
    )
    assert (
        row["command"]
        == f"python scripts/evaluate.py {' '.join(typed)} --out {out} --label 'a label' --json"
    )
    assert row["model"]["name"] == "small"
    assert len(row["model"]["identity"]) == len(row["data"]["sha256"]) == 64
    for name in MEASURES:
        assert [row[name + end] for end in ("", "_low", "_high")] == [
            result[name],
            *result["interval"][name],
        ]
        assert [row[f"coarse_{name}{end}"] for end in ("", "_low")] == [
            result["coarse"][name],
            result["coarse"]["interval"][name][0],
        ]
        assert [row[f"{name}_gain{end}"] for end in ("", "_high")] == [
            result["gain"][name],
            result["gain"]["interval"][name][1],
        ]


def test_a_table_names_what_it_measures(gallery: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--gallery", str(gallery), "--labels", "folder"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == [*MEASURES, "mAP:"]
    assert all(line.count("[") == 3 for line in lines[2:-1])


def test_the_sheet_shows_what_came_first_and_what_should_have(
    small_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of the planted photos no file is there: all tiles are grey, and the sheet is drawn all the
    same.
    """
    seen: list[Failure] = []
    monkeypatch.setattr(
        "pipeline.report.failures.draw",
        lambda failures, title: seen.extend(failures) or draw(failures, title),
    )
    photos = planted(
        tmp_path / "g", small_model, [taken("q/1.png", 1), taken("q/2.png", 2), taken("a/2.png", 2)]
    )
    printed(
        capsys,
        "--gallery",
        photos,
        "--labels",
        "folder",
        "--allow-self",
        "--failures",
        tmp_path / "f.png",
    )
    (failure,) = [one for one in seen if one.tiles[0].photo == Path("/photos/q/2.png")]
    assert failure.precision == 0.5
    assert [(tile.photo.as_posix(), tile.right) for tile in failure.tiles] == [
        ("/photos/q/2.png", None),
        ("/photos/a/2.png", False),
        ("/photos/q/1.png", True),
        ("/photos/q/1.png", True),
    ]
    assert failure.tiles[1].caption.startswith("1. 2.png\n")
    assert failure.tiles[1].caption.endswith("inliers, accepted")
    assert failure.tiles[3].caption.startswith("2. 1.png\n")
    with Pillow.open(tmp_path / "f.png") as png:
        assert png.size[0] > 600


def test_the_worst_come_first_and_no_more_than_fit(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", picture(0, 400, 300))
    assert np.asarray(thumbnail(Tile(tmp_path / "a.png", "", None))).shape == (168, 224, 3)
    assert np.asarray(thumbnail(Tile(tmp_path / "a.png", "", None, (0, 0, 50, 100)))).shape == (
        100,
        50,
        3,
    )
    (tmp_path / "b.png").write_bytes(b"no photo")
    assert thumbnail(Tile(tmp_path / "b.png", "", None)) is None
    tiles = (
        Tile(tmp_path / "a.png", "query", None),
        Tile(tmp_path / "b.png", "1. b", False),
        Tile(tmp_path / "gone.png", "2. gone", True),
    )
    sizes = []
    for count in (0, 1, 12, 30):
        (tmp_path / "sheet.png").write_bytes(draw([Failure(0.1, tiles)] * count, "title"))
        with Pillow.open(tmp_path / "sheet.png") as png:
            sizes.append(png.size[1])
    assert sizes[0] == sizes[1] < sizes[2] == sizes[3]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("a/b.png", "b.png"), ("x/caf\udce9.png", r"caf\xe9.png"), ("$x$", r"\$x\$")],
)
def test_names_are_safe_to_draw(name: str, wanted: str) -> None:
    assert short(name) == wanted
    assert len(short("a" * 90 + ".png")) == 24


@pytest.mark.parametrize("flag", ["--out", "--per-query", "--failures"])
def test_a_place_that_cannot_be_written_stops_before_the_work(
    flag: str, gallery: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        evaluate.main(
            ["--gallery", str(gallery), "--labels", "folder", flag, str(tmp_path / "none" / "x")]
        )
        == 2
    )
    assert (
        f"{flag} {tmp_path}/none/x: expected a file in an existing folder, got none; run `mkdir -p"
        in complaint(capsys)
    )
