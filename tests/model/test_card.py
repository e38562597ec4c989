"""A model comes back as it was written or not at all: whatever happened to its two files, the
refusal names the file and what to run.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_null import even

from pipeline.base.errors import ModelError
from pipeline.model import card
from pipeline.model.card import Settings, read_identity
from pipeline.model.chance import null_to_json
from pipeline.model.weights import open_model, write_model

ARRAYS = {
    "reduce.mean": np.linspace(-1, 1, 6, dtype=np.float32),
    "trunk.fc.weight": np.arange(12, dtype=np.float16).reshape(3, 4),
    "trunk.fc.bias": np.array([-128, 0, 127], np.int8),
}
SETTINGS = Settings(embed_side=64, describe_side=96, keep=80)
MEND = "python -m scripts.remake tiny"


def write(
    folder: Path,
    arrays: dict[str, np.ndarray] = ARRAYS,
    settings: Settings = SETTINGS,
    least: int = 12,
) -> Path:
    write_model(folder, arrays, settings, {"accept": {"inliers": least}}, MEND)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny")


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as refused:
        open_model(folder)
    line = str(refused.value)
    assert line.isprintable()
    assert "expected " in line
    assert "got " in line
    return line


def test_a_model_comes_back_as_it_was_written(model: Path) -> None:
    back = open_model(model)
    assert (back.name, back.folder, back.settings, back.card["accept"]) == (
        "tiny",
        model,
        SETTINGS,
        {"inliers": 12},
    )
    assert back.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert back.arrays[name].dtype == array.dtype
        assert np.array_equal(back.arrays[name], array)
    assert back.part("trunk").keys() == {"fc.weight", "fc.bias"}
    assert back.float32("trunk.fc.weight").dtype == np.float32
    assert sorted(path.name for path in model.iterdir()) == ["card.json", "weights.safetensors"]


def test_a_null_comes_back_with_its_model(model: Path, tmp_path: Path) -> None:
    assert open_model(model).null is None
    write_model(
        tmp_path / "m", ARRAYS, SETTINGS, {"accept": {"null": NULL, "photos": "of the tests"}}, MEND
    )
    back = open_model(tmp_path / "m")
    assert back.null is not None
    assert null_to_json(back.null) == NULL
    # what is accepted is no part of what a gallery binds
    assert back.identity == open_model(model).identity


def test_writing_again_gives_the_same_bytes(model: Path, tmp_path: Path) -> None:
    shuffled = dict(reversed(ARRAYS.items()))
    again = write(
        tmp_path / "again/tiny",
        {name: np.asfortranarray(array) for name, array in shuffled.items()},
    )
    for name in ("weights.safetensors", "card.json"):
        assert (model / name).read_bytes() == (again / name).read_bytes()


def test_the_identity_is_that_of_weights_and_settings_alone(model: Path, tmp_path: Path) -> None:
    identity = open_model(model).identity
    one_bit = {**ARRAYS, "reduce.mean": np.nextafter(ARRAYS["reduce.mean"], np.float32(2))}
    others = [
        write(tmp_path / "weights", one_bit),
        write(
            tmp_path / "name",
            {
                ("delf.mean" if name == "reduce.mean" else name): array
                for name, array in ARRAYS.items()
            },
        ),
        *(
            write(tmp_path / name, settings=replace(SETTINGS, **{name: 90}))
            for name in ("embed_side", "describe_side", "keep")
        ),
        write(tmp_path / "trunk", settings=replace(SETTINGS, trunk="resnet50")),
        write(tmp_path / "features", settings=replace(SETTINGS, features="rootsift")),
    ]
    identities = [open_model(other).identity for other in others]
    assert len({identity, *identities}) == len(others) + 1
    assert open_model(write(tmp_path / "renamed", least=13)).identity == identity


def test_models_from_before_there_was_a_choice_of_features_keep_their_identity(model: Path) -> None:
    card = json.loads((model / "card.json").read_text())
    before = {"trunk": "resnet18", "embed_side": 64, "describe_side": 96, "keep": 80}
    assert card["settings"] == before
    assert (
        open_model(model).identity
        == hashlib.sha256(json.dumps([card["sha256"], before], sort_keys=True).encode()).hexdigest()
    )
    assert open_model(model).settings.features == "delf"


def test_the_card_alone_tells_the_identity(model: Path) -> None:
    told = read_identity(model)
    assert told == (open_model(model).name, open_model(model).identity)
    (model / "weights.safetensors").unlink()
    assert read_identity(model) == told


def test_a_model_is_found_by_path_then_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "ARTIFACTS", tmp_path / "artifacts")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ModelError,
        match=r"^model other: expected a folder with card\.json, got none; shipped here: none$",
    ):
        open_model("other")
    for name in ("zebra", "ant"):
        write(tmp_path / "artifacts" / name, least=3)
    (tmp_path / "artifacts/results").mkdir()
    with pytest.raises(
        ModelError,
        match=(
            r"^model other: expected a folder with card\.json, got none; shipped here: ant, zebra$"
        ),
    ):
        open_model("other")
    assert open_model("ant").folder == tmp_path / "artifacts/ant"
    write(tmp_path / "ant")
    assert open_model("ant").folder == tmp_path / "ant"


def test_any_flipped_byte_of_the_weights_is_refused(model: Path) -> None:
    weights = model / "weights.safetensors"
    whole = weights.read_bytes()
    for at in range(len(whole)):
        weights.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        line = refusal(model)
        assert str(weights) in line
        assert "damaged" in line
        assert f"run `{MEND}`" in line
    weights.write_bytes(whole)
    assert np.array_equal(open_model(model).arrays["reduce.mean"], ARRAYS["reduce.mean"])


@pytest.mark.parametrize("damage", ["empty", "cut", "longer", "gone", "folder"])
def test_weights_that_are_not_whole_are_refused(model: Path, damage: str) -> None:
    weights = model / "weights.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    if damage == "folder":
        weights.mkdir()
    elif damage != "gone":
        weights.write_bytes({"empty": b"", "cut": whole[:-1], "longer": whole + b"\0"}[damage])
    line = refusal(model)
    assert str(weights) in line
    assert f"run `{MEND}`" in line


def test_weights_that_are_no_safetensors_are_refused(model: Path) -> None:
    junk = b"\x80\x04cos\nsystem\n."  # a pickle, vouched for by its card
    card = json.loads((model / "card.json").read_text())
    (model / "weights.safetensors").write_bytes(junk)
    (model / "card.json").write_text(
        json.dumps({**card, "sha256": hashlib.sha256(junk).hexdigest()})
    )
    assert "expected safetensors" in refusal(model)


def test_a_missing_array_is_named(model: Path) -> None:
    with pytest.raises(
        ModelError, match=rf"^model tiny: expected an array delf\.mean, got none; run `{MEND}`$"
    ):
        open_model(model).float32("delf.mean")


def test_a_card_cut_anywhere_is_refused(model: Path) -> None:
    card = model / "card.json"
    whole = card.read_bytes()
    for size in range(len(whole.rstrip()) - 1):
        card.write_bytes(whole[:size])
        assert str(card) in refusal(model)
    with pytest.raises(ModelError):
        read_identity(model)


NULL = null_to_json(even(0.1, -1 / 3))
CARD = {
    "format": 1,
    "name": "tiny",
    "sha256": "0" * 64,
    "mend": MEND,
    "settings": {},
    "accept": {"inliers": 12},
}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 40,
        b"\xff\xfe",
        b"null",
        b"5",
        b'"card"',
        b"[]",
        b"{}",
        b"[" * 100_000,
        *(json.dumps({k: v for k, v in CARD.items() if k != gone}).encode() for gone in CARD),
        *(
            json.dumps({**CARD, **other}).encode()
            for other in (
                {"format": 2},
                {"format": "1"},
                {"name": 5},
                {"name": None},
                {"sha256": None},
                {"sha256": 5},
                {"mend": []},
                {"settings": {"embed_size": 64}},
                {"settings": []},
                {"settings": None},
                {"settings": {"keep": "many"}},
                {"settings": {"trunk": "os"}},
                {"settings": {"features": "sift"}},
                {"settings": {"features": None}},
                {"settings": {"keep": 0}},
                {"accept": None},
                {"accept": {}},
                {"accept": {"inliers": "few"}},
                {"accept": {"inliers": None}},
                *(
                    {"accept": {"null": null}}
                    for null in (
                        None,
                        5,
                        [],
                        {},
                        "x",
                        {**NULL, "cap": 3},
                        {**NULL, "least": "4"},
                        {**NULL, "more": 1},
                    )
                ),
                *(
                    {"accept": {"null": {**NULL, name: value}}}
                    for name in ("found", "stops", "span")
                    for value in ([], [0.0], "x", None)
                ),
            )
        ),
    ],
    ids=lambda content: content[:1000].decode("latin-1")[-60:].replace("\0", "0"),
)
def test_a_card_of_another_kind_is_refused(model: Path, content: bytes) -> None:
    (model / "card.json").write_bytes(content)
    line = refusal(model)
    assert str(model / "card.json") in line
    assert "restore it" in line
    with pytest.raises(ModelError):
        read_identity(model)
