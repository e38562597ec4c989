"""A browser driven over a pipe: Chromium's DevTools protocol, one JSON message after another with a
zero byte between.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)


class Tab:
    """One page. What its console complains of, and every address it asks for, is kept."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing, self.number, self.rest = reading, writing, 0, b""
        self.session: str | None = None
        self.complaints: list[str] = []
        self.asked: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters} | (
            {"sessionId": self.session} if self.session else {}
        )
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        while (said := self.next()).get("id") != self.number:
            self.note(said)
        assert "error" not in said, said
        result: dict[str, Any] = said["result"]
        return result

    def next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            part = os.read(self.reading, 1 << 20)
            assert part, "the browser has ended"
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        said: dict[str, Any] = json.loads(message)
        return said

    def note(self, said: dict[str, Any]) -> None:
        what = said.get("params", {})
        if said.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(what["exceptionDetails"]))
        elif said.get("method") == "Runtime.consoleAPICalled" and what["type"] in (
            "error",
            "warning",
        ):
            self.complaints.append(json.dumps(what["args"]))
        elif said.get("method") == "Log.entryAdded" and what["entry"]["level"] in (
            "error",
            "warning",
        ):
            self.complaints.append(json.dumps(what["entry"]))
        elif said.get("method") == "Network.requestWillBeSent":
            self.asked.append(what["request"]["url"])

    def run(self, script: str) -> Any:
        """What an expression is worth; promises are waited for."""
        done = self.call(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def until(self, script: str, seconds: float = 60) -> Any:
        """The first value of an expression that is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"not within {seconds} s: {script}; {self.complaints}"
            time.sleep(0.05)
        return value

    def size(self, width: int, height: int, mobile: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def drop(self, selector: str, file: Path) -> None:
        """Let a file fall on an element, as a hand would."""
        self.run(
            f"document.querySelector({selector!r}).scrollIntoView({{block: 'center', behavior:"
            " 'instant'})"
        )
        x, y = self.run(
            "(r => [r.x + r.width / 2, r.y + r.height /"
            f" 2])(document.querySelector({selector!r}).getBoundingClientRect())"
        )
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def press(self, key: str, code: int) -> None:
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **(text if kind == "keyDown" else {}),
            )

    def screenshot(self, file: Path, whole: bool = False) -> None:
        file.write_bytes(
            base64.b64decode(
                self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)[
                    "data"
                ]
            )
        )


@contextmanager
def browsing() -> Iterator[Tab]:
    """A new tab of a new browser with a profile of its own."""
    ours_read, theirs_write = os.pipe()
    theirs_read, ours_write = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # the browser reads from 3 and writes to 4
        command = f'exec 3<&{theirs_read} 4>&{theirs_write}; exec "$@"'
        browser = subprocess.Popen(
            [
                "bash",
                "-c",
                command,
                "bash",
                str(CHROMIUM),
                *FLAGS,
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            pass_fds=(theirs_read, theirs_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_read)
        os.close(theirs_write)
        try:
            tab = Tab(ours_read, ours_write)
            target = tab.call("Target.createTarget", url="about:blank")["targetId"]
            tab.session = tab.call("Target.attachToTarget", targetId=target, flatten=True)[
                "sessionId"
            ]
            for domain in ("Page", "Runtime", "Log", "Network"):
                tab.call(f"{domain}.enable")
            yield tab
        finally:
            browser.terminate()
            browser.wait(20)
            os.close(ours_read)
            os.close(ours_write)
