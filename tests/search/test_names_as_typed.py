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
from pipeline.base.lookup import Lookup

ONE, APART = (unicodedata.normalize(form, "möwe/é.png") for form in ("NFC", "NFD"))


def test_of_several_folders_the_label_may_be_left_out_where_one_photo_is_meant() -> None:
    names = ("a/1.png", "a/2.png", f"b/{APART}", "b/2.png")
    lookup = Lookup(names, labels=("a/", "b/"))
    found = [lookup.find(name) for name in ("1.png", "./1.png", ONE, "a/2.png", "2.png")]
    assert found == ["a/1.png", "a/1.png", f"b/{APART}", "a/2.png", None]
    assert Lookup(names).find("1.png") is None


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
