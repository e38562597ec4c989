"""Which photo of a group to keep: the one with most pixels; of those with nearly as many, the
sharpest; of those nearly as sharp, the one whose file is largest.

Pixels were counted when the photo was indexed. Sharpness needs its file: where that is away or is
another photo by now, pixels alone decide.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.base.errors import ImageError
from pipeline.base.images import decode, read_photo
from pipeline.pairs.evidence import Evidence
from pipeline.pairs.looks import Photos, bar
from stages.sharpness import LONGEST, sharpness

NEARLY = 0.9  # of the most pixels, or of the sharpest's sharpness


@dataclass(frozen=True)
class Quality:
    """What is known of a photo of a group."""

    file: Path  # where it was indexed
    width: int  # px, when it was indexed
    height: int
    sharpness: float | None = None  # None where its file cannot be read
    size: int = 0  # bytes of the file

    @property
    def pixels(self) -> int:
        return self.width * self.height


def best_of(qualities: Sequence[Quality]) -> int:
    """The place of the best, the first of equal ones."""
    most = max(each.pixels for each in qualities)
    left = [place for place, each in enumerate(qualities) if each.pixels >= NEARLY * most]
    sharp = [qualities[place].sharpness or 0.0 for place in left]
    left = [place for place, each in zip(left, sharp, strict=True) if each >= NEARLY * max(sharp)]
    return max(left, key=lambda place: (qualities[place].size, -place))


def qualities(
    photos: Photos, some: Sequence[int], evidence: Evidence, jobs: int, *, quiet: bool
) -> dict[int, Quality]:
    """Of some of the photos; each file is read once, and what was measured is kept."""
    engine = photos.engine

    files = [engine.file(engine.gallery.names[row]) for row in photos.row.tolist()]

    def measured(photo: int) -> tuple[float, int] | None:
        try:
            data = read_photo(files[photo])
            if hashlib.sha256(data).digest() != photos.contents[photo]:
                return None
            return sharpness(decode(data, side=LONGEST)), len(data)
        except ImageError:
            return None

    known = {each: evidence.sharpness(photos.contents[each]) for each in some}
    lacking = [each for each, found in known.items() if found is None]
    with ThreadPoolExecutor(jobs) as pool, bar(len(lacking), "sharpness", quiet) as progress:
        for photo, found in zip(lacking, pool.map(measured, lacking), strict=True):
            progress.update()
            if found is not None:
                evidence.keep_sharpness(photos.contents[photo], *found)
                known[photo] = found
    sizes = engine.gallery.features.size[photos.row].tolist()
    return {
        each: Quality(files[each], *sizes[each], *(found or ())) for each, found in known.items()
    }
