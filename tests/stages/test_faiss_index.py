"""The first look on FAISS: where every code is compared, what the ball tree finds to the last tie;
in cells, as much of it as is promised.
"""

import json
import logging
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from planted_features import pack, unrelated
from small import NAMES, answers, complaint

from pipeline import run
from pipeline.base.errors import UsageError
from pipeline.commands import bench
from pipeline.search import code_index
from pipeline.search.code_index import KEPT, build, choose, keep
from stages import faiss_index
from stages.faiss_index import COUNT, FaissIndex, cells_for
from stages.gallery import Gallery
from stages.hashing import HammingIndex
from stages.records import Float32
from stages.search import search
from stages.tree_index import TreeIndex

needs_faiss = pytest.mark.skipif(
    code_index.find_spec("faiss") is None,
    reason="FAISS is not installed: pip install -e '.[faiss]'",
)
NOTHING = unrelated(np.random.default_rng(0), 0)
QUERY = f"gallery:{NAMES[0]}"


def kinds(rows: int, seed: int = 0) -> Float32:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(40, 8))[rng.integers(0, 40, rows)] + 0.3 * rng.normal(size=(rows, 8))
    ).astype(np.float32)


def gallery(codes: Float32, **options: object) -> Gallery:
    return Gallery.from_arrays(
        [f"{i:05d}" for i in range(len(codes))], codes, pack([NOTHING] * len(codes)), **options
    )  # type: ignore[arg-type]


@needs_faiss
@pytest.mark.parametrize("largest", [0, 1, 2, 1000])
def test_comparing_all_finds_what_the_tree_does(largest: int) -> None:
    rng = np.random.default_rng(largest)
    for rows in (1, 2, 90, 700):
        codes = rng.integers(-largest, largest + 1, (rows, 5)).astype(np.float32)
        tree, flat = gallery(codes), gallery(codes, index=FaissIndex.fit)
        assert isinstance(tree.index, TreeIndex)
        assert isinstance(flat.index, FaissIndex)
        for code in rng.integers(-largest, largest + 1, (4, 5)).astype(np.float32):
            for count in (1, 7, 60, 500, 900):
                wanted, found = search(code, count, tree), search(code, count, flat)
                np.testing.assert_array_equal(found.rows, wanted.rows)
                np.testing.assert_array_equal(found.distance, wanted.distance)


@needs_faiss
def test_cells_find_what_they_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_index, "COUNT", 200)
    codes, asked = kinds(6000), kinds(6040)[6000:]
    tree, cells = gallery(codes), gallery(codes, index=partial(FaissIndex.fit, flat_ends=100))
    index = cells.index
    assert isinstance(index, FaissIndex)
    assert (index.kind, index.cells.nlist) == ("ivf", 64)
    assert 0 < index.probes < 64
    assert faiss_index.RECALL <= index.recall <= 1
    shares = []
    for code in asked:
        wanted, found = search(code, 200, tree), search(code, 200, cells)
        shares.append(len(np.intersect1d(wanted.rows, found.rows)) / 200)
        both = np.isin(found.rows[0], wanted.rows[0])
        places = {row: i for i, row in enumerate(wanted.rows[0])}
        order = [places[row] for row in found.rows[0][both]]
        assert order == sorted(order)
        # more than they are tuned for: exactly
        np.testing.assert_array_equal(search(code, 1000, cells).rows, search(code, 1000, tree).rows)
    assert np.mean(shares) >= 0.99


@needs_faiss
def test_a_query_whose_cells_hold_too_few_is_answered_in_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faiss_index, "COUNT", 200)
    codes = kinds(3000)
    made = FaissIndex.fit(codes, known=(1, 0.9), flat_ends=0)
    assert (made.probes, made.recall) == (1, 0.9)
    tree = gallery(codes)
    for code in kinds(10, seed=4):  # a cell of 32 holds about a hundred
        found = search(code, 200, gallery(codes, index=lambda _: made))
        assert found.rows.shape == (1, 200)
        if len(made._search(code, 264, True)[1]) < 200:
            np.testing.assert_array_equal(found.rows, search(code, 200, tree).rows)


@needs_faiss
def test_codes_without_structure_are_all_compared() -> None:
    made = FaissIndex.fit(
        np.random.default_rng(0).normal(size=(5000, 32)).astype(np.float32), flat_ends=0
    )
    assert (made.kind, made.probes, made.recall) == ("flat", 0, 1.0)
    assert FaissIndex.fit(made.codes, known=(0, 1.0), flat_ends=0).kind == "flat"


def test_the_number_of_cells() -> None:
    assert [cells_for(count) for count in (0, 1, 100, 6000, 1_000_000, 10_000_000)] == [
        1,
        1,
        8,
        64,
        512,
        2048,
    ]


def test_which_gallery_gets_what(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(code_index, "find_spec", lambda name: object())
    assert choose("auto", code_index.TREE_ENDS, False, None) == TreeIndex.build
    bits = HammingIndex.build
    on_faiss = choose("auto", code_index.TREE_ENDS + 1, False, None)
    assert on_faiss not in (TreeIndex.build, bits)
    assert choose("faiss", 1, False, None) not in (TreeIndex.build, bits)
    assert choose("tree", 10**9, False, None) == TreeIndex.build
    assert choose("auto", 10**9, True, None) == bits
    with pytest.raises(
        UsageError, match="expected a recipe that compares distances, got one that compares bits"
    ):
        choose("faiss", 1, True, None)
    assert caplog.messages == []
    monkeypatch.setattr(code_index, "find_spec", lambda name: None)
    assert choose("auto", 40_000, False, None) == TreeIndex.build
    assert caplog.messages == [
        "first look: 40,000 codes in a ball tree; FAISS finds them sooner: `pip install -e"
        " '.[faiss]'`"
    ]


@needs_faiss
def test_the_recall_is_kept_and_the_index_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(code_index.FaissIndex, "fit", partial(FaissIndex.fit, flat_ends=0))
    for ends in ("FLAT_ENDS", "TREE_ENDS"):
        monkeypatch.setattr(code_index, ends, 0)
    monkeypatch.setattr(faiss_index, "COUNT", 50)
    codes = kinds(3000)
    made = build(codes, tmp_path)
    assert not list(tmp_path.iterdir())  # a search writes nothing
    keep(codes, tmp_path)
    assert caplog.messages == [
        f"first look: 3,000 codes on FAISS, {made.probes} of 32 cells a query, recall"
        f" {made.recall:.4f}"
    ]
    kept = json.loads((tmp_path / KEPT).read_text())
    assert (kept["index"], kept["cells"], kept["probes"], kept["recall"], kept["count"]) == (
        "ivf",
        32,
        made.probes,
        made.recall,
        COUNT,
    )
    assert [path.name for path in tmp_path.iterdir()] == [KEPT]
    with monkeypatch.context() as patch:
        patch.setattr(faiss_index, "_recall", lambda *_: pytest.fail("measured again"))
        again = build(codes, tmp_path)
        assert (again.probes, again.recall) == (made.probes, made.recall)
        with pytest.raises(pytest.fail.Exception, match="measured again"):  # other codes
            build(codes[::-1].copy(), tmp_path)
    for damage in (
        "",
        "[]",
        json.dumps({**kept, "probes": 10**9}),
        json.dumps({**kept, "recall": "1"}),
        "[" * 100_000,
    ):
        (tmp_path / KEPT).write_text(damage)
        assert build(codes, tmp_path).probes == made.probes


@needs_faiss
def test_a_query_is_answered_alike_and_says_by_what(
    indexed_photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree, flat = (
        answers(capsys, indexed_photos / "gallery", QUERY, "-k", 3, "--search", how)[0]
        for how in ("tree", "faiss")
    )
    assert flat.pop("first_look") == {"index": "flat", "recall": 1.0}
    assert flat == tree


def test_without_the_extra_one_line_names_it(
    indexed_photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    capsys.readouterr()
    assert run.main([QUERY, "--gallery", str(indexed_photos / "gallery"), "--search", "faiss"]) == 2
    assert (
        complaint(capsys)
        == "run: --search faiss: expected FAISS, got none; run `pip install -e '.[faiss]'`"
    )
    assert bench.main(["first_look"]) == 2
    assert (
        complaint(capsys)
        == "bench: first_look: expected FAISS, got none; run `pip install -e '.[faiss]'`"
    )


@needs_faiss
def test_the_bench_of_both(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert bench.main(["first_look", "--codes", "3000", "--candidates", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["sizes"]
    assert (row["codes"], row["candidates"], row["index"], row["recall"]) == (
        3000,
        100,
        "flat",
        1.0,
    )
    assert found["ratio"] == row["tree_seconds"] / row["faiss_seconds"]
