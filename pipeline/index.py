"""python -m pipeline.index PHOTOS --gallery DIR: make a gallery of a folder of photos, or bring one up to date.

Each thread decodes and encodes one photo at a time while this one commits what is ready: at least every two seconds of work
or 64 photos, and only then does the bar count them. Kill it whenever you like and run it again.
"""

import hashlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.flags import HASHING, TRAINED, Parser, UsageError, add_gallery, add_model, add_recipe, at_least_one, finish

if TYPE_CHECKING:
    from pipeline.gallery import Binding, Encoded, Entry
    from pipeline.gallery_writer import GalleryWriter
    from pipeline.graph import Graph
    from pipeline.images import Found

COMMIT_PHOTOS = 64
COMMIT_SECONDS = 2.0


@dataclass(frozen=True)
class Failed:
    """A file that is no photo we can read."""

    name: str
    reason: str


@dataclass(frozen=True)
class Same:
    """A file whose time changed and whose bytes did not."""

    name: str
    entry: "Entry"


def encode_file(found: "Found", known: "Entry | None", encode: "Graph") -> "Encoded | Failed | Same":
    """One file to one row. The bytes that are hashed are the bytes that are decoded."""
    from pipeline.gallery import Encoded, Entry
    from pipeline.images import ImageError, decode, read_photo
    from pipeline.recipes import stored

    try:
        mtime_ns = found.path.stat().st_mtime_ns
        data = read_photo(found.path)
        entry = Entry(hashlib.sha256(data).hexdigest(), len(data), mtime_ns)
        if known is not None and known.sha256 == entry.sha256:
            return Same(found.name, entry)
        image = decode(data)
    except OSError as error:
        return Failed(found.name, f"want a readable file, got {error.strerror}")
    except ImageError as error:
        return Failed(found.name, str(error))
    pooled, code, features = encode({"image": image}, "pooled", stored(encode), "features")
    return Encoded(found.name, entry, pooled, code, features)


def in_threads(work: "Callable[[Found], Encoded | Failed | Same]", items: "list[Found]", threads: int) -> "Iterator[Encoded | Failed | Same]":
    """`map` on threads that never runs far ahead of its reader, so that memory stays flat."""
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Encoded | Failed | Same]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) > 2 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def index_folder(
    photos: Path, writer: "GalleryWriter", encoder: "Callable[[], Graph]", threads: int, *, prune: bool, quiet: bool = False
) -> dict[str, int]:
    """Bring the gallery up to date with the folder. Returns the counts that the command prints.

    `encoder` gives the encode half of the recipe; it is not asked when no photo is new.
    """
    from tqdm import tqdm

    from pipeline.images import find_photos

    known = writer.known()
    counts = dict.fromkeys(("indexed", "unchanged", "failed", "removed"), 0)
    todo, gone = [], set(known)
    with (writer.folder / "errors.jsonl").open("w", encoding="utf-8") as errors:

        def fail(name: str, reason: str) -> None:
            counts["failed"] += 1
            errors.write(json.dumps({"path": name, "reason": reason}) + "\n")
            errors.flush()

        for found in find_photos(photos):
            gone.discard(found.name)
            if found.reason is not None:
                fail(found.name, found.reason)
                gone -= {name for name in gone if found.name.endswith("/") and name.startswith(found.name)}  # unread, not vanished
            elif _unchanged(found.path, known.get(found.name)):
                counts["unchanged"] += 1
            else:
                todo.append(found)
        if todo:
            encode = encoder()
            batch: list[Encoded] = []
            committed = time.monotonic()
            with tqdm(total=len(todo), desc="index", unit="photo", disable=quiet, mininterval=0.5) as bar:
                for done in in_threads(lambda found: encode_file(found, known.get(found.name), encode), todo, threads):
                    if isinstance(done, Failed):
                        fail(done.name, done.reason)
                        bar.update()
                    elif isinstance(done, Same):
                        writer.touch(done.name, done.entry)
                        counts["unchanged"] += 1
                        bar.update()
                    else:
                        batch.append(done)
                    if len(batch) >= COMMIT_PHOTOS or (batch and time.monotonic() - committed > COMMIT_SECONDS):
                        _commit(writer, batch, bar.update, counts)
                        committed = time.monotonic()
                _commit(writer, batch, bar.update, counts)
    if prune and gone:
        writer.remove(gone)
        counts["removed"] = len(gone)
    writer.compact()
    return counts


def _commit(writer: "GalleryWriter", batch: "list[Encoded]", count: "Callable[[int], object]", counts: dict[str, int]) -> None:
    writer.add(batch)
    count(len(batch))
    counts["indexed"] += len(batch)
    batch.clear()


def _unchanged(path: Path, known: "Entry | None") -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return known is not None and (found.st_size, found.st_mtime_ns) == (known.size, known.mtime_ns)


def load_encoder(model: str, device: str) -> "Graph":
    """The encode half of the recipe, one torch thread a photo: as fast as batching, and no photo's numbers depend on another's."""
    from pipeline.models import open_model
    from pipeline.recipes import encode
    from pipeline.threads import one_thread_each
    from stages.trunk import pick_device

    one_thread_each()
    try:
        return encode(open_model(model), pick_device(device))
    except ValueError as error:
        raise UsageError(str(error)) from None


def bind(gallery: Path, model: str | None, photos: Path, recipe: str | None = None, bits: int | None = None) -> "Binding":
    """What this gallery's numbers are made by: the model asked for, else the one it remembers, else the recipe's own."""
    from pipeline.gallery import Binding, GalleryError, check_recipe, read_binding
    from pipeline.models import DEFAULT, ModelError, default_model, find_model, read_identity, read_settings

    try:
        made = read_binding(gallery)
    except GalleryError:
        made = None
    if made is not None and (recipe, bits) != (None, None):
        check_recipe(gallery, made, read_settings(made.where).bits if bits else 0, recipe, bits)
    where = model or (made.where if made else default_model(recipe, bits))
    if model is not None and Path(model).is_dir():
        where = str(find_model(model))
    settings = read_settings(where)
    told = f" at {settings.bits} bits" if settings.recipe in HASHING else ""
    if recipe is not None and settings.recipe != (recipe if recipe in TRAINED else DEFAULT):
        raise ModelError(f"model {where}: want one of recipe {recipe}, got one of {settings.recipe}{told}; run with another `--model`")
    if bits not in (None, settings.bits if told else None):
        raise ModelError(f"model {where}: want a code of {bits} bits, got recipe {settings.recipe}{told}; run with another `--model`")
    return Binding(*read_identity(where), where, str(photos.resolve()), settings.recipe)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m pipeline.index", description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="folder of photos, searched recursively")
    add_gallery(parser)
    parser.add_argument("--prune", action="store_true", help="drop photos whose files have vanished")
    add_recipe(parser)
    add_model(parser)
    parser.add_argument("--jobs", type=at_least_one, default=os.cpu_count() or 1, metavar="N", help="threads (default: all cores)")
    args = parser.parse_args(argv)

    def job() -> int:
        from pipeline.calibrate import calibrate
        from pipeline.gallery_writer import writing
        from pipeline.images import ImageError
        from pipeline.many import members

        if members(args.gallery) != (args.gallery,):
            raise UsageError(f"--gallery {args.gallery}: want one gallery, got a folder of galleries; run with one of them, or with a new folder")
        if not args.photos.is_dir():
            raise UsageError(f"{args.photos}: want a folder of photos, got {'a file' if args.photos.exists() else 'nothing there'}")
        binding = bind(args.gallery, args.model, args.photos, args.recipe, args.bits)
        with writing(args.gallery, binding) as writer:
            try:
                counts = index_folder(args.photos, writer, lambda: load_encoder(binding.where, args.device), args.jobs, prune=args.prune)
            except ImageError as error:
                raise UsageError(f"{args.photos}: {error}") from None
            total = len(writer.known())
            calibrate(writer, args.jobs)
        failed = f" (listed in {args.gallery / 'errors.jsonl'})" if counts["failed"] else ""
        print(
            f"{args.gallery}: {total} photos; {counts['indexed']} indexed, {counts['unchanged']} unchanged, "
            f"{counts['removed']} removed, {counts['failed']} not readable{failed}"
        )
        return 0

    return finish("index", job)


if __name__ == "__main__":
    sys.exit(main())
