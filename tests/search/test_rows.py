"""Names that people type meet those that a gallery has, however their accents are written."""

import unicodedata
from pathlib import Path

import pytest
from pictures import picture, write_picture
from small import OPTIONS, complaint, indexed

import pipeline
from pipeline import run
from pipeline.base.errors import QueryError
from pipeline.base.files import as_on_disk
from pipeline.search.rows import Rows

ONE, APART = (unicodedata.normalize(form, "möwe/é.png") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(("there", "typed"), [(ONE, APART), (APART, ONE)])
def test_accents_in_one_and_apart_meet(there: str, typed: str) -> None:
    rows = Rows(("a.png", there))
    assert (rows[typed], rows[there], rows[f"./{typed}"], rows["a.png"]) == (1, 1, 1, 0)
    assert (typed in rows, "b.png" in rows, list(rows), len(rows)) == (
        True,
        False,
        [*rows.names],
        2,
    )


def test_what_could_mean_two_photos_means_none_and_itself_first() -> None:
    both = Rows((APART, ONE))
    assert (both[ONE], both[APART]) == (1, 0)
    mixed = unicodedata.normalize("NFC", "möwe") + unicodedata.normalize("NFD", "/é.png")
    with pytest.raises(KeyError):
        both[mixed]
    assert both.nearest(mixed).startswith(", nearest m")


def test_of_several_folders_the_label_may_be_left_out_where_one_photo_is_meant() -> None:
    rows = Rows(("a/1.png", "a/2.png", f"b/{APART}", "b/2.png"), ("a/", "b/"))
    assert (rows["1.png"], rows["./1.png"], rows[ONE], rows["a/2.png"]) == (0, 0, 2, 1)
    assert "2.png" not in rows


def test_a_path_is_found_as_the_disk_has_it(tmp_path: Path) -> None:
    (tmp_path / Path(APART).parent).mkdir()
    (tmp_path / APART).touch()
    assert as_on_disk(tmp_path / ONE) == tmp_path / APART
    assert as_on_disk(tmp_path / APART) == tmp_path / APART
    nowhere = tmp_path / Path(ONE).parent / "ü.png"
    assert not as_on_disk(nowhere).exists()


def test_every_command_takes_either_form(
    here: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(here / "photos" / APART, picture(77, 64, 48))
    assert indexed(Path("photos"), Path("gallery")) == 0
    with pipeline.open_gallery("gallery", OPTIONS) as gallery:
        for asked in (f"gallery:{ONE}", f"photos/{ONE}"):
            answer = gallery.search(asked, k=1)
            assert answer.results[0].image == APART
        assert gallery.encode(f"gallery:{ONE}").photo is not None
        assert gallery.evidence(f"gallery:{ONE}", ONE).accepted
        assert gallery.rerank(f"gallery:{ONE}", ["a.png", ONE]).results[0].image == APART
        with pytest.raises(QueryError, match=r"^gallery:photo/z\.pgn: .*, nearest z\.png"):
            gallery.search("gallery:photo/z.pgn")
    capsys.readouterr()
    assert run.main(["gallery:B.PNG", "--gallery", "gallery"]) == 2
    assert "got one that is not indexed, nearest b.png" in complaint(capsys)


def test_a_photo_of_the_gallery_that_asks_is_called_as_it_was_typed(indexed_photos: Path) -> None:
    where = indexed_photos / "gallery"
    asking = pipeline.SearchOptions(device="cpu", queries=where)
    with pipeline.open_gallery(where, asking) as gallery:
        assert gallery.search("queries:./b.png", k=1).query == "queries:b.png"
        with pytest.raises(QueryError, match=r"^queries:c\.png: expected a path as .*, nearest"):
            gallery.search("queries:c.png")
