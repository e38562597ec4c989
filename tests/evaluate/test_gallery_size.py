"""Parts of a gallery, ranked from the counts of the whole one, against galleries that hold no other
photos.
"""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from planted_engine import Watched, altered, families
from planted_features import planted_pair, unrelated
from planted_gallery import planted, taken

from pipeline.base.classes import read_labels
from pipeline.evaluate.ground_truth import Case, label_cases
from pipeline.evaluate.quality import evaluate_query
from pipeline.evaluate.studies import gallery_size
from pipeline.evaluate.studies.gallery_size import Part, evaluate_drawn, rank_part
from pipeline.search.engine import Engine
from stages.gallery import Gallery


@pytest.fixture(scope="module")
def engine(indexed_photos: Path) -> Engine:
    return families(indexed_photos / "gallery")


@pytest.mark.parametrize("looked", [3, 4000])
def test_a_part_is_ranked_as_a_gallery_of_its_photos_alone(engine: Engine, looked: int) -> None:
    rng, gallery = np.random.default_rng(5), engine.gallery
    query = engine.query("gallery:0/a.png")
    coarse = engine.coarse(query, 24)
    matches, _ = engine.refine(query, coarse)
    for _ in range(10):
        rows = np.sort(rng.choice(np.arange(1, 24), 9, replace=False))
        names = [gallery.names[row] for row in rows]
        answers = frozenset({names[0], names[4], *({"0/b.png"} & set(names))})
        alone = replace(
            engine,
            gallery=Gallery.from_arrays(
                names, gallery.codes[rows], gallery.features.part(rows), gallery.null
            ),
        )
        alone = replace(alone, asking=engine)
        wanted = evaluate_query(alone, Case("queries:0/a.png", answers), 10, str(looked))
        places = np.flatnonzero(np.isin(coarse.rows[0], rows))
        relevant = np.array([gallery.names[row] in answers for row in coarse.rows[0]])
        both, first, accepted = rank_part(engine, query, coarse, matches, places, relevant, looked)
        assert (both, first, accepted) == (wanted.both, wanted.coarse, wanted.accepted)


def test_parts_keep_the_share_of_matches_and_hold_smaller_ones() -> None:
    rng = np.random.default_rng(0)
    orders = rng.permutation(20), rng.permutation(np.arange(20, 100))
    sizes = [Part("size", size).of(*orders) for size in (3, 10, 50, 100, 999)]
    assert [(len(places), int((places < 20).sum())) for places in sizes if places is not None] == [
        (3, 1),
        (10, 2),
        (50, 10),
        (100, 20),
        (100, 20),
    ]
    assert all(set(small) <= set(large) for small, large in itertools.pairwise(sizes))
    assert all((np.diff(places) > 0).all() for places in sizes)  # the first look's order stays
    for matches in (1, 7, 20):
        places = Part("matches", 50, matches).of(*orders)
        assert (len(places), int((places < 20).sum())) == (50, matches)
    assert Part("matches", 50, 21).of(*orders) is None  # it has not so many matches
    assert Part("matches", 99, 5).of(*orders) is None  # nor so many others
    assert Part("matches", 5, 6).of(*orders) is None


def test_each_pair_is_verified_once_however_many_parts(engine: Engine) -> None:
    seen: list[int] = []
    watched = altered(engine, matches=lambda stage: Watched(stage, seen.extend))
    parts = [Part("size", 5), Part("size", 20), Part("matches", 10, 1)]
    outcomes = evaluate_drawn(
        watched,
        label_cases(read_labels(engine.gallery.names, "folder", ""))[0],
        parts,
        4000,
        4,
        (0, 0),
    )
    assert sorted(seen) == list(range(24))
    assert [outcome and (outcome.photos, outcome.matches) for outcome in outcomes] == [
        (5, 1),
        (20, 2),
        (10, 1),
    ]


def test_the_whole_gallery_is_what_evaluate_says(engine: Engine) -> None:
    case = label_cases(read_labels(engine.gallery.names, "folder", ""))[3]
    (whole,) = evaluate_drawn(engine, case, [Part("size", 23)], 4000, 2, (0, 0))
    wanted = evaluate_query(engine, case, 10, "4000")
    assert whole is not None
    assert (tuple(whole.both), tuple(whole.coarse), whole.accepted) == (
        wanted.both,
        wanted.coarse,
        wanted.accepted,
    )


@pytest.fixture
def gallery(small_model: Path, tmp_path: Path) -> list[str]:
    """A command over six folders of four photos, two of which show the same."""
    photos = []
    for c in range(6):
        rng = np.random.default_rng(c)
        one, two, _ = planted_pair(rng, count=60)
        photos += [
            taken(f"{c}/{i}.png", 10 * c + i, local)
            for i, local in enumerate((one, two, unrelated(rng, 60), unrelated(rng, 60)))
        ]
    planted(tmp_path / "g", small_model, photos)
    return ["--gallery", str(tmp_path / "g"), "--labels", "folder", "--out", str(tmp_path / "out")]


def test_a_run_writes_its_rows_and_its_picture(
    gallery: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [
        *gallery,
        "--sizes",
        "6",
        "12",
        "500",
        "--matches",
        "1",
        "3",
        "9",
        "--at",
        "10",
        "--sample",
        "8",
        "--draws",
        "3",
        "--json",
    ]
    assert gallery_size.main(wanted) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((tmp_path / "out" / "gallery_size.json").read_text())
    assert [(row["curve"], row["photos"], row["queries"]) for row in result["rows"]] == [
        ("size", 6, 8), ("size", 12, 8), ("size", 23, 8), ("matches", 10, 8), ("matches", 10, 8),
    ]  # fmt: skip
    assert [row["matches"] for row in result["rows"]] == [1, 2, 3, 1, 3]  # no query has nine
    assert {"mAP", "mAP_low", "coarse_hit@1", "precision@10_gain_high", "accepted"} <= set(
        result["rows"][0]
    )
    assert (result["null"], result["draws"], result["data"]["labels"]) == (
        "a fixed count",
        3,
        "folder, leave-one-out",
    )
    assert result["rows"][2]["hit@1_gain"] > 0  # a twin is found by both looks alone
    with Pillow.open(tmp_path / "out" / "gallery_size.png") as png:
        assert min(png.size) > 600
    assert gallery_size.main(wanted[:-1]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + 5


def test_recipes_differ_in_candidates_and_seeds_in_the_sample(
    gallery: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for more in ([], ["--recipe", "seed004", "-k", "2"], ["--seed", "1"]):
        assert gallery_size.main([*gallery, "--sizes", "12", "--sample", "8", "--json", *more]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert [result["candidates"] for result in found] == [4000, 8, 4000]
    assert found[0]["rows"] != found[2]["rows"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "--sizes, --matches: expected at least one, got neither"),
        (
            ("--matches", "9", "--at", "10"),
            "--matches 9 --at 10: expected a query with so many matches and others, got none",
        ),
    ],
)
def test_what_cannot_be_drawn_is_a_mistake(
    more: tuple[str, ...], said: str, gallery: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert gallery_size.main([*gallery, *more]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
