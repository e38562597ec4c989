"""What a person gives as queries, one by one: photos, boxes of them, and all photos of a folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.base.errors import ImageError, QueryError, UsageError
from pipeline.base.files import as_on_disk
from pipeline.base.folders import find_photos
from pipeline.base.names import ASKING, INDEXED
from pipeline.search.query import Box


@dataclass(frozen=True)
class Asked:
    """One query, as `OpenGallery.encode` takes it."""

    name: str
    box: Box | None = None
    reason: str | None = None  # why it cannot ask; None where it can be tried

    def check(self) -> None:
        """Raises QueryError where it is known that it cannot ask."""
        if self.reason is not None:
            raise QueryError(f"{self.name}: {self.reason}")


def asked_of(names: Sequence[str], boxes: Sequence[Box] | None) -> list[Asked]:
    """The queries in their order; a folder stands for its photos, found as `index` finds them.
    Raises UsageError where boxes do not go with the names.
    """
    if boxes is not None and len(boxes) != len(names):
        raise UsageError(
            f"--box: expected it once for each of {len(names)} queries, got {len(boxes)}"
        )
    found: list[Asked] = []
    for number, name in enumerate(names):
        folder = as_on_disk(Path(name))
        if name.startswith((INDEXED, ASKING)) or not folder.is_dir():
            found.append(Asked(name, None if boxes is None else boxes[number]))
        elif boxes is None:
            found += _inside(name, folder)
        else:
            raise UsageError(f"--box: expected it with photos, got the folder {name}")
    return found


def _inside(name: str, folder: Path) -> Iterator[Asked]:
    none = True
    try:
        for photo in find_photos(folder):
            none = False
            yield Asked(str(photo.path), reason=photo.reason)
    except ImageError as error:
        yield Asked(name, reason=str(error))
        return
    if none:
        yield Asked(name, reason="expected photos in the folder, got none")
