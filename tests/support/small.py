"""The smallest model that still goes through every stage, and the two commands as functions: what
they return, print and complain of.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from filled import as_read

from pipeline import index, run
from pipeline.base.options import SearchOptions
from pipeline.gallery.store import read_gallery
from pipeline.model.card import Settings
from pipeline.model.weights import open_model, write_model

OPTIONS = SearchOptions(recipe="two_stage", code="pca", device="cpu")
NAMES = ("a.png", "b.png", "caf\udce9/c.png", "d/e/f.png", "日本.png", "z.png")


def shrink(model: Path, folder: Path, least: int = 14, **settings: Any) -> Path:
    """The same weights with other settings."""
    small = Settings(**{"embed_side": 32, "describe_side": 64, "keep": 40, **settings})
    write_model(folder, open_model(model).arrays, small, {"accept": {"inliers": least}}, "make")
    return folder


def indexed(photos: Path, gallery: Path, *more: object) -> int:
    return index.main([str(photos), "--gallery", str(gallery), *map(str, more)])


def answers(
    capsys: pytest.CaptureFixture[str], gallery: Path, *arguments: object, code: int = 0
) -> list[dict[str, Any]]:
    """What `pipeline.run --json` prints, without the time it took."""
    capsys.readouterr()
    assert run.main([*map(str, arguments), "--gallery", str(gallery), "--json"]) == code
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for answer in found:
        del answer["seconds"]
    return found


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr, with nothing on stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    line, end, rest = err.partition("\n")
    assert (end, rest) == ("\n", "")
    return line


def rows(gallery: Path = Path("gallery")) -> dict[str, tuple[bytes, ...]]:
    return as_read(read_gallery(gallery))


def errors() -> dict[str, str]:
    lines = [
        json.loads(line) for line in Path("gallery/errors.jsonl").read_text("utf-8").splitlines()
    ]
    assert all(line.keys() == {"path", "reason"} for line in lines)
    return {line["path"]: line["reason"] for line in lines}


def counted(capsys: pytest.CaptureFixture[str], *more: object) -> str:
    capsys.readouterr()
    assert indexed(Path("photos"), Path("gallery"), *more) == 0
    return capsys.readouterr().out
