"""The gallery as it is now: opened once for all requests, and opened again when an index run has
committed.
"""

import hashlib
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pipeline.base.errors import GalleryError, ModelError, UsageError
from pipeline.base.names import IMPORTED
from pipeline.gallery import snapshot
from pipeline.gallery.merge import Galleries, members, read_bindings
from pipeline.gallery.snapshot import MANIFEST
from pipeline.search.engine import Engine
from pipeline.search.open import engine_of

ID = 32  # hexadecimal digits of the sha256 of a photo's bytes: the name under which it is asked for
LOOK = 1.0  # seconds between two looks at the manifest
# times as long as the last opening took: while a large index run commits, opening is a fifth of the
# work at most
REST = 4

Stamp = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Opened:
    """One version of the gallery, whatever an index run does meanwhile. Requests keep the one they
    began with.
    """

    engine: Engine
    # id -> path relative to the photos' folder; of photos alike to the byte the first
    names: Mapping[str, str]
    version: str  # a word that changes with them

    @classmethod
    def of(cls, engine: Engine) -> "Opened":
        """Raises UsageError where photos can be neither asked with nor shown."""
        if engine.recipe.name == IMPORTED:
            raise UsageError(
                "expected a gallery of photos, got one of features that another program computed;"
                " search it by `python -m pipeline.run gallery:PATH`"
            )
        names = {photo_id(engine, name): name for name in reversed(engine.gallery.names)}
        held = "\0".join((*names, *engine.gallery.names)).encode(errors="surrogateescape")
        return cls(engine, names, hashlib.sha256(held).hexdigest()[:16])


def photo_id(engine: Engine, name: str) -> str:
    """It says nothing of where the photo lies, stays when others come and go, and never means
    another photo.
    """
    return engine.content(name)[:ID]


def stamp(given: Galleries) -> Stamp:
    """What every commit changes: SQLite appends it to the log beside the manifest, or moves the log
    into the manifest.
    """
    files = (folder / file for folder in members(given) for file in (MANIFEST, f"{MANIFEST}-wal"))
    return tuple(found for path in files if (found := snapshot.stamp(path)))


class Live:
    """Holds the version that new requests are answered from. `refresh` is called by one thread at a
    time.
    """

    def __init__(
        self,
        folder: Galleries,
        opening: Callable[[], Engine],
        search: str = "auto",
        shortlist: str | None = None,
    ) -> None:
        self.folder, self.opening = folder, opening
        self.search, self.shortlist = search, shortlist
        self.stamp = stamp(folder)  # before the opening: a commit meanwhile shows afterwards
        began = time.monotonic()
        self.now = Opened.of(opening())
        self.due = began + REST * (time.monotonic() - began)
        self.said = ""

    def refresh(self) -> None:
        """Open the gallery again where it has changed, with the model that is in memory where it is
        still the gallery's. What cannot be opened is said once and tried again, and the version
        before it goes on answering.
        """
        seen, began = stamp(self.folder), time.monotonic()
        if seen == self.stamp or began < self.due:
            return
        engine = self.now.engine
        try:
            same = read_bindings(self.folder).identity == engine.binding.identity
            self.now = Opened.of(
                replace(
                    engine_of(self.folder, engine.recipe, engine.code, self.search, self.shortlist),
                    expand=engine.expand,
                    turns=engine.turns,
                    mirror=engine.mirror,
                )
                if same
                else self.opening()
            )
            self.stamp, self.said = seen, ""
        except (GalleryError, ModelError, UsageError) as error:
            if str(error) != self.said:
                print(f"serve: {error}; the version before it goes on answering", file=sys.stderr)
            self.said = str(error)
        self.due = time.monotonic() + REST * (time.monotonic() - began)
