"""The heat lies where the attention is, whatever the photo's shape; the picture is a PNG, and what
has no attention is refused.
"""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from peephole import Peephole
from pictures import picture, write_picture
from small import complaint

from pipeline.commands import heatmap
from pipeline.model.weights import open_model, write_model
from pipeline.recipes import attentive_of
from pipeline.report.heatmap import heat
from stages.delf import Attention
from stages.records import Image

RED = Attention(
    np.array([[8, 0, 0]], np.float32),
    np.zeros(1, np.float32),
    np.ones(1, np.float32),
    np.zeros(1, np.float32),
)


@pytest.mark.parametrize("size", [(400, 300), (150, 500), (257, 255)])
def test_the_heat_lies_where_the_attention_is(tiny_model: Path, size: tuple[int, int]) -> None:
    """A trunk that passes the colours through, an attention for red, and a red patch."""
    describe = replace(
        attentive_of(open_model(tiny_model), "cpu"), trunk=Peephole(), attention=RED, side=320
    )
    x, y, r = round(size[0] * 0.7), round(size[1] * 0.25), 40
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1, 0] = 255
    for shrink in (1, 3):
        width, height = size[0] // shrink, size[1] // shrink
        warm = heat(describe, Image(pixels), width, height)
        assert warm.shape == (height, width)
        rows, columns = np.mgrid[:height, :width]
        weight = warm - warm.min()
        centre = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
        # px of the photo, a cell at scale 1
        assert np.abs((np.array(centre) + 0.5) * shrink - 0.5 - (x, y)).max() < 16
        assert warm[y // shrink, x // shrink] > 0.9 * warm.max()


def test_the_picture_has_a_row_a_photo(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("a.png", "$x_1$ \udce9 日.png", "strip.png")
    for name, size in zip(names, ((60, 40), (40, 60), (900, 1)), strict=True):
        write_picture(tmp_path / name, picture(0, *size))
    heights = []
    for count in (1, 3):
        assert (
            heatmap.main(
                [
                    *(str(tmp_path / name) for name in names[:count]),
                    "--model",
                    str(small_model),
                    "--out",
                    str(tmp_path / "h.png"),
                ]
            )
            == 0
        )
        assert capsys.readouterr().out == f"{tmp_path / 'h.png'}\n"
        heights.append(cv2.imread(str(tmp_path / "h.png")).shape[0])
    assert heights[1] > 1.5 * heights[0]


def test_what_cannot_be_drawn_is_said_in_one_line(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(tmp_path / "a.png", picture(0, 60, 40))
    (tmp_path / "b.png").write_bytes(b"none")
    small = open_model(small_model)
    write_model(
        tmp_path / "sift",
        small.arrays,
        replace(small.settings, features="rootsift"),
        {"accept": {"inliers": 12}},
        "make",
    )

    def refused(photo: str = "a.png", model: Path = small_model, out: str = "h.png") -> str:
        assert (
            heatmap.main(
                [str(tmp_path / photo), "--model", str(model), "--out", str(tmp_path / out)]
            )
            == 2
        )
        return complaint(capsys)

    assert "expected one with learned local features, got RootSIFT" in refused(
        model=tmp_path / "sift"
    )
    assert "b.png: expected a photo (JPEG" in refused("b.png")
    assert "c.png: expected a" in refused("c.png")
    assert "expected a file in an existing folder" in refused(out="none/h.png")
    assert not (tmp_path / "h.png").exists()
    (tmp_path / "h.png").mkdir()
    assert "expected a file, got a folder" in refused()
