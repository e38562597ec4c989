"""The photos' files beside what a gallery knows of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from pipeline.base.files import file_sha256
from pipeline.gallery.store import Reading


def differing(reading: Reading, threads: int) -> Iterator[tuple[str, str]]:
    """Names of the photos whose files are not as they were indexed, and how: "gone", "changed" or
    "not readable". Reads all files, with a bar on stderr.
    """
    from tqdm import tqdm

    def look(item: tuple[str, str]) -> str | None:
        name, content = item
        try:
            same = file_sha256(reading.binding.photos.file(name)) == content
            return None if same else "changed"
        except FileNotFoundError:
            return "gone"
        except OSError:
            return "not readable"

    photos = list(zip(reading.names, reading.contents, strict=True))
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=len(photos), desc="check", unit="photo", mininterval=0.5) as bar,
    ):
        for (name, _), how in zip(photos, pool.map(look, photos), strict=True):
            bar.update()
            if how is not None:
                yield name, how
