"""What a model learns from photos: the score threshold is a quantile of all cells, and the PCA
knows only what was selected.
"""

from pathlib import Path

import numpy as np
import pytest
from pictures import make_model, picture, write_picture
from planted_features import unrelated

from pipeline.model.card import Settings
from pipeline.model.weights import open_model
from pipeline.recipes import encode
from pipeline.training.fit import Cells, Seen, encode_sample, fit
from stages.delf import Describe
from stages.records import Image
from stages.trunk import local_part

SMALL = Settings(embed_side=32, describe_side=48, keep=30)


def planted(photos: int = 100, kept: int = 20, cells: int = 30) -> list[Seen]:
    """Cells whose stronger half varies in the first 64 of 128 directions and whose weaker half in
    the last.
    """
    rng, seen = np.random.default_rng(0), []
    for _ in range(photos):
        score = -np.sort(-rng.random(cells, np.float32))
        raw = rng.normal(size=(kept, 128)).astype(np.float32)
        strong = score[:kept] >= 0.5
        raw[strong, 64:] = raw[~strong, :64] = 0
        raw /= np.linalg.norm(raw, axis=1, keepdims=True)
        xy = rng.random((kept, 2), np.float32) * 100
        seen.append(Seen(rng.normal(size=48).astype(np.float32), Cells(xy, raw, score, (100, 100))))
    return seen


def test_the_threshold_is_a_quantile_of_all_cells_and_the_pca_sees_what_is_above() -> None:
    seen = planted()
    scores = np.concatenate([s.local.score for s in seen if isinstance(s.local, Cells)])
    arrays, accept = fit(seen, 0, 1, quantile=0.6)
    assert arrays["delf.threshold"].dtype == np.float32
    assert arrays["delf.threshold"] == pytest.approx(np.quantile(scores, 0.6))
    assert not arrays["delf.components"][:, 64:].any()
    assert accept == {"inliers": 20}
    arrays, _ = fit(seen, 0, 1)
    assert arrays.keys() == {"reduce.mean", "reduce.components", "delf.mean", "delf.components"}
    assert arrays["delf.components"][:, 64:].any()


@pytest.mark.parametrize(
    ("quantile", "said"),
    [
        (1.0, "quantile: expected"),
        (-0.1, "quantile: expected"),
        (float("nan"), "quantile: expected"),
        (0.9999, "PCA: expected"),
    ],
)
def test_a_quantile_that_leaves_nothing_is_refused(quantile: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit(planted(), 0, 1, quantile)


def test_features_that_need_no_pca_get_none() -> None:
    rng = np.random.default_rng(0)
    seen = [
        Seen(rng.normal(size=48).astype(np.float32), unrelated(rng, int(rng.integers(0, 9))))
        for _ in range(90)
    ]
    arrays, accept = fit(seen, 0, 1)
    assert (arrays.keys(), accept) == ({"reduce.mean", "reduce.components"}, {"inliers": 20})


def test_photos_are_looked_at_as_the_model_will(tiny_model: Path, tmp_path: Path) -> None:
    """The cells that the fit sees are the features that the recipe keeps, on whichever trunk; too
    few photos are refused.
    """
    for seed in range(80):
        write_picture(tmp_path / "photos" / f"{seed:02d}.png", picture(seed, 48, 40))
    make_model(tmp_path / "other", seed=1)
    model, other = open_model(tiny_model), open_model(tmp_path / "other")
    for used, local in ((model, None), (other, local_part(other.part("trunk")))):
        seen = encode_sample([tmp_path / "photos"], model.part("trunk"), SMALL, None, 1, local)
        stage = encode(used, "cpu").stage("features")
        assert isinstance(stage, Describe)
        image = Image(picture(7, 48, 40))
        wanted = Describe(stage.trunk, None, stage.reduce, side=48, keep=30)(image)
        cells = seen[7].local
        assert isinstance(cells, Cells)
        np.testing.assert_array_equal(cells.xy, wanted.xy)
        np.testing.assert_array_equal(cells.score[:30], wanted.score)
        np.testing.assert_array_equal(np.rint(stage.reduce(cells.raw) * 127), wanted.descriptor)
    (tmp_path / "photos/79.png").unlink()
    with pytest.raises(ValueError, match=r"expected at least 80 that can be read, .* got 79"):
        encode_sample([tmp_path / "photos"], model.part("trunk"), SMALL, None, 1)
