"""What the bench of groups knows of copies and scenes, and how it counts."""

from pathlib import Path

import numpy as np
import pytest
from pictures import picture, write_picture

from pipeline.base.images import load_image
from pipeline.bench.copies import CHANGES, write_copies
from pipeline.bench.groups import SCENES, at_precision, components, figures, known_of
from pipeline.results.groups import groups


def test_copies_are_what_their_names_say(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", picture(1, 200, 120))
    made = write_copies([tmp_path / "a.png"], tmp_path, seed=0)
    size = {change: load_image(tmp_path / name).size for name, (_, change) in made.items()}
    assert set(size) == set(CHANGES)
    assert size["half the size"] == (100, 60)
    assert size["turned by 90 degrees"] == (120, 200)
    assert size["turned by 10 degrees"] == size["a logo"] == (200, 120)
    again = {name: (tmp_path / name).read_bytes() for name in made}
    write_copies([tmp_path / "a.png"], tmp_path, seed=0)
    assert again == {name: (tmp_path / name).read_bytes() for name in made}


def test_right_and_wrong_pairs(tmp_path: Path) -> None:
    names = ["copies/0.jpg", "house/a.jpg", "house/b.jpg", "house/c.jpg", "tree/d.jpg"]
    (tmp_path / "truth.csv").write_text("query,relevant\nhouse/a.jpg,b.jpg\n")
    made = {"0.jpg": (tmp_path / "house/a.jpg", "a logo")}
    library = known_of(names, tmp_path, made, [])
    assert library.known(np.array([[0, 1], [0, 4], [1, 3]]))[0].tolist() == [True, False, False]
    library = known_of(
        [*names[:1], "x/house/a.jpg", *names[2:]],
        tmp_path,
        {"0.jpg": (tmp_path / "x/house/a.jpg", "a logo")},
        [tmp_path / "truth.csv"],
    )
    right, wrong = library.known(np.array([[0, 1], [0, 2], [0, 4], [2, 3]]))
    assert right.tolist() == [True, True, False, False]
    assert wrong.tolist() == [False, False, True, False]
    seen = figures(library, np.array([[1, 0], [4, 0]]))
    assert (seen["right"], seen["wrong"], seen["precision"]) == (1, 1, 0.5)
    assert seen["changes"]["a logo"] == 1
    assert seen["changes"][SCENES] == 0
    bits = np.zeros((5, 64), np.bool_)
    bits[0, :2] = bits[2:, 5:40] = bits[3, 40:] = bits[4] = True
    best = at_precision(library, bits, 1.0)
    assert best["distance"] == 4
    assert best["right"] == 1
    parts = components(4, np.array([[0, 2], [2, 3]]))
    assert parts[0] == parts[2] == parts[3] != parts[1]
    row = {
        "command": "python scripts/bench.py groups",
        "pairs": seen, "groups": seen, "components": seen, "hashes": {"phash": best},
        "best": "phash", "stated": [{"stated": 1, "by evidence": 2, "and tight": 0}],
    }  # fmt: skip
    lines = groups([row])
    assert any(line.startswith("| a logo | 1 | 1 | 1 | 1 |") for line in lines)
    assert "| 1 | 2 | 0 |" in lines
    with pytest.raises(ValueError, match="number"):
        groups([{**row, "pairs": {**seen, "precision": float("nan")}}])
