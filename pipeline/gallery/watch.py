"""Tell when something in folders of photos has changed."""

import threading
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.base.errors import UsageError
from pipeline.base.install import add_extra

SETTLE = 2.0  # seconds without a change after which changes are looked at: a copy has ended
LONGEST = 60.0  # seconds that changes wait for that
LOOK = 5.0  # seconds between two looks at which folders are there
# seconds: other machines' changes on a shared folder, and disks that come back, tell nobody
ANYWAY = 600.0
# of what a watcher tells; that a file is read is no change
CHANGES = ("created", "modified", "moved", "deleted")


def check_watching() -> None:
    """Raises UsageError where the library that tells of changes is not installed."""
    if find_spec("watchdog") is None:
        raise UsageError(f"--watch: expected watchdog, got none; run {add_extra('watch')}")


def watch(folders: Callable[[], Sequence[str]], changed: Callable[[], None], gallery: Path) -> None:
    """Until it is interrupted. folders: those that are there now; changed: called once when the
    watching has begun, then whenever something has changed, and now and then anyway; gallery: whose
    own files are no photos, wherever it lies.
    """
    own, woken = gallery.resolve(), threading.Event()

    class Handler:
        def dispatch(self, event: Any) -> None:
            path = Path(event.dest_path or event.src_path)
            if event.event_type in CHANGES and not path.is_relative_to(own):
                woken.set()

    try:
        while True:
            watched = folders()
            observer = _observed(watched, Handler())
            try:
                changed()
                looked = time.monotonic()
                while folders() == watched:
                    if woken.wait(LOOK):
                        _settled(woken)
                    elif time.monotonic() - looked < ANYWAY:
                        continue
                    changed()
                    looked = time.monotonic()
            finally:
                observer.stop()
                observer.join()
    except KeyboardInterrupt:
        return


def _observed(folders: Sequence[str], handler: Any) -> Any:
    """What tells the handler: the system, or looking at every file where it knows no more
    folders.
    """
    from watchdog.observers import Observer
    from watchdog.observers.polling import PollingObserver

    for kind in (Observer, PollingObserver):
        observer = kind()
        try:
            for path in folders:
                observer.schedule(handler, path, recursive=True)
            observer.start()
        except OSError:  # the limit of inotify, or a folder that has gone
            continue
        return observer
    observer = PollingObserver()
    observer.start()
    return observer


def _settled(woken: threading.Event) -> None:
    """Wait until nothing has changed for a while."""
    until = time.monotonic() + LONGEST
    while time.monotonic() < until:
        woken.clear()
        if not woken.wait(SETTLE):
            return
