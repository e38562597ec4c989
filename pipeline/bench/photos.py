"""The photos that a bench is run on."""

from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.base.folders import find_photos


def photos_in(folder: Path, flag: str) -> list[Path]:
    """In the order of their paths; flag: that named the folder. Raises UsageError for none."""
    found = [photo.path for photo in find_photos(folder) if photo.reason is None]
    if not found:
        raise UsageError(f"{flag} {folder}: expected a folder of photos, got none in it")
    return found


def spread(photos: list[Path], count: int) -> list[Path]:
    """So many at most, evenly over all."""
    return photos[:: max(1, len(photos) // count)][:count]
