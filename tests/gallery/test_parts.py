"""A gallery's index of parts: whatever was added, changed, removed, merged, damaged or done by an
earlier version, its votes are those of a gallery that was made in one go.
"""

import hashlib
import json
import logging
import shutil
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import picture, write_picture
from planted_codebook import give_codebook
from planted_gallery import binding, planted, related
from small import OPTIONS, answers, complaint, indexed

from pipeline import run
from pipeline.base.errors import GalleryError
from pipeline.base.files import file_sha256
from pipeline.commands import parts as parts_command
from pipeline.commands import rerank
from pipeline.gallery import partition, parts_writer
from pipeline.gallery.contents import Contents
from pipeline.gallery.merge import read_galleries
from pipeline.gallery.parts import PartsReading, merged, segment_of, worth_merging
from pipeline.gallery.store import Encoded, Reading, read_gallery
from pipeline.gallery.writer import GalleryWriter, writing
from pipeline.model import codebook as codebook_module
from pipeline.model.codebook import ModelCodebook, read_codebook
from pipeline.search.open import lack_of_parts, open_engine

PHOTOS = 30
Votes = dict[str, list[int]]  # of every photo, as a query, for all


def photos(count: int = PHOTOS) -> list[Encoded]:
    return [related(f"{seed:03d}.jpg", seed) for seed in range(count)]


def codebook_of(model: Path) -> ModelCodebook:
    codebook = read_codebook(model)
    assert codebook is not None
    return codebook


def whole_parts(reading: Reading, model: Path) -> PartsReading:
    assert lack_of_parts(reading, codebook_of(model)) == ""
    assert reading.parts is not None
    return reading.parts


def votes(model: Path, *folders: Path) -> Votes:
    reading = read_galleries(folders, None, parts=True)
    index = whole_parts(reading, model).index(
        codebook_of(model), reading.contents, np.arange(len(reading.names))
    )
    return {
        name: index.votes(reading.features[row]).tolist() for row, name in enumerate(reading.names)
    }


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "parts").iterdir())


def held(folder: Path) -> list[str]:
    """The contents that lie in segments, each as often as it does."""
    reading = read_gallery(folder, parts=True)
    assert reading.parts is not None
    return sorted(bytes(row).hex() for each in reading.parts.stored for row in each.contents)


@pytest.fixture(scope="module")
def made(worded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery in one go, two segments of it. Not to be changed."""
    return planted(tmp_path_factory.mktemp("parts") / "made", worded_model, photos())


@pytest.fixture(scope="module")
def wanted(made: Path, worded_model: Path) -> Votes:
    return votes(worded_model, made)


@pytest.fixture
def gallery(made: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return shutil.copytree(made, tmp_path / "gallery")


@pytest.fixture
def own_model(worded_model: Path, tmp_path: Path) -> Path:
    """A copy of the model to change."""
    return shutil.copytree(worded_model, tmp_path / "own")


def test_photos_are_indexed_as_they_are_added(made: Path, wanted: Votes) -> None:
    assert len(segments(made)) == 2
    assert held(made) == sorted(read_gallery(made).contents)
    assert set(wanted) == {photo.name for photo in photos()}
    for row, mine in enumerate(wanted.values()):
        assert int(np.argmax(mine)) == row
        assert sum(vote > 0 for vote in mine) > 10  # others show some of the same things
    assert read_gallery(made).parts is None  # nobody asked for it


def apply(writer: GalleryWriter, rng: np.random.Generator, now: dict[str, int]) -> None:
    """One change at random; now: the seeds of the photos that there are."""
    match rng.integers(0, 6):
        case 0 | 1:  # new ones, and others under names that are known
            batch = {f"{n:03d}.jpg": int(rng.integers(0, 60)) for n in rng.integers(0, 40, 4)}
            writer.add([related(name, seed) for name, seed in batch.items()])
            now.update(batch)
        case 2 | 3:
            gone = [name for name in now if rng.random() < 0.2]
            writer.remove(gone)
            for name in gone:
                del now[name]
        case 4:
            assert writer.parts is not None
            writer.parts.merge()
        case _:
            writer.compact()


@pytest.mark.parametrize("seed", range(6))
def test_whatever_was_done_the_votes_are_those_of_one_go(
    seed: int, worded_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adding, changing, removing, merging and compacting at random, in several runs."""
    monkeypatch.setattr("pipeline.gallery.writer.SMALL", 6)
    monkeypatch.setattr("pipeline.gallery.writer.SEGMENTS", 5)
    rng, now = np.random.default_rng(seed), dict[str, int]()
    for _ in range(4):
        with writing(tmp_path / "g", binding(worded_model), codebook_of(worded_model)) as writer:
            for _ in range(6):
                apply(writer, rng, now)
    at_once = [related(name, each) for name, each in now.items()]
    assert len(at_once) > 3
    wanted = votes(worded_model, planted(tmp_path / "whole", worded_model, at_once))
    assert votes(worded_model, tmp_path / "g") == wanted
    with writing(tmp_path / "g", binding(worded_model), codebook_of(worded_model)) as writer:
        writer.compact()
    assert votes(worded_model, tmp_path / "g") == wanted
    assert len(held(tmp_path / "g")) == len(set(held(tmp_path / "g")))


def test_pruned_photos_get_no_votes_and_leave_the_disk(gallery: Path, worded_model: Path) -> None:
    gone = [photo.name for photo in photos()[4:24]]
    kept = [*photos()[:4], *photos()[24:]]
    with writing(gallery, binding(worded_model), codebook_of(worded_model)) as writer:
        writer.remove(gone)
        before = votes(worded_model, gallery)
        assert len(held(gallery)) == PHOTOS
        writer.compact()
    wanted = votes(worded_model, planted(gallery.with_name("few"), worded_model, kept))
    assert before == votes(worded_model, gallery) == wanted
    assert held(gallery) == sorted(photo.entry.sha256 for photo in kept)
    assert len(segments(gallery)) == 1


def test_what_comes_back_is_found_again(gallery: Path, worded_model: Path, wanted: Votes) -> None:
    """A photo that is removed and added again, its features in a segment all the while."""
    with writing(gallery, binding(worded_model), codebook_of(worded_model)) as writer:
        writer.remove(["003.jpg"])
        writer.add([related("003.jpg", 3)])
    assert len(segments(gallery)) == 2
    assert votes(worded_model, gallery) == wanted


def test_equal_contents_get_equal_votes_and_count_once(
    made: Path, worded_model: Path, tmp_path: Path, wanted: Votes
) -> None:
    copies = [related("copy/a.jpg", 7), related("copy/b.jpg", 7), related("copy/c.jpg", 20)]
    found = votes(worded_model, planted(tmp_path / "g", worded_model, [*photos(), *copies]))
    for name, mine in wanted.items():
        assert found[name] == [*mine, mine[7], mine[7], mine[20]]
    assert len(held(tmp_path / "g")) == PHOTOS


def test_a_photo_without_features_is_indexed(worded_model: Path, tmp_path: Path) -> None:
    bare = related("bare.jpg", 99)
    features = replace(
        bare.features,
        **{name: getattr(bare.features, name)[:0] for name in ("xy", "descriptor", "score")},
    )
    g = planted(tmp_path / "g", worded_model, [replace(bare, features=features), *photos(5)])
    found = votes(worded_model, g)
    assert found["bare.jpg"] == [0] * 6
    assert all(mine[-1] == 0 and max(mine) > 0 for name, mine in found.items() if name < "b")
    alone = planted(tmp_path / "alone", worded_model, [replace(bare, features=features)])
    assert votes(worded_model, alone) == {"bare.jpg": [0]}


def forget_parts(folder: Path) -> None:
    """As an earlier version left a gallery."""
    with closing(sqlite3.connect(folder / "manifest.sqlite")) as manifest:
        manifest.execute("DROP TABLE parts")
        manifest.commit()
    shutil.rmtree(folder / "parts")


def mended(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `two-look parts` prints, without its end."""
    capsys.readouterr()
    assert parts_command.main(["--gallery", str(folder)]) == 0
    out = capsys.readouterr().out
    start, end = f"{folder}: the parts of ", " new\n"
    assert out.startswith(start)
    assert out.endswith(end)
    return out.removeprefix(start).removesuffix(end)


def fallen_back(folder: Path, caplog: pytest.LogCaptureFixture, got: str) -> None:
    """By default it is asked by codes alone, which one line says; who asks for votes is refused."""
    caplog.clear()
    logging.getLogger("pipeline").propagate = True  # a command before may have ended that
    with caplog.at_level(logging.INFO, "pipeline"):
        engine = open_engine(folder, OPTIONS)
    said = f"gallery {folder}: expected an index of parts over all photos, got {got}"
    mend = f"run `two-look parts --gallery {folder}`"
    assert caplog.messages == [f"{said}: candidates are found by codes alone; {mend}"]
    assert engine.recipe.shortlist == "global"
    assert engine.gallery.parts is None
    with pytest.raises(GalleryError) as refused:
        open_engine(folder, replace(OPTIONS, shortlist="parts"))
    assert str(refused.value) == f"{said}; {mend}"


def test_an_old_gallery_gets_it_by_a_command(
    gallery: Path,
    worded_model: Path,
    wanted: Votes,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts_writer, "AT_ONCE", 7)
    forget_parts(gallery)
    fallen_back(gallery, caplog, "none")
    assert run.main(["gallery:000.jpg", "--gallery", str(gallery), "--shortlist", "both"]) == 2
    line = complaint(capsys)
    assert line.startswith(f"run: gallery {gallery}: expected an index of parts over all photos,")
    assert line.endswith(f"got none; run `two-look parts --gallery {gallery}`")
    assert mended(gallery, capsys) == "30 different photos are indexed; 30"
    assert votes(worded_model, gallery) == wanted
    assert mended(gallery, capsys) == "30 different photos are indexed; 0"
    assert open_engine(gallery, OPTIONS).recipe.shortlist == "both"


def test_what_is_missing_is_told_and_made(
    gallery: Path,
    worded_model: Path,
    wanted: Votes,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An earlier version adds photos to a gallery that has an index, and knows nothing of it."""
    with writing(gallery, binding(worded_model)) as writer:
        writer.remove([f"{n:03d}.jpg" for n in range(20, 30)])
        writer.add([related(f"{n:03d}.jpg", n) for n in range(20, 30)])
        writer.add([related("new.jpg", 77)])
    fallen_back(gallery, caplog, "one over 30 of 31")
    assert mended(gallery, capsys) == "31 different photos are indexed; 1"
    with writing(gallery, binding(worded_model)) as writer:
        writer.remove(["new.jpg"])
    assert votes(worded_model, gallery) == wanted


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_index_is_refused_and_mended(
    damage: str,
    gallery: Path,
    worded_model: Path,
    wanted: Votes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = segments(gallery)[0]
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        at = len(data) // 2
        flipped = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
        file.write_bytes(flipped if damage == "flipped" else data[:at])
    with pytest.raises(GalleryError) as refused:
        read_gallery(gallery, parts=True)
    assert "\n" not in str(refused.value)
    assert str(refused.value).endswith(f"; run `two-look parts --gallery {gallery}`")
    assert run.main(["gallery:000.jpg", "--gallery", str(gallery)]) == 2
    assert complaint(capsys) == f"run: {refused.value}"
    # who does not need it is not stopped by it
    assert len(answers(capsys, gallery, "gallery:000.jpg", "--shortlist", "global")) == 1
    run_file, out = gallery.with_name("run.csv"), gallery.with_name("out.csv")
    run_file.write_text("query,image\ngallery:000.jpg,001.jpg\n")
    flags = ["--gallery", str(gallery), "--candidates", str(run_file), "--out", str(out)]
    assert rerank.main([*flags, "--jobs", "1"]) == 0
    assert mended(gallery, capsys) in {
        f"30 different photos are indexed; {count}" for count in (14, 16)
    }
    assert votes(worded_model, gallery) == wanted
    assert not file.exists()


def test_bytes_that_are_no_segment_are_refused(gallery: Path) -> None:
    """Though the manifest vouches for them."""
    file = segments(gallery)[0]
    shutil.copy(next((gallery / "shards").iterdir()), file)
    with closing(sqlite3.connect(gallery / "manifest.sqlite")) as manifest:
        manifest.execute(
            "UPDATE parts SET sha256 = ? WHERE file = ?", (file_sha256(file), file.name)
        )
        manifest.commit()
    with pytest.raises(GalleryError, match="expected an index of parts, got ") as refused:
        read_gallery(gallery, parts=True)
    assert str(refused.value).endswith(f"; run `two-look parts --gallery {gallery}`")


def test_a_damaged_shard_is_left_to_the_command_that_mends_it(
    gallery: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No photo is forgotten by who cannot encode it again."""
    shard = next((gallery / "shards").iterdir())
    data = shard.read_bytes()
    shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert parts_command.main(["--gallery", str(gallery)]) == 2
    line = complaint(capsys)
    assert line.startswith(f"parts: gallery shard {shard}: expected sha256 ")
    assert "`python -m pipeline.index" in line
    shard.write_bytes(data)
    assert len(read_gallery(gallery).names) == PHOTOS


def test_another_codebook_is_another_index(
    own_model: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    g = planted(tmp_path / "g", own_model, photos())
    old = codebook_of(own_model).sha256
    before = votes(own_model, g)
    give_codebook(own_model, seed=1)
    new = codebook_of(own_model).sha256
    fallen_back(g, caplog, f"one by codebook {old[:12]} in place of {new[:12]}")
    for kind in ("both", "parts"):
        assert run.main(["gallery:000.jpg", "--gallery", str(g), "--shortlist", kind]) == 2
        line = complaint(capsys)
        assert line.startswith(f"run: gallery {g}: expected an index of parts over all photos, got")
        assert line.endswith(f"; run `two-look parts --gallery {g}`")
    assert mended(g, capsys) == "30 different photos are indexed; 30"
    after = votes(own_model, g)
    assert after == votes(own_model, planted(tmp_path / "new", own_model, photos())) != before
    # neither is an index of both
    with writing(g, binding(own_model), codebook_of(own_model)) as writer:
        writer.connection.execute("UPDATE parts SET codebook = 'another' WHERE id % 2 = 0")
        writer.add([related("new.jpg", 77)])
        writer.connection.execute("UPDATE parts SET codebook = 'another' WHERE photos = 1")
    fallen_back(g, caplog, "none")
    assert mended(g, capsys).startswith("31 different photos are indexed; ")
    assert set(votes(own_model, g)) == {*after, "new.jpg"}


@pytest.mark.parametrize("damage", ["flipped", "gone", "no codebook"])
def test_a_damaged_codebook_is_one_line(
    damage: str, own_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    g = planted(tmp_path / "g", own_model, photos(5))
    codebook_module._read.cache_clear()  # what was read whole a moment ago is not read again
    file = own_model / "codebook.safetensors"
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if damage == "flipped" else b"nothing")
    if damage == "no codebook":  # though the card vouches for it
        card = json.loads((own_model / "card.json").read_text())
        card["codebook"]["sha256"] = hashlib.sha256(b"nothing").hexdigest()
        (own_model / "card.json").write_text(json.dumps(card))
    for command in (
        lambda: run.main(["gallery:000.jpg", "--gallery", str(g)]),
        lambda: parts_command.main(["--gallery", str(g)]),
    ):
        assert command() == 2
        line = complaint(capsys)
        assert f"model {file}: expected the codebook that its card names, got " in line
        assert line.endswith("; run `make`")
    assert len(answers(capsys, g, "gallery:000.jpg", "--shortlist", "global")) == 1


def test_a_model_without_a_codebook_finds_by_codes(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    g = planted(tmp_path / "g", small_model, photos(5))
    assert segments(g) == []
    (answer,) = answers(capsys, g, "gallery:000.jpg")
    assert answer["shortlist"] == "global"
    for kind in ("parts", "both"):
        assert run.main(["gallery:000.jpg", "--gallery", str(g), "--shortlist", kind]) == 2
        assert complaint(capsys) == (
            f"run: --shortlist {kind}: expected a model with a codebook, got small, which has none;"
            " run without it"
        )
    assert parts_command.main(["--gallery", str(g)]) == 2
    assert complaint(capsys) == (
        f"parts: --gallery {g}: expected one whose model has a codebook, got model small, which has"
        " none"
    )


def test_parts_of_a_gallery_count_together_as_the_whole(
    worded_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some photos have copies in other parts."""
    copies = [related(f"copy/{n}.jpg", n) for n in (0, 3, 4, 9)]
    whole = planted(tmp_path / "whole", worded_model, [*photos(), *copies])
    assert (
        partition.main(["--gallery", str(whole), "--parts", "3", "--out", str(tmp_path / "g")]) == 0
    )
    several = [tmp_path / "g" / str(part) for part in range(3)]
    wanted = votes(worded_model, whole)
    assert votes(worded_model, *several) == wanted
    assert votes(worded_model, *several[::-1]) == wanted
    for kind in ("parts", "both"):
        asked = ("gallery:003.jpg", "gallery:copy/9.jpg", "--shortlist", kind, "-k", 40)
        more = ("--candidates", 12)
        assert answers(capsys, tmp_path / "g", *asked, *more) == answers(
            capsys, whole, *asked, *more
        )
    forget_parts(several[1])
    assert read_galleries(several, None, parts=True).parts is None


def test_of_copies_alone_an_index_is_empty(made: Path, worded_model: Path) -> None:
    """As on a cluster, where a gallery's photos may all be copies of another's."""
    parts = whole_parts(read_gallery(made, parts=True), worded_model)
    index = parts.index(codebook_of(worded_model), Contents.of([]), np.arange(0), total=30)
    features = related("", 0).features
    assert index.votes(features).tolist() == []
    assert not index.counts(features).any()


def test_readers_meet_a_whole_index_while_a_writer_works(gallery: Path, worded_model: Path) -> None:
    """Segments come, go and are merged: whatever photos a reader sees, all of them are indexed."""
    stop, seen = threading.Event(), list[Any]()

    def read() -> None:
        try:
            while not stop.is_set():
                reading = read_gallery(gallery, parts=True)
                seen.append(lack_of_parts(reading, codebook_of(worded_model)))
        except BaseException as error:
            seen.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    rng, now = np.random.default_rng(0), {photo.name: 0 for photo in photos()}
    with writing(gallery, binding(worded_model), codebook_of(worded_model)) as writer:
        for _ in range(30):
            apply(writer, rng, now)
    stop.set()
    for reader in readers:
        reader.join()
    assert len(seen) > 6
    assert set(seen) == {""}


def test_both_lists_find_and_say_so(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (everything,) = answers(
        capsys, made, "gallery:005.jpg", "-k", 30, "--shortlist", "global", "--candidates", 30
    )
    coarse = {result["image"]: result for result in everything["results"]}
    engine = open_engine(made, OPTIONS)
    assert engine.gallery.parts is not None
    counted = engine.gallery.parts.votes(engine.query("gallery:005.jpg").features)
    by_votes = {engine.gallery.names[row]: vote for row, vote in enumerate(counted.tolist())}
    ranked = sorted(by_votes, key=lambda name: (-by_votes[name], name))
    for kind in ("both", "parts"):
        (answer,) = answers(
            capsys, made, "gallery:005.jpg", "-k", 30, "--candidates", 8, "--shortlist", kind
        )
        assert (answer["shortlist"], answer["candidates"]) == (kind, 8)
        candidates = [result for result in answer["results"] if result["found_by"] is not None]
        assert len(candidates) == 8
        if kind == "parts":
            assert {result["image"] for result in candidates} == set(ranked[:8])
            continue
        assert (answers(capsys, made, "gallery:005.jpg", "-k", 30, "--candidates", 8)) == [answer]
        for result in answer["results"]:
            mine = coarse[result["image"]]
            assert (result["coarse_rank"], result["distance"]) == (
                mine["coarse_rank"],
                mine["distance"],
            )
        for result in candidates:
            place = ranked.index(result["image"]) + 1
            assert result["parts_rank"] == (place if by_votes[result["image"]] else None)
            inside = result["coarse_rank"] <= 8, (result["parts_rank"] or 99) <= 8
            assert (
                result["found_by"]
                == {
                    (True, True): "both",
                    (True, False): "global",
                    (False, True): "parts",
                    (False, False): "both",
                }[inside]
            )
        assert {result["found_by"] for result in candidates} >= {"global", "parts"}
        # a shorter list of candidates is the beginning of a longer one
        found = [
            engine.find(engine.query("gallery:005.jpg"), count, 30)[1].rows[0].tolist()
            for count in (3, 8, 30)
        ]
        assert found[2][:8] == found[1]
        assert found[1][:3] == found[0]


def test_what_votes_alone_brought_is_told_its_place_by_codes(
    worded_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three photos hold what the query holds, and their codes are the farthest, two at one
    distance; the list by codes ends long before.
    """
    for module in ("pipeline.search.engine", "stages.shortlist"):
        monkeypatch.setattr(f"{module}.DEPTH", 4)
    far = [
        replace(
            related(name, 5),
            entry=replace(related(name, 5).entry, sha256=f"{number:064x}"),
            code=np.full(32, value, np.float32),
        )
        for number, (name, value) in enumerate([("x.jpg", 60), ("y.jpg", 50), ("z.jpg", 60)], 500)
    ]
    g = planted(tmp_path / "g", worded_model, [*photos(), *far])
    (everything,) = answers(capsys, g, "gallery:005.jpg", "-k", 33, "--shortlist", "global")
    coarse = {
        result["image"]: (result["coarse_rank"], result["distance"])
        for result in everything["results"]
    }
    assert [coarse[name][0] for name in ("x.jpg", "y.jpg", "z.jpg")] == [32, 31, 33]
    (answer,) = answers(capsys, g, "gallery:005.jpg", "-k", 4, "--candidates", 6)
    assert [result["image"] for result in answer["results"]] == [
        "005.jpg",
        "x.jpg",
        "y.jpg",
        "z.jpg",
    ]
    assert {
        result["image"]: (result["coarse_rank"], result["distance"]) for result in answer["results"]
    } == {name: coarse[name] for name in ("005.jpg", "x.jpg", "y.jpg", "z.jpg")}
    assert [result["found_by"] for result in answer["results"]] == ["both", *["parts"] * 3]


def test_indexing_photos_indexes_their_parts(
    worded_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And completes an index that was left incomplete, though no photo is new."""
    for seed in range(4):
        write_picture(tmp_path / f"photos/{seed}.png", picture(seed, 64, 48))
    g = tmp_path / "g"
    assert indexed(tmp_path / "photos", g, "--model", worded_model) == 0
    before = votes(worded_model, g)
    for row, mine in enumerate(before.values()):
        assert mine[row] == max(mine) > 0
    by_file, by_name = answers(capsys, g, tmp_path / "photos/2.png", "gallery:2.png")
    assert by_file["shortlist"] == "both"
    assert {**by_file, "query": ""} == {**by_name, "query": ""}
    assert by_file["results"][0]["image"] == "2.png"
    assert by_file["results"][0]["found_by"] == "both"
    forget_parts(g)
    assert indexed(tmp_path / "photos", g) == 0
    assert votes(worded_model, g) == before


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        ([], []),
        ([5], []),
        ([5, 5], [0, 1]),
        ([5, 6], []),
        ([5, 9, 5], [0, 2, 1]),
        ([100, 1, 1, 3, 5], [1, 2, 3, 4]),
        ([26, 23, 27, 24], [1, 3, 0, 2]),
        ([0, 0, 7], [0, 1]),
        ([65000, 65000], []),
        ([60000, 300, 300], [1, 2]),
    ],
)
def test_the_smaller_segments_are_merged(sizes: Sequence[int], wanted: list[int]) -> None:
    assert worth_merging(dict(enumerate(sizes))) == wanted


def test_merged_segments_hold_no_more_photos_than_one_can(
    worded_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.gallery.parts.MOST_PHOTOS", 7)
    codebook, seen = codebook_of(worded_model), photos(16)
    stored = [
        segment_of(codebook, [p.entry.sha256 for p in some], [p.features for p in some])
        for some in (seen[:5], seen[5:9], seen[7:14], seen[14:])
    ]
    keep = {bytes.fromhex(p.entry.sha256) for p in seen[2:]}
    found = list(merged(stored, keep, 16))
    assert [len(each.contents) for each in found] == [7, 7]
    assert [bytes(row) for each in found for row in each.contents] == [
        bytes.fromhex(p.entry.sha256) for p in seen[2:]
    ]
    contents = Contents.of(p.entry.sha256 for p in seen[2:])
    one = PartsReading(codebook.sha256, tuple(found))
    other = PartsReading(codebook.sha256, tuple(stored))
    query = seen[3].features
    rows = np.arange(14)
    np.testing.assert_array_equal(
        one.index(codebook, contents, rows).votes(query),
        other.index(codebook, contents, rows).votes(query),
    )
