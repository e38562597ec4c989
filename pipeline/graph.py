"""The graph: a table of rows (output, stage, what it reads), read top to bottom.

Ask for any row and give any row: only what lies between is computed, each row once.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, get_type_hints


@dataclass(frozen=True)
class Node:
    """One row of the table."""

    output: str
    stage: Callable[..., Any]
    reads: tuple[str, ...]

    def __init__(self, output: str, stage: Callable[..., Any], *reads: str) -> None:
        object.__setattr__(self, "output", output)
        object.__setattr__(self, "stage", stage)
        object.__setattr__(self, "reads", reads)

    @property
    def name(self) -> str:
        """The stage's name in reports of time; stages that stand for each other may say what they
        are `known_as`.
        """
        known_as: str = (
            getattr(self.stage, "known_as", None)
            or getattr(self.stage, "__name__", type(self.stage).__name__).lower()
        )
        return known_as

    def types(self) -> tuple[list[Any], Any]:
        """What the stage takes and what it returns, by its annotations."""
        call = self.stage if hasattr(self.stage, "__name__") else type(self.stage).__call__
        hints = get_type_hints(call)
        result = hints.pop("return", None)
        return list(hints.values()), result


@dataclass(frozen=True)
class Graph:
    """A table whose rows read only inputs and rows above them, checked when it is made: names,
    counts and record types.
    """

    inputs: tuple[str, ...]
    rows: tuple[Node, ...]

    def __init__(self, inputs: Sequence[str], rows: Sequence[Node]) -> None:
        object.__setattr__(self, "inputs", tuple(inputs))
        object.__setattr__(self, "rows", tuple(rows))
        # an input's type is that of the first stage that reads it
        known: dict[str, Any] = dict.fromkeys(inputs)
        for node in self.rows:
            takes, result = node.types()
            if len(takes) != len(node.reads):
                raise ValueError(
                    f"row {node.output}: expected {len(takes)} inputs for {node.name}, got"
                    f" {len(node.reads)}"
                )
            for name, kind in zip(node.reads, takes, strict=True):
                if name not in known:
                    raise ValueError(
                        f"row {node.output}: expected an input or a row above, got {name}"
                    )
                if known[name] is None:
                    known[name] = kind
                if known[name] != kind:
                    raise ValueError(
                        f"row {node.output}: expected {name} as {kind}, got {known[name]}"
                    )
            if node.output in known:
                raise ValueError(
                    f"row {node.output}: expected a new name, got one that is there already"
                )
            known[node.output] = result

    def stage(self, output: str) -> Any:
        """What computes a row; None where the table has no such row."""
        return next((node.stage for node in self.rows if node.output == output), None)

    def row_among(self, outputs: Sequence[str]) -> str:
        """The first of these rows that the table has. Raises StopIteration for none."""
        return next(node.output for node in self.rows if node.output in outputs)

    def with_stage(self, output: str, stage: Callable[..., Any]) -> "Graph":
        """The same table with another stage in one row. Raises ValueError where it reads or returns
        something else.
        """
        if output not in {node.output for node in self.rows}:
            raise ValueError(f"row {output}: expected a row of the table, got none")
        return Graph(
            self.inputs,
            [
                Node(node.output, stage, *node.reads) if node.output == output else node
                for node in self.rows
            ],
        )

    def __call__(
        self,
        given: Mapping[str, Any],
        *asked: str,
        seconds: dict[str, float] | None = None,
        threads: int = 1,
    ) -> Any:
        """The asked rows, one alone or several as a tuple. `seconds`, where passed, collects each
        stage's time. threads: so many rows at a time, where they do not wait for each other.

        Raises ValueError when a name is unknown, or an input that is needed was not given.
        """
        values = dict(given)
        names = {*self.inputs, *(node.output for node in self.rows)}
        for name in (*given, *asked):
            if name not in names:
                raise ValueError(f"graph: expected one of {', '.join(sorted(names))}, got {name}")
        needed = set(asked) - values.keys()
        for node in reversed(self.rows):
            if node.output in needed:
                needed |= set(node.reads) - values.keys()
        if missing := needed & set(self.inputs):
            raise ValueError(
                f"graph: expected {', '.join(sorted(missing))} given for {', '.join(asked)}, got"
                f" {', '.join(given) or 'nothing'}"
            )

        def compute(node: Node) -> None:
            began = time.perf_counter()
            values[node.output] = node.stage(*(values[name] for name in node.reads))
            if seconds is not None:
                seconds[node.name] = seconds.get(node.name, 0.0) + time.perf_counter() - began

        waiting = [node for node in self.rows if node.output in needed]
        if threads == 1:
            for node in waiting:
                compute(node)
        else:
            with ThreadPoolExecutor(threads) as pool:
                running: set[Future[None]] = set()
                while waiting or running:
                    ready = [node for node in waiting if values.keys() >= set(node.reads)]
                    waiting = [node for node in waiting if node not in ready]
                    running |= {pool.submit(compute, node) for node in ready}
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for each in done:
                        each.result()
        answers = tuple(values[name] for name in asked)
        return answers[0] if len(answers) == 1 else answers
