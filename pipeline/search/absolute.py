"""An answer whose photos are named as any program can open them."""

import os
from dataclasses import replace

from pipeline.base.names import ASKING, INDEXED
from pipeline.search.answer import Answer
from pipeline.search.engine import Engine


def asked_path(engine: Engine, name: str) -> str:
    """Where the photo of a query lies, absolute."""
    if engine.asking is not None and name.startswith(ASKING):
        return str(engine.asking.file(name.removeprefix(ASKING)))
    if name.startswith(INDEXED):
        return str(engine.file(name))
    return os.path.join(os.getcwd(), name)  # abspath would cut `link/..`


def absolute(engine: Engine, answer: Answer) -> Answer:
    """The same answer, its query and photos by their absolute paths, whether they are there or
    not.
    """
    together = answer.together
    if together is not None:
        together = [{**each, "query": asked_path(engine, each["query"])} for each in together]
    return replace(
        answer,
        query=asked_path(engine, answer.query) if together is None else answer.query,
        together=together,
        results=tuple(
            replace(
                result,
                image=str(engine.file(result.image)),
                through=None if result.through is None else str(engine.file(result.through)),
            )
            for result in answer.results
        ),
    )


def not_there(answer: Answer) -> list[str]:
    """Of an absolute answer, the photos shown that are not where they were indexed."""
    return [each.image for each in answer.results if not os.path.isfile(each.image)]
