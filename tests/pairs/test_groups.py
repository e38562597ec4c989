"""Groups of planted photos: what is found, what a run keeps, and what damage does to it."""

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import picture, write_picture
from planted_engine import families
from planted_features import pack
from planted_null import even
from small import complaint

import pipeline
from pipeline import groups as command
from pipeline.base.errors import UsageError
from pipeline.gallery.roots import Roots
from pipeline.pairs.best import Quality, best_of
from pipeline.pairs.find import Group, Groups, Pair, find_groups
from pipeline.pairs.looks import Photos
from pipeline.report.contact_sheet import document
from pipeline.search.engine import Engine
from stages.gallery import Gallery

PAIRS = [(f"{c}/a.png", f"{c}/b.png") for c in range(8)]


@pytest.fixture(scope="module")
def engine(indexed_photos: Path) -> Engine:
    """Eight folders of three photos, of which two show the same."""
    made = families(indexed_photos / "gallery")
    return replace(made, contents=[f"{n:064x}" for n in range(len(made.gallery))])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The photos that asked, as long as the test runs."""
    told: list[int] = []
    look = Photos.look

    def watched(self: Photos, count: int, photo: int, others: object = None) -> object:
        told.append(photo)
        return look(self, count, photo, None)

    monkeypatch.setattr(Photos, "look", watched)
    return told


def part(engine: Engine, keep: Callable[[str], bool], named: Callable[[str], str] = str) -> Engine:
    """The photos whose names are kept, under other names."""
    gallery = engine.gallery
    rows = [row for row, name in enumerate(gallery.names) if keep(name)]
    rows.sort(key=lambda row: os.fsencode(named(gallery.names[row])))
    fewer = Gallery.from_arrays(
        [named(gallery.names[row]) for row in rows],
        gallery.codes[rows],
        pack([gallery.features[row] for row in rows]),
    )
    return replace(engine, gallery=fewer, contents=[engine.contents[row] for row in rows])


def found(engine: Engine, kept: Path | None = None, *, own: bool = True, **more: bool) -> Groups:
    return find_groups(engine, even(), 40, 1.0, more.get("near", False), kept, own, 2, quiet=True)


def grouped(result: Groups) -> list[tuple[str, ...]]:
    return sorted(tuple(sorted(group.photos)) for group in result.groups)


def test_photos_of_one_thing_are_found_and_no_others(engine: Engine) -> None:
    result = found(engine)
    assert grouped(result) == PAIRS
    first = result.groups[0]
    assert set(first.to_json(1)) >= {"group", "photos", "best", "kind", "pairs"}
    assert first.to_json(1)["pairs"] == [[*sorted(first.photos), first.pairs[0].inliers]]
    assert first.pairs[0].inliers >= 20
    assert first.kind == "same scene"  # the planted map stretches
    assert grouped(found(engine, near=True)) == []


def test_equal_files_are_near_duplicates_without_a_look(engine: Engine) -> None:
    two = part(engine, lambda name: name in ("0/c.png", "1/c.png"))
    same = replace(two, contents=["ab" * 32] * 2)
    result = found(same)
    assert [group.kind for group in result.groups] == ["near-duplicate"]
    assert result.groups[0].near_duplicates == (("0/c.png", "1/c.png"),)
    assert result.groups[0].pairs == (Pair("0/c.png", "1/c.png", 60, True),)
    assert found(part(engine, lambda name: False)).groups == ()


def test_a_second_run_asks_for_what_is_new_alone(
    engine: Engine, tmp_path: Path, asked: list[int]
) -> None:
    kept = tmp_path / "groups.sqlite"
    early = part(engine, lambda name: name[0] in "0123")
    assert grouped(found(early, kept)) == PAIRS[:4]
    assert len(asked) == 12
    assert grouped(found(early, kept)) == PAIRS[:4]
    assert len(asked) == 12
    asked.clear()
    later = part(engine, lambda name: name != "7/b.png")
    assert grouped(found(later, kept)) == PAIRS[:7]
    assert len(asked) == 11
    asked.clear()
    moved = part(engine, lambda name: name != "7/b.png", lambda name: f"z/{9 - int(name[0])}{name}")
    assert len(found(moved, kept).groups) == 7
    assert grouped(found(early, kept)) == PAIRS[:4]  # the others are gone
    assert asked == []


def test_a_killed_run_goes_on(
    engine: Engine, tmp_path: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, keep = tmp_path / "groups.sqlite", pipeline.pairs.evidence.Evidence.keep_look

    def dying(self: object, photo: bytes, look: object) -> None:
        if len(self._rows("SELECT key FROM kept")) == 10:
            raise KeyboardInterrupt
        keep(self, photo, look)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.pairs.evidence.Evidence.keep_look", dying)
        with pytest.raises(KeyboardInterrupt):
            found(engine, kept)
    asked.clear()
    assert grouped(found(engine, kept)) == PAIRS
    assert len(asked) == 14


@pytest.mark.parametrize("damage", ["noise", "torn", "changed", "other"])
def test_damaged_evidence_is_made_again_with_a_word(
    engine: Engine, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept = tmp_path / "groups.sqlite"
    found(engine, kept)
    if damage == "noise":
        kept.write_bytes(np.random.default_rng(0).bytes(5000))
    elif damage == "torn":
        kept.write_bytes(kept.read_bytes()[:9000])
    elif damage == "changed":
        with closing(sqlite3.connect(kept)) as sql, sql:
            sql.execute("UPDATE kept SET value = zeroblob(length(value)) WHERE kind = 'look'")
    else:
        kept.unlink()
        with closing(sqlite3.connect(kept)) as sql, sql:
            sql.execute("CREATE TABLE photos (path TEXT)")
    caplog.set_level("INFO", "pipeline")
    before = kept.read_bytes()
    if damage != "changed":
        with pytest.raises(UsageError, match="move it away"):
            found(engine, kept, own=False)
        assert kept.read_bytes() == before  # somebody's file
    assert grouped(found(engine, kept)) == PAIRS
    assert "made again" in caplog.text


def test_where_nothing_can_be_kept_it_is_said(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pipeline")
    assert grouped(found(engine, tmp_path / "nowhere" / "groups.sqlite")) == PAIRS
    assert "not kept" in caplog.text


def test_another_model_begins_anew(
    engine: Engine, tmp_path: Path, asked: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    kept = tmp_path / "groups.sqlite"
    found(engine, kept)
    asked.clear()
    caplog.set_level("INFO", "pipeline")
    other = replace(engine, binding=replace(engine.binding, identity="f" * 64))
    assert grouped(found(other, kept)) == PAIRS
    assert len(asked) == 24
    assert "another model" in caplog.text


def test_the_best_photo_is_large_then_sharp_then_heavy() -> None:
    def of(width: int, sharp: float | None, size: int = 0) -> Quality:
        return Quality(Path("a"), width, 100, sharp, size)

    assert best_of([of(100, 900.0), of(200, 10.0)]) == 1
    assert best_of([of(200, 10.0), of(195, 90.0), of(100, 999.0)]) == 1
    assert best_of([of(200, 100.0, 5), of(200, 99.0, 9)]) == 1
    assert best_of([of(200, None), of(201, None)]) == 0


def test_files_that_are_there_are_measured(engine: Engine, tmp_path: Path) -> None:
    import hashlib

    two = part(engine, lambda name: name[0] == "0")
    for n, name in enumerate(two.gallery.names):
        write_picture(tmp_path / name, picture(n))
    contents = [hashlib.sha256((tmp_path / n).read_bytes()).hexdigest() for n in two.gallery.names]
    there = replace(
        two, contents=contents, binding=replace(two.binding, photos=Roots.of(str(tmp_path)))
    )
    (group,) = found(there, tmp_path / "groups.sqlite").groups
    assert all(group.qualities[name].sharpness for name in group.photos)
    assert "data:image/jpeg" in document(found(there))
    (tmp_path / "0/a.png").write_bytes(b"another photo by now")
    (group,) = found(there).groups
    assert group.qualities["0/a.png"].sharpness is None
    assert "photo not found" in document(found(there))


HOSTILE = "<b>\u202e a/caf\udce9.jpg"


def one_group(*names: str) -> Groups:
    qualities = {name: Quality(Path("gone"), 20, 10) for name in names}
    pairs = tuple(Pair(names[0], name, 30, False) for name in names[1:])
    group = Group(names, "same scene", (names[1:],), pairs, qualities)
    return Groups(len(names), 1.0, (group,), pairs)


def test_lists_hold_any_name_or_say_which_they_cannot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = one_group("a.jpg", HOSTILE, "ü.jpg")
    command.write_pairs(tmp_path / "pairs.txt", result.pairs)
    assert (tmp_path / "pairs.txt").read_text("utf-8") == "a.jpg ü.jpg\n"
    assert "1 of 2 pairs left out" in caplog.text
    command.write_csv(tmp_path / "groups.csv", result.groups)
    lines = (tmp_path / "groups.csv").read_bytes().splitlines()
    assert lines[0] == b"group,kind,photo,best,width,height,sharpness"
    assert b"caf\xe9.jpg,0,20,10," in lines[2]
    assert json.loads(json.dumps(result.groups[0].to_json(1)))["photos"][1] == HOSTILE
    page = document(result)
    assert "<b>" not in page
    assert "\u202e" not in page
    assert "* " in command.describe(result)


def test_what_cannot_be_grouped_is_refused_in_one_line(
    indexed_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--gallery", str(indexed_photos / "gallery")]
    assert command.main(given) == 2
    assert "chance" in complaint(capsys)
    assert command.main([*given, "--csv", str(tmp_path / "no" / "a.csv")]) == 2
    assert "--csv" in complaint(capsys)
    assert not (indexed_photos / "gallery" / "groups.sqlite").exists()
    with pytest.raises(UsageError, match="false_pairs"):
        pipeline.groups(indexed_photos / "gallery", false_pairs=0)
