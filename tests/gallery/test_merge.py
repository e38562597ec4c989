"""Many galleries as one: to the byte what the one gallery of all their photos answers, however they
are cut and named.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filled import as_read
from pictures import make_model
from planted_gallery import binding, planted, taken
from planted_null import even
from small import answers, complaint

from pipeline import index, run
from pipeline.base.errors import GalleryError
from pipeline.commands import evaluate, rerank, sweep
from pipeline.gallery import chance, partition
from pipeline.gallery.merge import members, read_galleries, read_paths
from pipeline.gallery.roots import Roots
from pipeline.gallery.store import Encoded, read_gallery
from pipeline.gallery.writer import writing
from pipeline.model.chance import null_to_json
from pipeline.model.weights import open_model, write_model
from pipeline.recipes import second_look

PHOTOS = 70


def named(seed: int) -> str:
    """Folders of five photos, some names that are not UTF-8, and paths that sort otherwise than
    their folders do.
    """
    folder, letter = f"{'abc'[seed % 3]}{'' if seed % 2 else '-'}", "é" if seed % 7 else chr(0xDCE9)
    return f"{folder}/{seed // 15}/{seed:03d}{letter}.jpg"


def photos() -> list[Encoded]:
    """Some with the bytes of another, some at one distance from everything."""
    made = [taken(named(seed), seed if seed % 10 else 10) for seed in range(PHOTOS)]
    return [
        replace(photo, code=np.zeros(32, np.float32)) if seed % 9 == 4 else photo
        for seed, photo in enumerate(made)
    ]


def indexed(folder: Path, model: Path, rows: Sequence[Encoded], root: str = "/photos") -> Path:
    """A gallery of these rows as indexing leaves it, its null measured; their names lie under
    `root`.
    """
    below = root.removeprefix("/photos").lstrip("/")
    bound = replace(binding(model), photos=Roots.of(root))
    with writing(folder, bound) as writer:
        writer.add([replace(row, name=row.name.removeprefix(below).lstrip("/")) for row in rows])
        chance.calibrate(writer, second_look())
    return folder


@pytest.fixture(scope="module")
def model(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that brings a null."""
    folder, small = tmp_path_factory.mktemp("models") / "small", open_model(small_model)
    write_model(
        folder, small.arrays, small.settings, {"accept": {"null": null_to_json(even())}}, "make"
    )
    return folder


@pytest.fixture(scope="module")
def work(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `whole` gallery and `parts`, a folder of four that hold every fourth photo each. Not to be
    changed.
    """
    folder = tmp_path_factory.mktemp("many")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chance, "FEWEST", 40)
        indexed(folder / "whole", model, photos())
    assert partition.main(["--gallery", str(folder / "whole"), "--out", str(folder / "parts")]) == 0
    return folder


@pytest.fixture(autouse=True)
def few_photos_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chance, "FEWEST", 40)


def flags(*galleries: Path) -> list[str]:
    return [word for gallery in galleries for word in ("--gallery", str(gallery))]


def test_rows_null_and_answers_are_those_of_the_whole(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = read_gallery(work / "whole"), sorted((work / "parts").iterdir())
    assert [len(read_gallery(part).names) for part in parts] == [18, 18, 17, 17]
    queries = [f"gallery:{whole.names[place]}" for place in (0, 9, 40, 69)]
    wanted = answers(capsys, work / "whole", *queries, "-k", 70)
    assert {answer["null"] for answer in wanted} == {"gallery"}
    for several in (
        (work / "parts",),
        parts,
        parts[::-1],
        (parts[2], work / "parts/0", parts[1], parts[3]),
    ):
        joined = read_galleries(several, second_look())
        assert (joined.names, joined.contents, joined.null, joined.binding) == (
            whole.names,
            whole.contents,
            whole.null,
            whole.binding,
        )
        assert as_read(joined) == as_read(whole)
        assert answers(capsys, several[0], *queries, "-k", 70, *flags(*several[1:])) == wanted
    assert read_paths(parts)[0] == read_paths(work / "whole")[0]


def test_a_photo_is_named_by_the_common_parent(work: Path, model: Path, tmp_path: Path) -> None:
    whole = read_gallery(work / "whole")
    for folder in ("a", "a-", "b", "b-", "c", "c-"):
        indexed(
            tmp_path / folder,
            model,
            [photo for photo in photos() if photo.name.startswith(folder + "/")],
            f"/photos/{folder}",
        )
    joined = read_galleries(tmp_path, second_look())
    assert (joined.names, joined.null, str(joined.binding.photos)) == (
        whole.names,
        whole.null,
        "/photos",
    )
    assert as_read(joined) == as_read(whole)
    alone = read_galleries([tmp_path / "b"], second_look())
    assert alone.binding.photos == Roots.of("/photos/b")
    assert alone.names[0] == read_gallery(tmp_path / "b").names[0]


def test_the_other_jobs_answer_alike(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = read_gallery(work / "whole").names
    (tmp_path / "run.csv").write_bytes(
        b"query,image\n"
        + b"".join(
            f"gallery:{names[3]},{name}\n".encode("utf-8", "surrogateescape") for name in names
        )
    )
    given = ["--candidates", str(tmp_path / "run.csv"), "--jobs", "1"]
    capsys.readouterr()
    said = []
    for place, where in enumerate((flags(work / "whole"), flags(*(work / "parts").iterdir()))):
        assert rerank.main([*where, *given, "--out", str(tmp_path / f"{place}.csv")]) == 0
        capsys.readouterr()
        assert evaluate.main([*where, "--labels", "folder", "--allow-self", "--json"]) == 0
        said.append(capsys.readouterr().out)
        assert (
            sweep.main(
                [
                    *where,
                    "--labels",
                    "folder",
                    "--allow-self",
                    "--candidates",
                    "5",
                    "70",
                    "--out",
                    str(tmp_path / f"sweep{place}"),
                ]
            )
            == 0
        )
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "1.csv").read_bytes()
    assert said[0] == said[1]


def test_too_few_photos_together_use_the_models_null(model: Path, tmp_path: Path) -> None:
    for part in range(2):
        planted(tmp_path / str(part), model, photos()[part:39:2])
    assert read_galleries(tmp_path, second_look()).null == ""


def test_an_empty_gallery_adds_nothing(
    work: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(work / "whole", tmp_path / "whole")
    planted(tmp_path / "empty", model, [])
    query = f"gallery:{read_gallery(work / 'whole').names[5]}"
    assert answers(capsys, tmp_path, query) == answers(capsys, work / "whole", query)
    shutil.rmtree(tmp_path / "whole")
    planted(tmp_path / "nothing", model, [])
    assert read_galleries(tmp_path, second_look()).names == ()
    assert answers(capsys, tmp_path, query, code=2) == []


def test_galleries_that_hold_one_photo_are_refused(
    work: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(tmp_path / "more", model, [taken("new.jpg", 900), taken(named(8), 901)])
    capsys.readouterr()
    assert run.main(["gallery:new.jpg", *flags(work / "whole", tmp_path / "more")]) == 2
    assert (
        complaint(capsys)
        == f"run: gallery {tmp_path / 'more'}: expected photos that {work / 'whole'} does not hold,"
        f" got {named(8)} in both; run without one of them"
    )
    with pytest.raises(GalleryError, match=r"got .*\\xe9.jpg in both"):
        read_galleries(
            [work / "whole", planted(tmp_path / "odd", model, [taken(named(7), 902)])],
            second_look(),
        )
    with pytest.raises(GalleryError, match="in both"):
        read_galleries([work / "whole", work / "whole"], second_look())


def test_galleries_of_two_models_are_refused(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_model(tmp_path / "other_model", seed=5)
    planted(tmp_path / "other", tmp_path / "other_model", [taken("x.jpg", 900)])
    capsys.readouterr()
    assert run.main(["gallery:x.jpg", *flags(work / "whole", tmp_path / "other")]) == 2
    said = complaint(capsys)
    assert said.startswith(f"run: gallery {tmp_path / 'other'}: expected model small (")
    assert f" as {work / 'whole'} has, got other_model (" in said


def test_a_folder_without_galleries_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert members(tmp_path) == (tmp_path,)
    with pytest.raises(GalleryError, match=r"expected a folder with manifest.sqlite, got none"):
        read_galleries(tmp_path, second_look())


def test_indexing_takes_one_gallery(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert index.main([str(tmp_path), *flags(work / "parts")]) == 2
    assert (
        "expected one gallery, got a folder of galleries; run with one of them, or with a new"
        " folder" in complaint(capsys)
    )
    with pytest.raises(SystemExit, match="2"):
        index.main([str(tmp_path), *flags(tmp_path / "a", tmp_path / "b")])
    assert (
        complaint(capsys)
        == "python -m pipeline.index: argument --gallery: expected one gallery, got several; see"
        " --help"
    )


def test_parting_refuses_a_folder_that_is_there(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert partition.main([*flags(work / "whole"), "--out", str(tmp_path)]) == 2
    assert "expected a folder that is not there yet" in complaint(capsys)
