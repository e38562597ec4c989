"""How the gallery stands: what it holds, whether an index run is adding to it, and whether its
photos are where they were indexed.
"""

import json
import os
import shlex
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.base.names import printable
from pipeline.gallery.merge import Galleries, members
from pipeline.search.engine import Engine
from pipeline.web.live import photo_id
from stages.rank import Calibrated

PROGRESS = "progress.json"  # what an index run writes into its gallery every second
STALE = 10.0  # seconds after which nobody writes it any more
MOST = 4096  # bytes of it that are read
SAMPLES = 8  # photos of the gallery that the empty page offers


@dataclass(frozen=True)
class Sample:
    """A photo of the gallery to try."""

    id: str
    label: str  # its path, printable
    width: int  # px
    height: int  # px


def described(engine: Engine) -> dict[str, Any]:
    """What the page says of the gallery, and where its controls begin."""
    rate = engine.acceptance.rate if isinstance(engine.acceptance, Calibrated) else None
    return {
        "photos": len(engine.gallery),
        "recipe": engine.recipe.name,
        "model": engine.binding.model,
        "false_alarm": rate,
        "bits": engine.gallery.codes.shape[1] if engine.recipe.binary else None,
    }


def samples(engine: Engine) -> list[Sample]:
    """Some photos, evenly spread over the gallery, as far as their files are there."""
    names, few = engine.gallery.names, min(SAMPLES, len(engine.gallery))
    found = []
    for name in (names[i * len(names) // few] for i in range(few)):
        if engine.file(name).is_file():
            width, height = engine.gallery.features[engine.gallery.row(name)].size
            found.append(Sample(photo_id(engine, name), printable(name), int(width), int(height)))
    return found


def missing(engine: Engine, given: Galleries, names: Iterable[str], local: bool) -> str:
    """What to do about photos that are not where they were indexed, in a sentence; nothing where
    all of these are. local: who reads it may know where folders lie.
    """
    folders = [root.path for root in engine.binding.photos.each]
    gone = [folder for folder in folders if not os.path.isdir(folder)]
    lost = sum(not engine.file(name).is_file() for name in names)
    if not gone and not lost:
        return ""
    if gone and not local:
        return (
            "A folder of this gallery's photos is not there: searching works, but its photos cannot"
            " be shown. Whoever runs the server can put it back."
        )
    one = "it" if lost == 1 else "them"
    if gone:
        said = (
            f"{printable(' and '.join(gone))} {'is' if len(gone) == 1 else 'are'} not there:"
            " searching works, but photos cannot be shown. Put back what was there, or"
        )
    else:
        lacks = "1 photo is" if lost == 1 else f"{lost:,} photos are"
        said = f"{lacks} no longer where the gallery has {one}, and cannot be shown."
        if not local:
            return said
        said += f" Put {one} back, or"
    if len(members(given)) > 1:
        return f"{said} index {'the photos' if gone else one} again."
    gallery = f"--gallery {shlex.quote(str(members(given)[0]))}"
    if gone:
        moved = f"--moved-from {shlex.quote(gone[0])}"
        return f"{said} say where it is now: two-look index NEW_FOLDER {printable(moved)} {gallery}"
    return (
        f"{said} bring the gallery up to date: two-look index {printable(shlex.join(folders))}"
        f" {gallery}"
    )


def progress(given: Galleries) -> dict[str, int] | None:
    """Photos that index runs have done and have to do; None where none is going on."""
    found = [run for folder in members(given) if (run := _read(Path(folder, PROGRESS)))]
    if not found:
        return None
    return {"done": sum(done for done, _ in found), "todo": sum(todo for _, todo in found)}


def _read(path: Path) -> tuple[int, int] | None:
    """(done, todo) of one run; None for what is no such file, whatever it is, or is old."""
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            said = json.loads(file.read(MOST))
        done, todo, at = said["done"], said["todo"], said["at"]
        fresh = abs(time.time() - at) <= STALE
    except (ArithmeticError, LookupError, OSError, RecursionError, TypeError, ValueError):
        return None
    whole = type(done) is type(todo) is int and 0 <= done <= todo < 1 << 53
    return (done, todo) if fresh and whole else None
