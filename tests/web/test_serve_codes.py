"""The server and its page of a gallery of binary codes: what differs is told in bits, and nothing
speaks of matches.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Tab
from planted_classes import write_classes
from seen_page import ANSWERED, click, opened, quiet, seen, text
from serving import Served, serving

from pipeline import index
from pipeline.base.options import SearchOptions
from pipeline.commands import train
from pipeline.search.open import open_engine

BITS = 24
PHOTO = Path("photos/red/101.png")


@pytest.fixture(scope="module")
def coded(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 photos, and a gallery of them by `lsh`, which trains no network."""
    folder = tmp_path_factory.mktemp("coded")
    photos = write_classes(folder / "photos", 20, first=100)
    learn = f"lsh --data {photos} --start {tiny_model} --out {folder}/lsh --maps {folder}/maps"
    assert train.main([*learn.split(), *f"--bits {BITS} --embed-side 64 --jobs 1".split()]) == 0
    assert (
        index.main([str(photos), *f"--gallery {folder}/gallery --model {folder}/lsh".split()]) == 0
    )
    return folder


@pytest.fixture(scope="module")
def served(coded: Path) -> Iterator[Served]:
    with serving(coded) as here:
        yield here


def test_the_answer_counts_bits(coded: Path, served: Served) -> None:
    assert served.get("/gallery").json()["bits"] == BITS
    look = served.search(coded / PHOTO, "?k=4&candidates=2", "/look")
    answer, places = look["answer"], look["places"]
    differ = [result["hamming"] for result in answer["results"]]
    assert (answer["bits"], answer["radius"], differ[0]) == (BITS, max(differ), 0)
    assert look["headline"] == f"The nearest photos, within {max(differ)} of {BITS} bits"
    assert [place["verdict"] for place in places] == ["ranked"] * 4
    assert places[3]["why"] == "Ordered by its bits alone: beyond the candidates."


def test_a_list_of_another_engine_is_told_in_bits_too(coded: Path) -> None:
    """Its order stands for the first look's; the codes are what they are."""
    engine = open_engine(coded / "gallery", SearchOptions(device="cpu"))
    query = engine.query("gallery:red/101.png")
    rows = [engine.gallery.row(name) for name in ("green/100.png", "red/101.png")]
    first, second = engine.rerank(query, rows).results
    assert (first.image, first.coarse_rank, first.hamming) == ("red/101.png", 2, 0)
    assert second.hamming == ((engine.gallery.codes[rows[0]] >= 0) != (query.code >= 0)).sum()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_speaks_of_bits(coded: Path, served: Served, tab: Tab) -> None:
    opened(tab, served)
    assert seen(tab, "#hello .of-codes")
    assert not seen(tab, "#hello .of-points")
    tab.drop(".drop", coded / PHOTO)
    tab.until(ANSWERED)
    click(tab, "#options summary")
    shown = tab.run("document.querySelector('main').innerText")
    badges = tab.run("[...document.querySelectorAll('.place .badge')].map(e => e.textContent)")
    assert badges[0] == f"0 of {BITS} bits differ"
    assert len(badges) == 10
    for word in ("match", "verified", "False alarms", "inlier", "points agree"):
        assert word.lower() not in shown.lower()
    assert float(text(tab, "#cost tbody td:nth-child(2)").split()[0]) > 0  # the second look's time
    click(tab, ".place .picture")
    facts = text(tab, "#large-facts")
    assert f"bits that differ0 of {BITS}" in facts
    assert "distance of the numbers0.000" in facts
    assert "inliers" not in facts
    click(tab, "#large-close")
    quiet(tab, served)
