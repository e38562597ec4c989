"""The page in a browser: a photo dropped on it, the grid of what is found, a photo opened large
with its match lines, a box drawn; with a mouse and by keyboard, at a desk and on a phone.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Tab
from seen_page import ANSWERED, PLACES, WIDTHS, back_to, click, first_is, opened, quiet, seen, text
from serving import Served

from pipeline.search.turn import Turn, turn_by, upright

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


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


def test_the_interface_is_described(served: Served, tab: Tab) -> None:
    tab.complaints.clear()
    tab.asked.clear()
    tab.open(f"http://127.0.0.1:{served.port}/docs")
    paths = served.get("/openapi.json").json()["paths"].values()
    tab.until(f"document.querySelectorAll('article').length === {1 + sum(map(len, paths))}")
    quiet(tab, served)
