"""Revisited Oxford and Paris on a planted set: the published formulas, written again, and the three
protocols.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pictures import picture, write_picture
from small import OPTIONS, complaint

from pipeline.base.errors import QueryError, UsageError
from pipeline.commands import evaluate
from pipeline.evaluate.revisited import measures, read_revisited
from pipeline.search.open import open_engine


def published(ranks: list[int], positives: set[int], junk: set[int]) -> list[float]:
    """As compute_map of the authors' evaluation does it: positions of positives, moved up by the
    junk before each, then trapezoids.
    """
    pos = [place for place, image in enumerate(ranks) if image in positives]
    pos = [place - sum(image in junk for image in ranks[:place]) for place in pos]
    ap = 0.0
    for j, rank in enumerate(pos):
        precision_0 = 1.0 if rank == 0 else j / rank
        precision_1 = (j + 1) / (rank + 1)
        ap += (precision_0 + precision_1) / 2 / len(positives)
    out = [ap]
    for kappa in (1, 5, 10):
        kq = min(max(pos) + 1, kappa)
        out.append(sum(place + 1 <= kq for place in pos) / kq)
    return out


@given(st.lists(st.sampled_from("pjn"), min_size=1, max_size=25).filter(lambda kinds: "p" in kinds))
@example(list("jpn"))
@example(list("nnpjp" + "n" * 20))
def test_measures_are_the_published_ones(kinds: list[str]) -> None:
    """kinds: positive, junk or negative, by place; some end before the fifth or tenth place, or
    have their last positive there.
    """
    positives, junk = (
        {image for image, kind in enumerate(kinds) if kind == wanted} for wanted in "pj"
    )
    ours = measures(np.array([kind == "p" for kind in kinds if kind != "j"]), len(positives))
    assert ours == pytest.approx(published(list(range(len(kinds))), positives, junk), abs=1e-12)


NAMES = ("db/a.jpg", "db/b.jpg", "db/c.jpg", "db/d.jpg", "db/distractor.jpg", "db/q.jpg")
TRUTH: dict[str, Any] = {
    "imlist": ["a", "b", "c", "d"],
    "qimlist": ["q", "other"],
    "gnd": [
        {"bbx": [1.5, 2.0, 30.0, 40.0], "easy": [0], "hard": [1, 2], "junk": [3]},
        {"bbx": [0, 0, 9, 9], "easy": [1], "hard": [], "junk": []},
    ],
}


def cases(tmp_path: Path, protocol: str = "easy", **changes: Any) -> list[Any]:
    (tmp_path / "gnd.json").write_text(json.dumps({**TRUTH, **changes}))
    return read_revisited(tmp_path / "gnd.json", protocol, tmp_path / "jpg", NAMES)


@pytest.mark.parametrize(
    ("protocol", "positive", "junk", "queries"),
    [("easy", "a", "bcd", 2), ("medium", "abc", "d", 2), ("hard", "bc", "ad", 1)],
)
def test_protocols(protocol: str, positive: str, junk: str, queries: int, tmp_path: Path) -> None:
    """The query's own photo is no part of the database; a query without positives is none."""
    first, *more = cases(tmp_path, protocol)
    assert 1 + len(more) == queries
    assert first.relevant == {f"db/{image}.jpg" for image in positive}
    assert first.left_out == {"db/q.jpg", *(f"db/{image}.jpg" for image in junk)}
    assert (first.query, first.box) == (str(tmp_path / "jpg" / "q.jpg"), (1.5, 2.0, 30.0, 40.0))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"imlist": ["a", "b", "c", "d", "gone"]},
            "expected all 5 photos of its imlist indexed, got 1 that are not, as gone",
        ),
        (
            {"gnd": TRUTH["gnd"][:1]},
            "expected the keys imlist, qimlist and gnd as they are published, got ValueError",
        ),
        ({"gnd": [{**TRUTH["gnd"][0], "easy": [4]}] * 2}, "got IndexError"),
        ({"gnd": [{**TRUTH["gnd"][0], "easy": [-1]}] * 2}, "a place in imlist that is none"),
        ({"gnd": [{**TRUTH["gnd"][0], "bbx": [0, 0, 1]}] * 2}, "got ValueError"),
        (
            {"gnd": [{**TRUTH["gnd"][0], "bbx": [0, 0, 1, float("nan")]}] * 2},
            "got ValueError: a box",
        ),
        ({"gnd": [{"ok": [0]}] * 2}, "got KeyError"),
        ({"gnd": 3}, "got TypeError"),
        ({"imlist": [["a"]]}, "expected"),
        (
            {"gnd": [{**TRUTH["gnd"][0], "easy": []}, {**TRUTH["gnd"][1], "easy": []}]},
            "expected a query with positives under easy, got none",
        ),
    ],
)
def test_truth_that_is_wrong(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as stop:
        cases(tmp_path, **changes)
    assert said in str(stop.value)
    assert "\n" not in str(stop.value)


def test_two_photos_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "gnd.json").write_text(json.dumps(TRUTH))
    with pytest.raises(
        UsageError, match=r"expected one indexed photo a, got db/a\.jpg and more/a\.jpg"
    ):
        read_revisited(tmp_path / "gnd.json", "easy", tmp_path, [*NAMES, "more/a.jpg"])


def test_a_pickle_is_not_opened_and_its_owner_told_how(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="got a pickle, which could run anything; run `python -c"
    ) as stop:
        read_revisited(tmp_path / "gnd_roxford5k.pkl", "easy", tmp_path, NAMES)
    assert "\n" not in str(stop.value)


def test_the_way_from_pickle_to_json_works(tmp_path: Path) -> None:
    import pickle
    import subprocess

    from pipeline.evaluate.revisited import AS_JSON

    (tmp_path / "gnd.pkl").write_bytes(
        pickle.dumps(
            {**TRUTH, "gnd": [{**TRUTH["gnd"][0], "easy": np.array([0])}, TRUTH["gnd"][1]]}
        )
    )
    subprocess.run([sys.executable, "-c", AS_JSON, "gnd.pkl", "gnd.json"], cwd=tmp_path, check=True)
    assert json.loads((tmp_path / "gnd.json").read_text()) == TRUTH


def test_a_box_asks_as_the_photo_cut_to_it(indexed_photos: Path, tmp_path: Path) -> None:
    engine, pixels = (
        open_engine(indexed_photos / "gallery", OPTIONS),
        picture(77, 80, 60),
    )
    write_picture(tmp_path / "whole.png", pixels)
    write_picture(tmp_path / "cut.png", pixels[10:52, 20:80])
    boxed, cut = (
        engine.query(str(tmp_path / "whole.png"), (19.6, 10.4, 99.0, 52.0)),
        engine.query(str(tmp_path / "cut.png")),
    )
    np.testing.assert_array_equal(boxed.code, cut.code)
    np.testing.assert_array_equal(boxed.features.descriptor, cut.features.descriptor)
    with pytest.raises(QueryError, match="expected a box inside 80 x 60 px"):
        engine.query(str(tmp_path / "whole.png"), (90, 0, 99, 9))


def test_a_planted_set_from_end_to_end(
    indexed_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """z.png asks with nearly all of itself: it is in the gallery, and taken out; a photo that is
    gone stops the run.
    """
    truth = {
        "imlist": ["a", "b", "c", "f"],
        "qimlist": ["z"],
        "gnd": [{"bbx": [0, 0, 64, 40], "easy": [0], "hard": [1], "junk": [2]}],
    }
    (tmp_path / "gnd.json").write_text(json.dumps(truth))
    (tmp_path / "z.jpg").write_bytes((indexed_photos / "photos" / "z.png").read_bytes())
    asked = [
        "--gallery",
        str(indexed_photos / "gallery"),
        "--revisited",
        str(tmp_path / "gnd.json"),
        "--protocol",
        "hard",
    ]
    assert (
        evaluate.main(
            [
                *asked,
                "--json",
                "--per-query",
                str(tmp_path / "q.csv"),
                "--out",
                str(tmp_path / "r.json"),
            ]
        )
        == 0
    )
    result = json.loads(capsys.readouterr().out)
    assert {"queries", "mAP", "mP@1", "mP@5", "mP@10", "coarse", "interval", "gain"} <= set(result)
    place = int((tmp_path / "q.csv").read_text().splitlines()[1].split(",")[3])
    # b among b, f and the distractor: without the query, junk c, and a that is easy
    assert place <= 3
    assert result["mAP"] == pytest.approx((float(place == 1) + 1 / place) / 2, abs=1e-6)
    assert (
        json.loads((tmp_path / "r.json").read_text())["rows"][0]["data"]["truth"]["name"]
        == "gnd.json"
    )
    assert evaluate.main([*asked, "--query-photos", str(tmp_path / "none")]) == 2
    assert "z.jpg: expected a readable file" in complaint(capsys)
