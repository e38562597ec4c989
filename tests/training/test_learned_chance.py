"""The chance that comes with a model is learned from photos of different folders, near ones above
all.
"""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from filled import encoded, fill
from small import complaint

from pipeline.commands import prepare
from pipeline.gallery.store import Reading, read_gallery
from pipeline.training.chance import learn_null, places


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    photos = [encoded(f"{n % 40}/{n}.jpg", n, 20 + n % 7) for n in range(200)]
    return read_gallery(fill(tmp_path_factory.mktemp("chance") / "g", photos))


class NearOnesAgree:
    """Inliers of photos: more where codes are near; who was asked is kept."""

    fit = SimpleNamespace(least=4)

    def __init__(self, reading: Reading, strength: float) -> None:
        self.reading, self.strength, self.asked = reading, strength, list[tuple[int, Any]]()
        self.rng = np.random.default_rng(0)

    def many(self, query: Any, photos: Any, rows: np.ndarray) -> tuple[None, np.ndarray]:
        mine = next(
            row
            for row in range(len(photos))
            if np.array_equal(photos[row].descriptor, query.descriptor)
        )
        self.asked.append((mine, rows))
        distance = np.square(self.reading.codes[rows] - self.reading.codes[mine]).sum(1)
        more = self.rng.geometric(0.5, len(rows)) - 1
        close = self.rng.random(len(rows)) < self.strength * np.exp(-distance)
        return None, np.where(close, 6 + more, 4 * (more > 0) + more).astype(np.int32)


def test_no_two_photos_of_a_folder_are_compared(reading: Reading) -> None:
    verify = NearOnesAgree(reading, 0)
    null = learn_null(reading, None, verify, 60, 0)  # type: ignore[arg-type]
    folders = [name.split("/")[0] for name in reading.names]
    assert len(verify.asked) == 60
    for query, rows in verify.asked:
        assert folders[query] not in {folders[row] for row in rows}
    assert null.pairs == sum(len(rows) for _, rows in verify.asked)
    again = learn_null(reading, None, NearOnesAgree(reading, 0), 60, 0)  # type: ignore[arg-type]
    assert np.array_equal(null.near, again.near)


def test_what_near_photos_have_in_common_is_learned(reading: Reading) -> None:
    chances = []
    for strength in (0.0, 3.0):
        verify = NearOnesAgree(reading, strength)
        null = learn_null(reading, None, verify, 200, 0)  # type: ignore[arg-type]
        eight = np.array([25]), np.array([8], np.int32)
        near, far = (null.log_chance(25, *eight, np.array([share]))[0] for share in (0.01, 0.9))
        chances.append(near - far)
    assert abs(chances[0]) < 0.7
    assert chances[1] > chances[0] + 0.5


def test_votes_have_a_say_in_what_is_near(reading: Reading) -> None:
    verify = NearOnesAgree(reading, 0)
    null = learn_null(
        reading,
        lambda features: np.arange(200, dtype=np.int32),
        verify,  # type: ignore[arg-type]
        40,
        0,
    )
    # the last rows have most votes: they are always among those compared
    assert all(rows.max() >= 190 for _, rows in verify.asked)
    assert 0 < null.nearest < 0.05


def test_one_folder_tells_nothing(tmp_path: Path) -> None:
    alone = read_gallery(fill(tmp_path / "g", [encoded(f"a/{n}.jpg", n) for n in range(9)]))
    with pytest.raises(ValueError, match=r"^photos in one folder$"):
        learn_null(alone, None, NearOnesAgree(alone, 0), 9, 0)  # type: ignore[arg-type]


def test_places_draw_lots_among_equals() -> None:
    ranks = [
        places(np.array([2.0, 1.0, 2.0, 2.0]), np.random.default_rng(seed)).tolist()
        for seed in range(20)
    ]
    assert all(each[1] == 0 and sorted(each) == [0, 1, 2, 3] for each in ranks)
    assert len({tuple(each) for each in ranks}) > 2


def test_the_gallery_has_to_be_the_models(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = fill(tmp_path / "g", [encoded("a/0.jpg", 1)])
    model = shutil.copytree(tiny_model, tmp_path / "model")
    before = json.loads((model / "card.json").read_text())
    assert prepare.main(["chance", str(model), "--gallery", str(gallery)]) == 2
    assert f"--gallery {gallery}: expected one that model " in complaint(capsys)
    assert json.loads((model / "card.json").read_text()) == before
