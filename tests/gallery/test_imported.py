"""Features of another program: imported, searched and verified as ours are, and refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import answers, complaint, errors

import pipeline
from pipeline import serve
from pipeline.commands import evaluate
from pipeline.gallery.imported import MEMBERS, as_features
from pipeline.gallery.store import read_gallery
from pipeline.index import main

D = 64
NAMES = ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "c.jpg")
Arrays = dict[str, Any]


def drawn(seed: int, rows: int = 60, length: int = D) -> Arrays:
    """Features of a photo that shares nothing with those of other seeds."""
    rng = np.random.default_rng(seed)
    descriptor = rng.normal(size=(rows, length))
    descriptor /= np.linalg.norm(descriptor, axis=1, keepdims=True)
    return {
        "xy": rng.uniform(0, 300, (rows, 2)),
        "descriptor": descriptor.astype(np.float16),
        "score": rng.uniform(size=rows),
        "size": np.array([400, 300]),
    }


def moved(arrays: Arrays) -> Arrays:
    """The same thing half as large and elsewhere, in another order."""
    order = np.random.default_rng(9).permutation(len(arrays["xy"]))
    whole = {name: arrays[name][order] for name in ("xy", "descriptor", "score")}
    return {**whole, "xy": whole["xy"] / 2 + [40, 25], "size": arrays["size"]}


def photos() -> dict[str, Arrays]:
    """`a` and `b` hold two photos of one thing each, `c` is alone."""
    first, second = drawn(1), drawn(2)
    made = (first, moved(first), second, moved(second), drawn(3))
    return dict(zip(NAMES, made, strict=True))


def write(folder: Path, made: dict[str, Arrays]) -> Path:
    for name, arrays in made.items():
        path = folder / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **arrays)
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write(tmp_path / "features", photos())


def imported(*more: object, features: str = "features") -> int:
    return main(["--features", features, "--gallery", "gallery", *map(str, more)])


@pytest.mark.parametrize("codes", [False, True])
def test_they_are_searched_and_verified(codes: bool, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = np.eye(5, 8)[[0, 0, 1, 1, 2]]
    np.save("codes.npy", vectors)
    assert imported(*(["--codes", "codes.npy"] if codes else [])) == 0
    assert capsys.readouterr().out == (
        "gallery: 5 photos; 5 indexed, 0 unchanged, 0 removed, 0 not readable\n"
    )
    (answer,) = answers(capsys, Path("gallery"), "gallery:b/1.jpg", "-k", "2")
    assert answer["recipe"] == "imported"
    assert [result["image"] for result in answer["results"]] == ["b/1.jpg", "b/2.jpg"]
    assert all(result["accepted"] for result in answer["results"])
    np.testing.assert_allclose(
        answer["results"][1]["affine"], [[0.5, 0, 40], [0, 0.5, 25]], atol=1e-3
    )
    assert (answer["null"], answer["false_alarm"]) == (None, None)  # too few to know chance
    assert answer["results"][1]["distance"] == 0


def test_hlocs_file_gives_the_same_gallery(capsys: pytest.CaptureFixture[str]) -> None:
    h5py = pytest.importorskip("h5py", reason="needs the extra `hloc`")
    with h5py.File("features.h5", "w") as file:
        for name, arrays in photos().items():
            group = file.create_group(name)
            group["keypoints"], group["scores"] = arrays["xy"], arrays["score"]
            group["descriptors"], group["image_size"] = arrays["descriptor"].T, arrays["size"]
    assert imported() == 0
    ours = read_gallery(Path("gallery"))
    assert main(["--features", "features.h5", "--gallery", "other"]) == 0
    theirs = read_gallery(Path("other"))
    assert (ours.names, ours.contents) == (theirs.names, theirs.contents)
    assert ours.binding.identity == theirs.binding.identity


def test_a_damaged_hdf5_file_is_refused_or_loses_what_is_damaged() -> None:
    """Whatever byte is wrong: a gallery, a list of what is not in it, or one line."""
    h5py = pytest.importorskip("h5py", reason="needs the extra `hloc`")
    with h5py.File("features.h5", "w") as file:
        for name, arrays in photos().items():
            for ours, theirs in MEMBERS.items():
                value = arrays[ours].T if ours == "descriptor" else arrays[ours]
                file[f"{name}/{theirs}"] = value
        file["keypoints"] = 3  # no photo's
        file["group.jpg/keypoints/within"] = 3
    whole, rng, refused, partly = Path("features.h5").read_bytes(), np.random.default_rng(0), 0, 0
    for turn in range(60):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(0, 4000, 4)] = rng.integers(0, 256, 4)
        Path("damaged.h5").write_bytes(damaged.tobytes())
        try:
            partly += pipeline.index_features("damaged.h5", f"gallery{turn}").failed > 2
        except pipeline.TwoLookError as error:
            refused += "damaged.h5: expected" in str(error)
    assert refused > 5
    assert partly > 5
    assert pipeline.index_features("features.h5", "gallery").failed == 2


def test_only_what_changed_is_read_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert imported() == 0
    write(Path("features"), {"c.jpg": drawn(4), "d.jpg": drawn(5)})
    Path("features/a/2.jpg.npz").unlink()
    assert imported() == 0
    assert "5 photos" not in capsys.readouterr().out.splitlines()[1]
    assert imported("--prune") == 0
    assert capsys.readouterr().out == (
        "gallery: 5 photos; 0 indexed, 5 unchanged, 1 removed, 0 not readable\n"
    )


def broken(name: str, value: Any) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, name: value(arrays) if callable(value) else value}


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (broken("xy", lambda a: a["xy"][:-1]), "xy, score: expected (60, 2), (60,), got (59, 2)"),
        (broken("score", lambda a: a["score"][:3]), "xy, score: expected (60, 2), (60,), got"),
        (broken("descriptor", lambda a: a["descriptor"] * 2), "expected unit vectors, got one of"),
        (broken("descriptor", lambda a: a["descriptor"] * np.nan), "expected finite numbers"),
        (broken("descriptor", lambda a: a["descriptor"][:, :32]), "expected (M, 64), got (60, 32)"),
        (broken("xy", lambda a: a["xy"] * np.inf), "xy: expected finite numbers"),
        (
            broken("size", np.array([1e30, 5])),
            "size: expected width and height in px, got 1e+30 x 5",
        ),
        (broken("score", np.array(["x"] * 60)), "score: expected numbers, got <U1"),
        (broken("descriptor", np.array(1.0)), "descriptor: expected (M, 64), got ()"),
        (broken("xy", lambda a: a["xy"] * 1e300), "xy: expected finite numbers"),
        (broken("size", np.array([0, 5])), "size: expected width and height in px, got 0 x 5"),
        (lambda a: {k: v for k, v in a.items() if k != "score"}, "got none called score"),
        (broken("xy", np.array([{}], object)), "allow_pickle=False"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_cannot_be_used_is_listed_and_the_others_are_in(
    breaks: Callable[[Arrays], Arrays], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("features"), {"b/2.jpg": breaks(drawn(2))})
    assert imported() == 0
    assert "4 photos; 4 indexed, 0 unchanged, 0 removed, 1 not readable" in capsys.readouterr().out
    assert reason in errors()["b/2.jpg"]


def test_a_file_that_is_none_costs_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    Path("features/a/1.jpg.npz").write_bytes(b"no archive")
    assert imported() == 0
    assert "not a zip file" in errors()["a/1.jpg"]
    assert len(read_gallery(Path("gallery")).names) == 4


@pytest.mark.parametrize(
    ("codes", "reason"),
    [
        (np.zeros((4, 8)), "a row for each of 5 photos"),
        (np.full((5, 8), np.nan), "got NaN or infinity"),
        (np.zeros(5), "expected a float array (N, D)"),
        (np.zeros((5, 8), int), "expected a float array (N, D)"),
        (None, "No such file"),
    ],
)
def test_codes_that_do_not_fit_end_it_before_it_begins(
    codes: Any, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if codes is not None:
        np.save("codes.npy", codes)
    assert imported("--codes", "codes.npy") == 2
    assert reason in complaint(capsys)
    assert not Path("gallery").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "PHOTOS: expected a folder of photos, for gallery knows none yet, got none"),
        (["photos", "--features", "features"], "--forget, got PHOTOS and --features"),
        (["photos", "--codes", "c.npy"], "--codes c.npy: expected it with --features"),
        (["--features", "features", "--model", "x"], "--model: expected it with PHOTOS"),
        (["--features", "nothing"], "--features nothing: expected a folder or an HDF5 file"),
        (["--features", "gallery-less"], "expected features of at least one photo, got none"),
        (["--features", "features/c.jpg.npz"], "expected an HDF5 file, got: "),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("gallery-less").mkdir()
    assert main([*arguments, "--gallery", "gallery"]) == 2
    assert reason in complaint(capsys)


def test_they_go_into_one_gallery() -> None:
    pipeline.index_features("features", "several/one")
    with pytest.raises(pipeline.UsageError, match="expected one gallery, got a folder of"):
        pipeline.index_features("features", "several")


def test_a_photo_cannot_ask_and_other_features_do_not_meet(
    indexed_photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imported() == 0
    with pipeline.open_gallery("gallery") as gallery:
        with pytest.raises(pipeline.QueryError, match="computed by another program, got a photo"):
            gallery.search(indexed_photos / "photos/b.png")
        with pytest.raises(pipeline.UsageError, match="--code pca: expected none"):
            pipeline.open_gallery("gallery", pipeline.SearchOptions(code="pca"))
    write(Path("others"), {"x.jpg": drawn(1, length=32)})
    assert imported(features="others") == 2
    assert "expected model imported" in capsys.readouterr().err


def test_no_page_is_served_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra `web`")
    assert imported() == 0
    capsys.readouterr()
    assert serve.main(["--gallery", "gallery", "--port", "0"]) == 2
    assert "expected a gallery of photos, got one of features that another" in complaint(capsys)


def test_an_evaluation_asks_with_another_gallery_of_features(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert imported() == 0
    asked = {"q/one.jpg": moved(drawn(1)), "q/two.jpg": moved(drawn(3))}
    for arrays in asked.values():  # not the indexed photos themselves
        arrays |= {name: arrays[name][:50] for name in ("xy", "descriptor", "score")}
    write(Path("asked"), asked)
    assert main(["--features", "asked", "--gallery", "queries"]) == 0
    Path("truth.csv").write_text(
        "query,relevant\nq/one.jpg,a/1.jpg\nq/one.jpg,a/2.jpg\nq/two.jpg,c.jpg\n"
    )
    flags = ["--gallery", "gallery", "--truth", "truth.csv", "--queries", "queries", "--json"]
    capsys.readouterr()
    assert evaluate.main(flags) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["queries"], result["hit@1"], result["mAP"]) == (2, 1, 1)
    asking = pipeline.SearchOptions(queries="queries")  # type: ignore[arg-type]
    with pipeline.open_gallery("gallery", asking) as gallery:
        answer = gallery.search("queries:q/two.jpg", k=1)
    assert (answer.query, answer.results[0].image) == ("queries:q/two.jpg", "c.jpg")
    Path("truth.csv").write_text("query,relevant\nq/none.jpg,a/1.jpg\n")
    assert evaluate.main(flags) == 2
    assert "expected a photo of the gallery --queries, got q/none.jpg" in capsys.readouterr().err


def test_features_are_ours_strongest_first() -> None:
    features = as_features(drawn(1), D)
    assert (np.diff(features.score) <= 0).all()
    lengths = np.linalg.norm(features.descriptor.astype(float), axis=1)
    np.testing.assert_allclose(lengths, 127, atol=2)
    assert len(as_features({**drawn(1, rows=0)}, D)) == 0
