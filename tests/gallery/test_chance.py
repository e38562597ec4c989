"""A gallery's null: of its contents alone, measured once, gone when they change, and no excuse for
a traceback.
"""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import picture, write_picture
from planted_gallery import binding, planted, taken
from planted_null import even
from small import answers, complaint, indexed

from pipeline import run
from pipeline.base.errors import GalleryError
from pipeline.gallery import chance
from pipeline.gallery.binding import Binding
from pipeline.gallery.chance import gallery_null
from pipeline.gallery.roots import Roots
from pipeline.gallery.store import Reading, read_gallery
from pipeline.gallery.writer import writing
from pipeline.model.chance import null_to_json
from pipeline.model.weights import open_model, write_model
from pipeline.recipes import published_second_look, second_look
from stages.gallery import Gallery
from stages.null import Null
from stages.rank import Calibrated
from stages.records import PackedFeatures
from stages.search import search
from stages.verify import Verify

PHOTOS = 70


@pytest.fixture(scope="module")
def model(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that brings a null."""
    folder, small = tmp_path_factory.mktemp("models") / "calibrated", open_model(small_model)
    write_model(
        folder, small.arrays, small.settings, {"accept": {"null": null_to_json(even())}}, "make"
    )
    return folder


@pytest.fixture(autouse=True)
def few_photos_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chance, "FEWEST", 40)


def measured(folder: Path, model: Path, threads: int = 1) -> Null | None:
    with writing(folder, binding(model)) as writer:
        return chance.calibrate(writer, second_look(threads=threads))


def stored(folder: Path) -> str:
    return read_gallery(folder).null


def names(folder: Path) -> tuple[str, ...]:
    return read_gallery(folder).names


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Indexed in one run, and calibrated."""
    folder = planted(
        tmp_path_factory.mktemp("whole") / "g",
        model,
        [taken(f"{i:03d}.jpg", i) for i in range(PHOTOS)],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chance, "FEWEST", 40)
        assert measured(folder, model) is not None
    return folder


def test_it_is_of_the_contents_alone(whole: Path, model: Path, tmp_path: Path) -> None:
    """Other names, another order, a detour over other photos, three runs of which each measures,
    another number of threads.
    """
    order = np.random.default_rng(0).permutation(PHOTOS).tolist()
    photos = [taken(f"{'ba'[seed % 2]}/{place}.png", seed) for place, seed in enumerate(order)]
    passing = [taken(f"gone{seed}.png", 1000 + seed) for seed in range(9)]
    seen = []
    for part, remove in (
        (photos[:41] + passing, ()),
        (photos[41:66], ()),
        (photos[66:], [each.name for each in passing]),
    ):
        planted(tmp_path, model, part, remove)
        assert measured(tmp_path, model, threads=3) is not None
        seen.append(stored(tmp_path))
    assert names(tmp_path) != names(whole)
    assert len(set(seen)) == 3
    assert seen[-1] == stored(whole)


def test_the_same_photo_twice_counts_once(whole: Path, model: Path, tmp_path: Path) -> None:
    planted(
        tmp_path,
        model,
        [taken(f"{copy}/{i}.jpg", i) for i in range(PHOTOS) for copy in range(1 + i % 2)],
    )
    measured(tmp_path, model)
    assert stored(tmp_path) == stored(whole)


def test_it_is_measured_once(whole: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> Null:
        raise AssertionError("measured again")

    before = stored(whole)
    monkeypatch.setattr(chance, "measure_null", never)
    null = measured(whole, model)
    assert null is not None
    assert (null.pairs > 200, stored(whole)) == (True, before)
    planted(whole, model, [taken("new.jpg", 5000)])
    with pytest.raises(AssertionError, match="measured again"):
        measured(whole, model)
    planted(whole, model, [], ["new.jpg"])
    assert measured(whole, model) is not None  # it is of these photos again


def test_it_is_bound_to_photos_model_and_parameters(whole: Path) -> None:
    reading, verify = read_gallery(whole), second_look()

    def reason(reading: Reading, verify: Verify) -> str:
        null, why = gallery_null(reading, verify)
        assert null is None
        return why

    null, why = gallery_null(reading, second_look(seed=5, threads=3))  # these change nothing of it
    assert (null is None, why) == (False, "")
    assert reason(reading, published_second_look()).startswith(
        "this gallery's was measured with other match, fit; run `python -m pipeline.index "
    )
    assert reason(reading, replace(verify, fit=replace(verify.fit, trials=999))).startswith(
        "this gallery's was measured with other fit;"
    )
    other = replace(reading, binding=replace(reading.binding, identity="b" * 64))
    assert reason(other, verify).startswith("this gallery's was measured with other model;")
    assert reason(replace(reading, contents=reading.contents[1:]), verify).startswith(
        "this gallery's was measured with other photos;"
    )
    assert reason(replace(reading, contents=(*reading.contents[1:], "f" * 64)), verify).startswith(
        "this gallery's was measured with other photos;"
    )
    assert (
        reason(replace(reading, contents=reading.contents[:1]), verify)
        == "this gallery's 1 different photos are too few, 40 are needed"
    )
    assert reason(replace(reading, null=""), verify).startswith(
        "this gallery's has not been measured yet; run "
    )


def test_its_key_names_every_parameter() -> None:
    verify = second_look()
    key = chance._key([], binding_of("a"), verify)
    assert key["match"].keys() == verify.match.__dataclass_fields__.keys()
    assert key["fit"].keys() == {*verify.fit.__dataclass_fields__, "inliers"}


def test_the_null_of_version_1_is_measured_anew(whole: Path) -> None:
    """Its inliers were others; one line says what to run."""
    reading = read_gallery(whole)
    old = {"key": "0" * 64, **json.loads(reading.null)["null"]}
    lost, why = gallery_null(replace(reading, null=json.dumps(old)), second_look())
    assert lost is None
    assert why.startswith("this gallery's was measured with other version, ")
    assert "; run `python -m pipeline.index " in why


def binding_of(letter: str) -> Binding:
    return Binding("tiny", letter * 64, "tiny", Roots.of("/photos"))


def answer(capsys: pytest.CaptureFixture[str], folder: Path, *more: object) -> dict[str, Any]:
    return answers(capsys, folder, f"gallery:{names(folder)[0]}", *more)[0]


def test_a_query_is_judged_by_the_gallerys_own_until_photos_come_or_go(
    whole: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = answer(capsys, whole)
    assert (own["null"], own["false_alarm"]) == ("gallery", 0.1)
    planted(whole, model, [taken("zz.jpg", 5000)])
    models = answer(capsys, whole)
    assert models["null"] == "model"
    assert models["results"][0]["false_alarms"] != own["results"][0]["false_alarms"]
    assert measured(whole, model) is not None
    assert answer(capsys, whole)["null"] == "gallery"
    planted(whole, model, [], ["zz.jpg"])
    assert answer(capsys, whole)["null"] == "model"
    measured(whole, model)
    assert answer(capsys, whole) == own
    fixed = answer(capsys, whole, "--recipe", "seed004")
    assert (fixed["null"], fixed["false_alarm"], {r["false_alarms"] for r in fixed["results"]}) == (
        None,
        None,
        {None},
    )


def test_few_photos_are_judged_by_the_models(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(tmp_path, model, [taken(f"{copy}{i}.jpg", i) for i in range(39) for copy in "ab"])
    assert measured(tmp_path, model) is None  # as many as forty, but not of forty contents
    assert (stored(tmp_path), answer(capsys, tmp_path)["null"]) == ("", "model")


def test_photos_without_features_tell_nothing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = taken("x", 0).features
    none = type(bare)(bare.xy[:0], bare.descriptor[:0], bare.score[:0], bare.size)
    planted(tmp_path, model, [taken(f"{i}.jpg", i, none) for i in range(50)])
    assert measured(tmp_path, model) is None
    told = answer(capsys, tmp_path)
    assert (told["null"], told["accepted"], told["results"][0]["false_alarms"]) == ("model", 0, 50)
    assert gallery_null(read_gallery(tmp_path), second_look()) == (None, chance.UNMEASURABLE)
    monkeypatch.setattr(chance, "measure_null", None)  # it is not tried again on the same photos
    assert measured(tmp_path, model) is None


def test_indexing_measures_and_a_second_run_does_not(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(8):
        write_picture(tmp_path / f"photos/{seed}.png", picture(seed, 60, 40))
    calls = []
    monkeypatch.setattr(chance, "FEWEST", 8)
    monkeypatch.setattr(chance, "measure_null", lambda *given: calls.append(given[0]) or even(1))
    for _ in range(2):
        assert indexed(tmp_path / "photos", tmp_path / "g", "--model", model) == 0
    assert [len(contents) for contents in calls] == [8]
    assert answer(capsys, tmp_path / "g")["null"] == "gallery"


@pytest.mark.parametrize("rate", [0.3, 1.0, 3.0])
def test_new_photos_get_as_many_false_alarms_as_is_stated(rate: float) -> None:
    """Everything for real but the photos: nothing here shows what anything else does, so that all
    that is accepted is false. The fit is a lenient one, by which chance reaches many inliers: where
    it hardly reaches five, no count is near the rate.
    """
    photos = [taken(str(i), i) for i in range(260)]
    verify, known = second_look(threads=1), photos[:130]
    verify = replace(verify, fit=replace(verify.fit, relative=0.08))
    codes, features = (
        np.stack([each.code for each in known]),
        PackedFeatures.of([each.features for each in known]),
    )
    null = chance.measure_null([each.entry.sha256 for each in known], codes, features, verify)
    assert null is not None
    gallery = Gallery.from_arrays([f"{i:03d}" for i in range(130)], codes, features, null)
    accepted = 0
    for query in photos[130:]:
        looked = search(query.code, 130, gallery)
        ranking = Calibrated(rate, even())(
            query.features, looked, verify(query.features, looked, gallery), gallery
        )
        accepted += int(ranking.accepted.sum())
    wanted = rate * 130
    # and what 6,000 pairs leave to know
    assert abs(accepted - wanted) < 3 * np.sqrt(wanted) + 0.15 * wanted, accepted


def damaged(folder: Path, null: Any) -> None:
    connection = sqlite3.connect(folder / "manifest.sqlite")
    connection.execute("UPDATE meta SET value = ? WHERE key = 'null'", (null,))
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "damage",
    [
        *("{", "[]", "5", "null", "\0", "[" * 100_000, "{}", b"\xff\xfe"),
        *(
            {"found": [0.0] * 9},
            {"stops": 5},
            {"span": "wide"},
            {"least": "4"},
            {"least": None},
            {"cap": 1},
            {"found": ["x"] * 10},
            {"extra": 1},
        ),
    ],
    ids=lambda damage: str(damage)[:30].replace("\0", "0"),
)
def test_a_damaged_null_is_one_line_and_indexing_mends_it(
    whole: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    damage: str | bytes | dict[str, Any],
) -> None:
    before = stored(whole)
    kept = json.loads(before)
    damaged(
        whole,
        (
            json.dumps({**kept, "null": {**kept["null"], **damage}})
            if isinstance(damage, dict)
            else damage
        ),
    )
    with pytest.raises(GalleryError):
        gallery_null(read_gallery(whole), second_look())
    capsys.readouterr()
    assert run.main(["gallery:000.jpg", "--gallery", str(whole)]) == 2
    assert complaint(capsys).startswith(
        "run: gallery manifest: expected a null as it was measured, got "
    )
    assert measured(whole, model) is not None
    assert run.main(["gallery:000.jpg", "--gallery", str(whole)]) == 0
    assert stored(whole) == before


def test_a_damaged_null_of_too_few_photos_is_forgotten(model: Path, tmp_path: Path) -> None:
    planted(tmp_path, model, [taken(f"{i}.jpg", i) for i in range(5)])
    damaged(tmp_path, "{")
    assert (measured(tmp_path, model), stored(tmp_path)) == (None, "")
