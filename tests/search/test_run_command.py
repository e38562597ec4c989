"""Answers as the command line gives them: a whole ranking with its evidence, the same every time,
and the planted map found again.
"""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pictures import picture, write_picture
from small import NAMES, answers, complaint, counted, indexed, shrink

from pipeline import index, run

KEYS = [
    "query",
    "recipe",
    "k",
    "candidates",
    "accepted",
    "false_alarm",
    "null",
    "fell_back",
    "results",
    "seconds",
    "shortlist",
    "box",
    "features",
    "bits",
    "together",
    "radius",
]
RESULT_KEYS = [
    "rank",
    "image",
    "coarse_rank",
    "distance",
    "matches",
    "inliers",
    "affine",
    "false_alarms",
    "accepted",
    "code_distance",
    "hamming",
    "parts_rank",
    "found_by",
    "through",
    "turned",
    "mirrored",
    "query_turned",
    "asked_by",
]
INDEXED = [f"gallery:{name}" for name in NAMES]


@pytest.fixture(scope="module")
def gallery(indexed_photos: Path) -> Path:
    return indexed_photos / "gallery"


def images(answer: dict[str, Any]) -> list[str]:
    return [result["image"] for result in answer["results"]]


def test_the_json_is_as_promised(
    indexed_photos: Path, gallery: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = indexed_photos / "photos/a.png"
    assert (
        run.main([str(query), "gallery:b.png", "--gallery", str(gallery), "--json", "-k", "4"]) == 0
    )
    out, err = capsys.readouterr()
    assert err == ""
    seen, taken = (json.loads(line) for line in out.splitlines())
    assert [list(seen), list(taken)] == [KEYS, KEYS]
    assert [seen["query"], taken["query"]] == [str(query), "gallery:b.png"]
    assert (seen["recipe"], seen["k"], seen["candidates"]) == ("two_stage", 4, 6)
    # this model accepts at a fixed count; tests/search/test_acceptance.py has the others
    assert (seen["false_alarm"], seen["null"]) == (None, None)
    assert (seen["shortlist"], taken["shortlist"]) == ("global", "global")
    assert {"embed", "describe", "search", "verify", "rank"} <= seen["seconds"].keys()
    # what was indexed is not looked at again
    assert set(taken["seconds"]) == {"search", "shortlist", "verify", "rank"}
    for answer in (seen, taken):
        assert all(isinstance(spent, float) and spent >= 0 for spent in answer["seconds"].values())
        assert [result["rank"] for result in answer["results"]] == [1, 2, 3, 4]
        for result in answer["results"]:
            assert list(result) == RESULT_KEYS
            assert [
                type(result[key])
                for key in RESULT_KEYS
                if key
                not in (
                    "affine",
                    "false_alarms",
                    "code_distance",
                    "hamming",
                    "parts_rank",
                    "through",
                    "turned",
                    "asked_by",
                )
            ] == [
                int,
                str,
                int,
                float,
                int,
                int,
                bool,
                str,
                bool,
                int,
            ]
            assert (result["mirrored"], result["query_turned"]) == (False, 0)
            assert (result["turned"] is None) == (result["affine"] is None)
            # a model without a codebook has no votes
            assert (result["parts_rank"], result["found_by"]) == (None, "global")
            assert (result["false_alarms"], result["code_distance"]) == (None, None)
            assert result["hamming"] is None
            assert result["affine"] is None or np.array(result["affine"]).shape == (2, 3)
            assert (result["affine"] is None) == (result["inliers"] == 0)
            assert result["inliers"] <= result["matches"]


@pytest.mark.parametrize("recipe", ["two_stage", "seed004"])
def test_accepted_by_evidence_then_the_first_looks_order(
    here: Path, capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    shutil.copy("photos/b.png", "photos/twin.png")
    half = picture(1, 61, 40)
    half[:, 30:] = picture(99, 61, 40)[:, 30:]
    write_picture(Path("photos/half.png"), half)
    counted(capsys)
    least = {"two_stage": 14, "seed004": 21}[recipe]
    found = answers(
        capsys, Path("gallery"), *INDEXED, "-k", 99, "--candidates", 99, "--recipe", recipe
    )
    for answer in found:
        results = answer["results"]
        assert answer["candidates"] == len(results) == 8
        assert sorted(images(answer)) == sorted([*NAMES, "twin.png", "half.png"])
        assert sorted(result["coarse_rank"] for result in results) == list(range(1, 9))
        by_coarse = sorted(results, key=lambda result: result["coarse_rank"])
        assert [r["distance"] for r in by_coarse] == sorted(r["distance"] for r in results)
        assert all(result["accepted"] == (result["inliers"] >= least) for result in results)
        assert results == sorted(by_coarse, key=lambda r: -r["inliers"] if r["accepted"] else 0)
        assert answer["accepted"] == sum(result["accepted"] for result in results) >= 1
        assert answer["fell_back"] is (answer["accepted"] < 8)
    assert recipe == "seed004" or {
        r["accepted"] for answer in found for r in answer["results"]
    } == {True, False}
    twins = found[1]  # the query b.png
    assert images(twins)[:2] == ["b.png", "twin.png"]  # alike in everything: by path
    assert [result["distance"] for result in twins["results"][:2]] == [0, 0]
    assert twins["results"][0]["affine"] == [[1, 0, 0], [0, 1, 0]]


LOOKED = [
    ("2", 10, 2),
    ("1", 1, 1),
    ("2x", 2, 4),
    ("1x", 3, 3),
    ("5", 2, 5),
    ("4000", 1, 6),
    ("9x", 9, 6),
]


@pytest.mark.parametrize(("candidates", "k", "looked"), LOOKED)
def test_behind_the_candidates_follows_the_rest(
    gallery: Path, capsys: pytest.CaptureFixture[str], candidates: str, k: int, looked: int
) -> None:
    everything = answers(capsys, gallery, "gallery:b.png", "-k", 6)[0]
    coarse = [
        result["image"]
        for result in sorted(everything["results"], key=lambda result: result["coarse_rank"])
    ]
    found = answers(capsys, gallery, "gallery:b.png", "-k", k, "--candidates", candidates)[0]
    assert (found["k"], found["candidates"], len(found["results"])) == (k, looked, min(k, 6))
    assert set(images(found)[:looked]) <= set(coarse[:looked])
    assert images(found)[looked:] == coarse[looked:k]
    for place, result in enumerate(found["results"][looked:], looked + 1):
        nothing = {
            "rank": place,
            "coarse_rank": place,
            "matches": 0,
            "inliers": 0,
            "affine": None,
            "accepted": False,
        }
        assert {key: result[key] for key in nothing} == nothing
    evidence = {
        r["image"]: (r["matches"], r["inliers"], r["affine"]) for r in everything["results"]
    }
    for result in found["results"][:looked]:  # a pair's score depends on the pair alone
        assert (result["matches"], result["inliers"], result["affine"]) == evidence[result["image"]]


def test_each_recipe_takes_its_own_number_of_candidates(
    gallery: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answers(capsys, gallery, "gallery:a.png", "-k", 1)[0]["candidates"] == 6  # 4,000, capped
    # 4 x k
    assert (
        answers(capsys, gallery, "gallery:a.png", "-k", 1, "--recipe", "seed004")[0]["candidates"]
        == 4
    )


def test_accepted_and_fell_back_when_the_gallery_is_deeper_than_the_answer(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(3):
        shutil.copy("photos/b.png", f"photos/b{i}.png")
    counted(capsys)
    found = answers(capsys, Path("gallery"), "gallery:b.png", "-k", 2)[0]
    assert (found["accepted"], found["fell_back"], images(found)) == (4, False, ["b.png", "b0.png"])
    assert (
        answers(capsys, Path("gallery"), "gallery:b.png", "-k", 2, "--candidates", 1)[0][
            "fell_back"
        ]
        is True
    )


@pytest.mark.parametrize("code", ["pca", "embedding", "logits"])
def test_a_photo_finds_itself_by_file_as_by_name(
    indexed_photos: Path, gallery: Path, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    queries = [str(indexed_photos / "photos" / name) for name in NAMES]
    by_file = answers(capsys, gallery, *queries, "--code", code)
    by_name = answers(capsys, gallery, *INDEXED, "--code", code)
    for name, file, indexed_one in zip(NAMES, by_file, by_name, strict=True):
        first = file["results"][0]
        assert (first["image"], first["coarse_rank"], first["distance"], first["accepted"]) == (
            name,
            1,
            0,
            True,
        )
        assert {**file, "query": ""} == {**indexed_one, "query": ""}


def test_codes_are_different_looks(gallery: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distances = {
        code: tuple(
            result["distance"]
            for result in answers(capsys, gallery, "gallery:a.png", "--code", code)[0]["results"]
        )
        for code in ("pca", "embedding", "logits")
    }
    assert len(set(distances.values())) == 3


def test_the_same_query_in_two_processes(
    indexed_photos: Path, gallery: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(indexed_photos / "photos/d/e/f.png"), *INDEXED, "-k", "5"]
    command = [
        sys.executable,
        "-m",
        "pipeline.run",
        *arguments,
        "--gallery",
        str(gallery),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    there = [
        {key: value for key, value in json.loads(line).items() if key != "seconds"}
        for line in done.stdout.splitlines()
    ]
    assert json.dumps(there) == json.dumps(answers(capsys, gallery, *arguments))


def test_an_answer_does_not_depend_on_its_neighbours(
    indexed_photos: Path, gallery: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queries = [*INDEXED, str(indexed_photos / "photos/a.png")]
    together = answers(capsys, gallery, *queries)
    assert answers(capsys, gallery, *reversed(queries)) == together[::-1]
    assert answers(capsys, gallery, queries[3]) + answers(capsys, gallery, queries[-1]) == [
        together[3],
        together[-1],
    ]


def test_the_planted_map_is_found(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part of a photo, turned, finds the photo and where in it it lies, though the network was
    never trained.
    """
    model = shrink(tiny_model, tmp_path / "model", least=40, describe_side=320, keep=400)
    width, height = 320, 224
    for seed in range(4):
        write_picture(tmp_path / f"photos/{seed}.png", picture(seed, width, height))
    assert indexed(tmp_path / "photos", tmp_path / "gallery", "--model", model) == 0
    for n, (degrees, x, y, part) in enumerate([(8, 20, -15, 1.0), (5, 40, 10, 0.707)]):
        w, h = int(width * part), int(height * part)
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        planted = np.array([[cos, -sin, x], [sin, cos, y]])  # query px -> photo px
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        write_picture(
            tmp_path / f"{n}.png",
            cv2.warpAffine(
                picture(2, width, height),
                planted,
                (w, h),
                flags=flags,
                borderMode=cv2.BORDER_REPLICATE,
            ),
        )
        answer = answers(capsys, tmp_path / "gallery", tmp_path / f"{n}.png")[0]
        first = answer["results"][0]
        assert (first["image"], first["accepted"], answer["accepted"], answer["fell_back"]) == (
            "2.png",
            True,
            1,
            True,
        )
        corners = np.array([[0, 0, 1], [w - 1, 0, 1], [w - 1, h - 1, 1], [0, h - 1, 1]]).T
        # px; a cell of the map is 16
        assert np.abs((np.array(first["affine"]) - planted) @ corners).max() < 7, n


def test_an_empty_gallery_answers_with_nothing(
    here: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("none").mkdir()
    assert indexed(Path("none"), Path("empty"), "--model", small_model) == 0
    for code in ("pca", "logits"):
        answer = answers(capsys, Path("empty"), "photos/a.png", "--code", code)[0]
        assert (
            answer["candidates"],
            answer["accepted"],
            answer["fell_back"],
            answer["results"],
        ) == (0, 0, False, [])
    assert run.main(["photos/a.png", "--gallery", "empty", "--report", "r.html"]) == 0
    assert "holds no photo" in Path("r.html").read_text()


def test_the_gallery_comes_from_the_environment_or_lies_here(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIPELINE_GALLERY", raising=False)
    assert run.main(["gallery:a.png", "--json"]) == 0
    monkeypatch.setenv("PIPELINE_GALLERY", "elsewhere")
    assert run.main(["gallery:a.png", "--json"]) == 2
    Path("gallery").rename("elsewhere")
    assert run.main(["gallery:a.png", "--json"]) == 0


def test_the_table_shows_every_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for query in ("gallery:caf\udce9/c.png", "photos/caf\udce9/c.png"):
        assert run.main([query, "--gallery", "gallery", "-k", "6"]) == 0
        out = capsys.readouterr().out
        lines = out.splitlines()
        assert len(lines) == 8
        assert "6 candidates verified" in lines[0]
        assert lines[2].split()[:2] == ["1", "1"]
        assert lines[2].endswith("* caf\\xe9/c.png")
        out.encode()


@pytest.mark.parametrize("gone", [(), ("b.png",), ("a.png",), tuple(NAMES)])
def test_a_report_is_drawn_even_of_photos_that_are_gone(
    here: Path, capsys: pytest.CaptureFixture[str], gone: Sequence[str]
) -> None:
    shutil.copy("photos/a.png", "query.png")
    plain = answers(capsys, Path("gallery"), "gallery:a.png", "query.png")
    for name in gone:
        Path("photos", name).unlink()
    assert (
        answers(capsys, Path("gallery"), "gallery:a.png", "query.png", "--report", "out.html")
        == plain
    )
    html = Path("out.html").read_text("utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert html.count('<li class="hit') == 12
    assert html.count("photo not found") == 2 * len(gone)


def test_a_command_that_mends_a_gallery_is_told_and_mends(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = answers(capsys, Path("gallery"), *INDEXED)
    shard = next(Path("gallery/shards").iterdir())
    data = shard.read_bytes()
    shard.write_bytes(
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]
    )
    assert run.main(["gallery:a.png", "--gallery", "gallery"]) == 2
    told = complaint(capsys)
    assert str(shard) in told
    python, flag, module, *arguments = shlex.split(told.split("`")[1])
    assert (python, flag, module) == ("python", "-m", "pipeline.index")
    assert index.main(arguments) == 0
    assert answers(capsys, Path("gallery"), *INDEXED) == before
