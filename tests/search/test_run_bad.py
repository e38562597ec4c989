"""Questions that cannot be answered: one line on stderr that names the thing, and an exit code that
says how many went wrong.
"""

import shutil
from pathlib import Path

import pytest
from corpus import kinds, write_corpus
from pictures import picture, write_picture
from small import answers, complaint, indexed, shrink

from pipeline import run

PHOTO = "photos/a.png"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["missing.jpg"],
            "run: missing.jpg: expected a readable file, got: No such file or directory",
        ),
        (["gallery"], "run: gallery: expected photos in the folder, got none"),
        (
            ["text.jpg"],
            "run: text.jpg: expected a photo (JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC,",
        ),
        (["caf\udce9.jpg"], "run: caf\\xe9.jpg: expected "),
        (
            ["gallery:missing.png"],
            (
                "run: gallery:missing.png: expected a path as the gallery has it, got one that is"
                " not indexed"
            ),
        ),
        (["gallery:"], "run: gallery:: expected a path as the gallery has it"),
        (
            ["gallery:photos/a.png"],
            "run: gallery:photos/a.png: expected a path as the gallery has it",
        ),
        (
            [PHOTO, "--gallery", "nowhere"],
            (
                "run: gallery nowhere: expected a folder with manifest.sqlite, got none; run"
                " `python -m pipeline.index"
            ),
        ),
        (
            [PHOTO, "--gallery", "photos"],
            (
                "run: gallery photos: expected a folder with manifest.sqlite, got none; run `python"
                " -m pipeline.index"
            ),
        ),
        (
            [PHOTO, "--model", "nobody"],
            "run: model nobody: expected a folder with card.json, got none; shipped here: ",
        ),
        ([PHOTO, "--model", "other"], "run: gallery gallery: expected model small ("),
        (
            [PHOTO, "--report", "no/such/r.html"],
            (
                "run: --report no/such/r.html: expected a file in an existing folder, got none; run"
                " `mkdir -p no/such`"
            ),
        ),
        ([PHOTO, "--report", "photos"], "run: --report photos: expected a file"),
        (
            [PHOTO, "--device", "cuda"],
            "run: --device cuda: expected a CUDA GPU, got none; run with `--device cpu`",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    here: Path,
    small_model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    told: str,
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    Path("text.jpg").write_text("not a photo")
    if "other" in arguments:
        shrink(small_model, Path("other"), keep=30)
    capsys.readouterr()
    assert run.main(arguments) == 2
    assert complaint(capsys).startswith(told)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "the following arguments are required: QUERY"),
        ([PHOTO, "-k", "0"], "argument -k: expected a number of 1 or more, got 0"),
        ([PHOTO, "-k", "-1"], "argument -k: expected a number of 1 or more, got -1"),
        ([PHOTO, "-k", "ten"], "argument -k: expected a number of 1 or more, got ten"),
        ([PHOTO, "-k", "9" * 5000], "argument -k: "),
        (
            [PHOTO, "--candidates", "0x"],
            "argument --candidates: expected a number of 1 or more, got 0",
        ),
        (
            [PHOTO, "--candidates", "0"],
            "argument --candidates: expected a number of 1 or more, got 0",
        ),
        (
            [PHOTO, "--candidates", "x"],
            "argument --candidates: expected a number of 1 or more, got ",
        ),
        (
            [PHOTO, "--candidates", "4xx"],
            "argument --candidates: expected a number of 1 or more, got 4x",
        ),
        (
            [PHOTO, "--candidates", "1.5x"],
            "argument --candidates: expected a number of 1 or more, got 1.5",
        ),
        ([PHOTO, "--recipe", "three_stage"], "argument --recipe: invalid choice"),
        ([PHOTO, "--code", "vlad"], "argument --code: invalid choice"),
        ([PHOTO, "--seed", "x"], "argument --seed: "),
        *(
            ([PHOTO, flag, text], f"argument {flag}: expected a number above 0, got {text}")
            for flag in ("--false-alarm", "--budget-ms")
            for text in ("0", "-1", "nan", "x", "inf", "1e999", "0.0", "")
        ),
        ([PHOTO, "--what"], "unrecognized arguments: --what"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main(arguments)
    assert ended.value.code == 2
    assert complaint(capsys).startswith(f"python -m pipeline.run: {told}")


def test_some_failed_is_3_and_the_others_are_answered(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = answers(capsys, Path("gallery"), "gallery:z.png", PHOTO)
    Path("text.jpg").write_text("not a photo")
    assert (
        answers(
            capsys,
            Path("gallery"),
            "text.jpg",
            "gallery:z.png",
            "gallery:no.png",
            PHOTO,
            "no.jpg",
            code=3,
        )
        == good
    )
    assert run.main(["text.jpg", "gallery:z.png", "no.jpg", "--gallery", "gallery", "--json"]) == 3
    out, err = capsys.readouterr()
    assert (out.count("\n"), err.count("\n")) == (1, 2)
    assert (
        run.main(["text.jpg", "no.jpg", "--gallery", "gallery", "--json", "--report", "r.html"])
        == 2
    )
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 2)
    assert not Path("r.html").exists()


def test_hostile_queries_fail_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = answers(capsys, Path("gallery"), PHOTO)
    write_corpus(Path("corpus"))
    bad = [
        f"corpus/{name}"
        for name, kind in kinds().items()
        if kind.pixels is None
        and name.startswith(("bad/", "bomb/", "other/"))
        and not Path("corpus", name).is_dir()  # a folder asks with all its photos
    ]
    assert len(bad) > 45
    assert answers(capsys, Path("gallery"), *bad, PHOTO, code=3) == good
    assert run.main([*bad, "--gallery", "gallery"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [
        line.startswith(f"run: {name}: expected ") for name, line in zip(bad, lines, strict=True)
    ] == [True] * len(bad)


def test_a_damaged_model_is_refused(
    here: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gallery remembers a model whose file is another by now."""
    model = shutil.copytree(small_model, Path("model"))
    write_picture(Path("one/a.png"), picture(0, 40, 40))
    assert indexed(Path("one"), Path("mine"), "--model", model) == 0
    weights = model.resolve() / "weights.safetensors"
    data = weights.read_bytes()
    for at in (0, 20, len(data) // 2, len(data) - 1):
        weights.write_bytes(data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :])
        capsys.readouterr()
        assert run.main(["gallery:a.png", "--gallery", "mine"]) == 2
        line = complaint(capsys)
        assert line.startswith(f"run: model {weights}: expected sha256 ")
        assert line.endswith("the file is damaged; run `make`")
    weights.unlink()
    assert run.main(["gallery:a.png", "--gallery", "mine"]) == 2
    assert str(weights) in complaint(capsys)
    shutil.rmtree(model)
    assert run.main(["gallery:a.png", "--gallery", "mine"]) == 2
    assert str(model.resolve()) in complaint(capsys)
