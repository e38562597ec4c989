"""The jobs of a cluster. Of one gallery: shortlists and queries are sent to workers that each open
it whole. Of several: each worker opens those it owns (pipeline/cluster/owners.py), and the queries
are encoded here.

What comes back depends on the query alone, as it does with processes of one machine.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from pipeline.base.errors import UsageError
from pipeline.base.retry import DIED
from pipeline.cluster.connect import Cluster, clustered
from pipeline.cluster.encode import encode_on
from pipeline.cluster.owners import assemble_remote
from pipeline.cluster.tasks import retried_query, run_here, run_on
from pipeline.gallery.merge import Galleries, members
from pipeline.recipes import Recipe
from pipeline.search.engine import Engine
from pipeline.search.open import Assemble, engine_of, open_engine
from pipeline.search.process import Opening, check_version, opened
from pipeline.search.shortlists import (
    Failed,
    Reranked,
    Shortlist,
    in_chunks,
    rerank_list,
    rerank_lists,
)

if TYPE_CHECKING:
    from pipeline.gallery.encode import EncodeElsewhere

Case = TypeVar("Case")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True, eq=False)
class ClusterJobs:
    """What commands have done on a cluster. Use `joined(...)`."""

    cluster: Cluster

    @property
    def threads(self) -> int:
        """Of one task."""
        return self.cluster.threads

    def encoder(self, device: str) -> "EncodeElsewhere":
        """What `pipeline.index` has photos encoded by."""
        return encode_on(self.cluster, device)

    def assemble(
        self, where: Galleries, built: Recipe, code: str, index: str, shortlist: str | None = None
    ) -> Engine:
        """What `open_engine` joins galleries with whose owners are the workers."""
        return assemble_remote(self.cluster, where, built, code, index, shortlist)

    def assembler(self, where: Galleries) -> Assemble:
        """The same for several galleries; one is opened in this process, and by each worker
        whole."""
        return self.assemble if len(members(where)) > 1 else engine_of

    def retry(self, query: str, ask: Callable[[], Outcome]) -> Outcome:
        """What is asked about one query, again where a worker died over it. Raises QueryError where
        none survives it.
        """
        return retried_query(query, ask)

    def rerank(
        self, opening: Opening, lists: Sequence[Shortlist], counts: Counter[str]
    ) -> Iterator[Reranked | Failed]:
        """Every shortlist re-ranked, in any order, as `pipeline.rerank.jobs.rerank_all` does with
        processes of this machine.
        """
        if len(opening.gallery) > 1:
            engine = open_engine(opening.gallery, opening.options, self.assemble)
            # whose rows the lists are
            check_version(opening.gallery, opening.options.model, opening.version)
            work = partial(rerank_list, engine)
            answers: Iterator[tuple[int, Reranked | Failed | None]] = run_here(
                self.cluster, work, lists, counts
            )
        else:
            answers = run_on(
                self.cluster, partial(rerank_lists, opening), lists, in_chunks(lists), counts
            )
        for place, answer in answers:
            query = lists[place].query
            yield Failed(query, f"{query}: {DIED}") if answer is None else answer

    def evaluate(
        self,
        opening: Opening,
        engine: Engine,
        evaluate: Callable[[Engine, Case], Outcome],
        cases: Sequence[Case],
        sent: Sequence[Case],
    ) -> Iterator[Outcome]:
        """What `evaluate` makes of every case, in their order. opening: as it was before `engine`
        was opened; sent: the cases as another process understands them. `evaluate` and what it
        returns are sent, too.

        Raises what `evaluate` raises, and UsageError over a case that no worker survives.
        """
        counts: Counter[str] = Counter()
        if len(opening.gallery) > 1:
            work = partial(evaluate, engine)
            found: Iterator[tuple[int, Outcome | None]] = run_here(
                self.cluster, work, cases, counts
            )
        else:
            some = partial(_evaluate_some, opening, evaluate)
            found = run_on(self.cluster, some, sent, ([case] for case in sent), counts)
        ready: dict[int, Outcome] = {}
        turn = 0
        for place, outcome in found:
            if outcome is None:
                raise UsageError(f"{getattr(cases[place], 'query', place)}: {DIED}")
            ready[place] = outcome
            while turn in ready:
                yield ready.pop(turn)
                turn += 1


@contextmanager
def joined(address: str) -> Iterator[ClusterJobs]:
    """The cluster of this address, ready to be asked. Raises UsageError where it cannot be had."""
    with clustered(address) as cluster:
        yield ClusterJobs(cluster)


def _evaluate_some(
    opening: Opening, evaluate: Callable[[Engine, Case], Outcome], cases: Sequence[Case]
) -> list[Outcome]:
    engine = opened(opening)
    return [evaluate(engine, case) for case in cases]
