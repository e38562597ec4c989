"""Several photos of one thing as one query, and folders of photos: what any of them finds is found,
at the rate of one.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import picture, write_picture
from planted_dots import Describe, dotted, engine
from small import NAMES, OPTIONS, answers, complaint

import pipeline
from pipeline import run
from pipeline.base.errors import UsageError
from pipeline.search.engine import Engine
from pipeline.search.query import Query
from pipeline.search.together import answer_together
from stages.records import Image


def asking(looking: Engine, *seeds: int) -> list[Query]:
    return [looking.encode(f"{seed}.jpg", Image(dotted(seed))) for seed in seeds]


def test_what_any_photo_finds_comes_first_and_says_which_found_it() -> None:
    looking = engine(Describe())
    nobody, two, five = asking(looking, 77, 2, 5)
    answer = answer_together(looking, [nobody, five, two], 6)
    assert answer.accepted == 2
    found = {each.image: (each.accepted, each.asked_by) for each in answer.results[:2]}
    assert found == {"5.png": (True, 2), "2.png": (True, 3)}
    assert all(each.affine is not None and each.inliers == 60 for each in answer.results[:2])
    # all photos have one code: those that were not accepted stand in the order of the first look
    assert [each.image for each in answer.results[2:]] == ["1.png", "0.png", "3.png", "4.png"]
    assert [each.rank for each in answer.results] == [1, 2, 3, 4, 5, 6]
    assert len({each.image for each in answer.results}) == 6
    assert answer.query == "77.jpg + 5.jpg + 2.jpg"
    assert answer.together == [{"query": f"{each}.jpg", "box": None} for each in (77, 5, 2)]
    assert (answer.fell_back, answer.candidates) == (True, 6)
    assert json.loads(json.dumps(answer.to_json())) == answer.to_json()


def test_one_photo_together_answers_as_it_does_alone_and_a_copy_changes_nothing() -> None:
    looking = engine(Describe())
    (two,) = asking(looking, 2)
    alone = looking.answer(two, 6)
    for photos in ([two], [two, two]):
        joined = answer_together(looking, photos, 6)
        assert [each.image for each in joined.results] == [each.image for each in alone.results]
        assert joined.results[0].asked_by == 1


def test_the_photos_share_the_rate() -> None:
    looking = engine(Describe())
    alarms = [
        answer_together(looking, asking(looking, *[2] * count), 6).results[0].false_alarms
        for count in (1, 2, 4)
    ]
    np.testing.assert_allclose(np.array(alarms[1:]) / alarms[0], [2, 4], rtol=1e-4)


def test_the_others_stand_by_the_best_place_that_one_photo_gives_them() -> None:
    looking = engine(Describe())
    near = np.array([5, 5], np.float32)
    first, second = (replace(each, features=replace(each.features, xy=each.features.xy[:0],
        descriptor=each.features.descriptor[:0], score=each.features.score[:0]))
        for each in asking(looking, 70, 71))  # fmt: skip
    second = replace(second, code=near)
    joined = answer_together(looking, [first, second], 4)
    assert [each.image for each in joined.results] == ["1.png", "5.png", "0.png", "4.png"]
    assert [each.coarse_rank for each in joined.results] == [1, 1, 2, 2]
    assert [each.asked_by for each in joined.results] == [1, 2, 1, 2]


def test_the_library_takes_a_list(indexed_photos: Path) -> None:
    folder = indexed_photos / "photos"
    with pipeline.open_gallery(indexed_photos / "gallery", OPTIONS) as gallery:
        pixels = picture(1, 61, 40)
        joined = gallery.search(
            [folder / "a.png", pixels], k=2, box=[None, (0, 0, 61, 40)], budget_ms=1e6
        )
        assert {each.image for each in joined.results} == {"a.png", "b.png"}
        assert joined.together is not None
        assert [each["box"] for each in joined.together] == [None, [0, 0, 61, 40]]
        assert joined.query == f"{folder / 'a.png'} + query"
        for photos, boxes in (([], None), ([pixels], [None, None])):
            with pytest.raises(UsageError, match="photos: expected at least one, and as many box"):
                gallery.search(photos, box=boxes)


def test_a_folder_asks_with_all_its_photos(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery = Path("gallery")
    write_picture(here / "photos/.hidden/no.png", picture(9))
    told = answers(capsys, gallery, "photos", "-k", 1)
    names = sorted(NAMES, key=os.fsencode)
    assert [each["query"] for each in told] == [f"photos/{name}" for name in names]
    assert [each["results"][0]["image"] for each in told] == names
    (joined,) = answers(capsys, gallery, "photos/d", "photos/b.png", "--together", "-k", 2)
    assert joined["query"] == "photos/d/e/f.png + photos/b.png"
    assert {each["image"]: each["asked_by"] for each in joined["results"]} == {
        "d/e/f.png": 1,
        "b.png": 2,
    }
    (here / "photos/d/bad.jpg").write_bytes(b"none")
    args = ["photos/d", "--gallery", "gallery", "--together", "--report", "r.html"]
    assert run.main(args) == 3
    out, err = capsys.readouterr()
    assert "* d/e/f.png (by photos/d/e/f.png)\n" in out
    assert err.startswith("run: photos/d/bad.jpg: expected a photo (JPEG")
    assert Path("r.html").read_text("utf-8").count("<section") == 1
    Path("empty").mkdir()
    for more, said in (
        (["empty"], "run: empty: expected photos in the folder, got none"),
        (["photos", "--box", "0,0,9,9"], "run: --box: expected it with photos, got the folder pho"),
    ):
        assert run.main([*more, "--gallery", "gallery"]) == 2
        assert complaint(capsys).startswith(said)


def test_paths_are_absolute_on_request_and_what_is_gone_is_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["gallery:b.png", "photos/b.png", "--absolute", "-k", 2]
    photo = str(here / "photos/b.png")
    for told in answers(capsys, Path("gallery"), *args):
        assert (told["query"], told["results"][0]["image"]) == (photo, photo)
    (joined,) = answers(capsys, Path("gallery"), *args, "--together")
    assert [each["query"] for each in joined["together"]] == [photo, photo]
    (here / "photos").rename(here / "elsewhere")
    assert run.main(["gallery:b.png", "--absolute", "--gallery", "gallery", "-k", "1"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].endswith(f"* {photo}")
    assert err == f"1 of the photos shown are not where they were indexed, such as {photo}\n"
