"""One photo's file to one row of a gallery, wherever that is done."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.base.names import STORED

if TYPE_CHECKING:
    from pipeline.base.folders import Found
    from pipeline.gallery.binding import Binding
    from pipeline.gallery.store import Encoded, Entry
    from pipeline.graph import Graph

    # what the gallery is made by, files, and what is known of them by name -> what became of each
    Outcomes = Iterator["Encoded | Failed | Same"]
    EncodeElsewhere = Callable[[Binding, Sequence[Found], Mapping[str, Entry]], Outcomes]


def side_read(encode: "Graph") -> int:
    """px: a photo's longest side of which no more is looked at; 0 where all of it may be."""
    from stages.fine import DescribeFine
    from stages.fine_quantised import FineQuantised
    from stages.kinds import DescribeBoth

    described = encode.stage("features")
    if isinstance(described, DescribeBoth):
        described = described.first
    if isinstance(described, DescribeFine) and isinstance(described.network, FineQuantised):
        return described.side
    return 0


@dataclass(frozen=True)
class Failed:
    """A file that is no photo we can read."""

    name: str
    reason: str


@dataclass(frozen=True)
class Same:
    """A photo whose file changed, and what it becomes did not."""

    name: str
    entry: "Entry"


def encode_file(found: "Found", encode: "Graph") -> "Encoded | Failed":
    """One file to one row. The bytes that are hashed are the bytes that are decoded."""
    from pipeline.base.errors import ImageError
    from pipeline.base.images import decode
    from pipeline.gallery.relocate import entry_of
    from pipeline.gallery.store import Encoded

    try:
        entry, data = entry_of(found.path)
        image = decode(data, side=side_read(encode))
    except OSError as error:
        return Failed(found.name, f"expected a readable file, got {error.strerror}")
    except ImageError as error:
        return Failed(found.name, str(error))
    pooled, code, features = encode(
        {"image": image}, "pooled", encode.row_among(STORED), "features"
    )
    return Encoded(found.name, entry, pooled, code, features)
