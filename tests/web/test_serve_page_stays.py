"""What stays and what goes wrong on the page: addresses, what is no photo, folders that are gone,
photos that come, the token; and what axe-core finds.
"""

import json
import shutil
import time
from pathlib import Path

import pytest
from browser import CHROMIUM, Tab
from pictures import ROOT, picture, write_picture
from seen_page import (
    ANSWERED,
    FAILED,
    PLACES,
    WIDTHS,
    back_to,
    click,
    first_is,
    opened,
    quiet,
    seen,
    text,
)
from serving import Served, serving
from small import indexed

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]
AXE = ROOT / "node_modules/axe-core/axe.min.js"


def test_an_address_is_kept(served: Served, tab: Tab, indexed_photos: Path) -> None:
    opened(tab, served)
    tab.drop(".drop", indexed_photos / "photos/b.png")
    first_is(tab, "b.png")
    sent = tab.run("location.hash")
    tab.call("Page.reload")
    tab.until("performance.getEntriesByType('navigation')[0].type === 'reload' && !!document.body")
    first_is(tab, "b.png")
    assert tab.run("location.hash") == sent
    one = served.ids(indexed_photos / "photos/b.png")["z.png"]
    opened(tab, served, f"#photo={one}&box=5,5,40,30&candidates=3&k=2")
    tab.until(ANSWERED)
    assert tab.run("[k.value, candidates.value]") == ["2", "3"]
    assert tab.run(f"{PLACES}.length") == 2
    assert seen(tab, "#sent-box")
    assert "3 photos were verified" in text(tab, "#said")
    for end, said in (
        ("#sent=0123456789abcdef", "another browser"),
        (f"#photo={'0' * 32}", "not in this gallery"),
        ("#photo=<script>", "names no photo"),
        (f"#photo={one}&box=1,2", "cannot be asked: box"),
        (f"#photo={one}&candidates=many", "cannot be asked: candidates"),
    ):
        opened(tab, served, end)
        tab.until(FAILED)
        assert said in text(tab, "#failed")
        assert not seen(tab, "#result")


def test_a_photo_that_is_not_there_matches_nothing_and_errors_stand_alone(
    served: Served, tab: Tab, tmp_path: Path, indexed_photos: Path
) -> None:
    opened(tab, served)
    write_picture(tmp_path / "black.png", picture(77, 61, 40) * 0)
    tab.drop(".drop", tmp_path / "black.png")
    tab.until(ANSWERED)
    assert text(tab, "#verdict") == "Nothing in this gallery matches"
    assert tab.run("document.querySelectorAll('#matches .place').length") == 0
    assert seen(tab, "#rest .place")  # the nearest are what there is
    quiet(tab, served)
    shutil.copy(__file__, tmp_path / "text.jpg")
    tab.drop(".drop", tmp_path / "text.jpg")
    tab.until(FAILED)
    assert "expected a photo (JPEG" in text(tab, "#failed")
    assert not seen(tab, "#result")
    assert not seen(tab, "#asked-acts")
    back_to(tab, ANSWERED)
    assert not seen(tab, "#failed")
    tab.run("document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: new"
            " DataTransfer(), bubbles: true }))")  # fmt: skip
    assert "not a photo" in text(tab, "#told")
    assert seen(tab, "#result")  # that was no question


def test_the_page_says_that_photos_are_gone_and_that_others_come(
    here: Path, small_model: Path, tab: Tab
) -> None:
    with serving(here) as served:
        opened(tab, served)
        tab.drop(".drop", here / "photos/b.png")
        first_is(tab, "b.png")
        (here / "gallery/progress.json").write_text(
            json.dumps({"done": 2, "todo": 7, "at": time.time()})
        )
        tab.until("document.querySelector('#indexed').checkVisibility()", 15)
        assert text(tab, "#indexed-count") == "2 of 7 photos"
        (here / "gallery/progress.json").unlink()
        shutil.copy("photos/a.png", "photos/copy.png")
        assert indexed(Path("photos"), Path("gallery")) == 0
        tab.until("document.querySelector('#grown').textContent", 15)
        assert "1 photo came in: 7 now" in text(tab, "#grown")
        assert not seen(tab, "#indexed")
        click(tab, "#grown button")
        tab.until(f"{ANSWERED} && {PLACES}.length === 7")
        shutil.move("photos", "elsewhere")
        opened(tab, served)
        tab.drop(".drop", here / "elsewhere/b.png")
        first_is(tab, "b.png")
        assert "photos is not there" in text(tab, "#missing")
        assert "two-look index" in text(tab, "#missing")
        assert tab.run("document.querySelectorAll('.place img').length") == 0  # none is broken
        click(tab, ".accepted .picture")
        assert not seen(tab, "#large-lines")
        assert not seen(tab, "#large-file")
        assert text(tab, "#large-stage") == "Not where it was indexed"
        quiet(tab, served)
        tab.open("about:blank")


@pytest.mark.skipif(not AXE.is_file(), reason="needs axe-core: npm install --no-save axe-core")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    served: Served, tab: Tab, indexed_photos: Path, width: int, scheme: str
) -> None:
    tab.call(
        "Emulation.setEmulatedMedia",
        features=[
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ],
    )
    opened(tab, served, width=width)
    tab.run(AXE.read_text("utf-8") + ";0")

    def faults() -> object:
        return tab.run("axe.run().then(({ violations }) => violations.map(({ id, nodes }) =>"
                       " [id, ...nodes.map(node => node.html)]))")  # fmt: skip

    assert faults() == []
    tab.drop(".drop", indexed_photos / "photos/b.png")
    first_is(tab, "b.png")
    tab.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert faults() == []
    click(tab, ".accepted .acts button")
    assert faults() == []
    tab.run("document.querySelector('#large').close()")
    click(tab, "#part")
    assert faults() == []
    tab.run("document.querySelector('#boxing').close()")
    tab.run(f"location.hash = '#photo={'0' * 32}'")
    tab.until(FAILED)
    assert faults() == []
    tab.call("Emulation.setEmulatedMedia", features=[])


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_moves_as_pictures_come(
    served: Served, tab: Tab, indexed_photos: Path, width: int
) -> None:
    opened(tab, served, width=width)
    tab.drop(".drop", indexed_photos / "photos/b.png")
    first_is(tab, "b.png")
    click(tab, "#similar-name")
    places = "JSON.stringify([...document.querySelectorAll('.place')].map(one => one.offsetTop))"
    tab.run(
        "document.querySelectorAll('.place img').forEach(one => { one.removeAttribute('src'); })"
    )
    before = tab.run(places)
    tab.run("document.querySelectorAll('.place img').forEach(one => { one.src = sent.src; })")
    tab.until("[...document.querySelectorAll('.place img')].every(one => one.complete)")
    tab.run("new Promise(wake => setTimeout(wake, 200))")
    assert tab.run(places) == before


def test_the_page_unlocks_with_the_token(tab: Tab, indexed_photos: Path) -> None:
    with serving(indexed_photos, token="a-word-of-sixteen") as served:
        tab.open(f"http://127.0.0.1:{served.port}/")
        tab.until(
            "!document.querySelector('#unlock').hidden && document.activeElement.id === 'token'"
        )
        assert not seen(tab, "#hello")
        tab.open("about:blank")
        one = "#token=a-word-of-sixteen"
        tab.open(f"http://127.0.0.1:{served.port}/{one}")
        tab.until("document.querySelectorAll('#candidates option').length")
        assert "token" not in tab.run("location.href")
        tab.drop(".drop", indexed_photos / "photos/a.png")
        first_is(tab, "a.png")
        tab.open("about:blank")  # before the server goes: pictures may still be on their way
