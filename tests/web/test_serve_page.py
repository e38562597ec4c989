"""The page in a browser: a photo dropped on it, the grid of what is found, a photo opened large
with its match lines, a box drawn, an address kept, what goes wrong; by keyboard, on a phone, and by
the rules of axe-core.
"""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Tab, browsing
from pictures import ROOT, picture, write_picture
from serving import Served, serving
from small import indexed

from pipeline.search.turn import Turn, turn_by, upright

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]
AXE = ROOT / "node_modules/axe-core/axe.min.js"
ANSWERED = "document.body.dataset.state === 'answer' && !document.body.hasAttribute('aria-busy')"
FAILED = "document.body.dataset.state === 'error'"
PLACES = "document.querySelectorAll('.place h3')"
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def served(indexed_photos: Path) -> Iterator[Served]:
    with serving(indexed_photos) as here:
        yield here


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with browsing() as here:
        yield here


def text(tab: Tab, selector: str) -> str:
    return str(tab.run(f"document.querySelector({selector!r}).textContent"))


def seen(tab: Tab, selector: str) -> bool:
    return bool(tab.run(f"document.querySelector({selector!r})?.checkVisibility() ?? false"))


def opened(tab: Tab, served: Served, end: str = "", width: int = 1280) -> None:
    tab.size(width, 844, mobile=width == 390)
    tab.open("about:blank")  # an address that differs behind its # alone would not load the page
    tab.complaints.clear()
    tab.asked.clear()
    tab.open(f"http://127.0.0.1:{served.port}/{end}")
    tab.until("document.querySelectorAll('#candidates option').length")


def first_is(tab: Tab, name: str) -> None:
    tab.until(f"{ANSWERED} && {PLACES}[0]?.textContent === {json.dumps(name)}")


def quiet(tab: Tab, served: Served) -> None:
    """No complaint, and nobody else was asked."""
    tab.run("new Promise(wake => setTimeout(wake, 100))")
    assert tab.complaints == []
    assert {address.split("/")[2] for address in tab.asked if address.startswith("http")} == {
        f"127.0.0.1:{served.port}"
    }


def click(tab: Tab, selector: str) -> None:
    tab.run(f"document.querySelector({selector!r}).click()")


def back_to(tab: Tab, script: str) -> None:
    tab.run("history.back()")
    tab.until(script)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_dropped_photo_is_found_and_what_matches_comes_first(
    served: Served, tab: Tab, indexed_photos: Path, width: int
) -> None:
    opened(tab, served, width=width)
    assert seen(tab, "#hello")
    assert not seen(tab, "#k")  # what only experts want is folded
    tab.drop(".drop", indexed_photos / "photos/b.png")
    tab.until("document.querySelector('#sent').naturalWidth === 61")  # shown at once
    first_is(tab, "b.png")
    assert text(tab, "#verdict").endswith(("photo matches", "photos match"))
    assert tab.run("document.activeElement.id") == "verdict"
    assert not seen(tab, "#hello")
    assert tab.run("[...document.querySelectorAll('#matches .place')].every(place =>"
                   " !place.classList.contains('filled'))")  # fmt: skip
    assert tab.run("document.querySelectorAll('#rest .place').length") == 6 - int(
        tab.run("document.querySelectorAll('#matches .place').length")
    )
    assert not seen(tab, "#rest .place")
    assert text(tab, "#similar-name").startswith("Less similar: ")
    first = "document.querySelector('.accepted .picture')"
    box = tab.run(f"(r => [r.top, r.bottom])({first}.getBoundingClientRect())")
    assert 0 <= box[0] < box[1] <= 844  # without scrolling
    assert tab.run("document.documentElement.scrollWidth") <= width
    quiet(tab, served)


@pytest.mark.parametrize("width", WIDTHS)
def test_match_lines_end_on_the_photos(
    served: Served, tab: Tab, indexed_photos: Path, width: int
) -> None:
    opened(tab, served, width=width)
    tab.drop(".drop", indexed_photos / "photos/b.png")
    first_is(tab, "b.png")
    click(tab, ".accepted .acts button")
    tab.until("[...document.querySelectorAll('.pair img')].every(image => image.naturalWidth)")
    ends = tab.run("""[...document.querySelectorAll('.pair')].flatMap(pair => {
      const [left, right] = [...pair.querySelectorAll('img')]
        .map(image => image.getBoundingClientRect());
      const inside = (x, y, box) => x > box.left - 1 && x < box.right + 1
        && y > box.top - 1 && y < box.bottom + 1;
      return [...pair.querySelectorAll('line')].map(line => {
        const end = (x, y) => new DOMPoint(x.baseVal.value, y.baseVal.value)
          .matrixTransform(line.getScreenCTM());
        const [a, b] = [end(line.x1, line.y1), end(line.x2, line.y2)];
        return inside(a.x, a.y, left) && inside(b.x, b.y, right);
      });
    })""")
    assert ends
    assert all(ends)  # each line begins on the query and ends on the candidate
    assert seen(tab, ".pair .in line")
    assert tab.run("document.querySelector('#large').scrollWidth") <= width
    click(tab, "#large-lines")
    assert not seen(tab, ".pair")
    assert tab.run("document.querySelector('#large-lines').ariaPressed") == "false"
    quiet(tab, served)


def test_a_turned_query_is_drawn_as_python_turns_it(served: Served, tab: Tab) -> None:
    opened(tab, served)
    tab.run("import('./lines.js').then(lines => { window.lines = lines; })")
    for quarters in range(4):
        for mirrored in (False, True):
            way = json.dumps({"quarters": quarters, "mirrored": mirrored})
            there = upright((80, 50), Turn(quarters, mirrored))
            drawn = np.array(tab.run(f"lines.upright({way}, 80, 50)"))
            np.testing.assert_array_equal(drawn, there)
            # by a map and its inverse: as they were
            map_ = f"lines.upright({way}, 80, 50)"
            again = np.array(tab.run(f"lines.composed(lines.inverse({map_}), {map_})"))
            np.testing.assert_allclose(again, np.eye(2, 3), atol=1e-9)
            result = {"accepted": True, "turned": turn_by(there.tolist())[0], "mirrored": mirrored}
            assert tab.run(f"lines.turn({json.dumps(result)})") == json.loads(way)
    plain = {"quarters": 0, "mirrored": False}
    assert tab.run("lines.turn({ accepted: false, turned: 90, mirrored: true })") == plain


def test_photos_are_opened_large_and_searched_with_by_keyboard(
    served: Served, tab: Tab, indexed_photos: Path
) -> None:
    opened(tab, served)
    tab.drop(".drop", indexed_photos / "photos/a.png")
    first_is(tab, "a.png")
    other = tab.run(f"{PLACES}[1].textContent")
    tab.run("document.querySelector('.picture[aria-label^=Open]').focus()")
    tab.press("Enter", 13)
    tab.until("document.querySelector('#large').open")
    assert text(tab, "#large-name") == "a.png"
    assert text(tab, "#large-path") == str(indexed_photos / "photos/a.png")
    tab.press("ArrowLeft", 37)  # there is none before
    tab.press("ArrowRight", 39)
    assert (text(tab, "#large-name"), text(tab, "#large-place")) == (other, "2 of 6")
    tab.press("Escape", 27)
    tab.until("!document.querySelector('#large').open")
    tab.until("document.activeElement.closest('.place')?.dataset.place === '1'")
    tab.press("Enter", 13)
    tab.until("document.querySelector('#large').open")
    tab.run("document.querySelector('#large-again').focus()")
    tab.press("Enter", 13)
    first_is(tab, other)
    assert "#photo=" in tab.run("location.href")
    back_to(tab, f"{ANSWERED} && {PLACES}[0].textContent === 'a.png'")
    for value in ("10", "1"):
        tab.run(f"candidates.append(new Option({value})); candidates.value = {value};"
                " candidates.dispatchEvent(new Event('change'))")  # fmt: skip
        tab.until(f"{ANSWERED} && location.hash.includes('candidates={value}')")
    tab.until("document.querySelectorAll('#cost tbody tr').length === 3")
    quiet(tab, served)


def test_paths_are_copied_and_files_shown(served: Served, tab: Tab, indexed_photos: Path) -> None:
    opened(tab, served)
    tab.drop(".drop", indexed_photos / "photos/b.png")
    first_is(tab, "b.png")
    click(tab, ".accepted .picture")
    tab.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    click(tab, "#large-copy")
    tab.until("window.copied")
    assert tab.run("window.copied") == str(indexed_photos / "photos/b.png")
    assert text(tab, "#told") == "Path copied."
    shown = tab.run("fetch(document.querySelector('#large-file').href).then(reply =>"
                    " reply.blob()).then(blob => blob.size)")  # fmt: skip
    assert shown == (indexed_photos / "photos/b.png").stat().st_size
    quiet(tab, served)


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


def test_a_box_is_drawn(served: Served, tab: Tab, indexed_photos: Path) -> None:
    opened(tab, served)
    tab.drop(".drop", indexed_photos / "photos/b.png")
    first_is(tab, "b.png")
    click(tab, "#part")
    tab.until("document.querySelector('#boxing-photo').naturalWidth")
    left, top, width, height = tab.run(
        "(r => [r.x, r.y, r.width, r.height])("
        "document.querySelector('#boxing-area').getBoundingClientRect())"
    )
    for kind, x, y in (("mousePressed", 0.9, 0.8), ("mouseMoved", 0.1, 0.2)):
        tab.call("Input.dispatchMouseEvent", type=kind, x=left + x * width, y=top + y * height,
                 button="left", buttons=1, clickCount=1)  # fmt: skip
    tab.call("Input.dispatchMouseEvent", type="mouseReleased", x=left, y=top, button="left")
    sides = "['left', 'top', 'width', 'height'].map(side => $(side)).map(Number)"
    drawn = tab.run(f"(($) => {sides})(side => document.querySelector(`#boxing-${{side}}`).value)")
    assert np.abs(np.array(drawn) - [6, 8, 49, 24]).max() <= 1
    tab.run("document.querySelector('#boxing-height').focus()")
    tab.press("Enter", 13)
    tab.until(f"{ANSWERED} && location.hash.includes('box=')")
    assert tab.run("location.hash").endswith(",".join(map(str, drawn)))
    first_is(tab, "b.png")
    assert seen(tab, "#sent-box")
    click(tab, "#whole")
    tab.until(f"{ANSWERED} && !location.hash.includes('box=')")
    assert not seen(tab, "#sent-box")
    quiet(tab, served)


def test_a_pasted_photo_is_found_and_all_of_it_can_be_heard(
    served: Served, tab: Tab, indexed_photos: Path
) -> None:
    opened(tab, served)
    shown = served.ids(indexed_photos / "photos/b.png")["b.png"]
    tab.run(f"""(async () => {{
        const held = new DataTransfer(), photo = await (await fetch("photos/{shown}")).blob();
        held.items.add(new File([photo], "b.png", {{ type: "image/png" }}));
        document.body.dispatchEvent(
          new ClipboardEvent("paste", {{ clipboardData: held, bubbles: true }}));
    }})()""")
    first_is(tab, "b.png")
    click(tab, "#similar-name")
    quiet(tab, served)
    heard = [
        node for node in tab.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]
    ]
    said = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in heard]
    named = ("button", "link", "combobox", "heading", "image", "region", "table")
    assert [(role, name) for role, name in said if role in named and not name] == []
    buttons = [name for role, name in said if role == "button"]
    assert len(buttons) == len(set(buttons))  # each says which photo it is about


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
    assert "expected a JPEG" in text(tab, "#failed")
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


def test_the_interface_is_described(served: Served, tab: Tab) -> None:
    tab.complaints.clear()
    tab.asked.clear()
    tab.open(f"http://127.0.0.1:{served.port}/docs")
    paths = served.get("/openapi.json").json()["paths"].values()
    tab.until(f"document.querySelectorAll('article').length === {1 + sum(map(len, paths))}")
    quiet(tab, served)
