"""The bench of the index of parts on planted features: what is there is found, what it counts is
so, and its tables follow from its figures by the stated formulas.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_features import described, directions, rounded, scattered
from planted_gallery import planted, taken

from pipeline.base.errors import UsageError
from pipeline.bench import parts
from pipeline.bench.parts_faiss import FaissParts, count_nearest
from pipeline.bench.parts_index import Asked, Entries, cut, halved
from pipeline.bench.parts_photos import Ends, Padding, Photos, read_truth
from pipeline.commands import bench
from pipeline.gallery.store import read_gallery
from pipeline.model.codebook import ModelCodebook
from pipeline.results import parts as tables
from stages.inverted_index import PartsIndex, Segment, limits
from stages.records import Int8
from stages.visual_words import Codebook

WORDS, FILES, EACH = 16, 2, 10
PHOTOS = 30


def drawn(seed: int, count: int) -> Int8:
    return rounded(directions(np.random.default_rng([seed, 3]), count))


@pytest.fixture(scope="module")
def codebook() -> Codebook:
    return Codebook.fit(drawn(0, 600), WORDS)


@pytest.fixture(scope="module")
def there(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, queries that show the first four of them again, other photos' features, and truth."""
    folder = tmp_path_factory.mktemp("parts")
    planted(folder / "photos", small_model, [taken(f"old/{n:02d}.jpg", n) for n in range(PHOTOS)])
    again = []
    for number in range(4):
        seen = taken("", number).features
        other = drawn(900 + number, 20)
        whole = np.concatenate([seen.descriptor, other])
        at = scattered(np.random.default_rng(number), len(whole))
        again.append(taken(f"queries/{number}.jpg", 800 + number, described(at, whole)))
    planted(folder / "queries", small_model, again)
    (folder / "far").mkdir()
    for file in range(FILES):
        count = np.full(EACH, 40, np.uint16)
        count[0] = 0
        whole = drawn(50 + file, int(count.sum()))
        np.savez(folder / f"far/{file:04d}.npz", n=count, d=whole)
    for name, numbers in (("one", (0, 1)), ("two", (2, 3))):
        lines = [f"a/queries/{n}.jpg,new/old/{n:02d}.jpg\n" for n in numbers]
        (folder / f"{name}.csv").write_text("query,relevant\n" + "".join(lines))
    return folder


def test_the_bench(
    there: Path,
    codebook: Codebook,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(parts, "read_codebook", lambda _: ModelCodebook("0" * 64, codebook))
    for name, value in (("SIZES", (8, 40)), ("MOST", 90), ("FIRST", (1, 4)), ("BUILT", 5)):
        monkeypatch.setattr(parts, name, value)
    monkeypatch.setattr(parts, "FEATURES", (10, 290))
    monkeypatch.setattr(parts, "DIAL_FIRST", (1,))
    truth = [there / "one.csv", there / "two.csv"]
    given = ["parts", "--gallery", there / "photos", "--queries", there / "queries", "--truth"]
    given += [*truth, "--padding", there / "far", "--codes", 1000, "--jobs", 2, "--dial", "--json"]
    out = there / "parts.json"
    assert bench.main([*map(str, given), "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = json.loads(out.read_text("utf-8"))["rows"]
    assert row["command"].startswith("python scripts/bench.py parts --gallery ")
    assert row["sizes"] == found["sizes"]
    assert [(at["photos"], at["generated"]) for at in found["sizes"]] == [(8, 0), (40, 0), (90, 40)]
    for at in found["sizes"]:
        assert at["recall@1"] == at["by_truth"]["two"]["recall@1"] == 1
        assert min(at[name] for name in ("seconds", "seconds_all_threads", "probes")) > 0
        # 2 of the photo's number and 8 of the code for each, 32 a photo, and where lists begin
        lists = at["segments"] * 4 * (WORDS + 1)
        expected = 32 + 10 * at["features_a_photo"] + lists / at["photos"]
        assert at["bytes_a_photo"] == pytest.approx(expected)
        # all lists are looked into, by all features
        assert at["entries_a_query"] > 20 * at["features_a_photo"] * at["photos"]
    assert (found["further"], found["kept"], found["recall_alone"]) == (20, 1, 1)
    assert [(at["features"], at["code_bytes"]) for at in found["dial"]] == [
        (10, 8),
        (290, 8),
        (10, 4),
        (290, 4),
    ]
    assert found["dial"][1]["recall@1"] == 1
    assert found["dial"][3]["bytes_a_photo"] < found["dial"][1]["bytes_a_photo"]
    if "ratio" in found:
        assert found["sizes"][1]["faiss_recall@1"] == 1


def test_photos_join_in_order(there: Path, codebook: Codebook) -> None:
    reading, asking = read_gallery(there / "photos"), read_gallery(there / "queries")
    truth = read_truth(there / "two.csv", Ends(asking.names), Ends(reading.names))
    assert truth == {2: {2}, 3: {3}}
    photos = Photos.of(reading, [truth], Padding.open(there / "far"), 0)
    assert photos.order[:2].tolist() == [2, 3]
    assert len(photos) == PHOTOS + FILES * EACH
    seen = [each for batch in photos.batches(PHOTOS - 1, len(photos), 7) for each in batch]
    assert [len(each) for each in seen[1:]] == 2 * [0, *[40] * (EACH - 1)]
    assert np.array_equal(seen[-1].descriptor, drawn(51, 360)[-40:])

    # entries are those of a segment made at once, however they joined
    entries = Entries(codebook)
    for size in (9, len(photos)):
        entries.extend(photos, size, 2)
    whole = Segment.of(codebook, [p for batch in photos.batches(0, len(photos), 99) for p in batch])
    (made,) = entries.segments(len(photos))
    for name in ("start", "photo", "code"):
        assert np.array_equal(getattr(made, name), getattr(whole, name))
    (fewer,) = entries.segments(len(photos), 25)
    assert np.bincount(fewer.photo, minlength=len(photos)).max() == 25
    (more,) = entries.generated(500, 0)
    share = np.diff(more.start) / len(more.photo) - np.diff(made.start) / len(made.photo)
    assert np.abs(share).max() < 0.02
    asked = Asked.of(codebook, [made, more], 0)
    assert sorted(asked.place.tolist()) == list(range(len(photos) + 500))


def test_no_photo_comes_first_because_it_joined_first(codebook: Codebook) -> None:
    pytest.importorskip("faiss", reason="needs the extra faiss")
    seen = [described(np.zeros((40, 2)), drawn(number, 40)) for number in range(12)]
    rival = FaissParts(codebook, seen)
    for photo in seen:
        rival.add([photo], codebook.nearest(photo.descriptor, 1)[:, 0].astype(np.uint16))
    place = np.random.default_rng(3).permutation(12)
    unlike = described(np.empty((0, 2)), np.empty((0, 40), np.int8))
    assert rival.search(unlike, 4, 12, place).tolist() == place.tolist()
    assert rival.search(seen[5], 4, 3, place)[0] == 5


def test_the_same_votes_from_nearest_entries() -> None:
    rng = np.random.default_rng(0)
    apart = np.sort(rng.integers(0, 12_000, (5, 120))).astype(np.float32)
    photo = rng.integers(0, 40, (5, 120)).astype(np.int32)
    nearest = np.full((5, 40), 255)
    for row, entry in np.ndindex(apart.shape):
        nearest[row, photo[row, entry]] = min(
            nearest[row, photo[row, entry]], int(apart[row, entry]) >> 6
        )
    counts = np.stack([np.bincount(each, minlength=256)[:255] for each in nearest])
    gap = np.maximum(limits(counts.astype(np.int32))[:, None] - nearest, 0)
    assert np.array_equal(count_nearest(apart, photo, 40), gap.sum(0))
    # nothing found: nobody gets a vote
    nobody = np.full((1, 3), -1, np.int32)
    assert count_nearest(np.full((1, 3), np.inf, np.float32), nobody, 40).sum() == 0


def test_segments_and_half_codes(codebook: Codebook) -> None:
    assert cut(65_537) == [(0, 32_769), (32_769, 65_537)]
    code = drawn(5, 3)[:, :8].view(np.uint8)
    book, fewer = halved(codebook, code)
    assert not fewer[:, 1::2].any()
    assert not book.centroids[1::2].any()
    assert np.array_equal(fewer[:, ::2], code[:, ::2])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("query\n", "expected a header with query,relevant"),
        ("query,relevant\n", "expected at least one row"),
        ("query,relevant\n9.jpg,01.jpg\n", r"line 2: expected the path of one photo of --queries"),
        ("query,relevant\n1.jpg,77.jpg\n", r"line 2: expected the path of one photo of --gallery"),
    ],
)
def test_truth_that_is_wrong_is_named(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=complaint):
        read_truth(path, Ends(["a/1.jpg"]), Ends(["b/01.jpg"]))


def test_a_path_stands_for_one_photo() -> None:
    ends = Ends(["a/x/1.jpg", "b/x/1.jpg", "b/2.jpg"])
    assert ends.row("c/b/x/1.jpg") == 1
    assert ends.row("z/2.jpg") == 2
    assert ends.row("x/1.jpg") is None
    assert ends.row("3.jpg") is None


@pytest.mark.parametrize(
    "arrays",
    [
        {"n": np.array([2], np.uint16)},
        {"n": np.array([2], np.int64), "d": np.zeros((2, 40), np.int8)},
        {"n": np.array([2], np.uint16), "d": np.zeros((3, 40), np.int8)},
    ],
)
def test_padding_that_is_wrong_is_named(arrays: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected files"):
        Padding.open(tmp_path)
    np.savez(tmp_path / "0000.npz", **arrays)
    with pytest.raises(UsageError, match=r"0000.npz: expected n \(P,\) uint16"):
        Padding.open(tmp_path)


AT: dict[str, Any] = {
    "photos": 1_000_000,
    "generated": 900_000,
    "bytes_a_photo": 2992.0,
    "probes": 5,
    "entries_a_query": 80e6,
    "seconds": 0.41,
    "order_seconds": 0.01,
    "seconds_all_threads": 0.05,
    **{f"recall@{most}": 0.9 for most in (40, 200, 1_000, 4_000)},
}
ROW: dict[str, Any] = {
    "command": "bench parts",
    "words": 8192,
    "most_features": 290,
    "most_probes": 32,
    "least_probes": 4,
    "full_list": 250,
    "threads": 16,
    "truth": {"one": 2},
    "further": 100_000,
    "kept": 0.95,
    "sizes": [
        {
            **AT,
            "photos": 1000,
            "generated": 0,
            "faiss_seconds": 1.0,
            "faiss_recall@40": 0.8,
            "faiss_recall@4000": 1.0,
            "build_seconds_a_photo": 0.012,
            "by_truth": {"one": {f"recall@{most}": 0.5 for most in (40, 200, 1_000, 4_000)}},
        },
        {**AT, "by_truth": {"one": {f"recall@{most}": 0.4 for most in (40, 200, 1_000, 4_000)}}},
    ],
    "dial": [
        {
            "photos": 10_000,
            "features": 50,
            "code_bytes": size,
            "bytes_a_photo": 50.0 * size,
            "recall@40": 0.6,
            "recall@200": 0.7,
        }
        for size in (8, 4)
    ],
}


def test_the_tables() -> None:
    shown = tables.parts([ROW])
    assert shown[2] == (
        "| 1,000 | .900 | .900 | .900 | .900 | 2,992 | 5 | 410.0 | 50.0 | 1,000.0 | .800, 1.000 |"
        " 12.0 |"
    )
    assert shown[3] == (
        "| 1,000,000 (900,000 generated) | .900 | .900 | .900 | .900 | 2,992 | 5 | 410.0 | 50.0 | |"
        " | |"
    )
    assert "With 100,000 further photos the first 4,000 hold a query's photo .950" in shown[5]
    assert tables.parts_sets([ROW])[2] == "| 1,000 | .500, .500, .500, .500 |"
    assert tables.parts_dial([ROW])[2] == "| 50 | 400 | .600, .700 | 200 | .600, .700 |"


def test_the_plan_follows_its_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PLANNED", (1_000_000, 32_000_000))
    # 3,000 bytes a photo: 16 million fill three quarters of 64 GB; 5 ns an entry, 16 cores; a
    # word looked into in place of five, of lists 16 times as long
    assert tables.parts_plan([ROW])[2:] == [
        "| 1,000,000 | 1 | 0.003 | 3.0 | 4 | 64 | 20 + 10 |",
        "| 32,000,000 | 2 | 0.096 | 48.0 | 4 | 1,024 | 320 + 160 |",
    ]


@pytest.mark.parametrize("photos", [1, 27_000, 28_300, 100_000, 10**6, 10**9])
def test_the_plan_looks_into_as_many_words_as_the_index(photos: int, codebook: Codebook) -> None:
    index = PartsIndex(codebook, (), (), np.empty(0, np.int32), photos)
    assert tables.probes({**ROW, "words": WORDS}, photos) == index.probes
