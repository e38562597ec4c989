"""The page as a test sees it: opened, asked and looked at."""

import json

from browser import Tab
from serving import Served

ANSWERED = "document.body.dataset.state === 'answer' && !document.body.hasAttribute('aria-busy')"
FAILED = "document.body.dataset.state === 'error'"
PLACES = "document.querySelectorAll('.place h3')"
WIDTHS = (1280, 390)


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
