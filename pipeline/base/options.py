"""How a gallery is opened for searching, whoever asks: a command, a program or another process."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.base.names import TURNS


@dataclass(frozen=True)
class SearchOptions:
    """The defaults search a gallery with the recipe and the model that made it."""

    recipe: str | None = None  # None: what made the gallery's codes
    model: str | None = None  # name or folder; None: the gallery's own
    code: str | None = None  # "pca", "embedding" or "logits"; None: the recipe's own
    bits: int | None = None  # of a binary code; None: the gallery's own
    device: str = "auto"  # "auto", "cpu" or "cuda": where the network runs
    seed: int = 0  # of all random draws
    false_alarm: float = 0.1  # unrelated photos accepted a query, expected over all candidates
    index: str = "auto"  # "auto", "tree" or "faiss": what finds the nearest codes
    # "global", "parts" or "both": what finds the candidates; None: the recipe's own, by codes alone
    # where the gallery has no index of parts
    shortlist: str | None = None
    expand: bool = False  # photos that were accepted ask again, with what of them is in the query
    # "none"; "auto": a query that finds nothing asks again, turned by quarters; "all": always
    turns: str = "auto"
    mirror: bool = False  # also as the query looks in a mirror
    queries: Path | None = None  # another gallery of the same model, whose photos may ask
    threads: int = 0  # of the second look; 0: all cores. Changes how long it takes and nothing else

    def __post_init__(self) -> None:
        if self.turns not in TURNS:
            raise UsageError(f"turns: expected one of {', '.join(TURNS)}, got {self.turns!r}")
        if isinstance(self.queries, str):  # as a caller without a type checker may write it
            object.__setattr__(self, "queries", Path(self.queries))


@dataclass(frozen=True)
class TruthOptions:
    """What says which photos a query should find: one of `truth`, `labels` and `revisited`."""

    truth: Path | None = None  # CSV `query,relevant`
    # "folder" or "top": the first folder is the class, "parent": the one that the photo lies in
    labels: str | None = None
    revisited: Path | None = None  # revisited Oxford or Paris: the published ground truth as JSON
    protocol: str = "medium"  # of `revisited`: "easy", "medium" or "hard"
    query_photos: Path | None = None  # where `revisited` finds its queries; None: beside it
    allow_self: bool = False  # also queries that are in the gallery byte for byte
    # of `truth`: (OLD, NEW), the folders before its relevant photos, and before the gallery's
    prefix: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", tuple(self.prefix))
