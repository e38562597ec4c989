"""The experiment on the choice of features finds what is planted: a rule that picks what both
photos share, and one that does not.
"""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import picture, write_picture
from planted_features import planted_pair, unrelated
from planted_fine import SAME, planted_network
from small import complaint

from pipeline.evaluate.ground_truth import Case
from pipeline.evaluate.studies import attention
from pipeline.evaluate.studies.attention import Cells, choose, describe_all, measure
from pipeline.model.weights import open_model, write_model
from pipeline.recipes import attentive_of
from stages.fine import DescribeFine
from stages.records import Image, LocalFeatures


def rated(features: LocalFeatures, shared: np.ndarray) -> Cells:
    """By the rule "good" what is shared comes first, by "bad" last."""
    good = np.zeros(len(features), np.float32)
    good[shared] = 1
    return Cells(features.xy, features.descriptor, {"good": good, "bad": -good}, features.size)


def test_a_rule_is_measured_by_what_it_picks() -> None:
    rng, photos, queries, cases = np.random.default_rng(0), {}, [], []
    for i in range(6):
        query, photo, pairs = planted_pair(rng, count=200, share=0.4)
        queries.append(rated(query, pairs[:, 0]))
        photos[f"{i}.png"] = rated(photo, pairs[:, 1])
        cases.append(Case(f"q{i}.png", frozenset({f"{i}.png"})))
        other = unrelated(rng, 200)
        photos[f"{i}_other.png"] = rated(other, np.arange(100))
    good, bad = (measure(photos, queries, cases, rule, 80, 0, 1) for rule in ("good", "bad"))
    assert (good["queries"], good["photos"], good["keep"]) == (6, 12, 80)
    assert (good["hit@1"], good["hit@1_low"], good["hit@1_high"]) == (1, 1, 1)
    assert good["true_inliers"] > 70
    assert good["best_false_inliers"] < 15
    assert bad["true_inliers"] < 15
    assert bad["hit@1"] < 0.7


def test_equal_inliers_go_to_the_first_path() -> None:
    rng = np.random.default_rng(0)
    query, photo, pairs = planted_pair(rng, count=60)
    photos = {name: rated(photo, pairs[:, 1]) for name in ("a.png", "b.png")}
    hits = [
        measure(
            photos,
            [rated(query, pairs[:, 0])],
            [Case("q.png", frozenset({name}))],
            "good",
            60,
            0,
            1,
        )["hit@1"]
        for name in photos
    ]
    assert hits == [1, 0]


def test_a_choice_is_the_models_own(tiny_model: Path) -> None:
    """By the length of a feature the tiny model, which has no attention, picks the features of the
    recipe.
    """
    describe, image = attentive_of(open_model(tiny_model), "cpu"), Image(picture(0))
    cells = describe_all(describe, image, [0, 1])
    assert list(cells.scores) == ["feature norm", "random, seed 0", "random, seed 1"]
    wanted, chosen = replace(describe, keep=33)(image), choose(cells, "feature norm", 33)
    for name in ("xy", "descriptor", "score"):
        np.testing.assert_array_equal(getattr(chosen, name), getattr(wanted, name))
    first, second = (choose(cells, f"random, seed {seed}", 33).xy for seed in (0, 1))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(
        first, choose(describe_all(describe, image, [0]), "random, seed 0", 33).xy
    )


def test_a_choice_of_fine_features_is_the_models_own() -> None:
    describe, image = DescribeFine(planted_network(), SAME, side=160), Image(picture(0))
    cells = describe_all(describe, image, [0])
    assert list(cells.scores) == ["attention", "likelihood", "random, seed 0"]
    wanted, chosen = replace(describe, keep=33)(image), choose(cells, "attention", 33)
    for name in ("xy", "descriptor", "score"):
        np.testing.assert_array_equal(getattr(chosen, name), getattr(wanted, name))


@pytest.fixture
def data(tiny_model: Path, tmp_path: Path) -> Path:
    """A model with attention, four photos, and two queries among them that are copies of two."""
    model, rng = open_model(tiny_model), np.random.default_rng(0)
    head = {
        "hidden": rng.normal(size=(8, 256)),
        "hidden_bias": np.zeros(8),
        "out": rng.normal(size=8),
        "out_bias": np.zeros(1),
    }
    arrays = {
        **model.arrays,
        **{f"attention.{name}": array.astype(np.float32) for name, array in head.items()},
    }
    write_model(tmp_path / "model", arrays, model.settings, {"accept": {"inliers": 12}}, "make")
    for seed in range(4):
        write_picture(tmp_path / f"data/photos/{seed}.png", picture(seed))
    for seed in range(2):
        write_picture(tmp_path / f"data/queries/{seed}.png", picture(seed))
    with (tmp_path / "data/truth.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["query", "relevant"], *([f"queries/{i}.png", f"photos/{i}.png"] for i in range(2))]
        )
    return tmp_path / "data"


def test_the_command_measures_every_rule_and_count(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "--model",
        str(tmp_path / "model"),
        "--photos",
        str(data),
        "--truth",
        str(data / "truth.csv"),
        "--jobs",
        "1",
    ]
    command += ["--keep", "40", "90", "--seeds", "2", "--out", str(tmp_path / "r.json")]
    assert attention.main([*command, "--json"]) == 0
    printed, result = (
        json.loads(capsys.readouterr().out),
        json.loads((tmp_path / "r.json").read_text()),
    )
    assert printed["rows"] == result["rows"]
    assert result.keys() == {"command", "data", "model", "seed", "rows"}
    assert result["command"].startswith("python scripts/study.py attention --model ")
    assert [(row["keep"], row["selection"]) for row in result["rows"]] == [
        (keep, rule)
        for keep in (40, 90)
        for rule in ("attention", "feature norm", "random, seed 0", "random, seed 1")
    ]
    for row in result["rows"]:
        # the queries are no photos: they would be answers before their copies
        assert (row["queries"], row["photos"], row["hit@1"]) == (2, 4, 1)
        assert row["true_inliers"] > 0.5 * row["keep"] > row["best_false_inliers"]
    assert attention.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 8
    assert lines[0].startswith("2 queries, 4 photos, second look alone")


def test_what_cannot_be_measured_is_said_in_one_line(
    data: Path, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(
        model: Path = tiny_model, photos: Path = data, out: Path = tmp_path / "r.json"
    ) -> str:
        given = [
            "--model",
            model,
            "--photos",
            photos,
            "--truth",
            data / "truth.csv",
            "--jobs",
            "1",
            "--out",
            out,
        ]
        assert attention.main([*map(str, given)]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    assert "expected a folder of photos, got none" in refused(photos=tmp_path / "none")
    assert "expected a file in an existing folder" in refused(out=tmp_path / "none/r.json")
    assert "expected an indexed photo, got photos/0.png" in refused(photos=data / "photos")
    sift = open_model(tiny_model)
    write_model(
        tmp_path / "sift",
        sift.arrays,
        replace(sift.settings, features="rootsift"),
        {"accept": {"inliers": 12}},
        "make",
    )
    assert "model sift: expected one with learned local features, got RootSIFT" in refused(
        model=tmp_path / "sift"
    )
    (data / "photos/3.png").write_bytes(b"no photo")
    assert "3.png: expected a photo (JPEG" in refused()
    assert not (tmp_path / "r.json").exists()
    capsys.readouterr()
    assert (
        attention.main(
            ["--photos", str(data), "--truth", str(data / "truth.csv"), "--model", "nobody"]
        )
        == 2
    )
    assert complaint(capsys).startswith("attention: model nobody: expected a folder")
