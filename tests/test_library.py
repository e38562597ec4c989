"""The public API: the same answers as the commands, the same messages, whatever a photo is
given as."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import ROOT, picture, write_picture
from PIL import Image as Pillow
from small import answers

import pipeline
from pipeline.base.options import SearchOptions
from pipeline.model.weights import open_model


@pytest.fixture
def gallery(indexed_photos: Path) -> pipeline.OpenGallery:
    return pipeline.open_gallery(indexed_photos / "gallery")


def test_importing_it_loads_nothing_heavy() -> None:
    code = """if True:
        import sys, time
        began = time.perf_counter()
        import pipeline
        assert time.perf_counter() - began < 1
        named = set(pipeline.__all__)
        assert {"open_gallery", "index", "verify", "SearchOptions"} <= named <= set(dir(pipeline))
        heavy = {"numpy", "torch", "cv2", "sklearn", "PIL"} & sys.modules.keys()
        assert not heavy, heavy
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_public_name_is_there() -> None:
    assert all(getattr(pipeline, name) is not None for name in pipeline.__all__)
    assert pipeline.__version__ in (ROOT / "pyproject.toml").read_text("utf-8")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        assert pipeline.nothing


@pytest.mark.parametrize(
    "before", ["", "import pipeline.index;", "from pipeline.index import main;"]
)
def test_index_is_called_however_it_was_imported(before: str, tmp_path: Path) -> None:
    code = f"""{before}
import pipeline
try:
    pipeline.index("nothing", "gallery")
except pipeline.UsageError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert done.stdout == "nothing: expected a folder of photos, got nothing there\n"


def test_indexing_reports_what_it_did(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(tmp_path / "photos/a.png", picture(1, 60, 40))
    (tmp_path / "photos/bad.jpg").write_bytes(b"no photo")
    report = pipeline.index(
        tmp_path / "photos", tmp_path / "gallery", model=str(small_model), jobs=1
    )
    assert (report.photos, report.indexed, report.failed) == (1, 1, 1)
    assert pipeline.index(str(tmp_path / "photos"), str(tmp_path / "gallery")).unchanged == 1
    assert capsys.readouterr() == ("", "")  # a library says nothing by itself


def test_it_answers_as_the_command_does(
    gallery: pipeline.OpenGallery, indexed_photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(indexed_photos / "photos/b.png")
    answer = gallery.search(path, k=3, candidates="2x")
    told = answer.to_json()
    del told["seconds"]
    assert (
        told == answers(capsys, indexed_photos / "gallery", path, "-k", 3, "--candidates", "2x")[0]
    )
    assert json.loads(json.dumps(told)) == told
    assert [row["image"] for row in answer.rows()] == [result.image for result in answer.results]
    assert all(row["query"] == path for row in answer.rows())


def test_a_photo_may_be_given_in_any_form(
    gallery: pipeline.OpenGallery, indexed_photos: Path
) -> None:
    path = indexed_photos / "photos/b.png"
    with Pillow.open(path) as pillow:
        forms: list[Any] = [
            path,
            str(path),
            path.read_bytes(),
            np.asarray(pillow),
            pillow.copy(),
            "gallery:b.png",
        ]
    ranked = [gallery.search(form).results for form in forms]
    assert all(results == ranked[0] for results in ranked)
    assert (ranked[0][0].image, ranked[0][0].accepted) == ("b.png", True)
    seen = gallery.encode(path)
    assert gallery.search(seen).results == ranked[0]
    width, height = seen.features.size
    assert gallery.search(path, box=(0, 0, width, height)).results == ranked[0]


def test_names_vectors_and_evidence(gallery: pipeline.OpenGallery, indexed_photos: Path) -> None:
    path = indexed_photos / "photos/b.png"
    assert list(gallery.names) == sorted(
        gallery.names, key=lambda name: name.encode("utf-8", "surrogateescape")
    )
    assert len(gallery) == 6
    codes, embeddings = gallery.vectors(), gallery.vectors("embedding")
    assert (codes.shape, embeddings.shape) == ((6, 32), (6, 512))
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    row = gallery.names.index("b.png")
    np.testing.assert_array_equal(gallery.encode("gallery:b.png").code, codes[row])
    codes[:] = 0  # a copy
    assert gallery.search(path).results[0].image == "b.png"
    evidence = gallery.evidence(path, "b.png")
    assert evidence.accepted
    assert evidence.inliers == evidence.inlier.sum() == gallery.search(path).results[0].inliers
    assert evidence.query_xy.shape == evidence.candidate_xy.shape == (evidence.matches, 2)
    np.testing.assert_allclose(evidence.affine, [[1, 0, 0], [0, 1, 0]], atol=1e-3)


def test_reranking_takes_any_list(gallery: pipeline.OpenGallery, indexed_photos: Path) -> None:
    answer = gallery.rerank(indexed_photos / "photos/z.png", ["a.png", "b.png", "z.png"])
    assert (answer.results[0].image, answer.results[0].coarse_rank) == ("z.png", 3)
    assert {result.image for result in answer.results} == {"a.png", "b.png", "z.png"}


def test_several_galleries_share_one_model(indexed_photos: Path) -> None:
    one = pipeline.open_gallery(indexed_photos / "gallery")
    other = pipeline.open_gallery([indexed_photos / "gallery"], SearchOptions(seed=3))
    model = one.engine.binding.where
    assert open_model(model) is open_model(model)
    assert one.engine.recipe.encode is other.engine.recipe.encode


def test_many_threads_may_ask_at_once(gallery: pipeline.OpenGallery, indexed_photos: Path) -> None:
    paths = [indexed_photos / "photos" / name for name in gallery.names] * 3
    alone = [gallery.search(path).results for path in paths]
    with ThreadPoolExecutor(6) as pool:
        assert [answer.results for answer in pool.map(gallery.search, paths)] == alone


def test_two_photos_are_verified_without_a_gallery() -> None:
    same = picture(1, 320, 240)
    evidence = pipeline.verify(same, same[10:, 20:])
    assert evidence.accepted
    assert evidence.affine is not None
    np.testing.assert_allclose(evidence.affine, [[1, 0, -20], [0, 1, -10]], atol=4)
    assert evidence.to_json()["inliers"] == evidence.inliers > 20
    other = pipeline.verify(same, np.full((240, 320, 3), 127, np.uint8))
    assert (other.accepted, other.affine) == (False, None)


IMAGE = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda g: g.search(IMAGE.astype(np.float32)),
            r"query: Image\.pixels: expected uint8 \(\*, \*, 3\), got float32 \(4, 4, 3\)",
        ),
        (
            lambda g: g.search(IMAGE[:, :, 0]),
            r"query: Image\.pixels: expected uint8 \(\*, \*, 3\), got uint8 \(4, 4\)",
        ),
        (
            lambda g: g.search(IMAGE[:0]),
            r"query: Image\.pixels: expected at least one pixel, got \(0, 4, 3\)",
        ),
        (
            lambda g: g.search(b"no photo"),
            r"query: expected a photo \(JPEG, .*\), got a file that begins"
            " b'no photo'",
        ),
        (
            lambda g: g.search(b""),
            r"query: expected a photo \(JPEG, .*\), got an empty file",
        ),
        (
            lambda g: g.search(5),
            "query: expected a path, bytes, a numpy array or a Pillow image, got int",
        ),
        (lambda g: g.search("no.jpg"), "no.jpg: expected a readable file, got: "),
        (
            lambda g: g.search("gallery:no.png"),
            "gallery:no.png: expected a path as the gallery has it, got one that is not indexed",
        ),
        (lambda g: g.search(IMAGE, k=0), "k: expected a whole number of 1 or more, got 0"),
        (
            lambda g: g.search(IMAGE, candidates="4y"),
            "candidates: expected a number of 1 or more, or such as '4x', got '4y'",
        ),
        (
            lambda g: g.search(IMAGE, budget_ms=float("nan")),
            "budget_ms: expected a number above 0, got nan",
        ),
        (
            lambda g: g.search(IMAGE, box=(9, 9, 12, 12)),
            "query: expected a box inside 4 x 4 px, got ",
        ),
        (
            lambda g: g.rerank(IMAGE, ["no.png"]),
            "no.png: expected a path as the gallery has it, got one that is not indexed",
        ),
        (
            lambda g: g.rerank(IMAGE, ["a.png", "a.png"]),
            "names: expected each photo once, got 1 again",
        ),
        (lambda g: g.evidence(IMAGE, "no.png"), "no.png: expected a path as the gallery has it"),
        (lambda g: g.vectors("nothing"), "vectors: expected 'code' or 'embedding', got 'nothing'"),
        (lambda g: pipeline.verify(IMAGE, "no.jpg"), "no.jpg: expected a readable file, got: "),
        (
            lambda g: pipeline.verify(IMAGE, IMAGE, model="nothing"),
            "model nothing: expected a folder with card.json, got none",
        ),
        (
            lambda g: pipeline.open_gallery("nowhere"),
            "gallery nowhere: expected a folder with manifest.sqlite, got none; run `",
        ),
        (lambda g: pipeline.open_gallery([]), "gallery: expected at least one folder, got none"),
        (
            lambda g: pipeline.index("nowhere", "gallery"),
            "nowhere: expected a folder of photos, got nothing there",
        ),
        (
            lambda g: pipeline.index("nowhere", "gallery", recipe="none"),
            "recipe none: expected one of two_stage, seed004, ",
        ),
    ],
)
def test_a_mistake_is_one_error_with_one_line(
    ask: Callable[[Any], object], message: str, gallery: pipeline.OpenGallery
) -> None:
    with pytest.raises(pipeline.TwoLookError, match=f"^{message}") as caught:
        ask(gallery)
    assert "\n" not in str(caught.value)


def test_a_closed_gallery_says_so(indexed_photos: Path) -> None:
    with pipeline.open_gallery(indexed_photos / "gallery") as gallery:
        assert len(gallery) == 6
    for ask in (
        lambda: gallery.search(IMAGE),
        lambda: gallery.names,
        lambda: len(gallery),
        gallery.vectors,
    ):
        with pytest.raises(
            pipeline.GalleryError, match="expected an open gallery, got a closed one; open it again"
        ):
            ask()
    gallery.close()  # again


def test_a_gallery_of_ones_own_arrays() -> None:
    from stages.records import LocalFeatures, PackedFeatures
    from stages.search import search

    rng = np.random.default_rng(0)
    features = [
        LocalFeatures(
            np.zeros((2, 2), np.float32), np.zeros((2, 8), np.int8), np.ones(2, np.float32), (9, 9)
        )
        for _ in range(3)
    ]
    codes = rng.normal(size=(3, 4)).astype(np.float32)
    made = pipeline.Gallery.from_arrays(["b", "a", "c"], codes, PackedFeatures.of(features))
    assert made.names == ("a", "b", "c")
    assert search(codes[0], 1, made).rows.tolist() == [[1]]
    one = PackedFeatures.of(features[:1])
    wrong: list[tuple[Any, Any, Any, str]] = [
        (
            ["a"],
            np.full((1, 4), np.nan, np.float32),
            one,
            "codes: expected finite numbers, got NaN",
        ),
        (["a"], codes[:1].astype(float), one, r"codes: expected float32 \(1, \*\), got float64"),
        (["a"], codes, one, r"codes: expected float32 \(1, \*\), got float32 \(3, 4\)"),
        (["a"], codes[0], one, r"codes: expected float32 \(1, \*\), got float32 \(4,\)"),
        (["a"], [[1.0]], one, r"codes: expected float32 \(1, \*\), got list"),
        (["a"], codes[:1], features[:1], "features: expected PackedFeatures, got list"),
        (["a", "b"], codes[:2], one, "features: expected 2 photos, got 1"),
        (["a", "a", "b"], codes, PackedFeatures.of(features), "names: expected ascending paths"),
        ([5], codes[:1], one, "names: expected paths as str, got int"),
    ]
    for names, given, packed, message in wrong:
        with pytest.raises(pipeline.TwoLookError, match=f"^Gallery.{message}"):
            pipeline.Gallery.from_arrays(names, given, packed)
    with pytest.raises(pipeline.ArrayError, match=r"^LocalFeatures.descriptor: expected int8"):
        pipeline.LocalFeatures(np.zeros((2, 3)), *([np.ones(2)] * 2), (9, 9))  # type: ignore[arg-type]
