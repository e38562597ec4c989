"""Who asks for what: cases from a CSV, from folders, from another gallery; and queries whose own
bytes would answer.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import picture, write_picture
from planted_engine import families
from planted_gallery import planted, taken
from small import OPTIONS, complaint

from pipeline.base.classes import read_labels
from pipeline.base.errors import UsageError
from pipeline.base.lookup import Lookup
from pipeline.base.options import TruthOptions
from pipeline.commands import evaluate, sweep
from pipeline.evaluate.ground_truth import (
    Case,
    crossed_cases,
    data_row,
    label_cases,
    read_contents,
    read_truth,
    without_copies,
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "expected a header with query,relevant"),
        ("query,relevant\nq.png,\n", "line 2: expected a query and a relevant photo"),
        ("query,relevant\nq.png,none.png\n", "line 2: expected an indexed photo, got none.png"),
        ("query,relevant\n", "expected at least one row"),
    ],
)
def test_truth_that_is_wrong_names_its_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_truth(tmp_path / "truth.csv", Lookup({"a.png"}))


def test_leave_one_out_takes_the_query_itself_out() -> None:
    assert label_cases(read_labels(("a/1", "a/2", "b/1", "c/a/1"), "parent", "g")) == [
        Case("gallery:a/1", frozenset({"a/2"}), frozenset({"a/1"})),
        Case("gallery:a/2", frozenset({"a/1"}), frozenset({"a/2"})),
    ]


def test_another_gallerys_photos_ask_for_folders_of_their_name() -> None:
    names = ("train/n01/a", "train/n01/b", "train/n02/c", "top")
    asking = read_labels(("val/n01/x", "val/n03/y", "top"), "parent", "q")
    assert crossed_cases(read_labels(names, "parent", "g"), asking) == [
        Case("queries:val/n01/x", frozenset({"train/n01/a", "train/n01/b"}))
    ]


def test_marks_are_by_row(indexed_photos: Path) -> None:
    gallery = families(indexed_photos / "gallery").gallery
    relevant, kept = Case("q", frozenset({"0/b.png"}), frozenset({"7/c.png"})).marks(gallery)
    assert (relevant.nonzero()[0].tolist(), (~kept).nonzero()[0].tolist()) == ([1], [23])


@pytest.fixture
def classes(small_model: Path, tmp_path: Path) -> Path:
    """Two classes of two photos, `g`, and photos of other bytes that ask, `q`."""
    planted(
        tmp_path / "g",
        small_model,
        [taken(f"{c}/{i}.png", 10 * c + i) for c in range(2) for i in range(2)],
    )
    planted(tmp_path / "q", small_model, [taken(f"val/{c}/x.png", 100 + c) for c in range(3)])
    return tmp_path


def test_both_commands_take_queries_from_a_gallery(
    classes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their files are nowhere, so that what is stored is all there is."""
    asked = ["--gallery", str(classes / "g"), "--labels", "folder", "--queries", str(classes / "q")]
    assert evaluate.main(asked) == 0
    assert capsys.readouterr().out.startswith("2 queries, 4 photos")
    assert sweep.main([*asked, "--candidates", "2", "--out", str(classes / "out")]) == 0
    assert capsys.readouterr().out.startswith("2 queries, 4 photos")


def test_the_classes_that_were_found_are_told(
    classes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("folder", "top", "parent"):
        assert evaluate.main(["--gallery", str(classes / "g"), "--labels", kind]) == 0
        assert f"{classes / 'g'}: 2 classes: 0, 1; 4 photos, 2 of each\n" in capsys.readouterr().err


def test_a_mix_of_folders_is_one_line(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("a/1.png", "a/2.png", "b/c/3.png", "b/c/4.png")
    planted(tmp_path / "g", small_model, [taken(name, i) for i, name in enumerate(names)])
    asked = ["--gallery", str(tmp_path / "g"), "--labels"]
    assert evaluate.main([*asked, "folder"]) == 2
    assert "expected photos at one depth, got a/1.png and b/c/3.png" in complaint(capsys)
    assert evaluate.main([*asked, "top"]) == evaluate.main([*asked, "parent"]) == 0


def test_truth_of_another_folder_is_mapped_by_its_prefix(
    indexed_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The nearest name, and the flag that makes it of the wrong one, are in the message."""
    write_picture(tmp_path / "q.png", picture(0, 70, 50))
    (tmp_path / "truth.csv").write_bytes(b"Query;Relevant\r\n.\\q.png;imgs/e/f.png\r\n")
    asked = ["--gallery", str(indexed_photos / "gallery"), "--truth", str(tmp_path / "truth.csv")]
    assert evaluate.main(asked) == 2
    said = complaint(capsys)
    assert (
        "line 2: expected an indexed photo, got imgs/e/f.png, nearest d/e/f.png; run with" in said
    )
    flag = said.partition("`")[2].partition("`")[0].split()
    assert evaluate.main([*asked, *flag]) == 0
    assert sweep.main([*asked, *flag, "--candidates", "2", "--out", str(tmp_path / "out")]) == 0
    (tmp_path / "truth.csv").write_text("query,relevant\nqq.png,a.png\n")
    assert evaluate.main(asked) == 2
    assert "No such file or directory, nearest q.png" in capsys.readouterr().err


def test_queries_are_as_their_gallery_has_them(classes: Path) -> None:
    from pipeline.search.open import open_engine

    engine = open_engine(classes / "g", replace(OPTIONS, code="embedding", queries=classes / "q"))
    own = open_engine(classes / "q", replace(OPTIONS, code="embedding"))
    query, stored = engine.query("queries:val/1/x.png"), own.query("gallery:val/1/x.png")
    assert (query.name, query.code.tobytes()) == ("queries:val/1/x.png", stored.code.tobytes())
    assert query.features.descriptor.tobytes() == stored.features.descriptor.tobytes()


def test_a_gallery_of_another_model_does_not_ask(
    classes: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(classes / "other", tiny_model, [taken("0/x.png", 5)])
    assert (
        evaluate.main(
            [
                "--gallery",
                str(classes / "g"),
                "--labels",
                "folder",
                "--queries",
                str(classes / "other"),
            ]
        )
        == 2
    )
    assert "expected model small (" in (said := complaint(capsys))
    assert "got tiny (" in said


def test_queries_without_a_folder_of_theirs(
    classes: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(classes / "none", small_model, [taken("5/x.png", 5)])
    assert (
        evaluate.main(
            [
                "--gallery",
                str(classes / "g"),
                "--labels",
                "folder",
                "--queries",
                str(classes / "none"),
            ]
        )
        == 2
    )
    assert "expected photos in folders named as some of" in complaint(capsys)


def test_queries_go_with_labels(classes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        evaluate.main(
            ["--gallery", str(classes / "g"), "--truth", "t.csv", "--queries", str(classes / "q")]
        )
        == 2
    )
    assert "--queries: expected it with --labels folder" in complaint(capsys)


def test_a_query_whose_bytes_answer_is_refused(
    classes: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The seed says what the bytes are: 11 is 1/1.png."""
    planted(classes / "same", small_model, [taken("0/x.png", 5), taken("1/y.png", 11)])
    asked = [
        "--gallery",
        str(classes / "g"),
        "--labels",
        "folder",
        "--queries",
        str(classes / "same"),
    ]
    assert evaluate.main(asked) == 2
    assert (
        "query queries:1/y.png: expected a photo that is not in the gallery byte for byte, got the"
        " bytes of 1/1.png" in complaint(capsys)
    )
    assert evaluate.main([*asked, "--allow-self"]) == 0


def test_bytes_that_are_left_out_are_no_answer(classes: Path) -> None:
    from pipeline.search.open import open_engine
    from stages.gallery import Gallery

    engine = open_engine(classes / "g", OPTIONS)
    asking = Gallery.from_arrays(
        ["x.png"], engine.gallery.codes[:1], engine.gallery.features.part(np.array([0]))
    )
    content = [engine.content("1/1.png")]
    engine = replace(engine, asking=replace(engine, gallery=asking, contents=content))
    case = Case("queries:x.png", frozenset({"1/0.png"}))
    with pytest.raises(UsageError, match=r"got the bytes of 1/1\.png"):
        read_contents(engine, [case], False)
    assert read_contents(engine, [replace(case, left_out=frozenset({"1/1.png"}))], False) == {
        "queries:x.png": f"{11:064x}"
    }


def test_a_case_whose_answers_are_all_copies_is_none() -> None:
    cases = label_cases(read_labels(["a/1", "a/2", "a/3", "b/1", "b/2"], "folder", "g"))
    contents = {"a/1": "x", "a/2": "x", "a/3": "y", "b/1": "z", "b/2": "z"}
    kept = {case.query: (case.relevant, case.left_out) for case in without_copies(cases, contents)}
    assert kept == {
        "gallery:a/1": ({"a/3"}, {"a/1", "a/2"}),
        "gallery:a/2": ({"a/3"}, {"a/1", "a/2"}),
        "gallery:a/3": ({"a/1", "a/2"}, {"a/3"}),
    }


def test_a_query_that_cannot_be_read_stops_before_the_work(classes: Path) -> None:
    from pipeline.search.open import open_engine

    engine = open_engine(classes / "g", OPTIONS)
    with pytest.raises(UsageError, match=r"none\.png: expected a readable file"):
        read_contents(engine, [Case(str(classes / "none.png"), frozenset({"0/0.png"}))], True)


def test_data_are_named_by_what_they_hold(classes: Path) -> None:
    from pipeline.search.open import open_engine

    truth, options = TruthOptions(labels="folder"), replace(OPTIONS, queries=classes / "q")
    crossed = open_engine(classes / "g", options)
    row = data_row(truth, options, crossed, {"queries:val/0/x.png": "1"})
    assert (row["photos"], row["labels"], row["queries"]["name"], row["queries"]["photos"]) == (
        4,
        "folder",
        "q",
        1,
    )
    assert (
        data_row(truth, options, crossed, {"queries:val/0/x.png": "2"})["queries"]["sha256"]
        != row["queries"]["sha256"]
    )
    alone = data_row(truth, OPTIONS, replace(crossed, asking=None), {})
    assert alone == {"photos": 4, "sha256": row["sha256"], "labels": "folder, leave-one-out"}
