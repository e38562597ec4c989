"""The page in a browser: a photo dropped on it, the match lines, a search from a result, a photo
that is not there, a phone's width.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Tab, browsing
from pictures import picture, write_picture
from serving import Served, serving

from pipeline.search.turn import Turn, turn_by, upright

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


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


def opened(tab: Tab, served: Served) -> None:
    tab.complaints.clear()
    tab.asked.clear()
    tab.open(f"http://127.0.0.1:{served.port}/")
    tab.until("document.querySelectorAll('#candidates option').length")


def first_is(tab: Tab, name: str) -> None:
    tab.until(
        f"document.querySelector('.place h3')?.textContent === {json.dumps(name)} &&"
        " document.querySelector('#status').className === ''"
    )


def quiet(tab: Tab, served: Served) -> None:
    """No complaint, and nobody else was asked."""
    tab.run("new Promise(wake => setTimeout(wake, 100))")
    assert tab.complaints == []
    assert {address.split("/")[2] for address in tab.asked if address.startswith("http")} == {
        f"127.0.0.1:{served.port}"
    }


@pytest.mark.parametrize("width", [1280, 390])
def test_a_dropped_photo_is_found_and_its_lines_are_drawn(
    served: Served, tab: Tab, indexed_photos: Path, width: int
) -> None:
    tab.size(width, 844, mobile=width == 390)
    opened(tab, served)
    tab.drop(".drop", indexed_photos / "photos/b.png")
    first_is(tab, "b.png")
    assert text(tab, "#verdict").endswith(("photo matches", "photos match"))
    assert tab.run("document.activeElement.id") == "verdict"
    assert tab.run("document.querySelectorAll('.place').length") == 6
    assert tab.run("document.querySelectorAll('.place.accepted .in line').length") > 0
    tab.until(
        "[...document.querySelectorAll('#sent, .accepted .pair img')].every(image => image.complete"
        " && image.naturalWidth)"
    )
    ends = tab.run("""[...document.querySelectorAll('.accepted .pair')].flatMap(pair => {
        const boxes = [...pair.querySelectorAll('img')].map(image => image.getBoundingClientRect());
      const [left, right] = boxes;
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
    assert tab.run("document.documentElement.scrollWidth") <= width
    quiet(tab, served)


def test_a_turned_query_is_drawn_as_python_turns_it(served: Served, tab: Tab) -> None:
    opened(tab, served)
    for quarters in range(4):
        for mirrored in (False, True):
            way = json.dumps({"quarters": quarters, "mirrored": mirrored})
            there = upright((80, 50), Turn(quarters, mirrored))
            drawn = np.array(tab.run(f"upright({way}, 80, 50)"))
            np.testing.assert_array_equal(drawn, there)
            # by a map and its inverse: as they were
            again = np.array(
                tab.run(f"composed(inverse(upright({way}, 80, 50)), upright({way}, 80, 50))")
            )
            np.testing.assert_allclose(again, np.eye(2, 3), atol=1e-9)
            result = {"accepted": True, "turned": turn_by(there.tolist())[0], "mirrored": mirrored}
            assert tab.run(f"turn({json.dumps(result)})") == json.loads(way)
    plain = {"quarters": 0, "mirrored": False}
    assert tab.run("turn({ accepted: false, turned: 90, mirrored: true })") == plain


def test_a_result_searches_by_keyboard_and_back_returns(
    served: Served, tab: Tab, indexed_photos: Path
) -> None:
    opened(tab, served)
    tab.drop(".drop", indexed_photos / "photos/a.png")
    first_is(tab, "a.png")
    other = tab.run("document.querySelectorAll('.place h3')[1].textContent")
    tab.run("document.querySelectorAll('.again')[1].focus()")
    tab.press("Enter", 13)
    first_is(tab, other)
    tab.run("history.back()")
    first_is(tab, "a.png")
    tab.run(
        "candidates.value = candidates.options[0].value; candidates.dispatchEvent(new"
        " Event('change'))"
    )
    tab.until("document.querySelectorAll('#cost tbody tr').length === 2")
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
    quiet(tab, served)
    heard = [
        node for node in tab.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]
    ]
    said = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in heard]
    named = ("button", "link", "combobox", "heading", "image", "region", "table")
    assert [(role, name) for role, name in said if role in named and not name] == []
    buttons = [name for role, name in said if role == "button"]
    assert len(buttons) == len(set(buttons)) == 7  # each says which photo it searches with
    assert any(
        role == "image" and name.endswith("matching points of the two photos agree on one map")
        for role, name in said
    )


def test_a_photo_that_is_not_there_matches_nothing(
    served: Served, tab: Tab, tmp_path: Path
) -> None:
    opened(tab, served)
    write_picture(tmp_path / "black.png", picture(77, 61, 40) * 0)
    tab.drop(".drop", tmp_path / "black.png")
    tab.until("!document.querySelector('#result').hidden")
    assert text(tab, "#verdict") == "Nothing in this gallery matches"
    assert tab.run("document.querySelectorAll('.place.accepted').length") == 0
    assert text(tab, ".place .badge") == "no match"
    quiet(tab, served)
    shutil.copy(__file__, tmp_path / "text.jpg")
    tab.drop(".drop", tmp_path / "text.jpg")
    assert "expected a JPEG" in str(tab.until("document.querySelector('#status.bad')?.textContent"))


def test_the_page_unlocks_with_the_token(tab: Tab, indexed_photos: Path) -> None:
    with serving(indexed_photos, token="a-word-of-sixteen") as served:
        tab.open(f"http://127.0.0.1:{served.port}/")
        tab.until(
            "!document.querySelector('#unlock').hidden && document.activeElement.id === 'token'"
        )
        tab.open("about:blank")
        tab.open(f"http://127.0.0.1:{served.port}/#token=a-word-of-sixteen")
        tab.until("document.querySelectorAll('#candidates option').length")
        assert tab.run("location.hash") == ""
        tab.drop(".drop", indexed_photos / "photos/a.png")
        first_is(tab, "a.png")
        tab.open("about:blank")  # before the server goes: pictures may still be on their way


def test_the_interface_is_described(served: Served, tab: Tab) -> None:
    tab.complaints.clear()
    tab.asked.clear()
    tab.open(f"http://127.0.0.1:{served.port}/docs")
    tab.until("document.querySelectorAll('article').length === 9")
    quiet(tab, served)
