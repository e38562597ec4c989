"""Photos encoded by the workers of a cluster, for the one writer here that commits them."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from pipeline.cluster import Cluster
from pipeline.encoded import Failed, Same, encode_file, load_encoder
from pipeline.gallery import Binding, Encoded, Entry
from pipeline.graph import Graph
from pipeline.images import Found
from pipeline.models import ModelError, read_identity
from pipeline.spread import DIED, spread
from pipeline.workers import SOURCES, changed, read_program

if TYPE_CHECKING:
    from pipeline.encoded import Afar

TOGETHER = 4  # photos sent at once: about a second of work
LOADING = threading.Lock()  # a process of a cluster may have several threads


def encoding(cluster: Cluster, binding: Binding, device: str) -> "Afar":
    """How `index_folder` has photos encoded there. A photo that no worker survives is one that cannot be read."""

    def afar(todo: Sequence[Found], known: Mapping[str, Entry]) -> Iterator[Encoded | Failed | Same]:
        asked = [(replace(found, path=found.path.absolute()), known.get(found.name)) for found in todo]
        chunks = (asked[begin : begin + TOGETHER] for begin in range(0, len(asked), TOGETHER))
        work = partial(_encode_some, binding.where, binding.identity, read_program(SOURCES), device)
        for place, done in spread(cluster, work, asked, chunks, Counter()):
            yield Failed(todo[place].name, DIED) if done is None else done

    return afar


def _encode_some(where: str, identity: str, program: str, device: str, some: Sequence[tuple[Found, Entry | None]]) -> list[Encoded | Failed | Same]:
    with LOADING:
        encode = _loaded(where, identity, program, device)
    return [encode_file(found, known, encode) for found, known in some]


@lru_cache(maxsize=1)
def _loaded(where: str, identity: str, program: str, device: str) -> Graph:
    encode = load_encoder(where, device)
    if (read_identity(where)[1], read_program(SOURCES)) != (identity, program):
        raise ModelError(f"model {where}: {changed(program)}")
    return encode
