"""Tell when something in folders of photos has changed."""

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.base.install import add_extra

SETTLE = 2000  # milliseconds without a change after which changes are looked at: a copy has ended
LOOK = 5000  # milliseconds between two looks whether it is time anyway, and which folders are there
# seconds: other machines' changes on a shared folder, and disks that come back, tell nobody
ANYWAY = 600.0


def check_watching() -> None:
    """Raises UsageError where the library that tells of changes is not installed."""
    if find_spec("watchfiles") is None:
        raise UsageError(f"--watch: expected watchfiles, got none; run {add_extra('watch')}")


def watch(folders: Callable[[], Sequence[str]], changed: Callable[[], None], gallery: Path) -> None:
    """Until it is interrupted. folders: those that are there now; changed: called once for what
    happened before the watching began, then whenever something has changed, and now and then
    anyway; gallery: whose own files are no photos, wherever it lies.
    """
    from watchfiles import watch as changes_in

    own = str(gallery.resolve())
    looked = 0.0
    try:
        while True:
            watched = folders()
            if not watched:
                time.sleep(LOOK / 1000)
                continue
            try:
                for changes in changes_in(
                    *watched,
                    watch_filter=lambda _, path: not Path(path).is_relative_to(own),
                    debounce=10 * SETTLE,
                    step=SETTLE,
                    rust_timeout=LOOK,
                    yield_on_timeout=True,
                ):
                    if changes or time.monotonic() - looked > ANYWAY:
                        looked = time.monotonic()
                        changed()
                    if folders() != watched:
                        break
            except FileNotFoundError:  # a folder went away meanwhile
                time.sleep(LOOK / 1000)
            looked = 0.0
    except KeyboardInterrupt:
        return
