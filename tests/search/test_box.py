"""A part of a photo as query: what is found is told in px of the whole photo, and drawn there."""

import json
from pathlib import Path

import numpy as np
import pytest
from pictures import picture, write_picture
from planted_dots import HEIGHT, SIZE, WIDTH, Describe, dotted, engine
from small import OPTIONS, answers, complaint

from pipeline import run
from pipeline.base.errors import QueryError
from pipeline.report.html import Page, Shown, document
from pipeline.report.text import summary, table
from pipeline.search.open import open_engine
from pipeline.search.query import Part, cropped
from pipeline.search.turn import Turn, upright
from pipeline.search.turned import turned_image
from stages.records import Image, UInt8

LEFT, TOP = 31, 17


def amid(thing: UInt8) -> UInt8:
    """A photo of which the thing is a part, at LEFT, TOP; another one covers its corner."""
    whole = np.zeros((200, 240, 3), np.uint8)
    whole[TOP : TOP + thing.shape[0], LEFT : LEFT + thing.shape[1]] = thing
    whole[-HEIGHT:, -WIDTH:] = dotted(1)
    return whole


@pytest.mark.parametrize("turn", [Turn(), Turn(1), Turn(3, True)])
def test_a_part_is_found_and_told_in_px_of_the_whole(turn: Turn) -> None:
    asked = turned_image(Image(dotted(3)), turn)
    width, height = asked.size
    whole = amid(asked.pixels)
    looking = engine(Describe(), turns="auto", mirror=turn.mirrored)
    box = (LEFT, TOP, LEFT + width, TOP + height)
    query = looking.encode("q", Image(whole), box)
    assert (query.size, query.features.size) == ((240, 200), (width, height))
    answer = looking.answer(query, 6)
    best = answer.results[0]
    assert (answer.accepted, best.image, answer.box) == (1, "3.png", list(box))
    there = np.linalg.inv(np.vstack([upright(SIZE, turn), [0, 0, 1]]))
    wanted = there @ np.array([[1, 0, -LEFT], [0, 1, -TOP], [0, 0, 1]])
    np.testing.assert_allclose(best.affine, wanted[:2], atol=0.1)
    shown = looking.evidence(query, best)
    assert shown is not None
    assert shown.inliers == 60
    x, y = shown.query_xy.astype(int).T
    assert (whole[y, x, 0] > 0).all()  # on the dots of the whole photo
    went = shown.query_xy @ np.array(best.affine)[:, :2].T + np.array(best.affine)[:, 2]
    np.testing.assert_allclose(went, shown.candidate_xy, atol=0.5)
    told = answer.to_json()
    assert json.loads(json.dumps(told)) == told


def test_a_box_is_cut_at_the_edge_and_widened_to_whole_pixels() -> None:
    pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    plain, part = cropped("q", Image(pixels), (-5, 1.6, 3.2, 99))
    np.testing.assert_array_equal(plain.pixels, pixels[2:, :3])
    assert (part, plain.size) == (Part((0, 2, 3, 6), (8, 6)), (3, 4))
    reduced = Image(pixels, 4, (29, 22), (-3, 0))  # mirrored: its first pixels lack three px
    for box, got, place in (
        ((2, 5, 3, 6), (1, 4, 5, 8), (slice(1, 2), slice(1, 2))),
        ((0, 0, 1, 22), (0, 0, 1, 22), (slice(0, 6), slice(0, 1))),
        ((0, 0, 29, 22), (0, 0, 29, 22), (slice(0, 6), slice(0, 8))),
    ):
        seen, part = cropped("q", reduced, box)
        np.testing.assert_array_equal(seen.pixels, pixels[place])
        assert part.box == got
        assert seen.size == (got[2] - got[0], got[3] - got[1])
        own = seen.place(np.zeros((1, 2)), *seen.pixels.shape[1::-1]) + got[:2]
        column, row = place[1].start, place[0].start
        np.testing.assert_allclose(own, reduced.place(np.array([[column, row]]), 8, 6))


@pytest.mark.parametrize(
    ("box", "told"),
    [
        ((90, 0, 99, 9), "expected a box inside 80 x 60 px, got one of 9 x 9 px at 90,0"),
        ((9, 9, 9, 20), "expected a box inside 80 x 60 px, got one of 0 x 11 px at 9,9"),
        ((0, 0, 1), r"expected a box of four numbers, left, top, right and bottom px, got \(0"),
        ((0, 0, float("nan"), 1), "expected a box of four numbers"),
        (("a", 0, 1, 1), "expected a box of four numbers"),
    ],
)
def test_a_box_that_cannot_be_is_refused(box: tuple[float, ...], told: str) -> None:
    with pytest.raises(QueryError, match=f"^q: {told}"):
        cropped("q", Image(picture(0, 80, 60)), box)  # type: ignore[arg-type]


def test_an_indexed_photo_asks_by_its_files_pixels(here: Path) -> None:
    looking = open_engine(here / "gallery", OPTIONS)
    whole, part = looking.query("gallery:b.png"), looking.query("gallery:b.png", (5, 5, 50, 40))
    assert (whole.size, part.size, part.features.size) == ((61, 40), (61, 40), (45, 35))
    write_picture(here / "cut.png", picture(1, 61, 40)[5:40, 5:50])
    np.testing.assert_array_equal(part.code, looking.query(str(here / "cut.png")).code)
    (here / "photos/b.png").unlink()
    with pytest.raises(QueryError, match=r"^gallery:b\.png: expected its photo where it was"):
        looking.query("gallery:b.png", (5, 5, 50, 40))


def test_the_command_takes_a_box_for_each_query(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = answers(
        capsys, Path("gallery"), "photos/a.png", "gallery:b.png",
        "--box", "5,4,30.4,90", "--box", "0,0,20,20",
    )  # fmt: skip
    assert (first["box"], second["box"]) == ([5, 4, 35, 40], [0, 0, 20, 20])
    assert answers(capsys, Path("gallery"), "photos/a.png")[0]["box"] is None
    args = ["photos/a.png", "photos/b.png", "--box", "1,1,9,9", "--gallery", "gallery"]
    assert run.main(args) == 2
    assert complaint(capsys) == "run: --box: expected it once for each of 2 queries, got 1"
    for box in ("1,2,3", "a,b,c,d", "0,0,0,5", "0,0,5,-1", "nan,0,5,5", "0,0,inf,1", ""):
        with pytest.raises(SystemExit, match="2"):
            run.main(["photos/a.png", "--box", box, "--gallery", "gallery"])
        assert "argument --box: expected X,Y,W,H: left, top, width and" in complaint(capsys)
    assert run.main(["photos/a.png", "--box", "70,0,9,9", "--gallery", "gallery"]) == 2
    told = "run: photos/a.png: expected a box inside 60 x 40 px, got one of 9 x 9 px at 70,0"
    assert complaint(capsys) == told


def test_the_report_frames_the_box_and_where_it_lies() -> None:
    looking = engine(Describe())
    query = looking.encode("q", Image(amid(dotted(3))), (LEFT, TOP, LEFT + WIDTH, TOP + HEIGHT))
    answer = looking.answer(query, 1)
    (best,) = answer.results
    shown = Shown(best, Image(dotted(3)), looking.evidence(query, best))
    drawn = document([Page(answer, Image(amid(dotted(3))), (shown,))])
    assert "the box that was searched for" in drawn
    above, left, right = [
        np.array([each.split(",") for each in polygon.split('"')[0].split()], float)
        for polygon in drawn.split('points="')[1:]
    ]
    wanted = np.array([[LEFT, TOP], [LEFT + WIDTH, TOP + HEIGHT]]) * 2  # 480 units of 240 px
    for frame in (above, left):
        np.testing.assert_allclose(frame[[0, 2]], wanted, atol=0.05)
    np.testing.assert_allclose(right[[0, 2]], [[0, 0], [480, 320]], atol=0.5)


def test_a_box_that_holds_too_little_says_so() -> None:
    looking = engine(Describe())
    query = looking.encode("q", Image(amid(dotted(77))), (LEFT, TOP, LEFT + 30, TOP + 20))
    answer = looking.answer(query, 1)
    assert 0 < answer.features < 50
    told = f"; the box holds only {answer.features} local features, take a larger one"
    assert told in table(answer)
    assert told in summary(answer)
    whole = looking.answer(looking.encode("q", Image(dotted(77, 9))), 1)
    assert "the box" not in table(whole)
