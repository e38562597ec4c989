"""What a gallery is, for people who look into it: nothing is written, and no photo is read."""

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.base.names import HASHING, IMPORTED
from pipeline.gallery.chance import gallery_null
from pipeline.gallery.parts import FOLDER as PARTS
from pipeline.gallery.store import Reading, connected, read_gallery
from stages.verify import Verify


@dataclass(frozen=True)
class About:
    """The facts that `two-look info` prints."""

    gallery: str  # absolute
    photos: int
    different: int  # by their contents
    # the folders of photos, or of another program's features: `label`, `path`, `there`
    roots: list[dict[str, Any]]
    model: str
    identity: str
    recipe: str
    precision: str
    # "gallery" or "model": which chance model a search takes; None where there is none
    chance: str | None
    chance_reason: str  # why it is not the gallery's own
    parts: dict[str, Any] | None  # the index of parts: `codebook`, `files`, `photos_lacking`
    shards: int
    bytes: dict[str, int]  # on disk: `shards`, `parts`, `manifest`, `total`
    changed: str  # when a run last changed it, ISO 8601, UTC
    last_run: str | None  # when photos were last indexed; None where nothing says so
    errors: int  # files that the last run could not read
    errors_file: str | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def about(folder: Path, verify: Verify) -> About:
    """verify: the second look, whose settings a chance model is measured with. Raises
    GalleryError.
    """
    reading = read_gallery(folder, parts=True, late=True)
    null, reason = gallery_null(reading, verify)
    files = {
        "shards": [*(folder / "shards").glob("*.safetensors")],
        "parts": [*(folder / PARTS).glob("*.safetensors")],
        "manifest": [*folder.glob("manifest.sqlite*")],
    }
    sizes = {part: sum(map(_bytes, paths)) for part, paths in files.items()}
    with connected(folder) as connection:
        shards = connection.execute("SELECT count(*) FROM shards").fetchone()[0]
    errors = folder / "errors.jsonl"
    listed = errors.is_file()
    calibrated = reading.binding.recipe not in (IMPORTED, *HASHING)
    binding, found = reading.binding, [path for paths in files.values() for path in paths]
    return About(
        gallery=str(folder.resolve()),
        photos=len(reading.names),
        different=len(set(reading.contents)),
        roots=[
            {"label": root.label, "path": root.path, "there": os.path.exists(root.path)}
            for root in binding.photos.each
        ],
        model=binding.model,
        identity=binding.identity,
        recipe=binding.recipe,
        precision=binding.precision,
        chance="gallery" if null is not None else "model" if calibrated else None,
        chance_reason=reason if calibrated else "",
        parts=_parts(reading),
        shards=shards,
        bytes={**sizes, "total": sum(sizes.values())},
        changed=_when(max(map(_time, found), default=0.0)),
        last_run=_when(_time(errors)) if listed else None,
        errors=len(errors.read_bytes().splitlines()) if listed else 0,
        errors_file=str(errors.resolve()) if listed else None,
    )


def _parts(reading: Reading) -> dict[str, Any] | None:
    if reading.parts is None:
        return None
    return {
        "codebook": reading.parts.codebook,
        "files": len(reading.parts.stored),
        "photos_lacking": reading.parts.lacks(reading.contents) if reading.names else 0,
    }


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a writer merges meanwhile
        return 0


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Listed:
    """A photo of a gallery."""

    image: str
    sha256: str  # of its bytes
    bytes: int
    width: int  # px
    height: int  # px
    features: int  # local ones

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def listed_photos(folder: Path) -> tuple[list[Listed], Reading]:
    """All photos of a gallery, by path. Raises GalleryError."""
    reading = read_gallery(folder, late=True)
    with connected(folder) as connection:
        held = dict(connection.execute("SELECT path, size FROM photos"))
    features = reading.features
    found = [
        Listed(name, content, held.get(os.fsencode(name), 0), int(width), int(height), int(count))
        for name, content, (width, height), count in zip(
            reading.names, reading.contents, features.size, features.count, strict=True
        )
    ]
    return found, reading
