"""Photos encoded by the workers of a cluster, for the one writer here that commits them."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from pipeline.base.errors import ModelError
from pipeline.base.folders import Found
from pipeline.base.install import SOURCES
from pipeline.base.retry import DIED
from pipeline.cluster.connect import Cluster
from pipeline.cluster.tasks import run_on
from pipeline.gallery.binding import Binding
from pipeline.gallery.encode import Failed, encode_file
from pipeline.gallery.store import Encoded, Entry
from pipeline.graph import Graph
from pipeline.model.card import read_identity
from pipeline.recipes import load_encoder
from pipeline.search.process import changed, read_program

if TYPE_CHECKING:
    from pipeline.gallery.encode import EncodeElsewhere

BATCH = 4  # photos sent at once: about a second of work
LOADING = threading.Lock()  # a process of a cluster may have several threads


def encode_on(cluster: Cluster, device: str) -> "EncodeElsewhere":
    """How `pipeline.index` has photos encoded there. A photo that no worker survives is one that
    cannot be read.
    """

    def elsewhere(
        binding: Binding, todo: Sequence[Found], known: Mapping[str, Entry]
    ) -> Iterator[Encoded | Failed]:
        asked = [replace(found, path=found.path.absolute()) for found in todo]
        chunks = (asked[begin : begin + BATCH] for begin in range(0, len(asked), BATCH))
        work = partial(_encode_some, binding, read_program(SOURCES), device)
        for place, done in run_on(cluster, work, asked, chunks, Counter()):
            yield Failed(todo[place].name, DIED) if done is None else done

    return elsewhere


def _encode_some(
    binding: Binding, program: str, device: str, some: Sequence[Found]
) -> list[Encoded | Failed]:
    with LOADING:
        encode = _loaded(binding, program, device)
    return [encode_file(found, encode) for found in some]


@lru_cache(maxsize=1)
def _loaded(binding: Binding, program: str, device: str) -> Graph:
    encode = load_encoder(binding.where, device, binding.precision)
    identity = read_identity(binding.where, binding.precision)[1]
    if (identity, read_program(SOURCES)) != (binding.identity, program):
        raise ModelError(f"model {binding.where}: {changed(program)}")
    return encode
