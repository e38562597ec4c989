"""One photo's file to one row of a gallery, wherever that is done."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.flags import UsageError

if TYPE_CHECKING:
    from pipeline.gallery import Encoded, Entry
    from pipeline.graph import Graph
    from pipeline.images import Found

    Afar = Callable[[Sequence[Found], Mapping[str, Entry]], Iterator["Encoded | Failed | Same"]]  # files, and what is known of them by name


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
