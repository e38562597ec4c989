"""A gallery of several folders: each is remembered, none takes the place of another, and what was
indexed stays whatever becomes of its disk.
"""

import itertools
import json
import os
import shutil
from pathlib import Path

import pytest
from pictures import picture, write_picture
from small import NAMES, answers, complaint, counted, indexed, rows

import pipeline
from pipeline.base.errors import UsageError
from pipeline.gallery import update as gallery_update
from pipeline.gallery.roots import Roots
from pipeline.gallery.store import read_binding

GALLERY = Path("gallery")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be encoded."""
    monkeypatch.setattr("pipeline.recipes.load_encoder", lambda *_: pytest.fail("encoded"))


def second(folder: str = "more") -> Path:
    """Another folder, whose photos are called as two of the first and hold something else."""
    for seed, name in enumerate(("a.png", "d/e/f.png")):
        write_picture(Path(folder, name), picture(90 + seed, 50, 40))
    return Path(folder)


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    capsys.readouterr()
    assert pipeline.index.main([*map(str, arguments), "--gallery", "gallery"]) == code
    return capsys.readouterr().out


def test_equal_paths_of_two_folders_are_two_photos(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows()
    assert "8 photos; 2 indexed, 0 unchanged" in said(capsys, second())
    after = rows()
    assert {name: row for name, row in after.items() if name.startswith("photos/")} == {
        f"photos/{name}": row for name, row in before.items()
    }
    assert after.keys() - {f"photos/{name}" for name in NAMES} == {"more/a.png", "more/d/e/f.png"}
    assert "0 indexed, 6 unchanged, 0 removed" in said(capsys, "photos", "--prune")
    assert "0 indexed, 8 unchanged, 0 removed" in said(capsys, "--prune")  # all that it knows
    assert rows() == after
    for name in after:
        (answer,) = answers(capsys, GALLERY, f"gallery:{name}", "-k", 1)
        assert answer["results"][0]["image"] == name


def test_it_does_not_matter_in_how_many_runs_or_in_which_order(
    here: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second()
    said(capsys, "more")
    for place, order in enumerate(itertools.permutations(["photos", "more"])):
        folder = Path(f"gallery{place}")
        made = ["--gallery", str(folder), "--model", str(small_model)]
        assert pipeline.index.main([*order, *made]) == 0
        assert rows(folder) == rows()


def test_a_folder_inside_is_called_like_its_root(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Adding the label to `z.png` gives a name that another photo had before."""
    write_picture(Path("photos/photos/z.png"), picture(70, 50, 40))
    said(capsys, "photos")
    before = rows()
    said(capsys, second())
    assert {name: row for name, row in rows().items() if name.startswith("photos/")} == {
        f"photos/{name}": row for name, row in before.items()
    }
    assert "7 photos; 0 indexed, 7 unchanged, 2 removed" in said(capsys, "--forget", "more")
    assert rows() == before


def test_labels_differ(tmp_path: Path) -> None:
    roots = Roots.of("/a/pictures", "/b/pictures", "/c/pictures-2", "/a/pictures")
    assert [root.label for root in roots.each] == ["pictures", "pictures-2", "pictures-2-2"]
    assert roots.file("pictures-2/x/y.jpg") == Path("/b/pictures/x/y.jpg")
    assert Roots.of("/a").file("pictures-2/y.jpg") == Path("/a/pictures-2/y.jpg")


@pytest.mark.parametrize("inner", ["photos/d", "."])
def test_a_folder_in_another_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], inner: str
) -> None:
    before = rows()
    assert indexed(Path(inner), GALLERY) == 2
    assert "expected a folder apart from the gallery's others" in complaint(capsys)
    assert (rows(), read_binding(GALLERY).photos.each[0].path) == (before, str(here / "photos"))


# ---- a folder that moves


@pytest.mark.usefixtures("no_network")
def test_a_folder_that_moved_is_bound_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows()
    shutil.move("photos", "elsewhere")
    assert "expected the folder of photos that gallery knows" in _refused(capsys, "photos")
    assert "0 indexed, 6 unchanged" in said(capsys, "elsewhere", "--moved-from", "photos")
    assert rows() == before
    assert str(read_binding(GALLERY).photos) == str(here / "elsewhere")
    for path in Path("elsewhere").rglob("*.png"):
        os.utime(path)  # a copy has other times; its bytes count
    shutil.copytree("elsewhere", "copy")
    assert "0 indexed, 6 unchanged" in said(capsys, "copy", "--moved-from", "elsewhere")


@pytest.mark.usefixtures("no_network")
def test_a_folder_that_moved_and_was_sorted_anew_is_bound_again(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.move("photos", "elsewhere/2024")
    out = said(capsys, "elsewhere", "--moved-from", "photos")
    assert "6 photos; 0 indexed" in out
    assert "6 moved" in out


def test_a_path_is_meant_before_a_label(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = here / "other"
    said(capsys, second("other/photos"))
    os.chdir(other)
    assert pipeline.index.main(["--forget", "photos", "--gallery", "../gallery"]) == 0
    assert str(read_binding(here / GALLERY).photos) == str(here / "photos")


def test_another_folder_is_not_taken_for_the_one_that_moved(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows()
    complained = _refused(capsys, second(), "--moved-from", "photos")
    assert "expected the photos of" in complained
    assert "got 0 of 6 as they were indexed" in complained
    assert (rows(), len(read_binding(GALLERY).photos.each)) == (before, 1)
    assert "expected a folder that the gallery knows" in _refused(
        capsys, "more", "--moved-from", "nowhere"
    )


def test_a_folder_that_comes_back_elsewhere_says_how_to_go_on(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows()
    shutil.move("photos", "new")
    capsys.readouterr()
    assert pipeline.index.main(["new", "--gallery", "gallery"]) == 0
    out, err = capsys.readouterr()
    assert "12 photos; 0 indexed, 0 unchanged, 6 copied" in out
    assert f"--forget {here / 'photos'}" in err
    said(capsys, "--forget", here / "photos")
    assert rows() == before


# ---- photos that vanish


def _refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert pipeline.index.main([*map(str, arguments), "--gallery", "gallery"]) == 2
    return complaint(capsys)


@pytest.mark.parametrize("how", ["empty", "missing", "most"])
def test_a_disk_that_is_not_mounted_is_not_pruned(
    here: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    said(capsys, second())
    before = rows()
    shutil.move("photos", "unmounted")
    if how != "missing":
        Path("photos").mkdir()
    if how == "most":
        for name in ("a.png", "z.png"):
            shutil.copy(Path("unmounted", name), "photos")
    assert "--prune-most" in _refused(capsys, "photos", "--prune")
    assert rows() == before
    if how == "missing":
        told = said(capsys, "--prune", code=3)  # the other folder is brought up to date
        assert "8 photos; 0 indexed, 2 unchanged, 0 removed" in told
    assert rows() == before
    shutil.rmtree("photos", ignore_errors=True)
    shutil.move("unmounted", "photos")
    assert "8 unchanged" in said(capsys, "--prune")
    shutil.rmtree("photos")
    assert "2 photos; 0 indexed, 0 unchanged, 6 removed" in said(capsys, "photos", "--prune-most")
    assert rows() == {name: row for name, row in before.items() if name.startswith("more/")}


@pytest.mark.usefixtures("no_network")
def test_moved_and_copied_photos_are_not_encoded_again(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows()
    Path("other").mkdir()
    shutil.move("photos/d", "photos/renamed")
    shutil.move("photos/z.png", "other/z.png")  # into another folder
    shutil.copy("photos/a.png", "photos/twin.png")
    os.rename("photos/b.png", "photos/swap")
    os.rename("photos/日本.png", "photos/b.png")  # two that change places
    os.rename("photos/swap", "photos/日本.png")
    told = said(capsys, "photos")
    assert "7 photos; 0 indexed, 2 unchanged, 1 moved, 3 copied, 1 no longer there" in told
    assert "7 photos; 0 indexed, 0 unchanged, 1 moved" in said(capsys, "other")
    assert rows() == {
        "other/z.png": before["z.png"],
        "photos/a.png": before["a.png"],
        "photos/b.png": before["日本.png"],
        "photos/caf\udce9/c.png": before["caf\udce9/c.png"],
        "photos/renamed/e/f.png": before["d/e/f.png"],
        "photos/twin.png": before["a.png"],
        "photos/日本.png": before["b.png"],
    }


def test_a_change_that_kept_size_and_time_is_noticed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, path = rows(), Path("photos/a.png")
    status, data = path.stat(), Path("photos/b.png").read_bytes()
    write_picture(Path("photos/a.png"), picture(91, 60, 40))
    short = path.read_bytes()
    size = max(len(short), status.st_size)
    for padded, at in ((path.read_bytes(), path), (data, Path("photos/b.png"))):
        at.write_bytes(padded)
    path.write_bytes(short.ljust(size, b"\0"))
    said(capsys, "photos")
    first = rows()["a.png"]
    assert first != before["a.png"]
    kept = path.stat()
    write_picture(path, picture(92, 60, 40))
    path.write_bytes(path.read_bytes().ljust(size, b"\0")[:size])
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (kept.st_size, kept.st_mtime_ns)
    assert "1 indexed, 5 unchanged" in said(capsys, "photos")
    assert rows()["a.png"] != first


# ---- what is left out, and what is followed


def test_what_is_left_out_is_remembered(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("@eaDir/t.png", "#recycle/old.png", "drafts/1.png", "keep/drafts/2.png")
    for seed, name in enumerate(names):
        write_picture(Path("photos", name), picture(60 + seed, 50, 40))
    told = said(capsys, "photos", "--exclude", "/drafts/", "--exclude", "z.*")
    assert "7 photos; 1 indexed, 5 unchanged, 1 left out now" in told
    assert rows().keys() == {*NAMES, "keep/drafts/2.png"}
    assert "7 photos; 0 indexed, 6 unchanged, 1 left out now" in said(capsys)
    assert "6 photos; 0 indexed, 6 unchanged, 1 removed" in said(capsys, "--prune")
    assert rows().keys() == {*NAMES, "keep/drafts/2.png"} - {"z.png"}
    assert "9 photos; 3 indexed" in said(capsys, "--exclude", "!@eaDir/")
    assert rows().keys() == {*NAMES, *names} - {"#recycle/old.png"}
    assert "1 left out now" in said(capsys, "--exclude", "")
    assert "--prune-most" in _refused(capsys, "--exclude", "*", "--prune")
    assert "--exclude: expected a pattern" in _refused(capsys, "--exclude", "!")


def test_links_that_leave_are_followed_if_asked(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second()
    os.symlink(here / "more", "photos/link")
    os.symlink(here / "more", "photos/same")  # walked once
    os.symlink(here, "photos/up")
    os.symlink(here / "photos", "more/back")
    assert "3 not readable" in said(capsys, "photos")
    errors = [json.loads(line) for line in Path("gallery/errors.jsonl").read_text().splitlines()]
    assert "--follow-links" in {error["path"]: error["reason"] for error in errors}["link"]
    told = said(capsys, "photos", "--follow-links")
    assert "8 photos; 2 indexed, 6 unchanged, 0 removed, 1 not readable" in told
    assert rows().keys() == {*NAMES, "link/a.png", "link/d/e/f.png"}
    assert "8 unchanged" in said(capsys)  # remembered
    assert "2 left out now" in said(capsys, "--no-follow-links")


def test_a_gallery_without_folders_says_what_it_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="expected a folder of photos, for gallery knows none yet"):
        pipeline.index((), "gallery")


def test_the_only_folder_is_not_forgotten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows()
    assert "expected one of several folders" in _refused(capsys, "--forget", "photos")
    assert rows() == before


def test_the_errors_of_other_folders_stay_listed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second()
    Path("more/bad.png").write_bytes(b"no photo")
    said(capsys, "more")
    Path("photos/bad.png").write_bytes(b"none either")
    said(capsys, "photos")
    listed = Path("gallery/errors.jsonl").read_text().splitlines()
    assert {json.loads(line)["path"] for line in listed} == {"more/bad.png", "photos/bad.png"}


def test_the_errors_of_the_only_folder_stay_listed_when_it_gets_company(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("photos/bad.png").write_bytes(b"no photo")
    said(capsys, "photos")
    said(capsys, second())
    (listed,) = Path("gallery/errors.jsonl").read_text().splitlines()
    assert json.loads(listed)["path"] == "photos/bad.png"


def test_photos_that_lie_where_a_gallery_keeps_its_files_stay(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("shards", "parts"):
        second(f"gallery/{folder}")
    Path("gallery/shards/0123456789abcdef.safetensors").write_bytes(b"left by a kill")
    said(capsys, "photos")
    assert len(list(GALLERY.rglob("*.png"))) == 4
    assert not Path("gallery/shards/0123456789abcdef.safetensors").exists()


def test_quiet_is_quiet(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, second(), "-q")
    write_picture(Path("more/new.png"), picture(77, 50, 40))
    assert pipeline.index.main(["more", "--gallery", "gallery", "-q"]) == 0
    assert capsys.readouterr().err == ""


# ---- while it runs


def test_others_are_told_how_far_it_is(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, int]] = []
    real = gallery_update.encode_file

    def looking(found: object, encode: object) -> object:
        seen.append(json.loads(Path("gallery/progress.json").read_text()))
        return real(found, encode)  # type: ignore[arg-type]

    monkeypatch.setattr(gallery_update, "encode_file", looking)
    for seed in (1, 2):
        write_picture(Path(f"photos/new{seed}.png"), picture(50 + seed, 50, 40))
    counted(capsys, "--jobs", 1)
    assert {(each["done"], each["todo"]) for each in seen} == {(0, 2)}
    assert not Path("gallery/progress.json").exists()


def test_changes_are_noticed_while_it_watches(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("watchdog")
    from pipeline.gallery import watch

    monkeypatch.setattr(watch, "SETTLE", 0.05)
    monkeypatch.setattr(watch, "LOOK", 0.1)
    calls = 0

    def again(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        report = index(*arguments, **named)  # type: ignore[arg-type]
        if calls == 2:  # the watching has begun: what was missed before is found
            write_picture(Path("photos/while.png"), picture(53, 50, 40))
        if calls == 3:
            raise KeyboardInterrupt
        return report

    from pipeline import index as module

    index = module.index
    monkeypatch.setattr(module, "index", again)
    assert module.main(["photos", "--gallery", "gallery", "--watch"]) == 0
    assert rows().keys() == {*NAMES, "while.png"}
