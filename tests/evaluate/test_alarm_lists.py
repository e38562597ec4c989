"""False alarms are counted for every gallery size and list, over the stated rate."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filled import encoded, fill
from planted_features import unrelated
from planted_null import even

from pipeline.evaluate.studies.alarm_lists import measure
from pipeline.gallery.store import Reading, read_gallery
from pipeline.model import codebook


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reading:
    monkeypatch.setattr(codebook, "read_codebook", lambda _: None)
    photos = [
        replace(encoded(f"a/{n:02d}.jpg", n), features=unrelated(np.random.default_rng(n), 30))
        for n in range(50)
    ]
    return read_gallery(fill(tmp_path / "g", photos))


@pytest.mark.parametrize(("logits", "accepted"), [((9, -9), 0.0), ((0, 9), None)])
def test_every_list_has_its_row(
    reading: Reading, logits: tuple[float, float], accepted: float | None
) -> None:
    """Hardly any unrelated photo stops at the smallest map, so that none is accepted; or all do."""
    model = SimpleNamespace(folder=Path("m"), null=even(*logits))
    drawn = [np.arange(10, 50), np.arange(5, 45)]
    rows = measure(reading, model, drawn, np.arange(5), 0)  # type: ignore[arg-type]
    assert [(row["photos"], row["list"], row["candidates"]) for row in rows] == [
        (40, "codes", count) for count in (2, 10, 40)
    ]
    for row in rows:
        for rate in ("at 0.1", "at 1"):
            middle, low, high = row[rate]
            assert 0 <= low <= middle <= high
            assert accepted is None or middle == accepted
