"""python -m pipeline.run QUERY... --gallery DIR: rank a gallery's photos by what they share with the query.

A query is a photo's path, or gallery:RELATIVE_PATH for a photo that is indexed. Output is a table, or one JSON object a line.
"""

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.flags import Parser, UsageError, add_cluster, add_gallery, add_model, add_search, finish, positive

if TYPE_CHECKING:
    from pipeline.answer import Answer
    from pipeline.cluster import Cluster
    from pipeline.engine import Engine, Query
    from pipeline.report import Page


def page(engine: "Engine", query: "Query", answer: "Answer") -> "Page":
    """The pictures that go with an answer. A photo that is gone, or is another one by now, is left out."""
    import numpy as np

    from pipeline.engine import INDEXED, QueryError, read_query
    from pipeline.report import Page, Shown
    from stages.records import Image

    def look(path: Path, size: tuple[int, int]) -> Image | None:
        try:
            photo = read_query(str(path))
        except QueryError:
            return None
        return photo if photo.size == size else None

    photos = Path(engine.binding.photos)
    shown = [
        Shown(result, look(photos / result.image, engine.gallery.features[engine.gallery.row(result.image)].size), engine.evidence(query, result))
        for result in answer.results
    ]
    name = query.name.removeprefix(INDEXED)
    width, height = query.features.size
    asked = look(photos / name if name != query.name else Path(name), (width, height))
    return Page(answer, asked or Image(np.full((height, width, 3), 224, np.uint8)), tuple(shown))


def table(answer: "Answer") -> str:
    """The answer as a person reads it."""
    if answer.by_codes:
        lines = [f"{answer.query}: {answer.candidates} candidates looked at twice, by the distance of their real-valued codes"]
        lines += ["rank  coarse  bits  distance  image"]
        lines += [f"{r.rank:4d}  {r.coarse_rank:6d}  {r.distance:4.0f}  {shortly(r.code_distance):>8s}  {printable(r.image)}" for r in answer.results]
        return "\n".join(lines)
    lines = [
        f"{answer.query}: {answer.candidates} candidates looked at twice, {verdict(answer)}",
        "rank  coarse  distance  matches  inliers  false alarms  image",
    ]
    lines += [
        f"{r.rank:4d}  {r.coarse_rank:6d}  {r.distance:8.4f}  {r.matches:7d}  {r.inliers:7d}  {alarms(r.false_alarms):>12s}  "
        f"{'* ' if r.accepted else '  '}{printable(r.image)}"
        for r in answer.results
    ]
    return "\n".join(lines)


def verdict(answer: "Answer") -> str:
    if not answer.candidates:
        return "all places in coarse order"
    if not answer.accepted:
        said = "nothing in this gallery matches; all places in coarse order"
    else:
        said = f"{answer.accepted} accepted" + (", the other places in coarse order" if answer.fell_back else "")
    return said + (f" (chance as the model knows it: {answer.null_reason})" if answer.null == "model" else "")


def shortly(distance: float | None) -> str:
    """Nothing for what was not looked at twice."""
    return "" if distance is None else f"{distance:.4f}"


def alarms(number: float | None) -> str:
    """How many non-matches are expected to look as good, shortly."""
    return "" if number is None else f"{number:.2g}" if number >= 1e-99 else "0"


def printable(name: str) -> str:
    """A file name that may not be UTF-8, safe to print anywhere."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m pipeline.run", description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument("queries", nargs="+", metavar="QUERY", help="a photo's path, or gallery:RELATIVE_PATH")
    add_gallery(parser, several=True)
    add_search(parser)
    add_model(parser)
    add_cluster(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of tables")
    parser.add_argument(
        "--budget-ms",
        type=positive,
        metavar="MS",
        help="time for the second look of a query: the best candidates are looked at first, the others keep coarse order",
    )
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="also draw the answers: photos, match lines, why each place")
    args = parser.parse_args(argv)

    def job() -> int:
        from pipeline.cluster import clustered

        with clustered(args.cluster) as cluster:
            return work(cluster)

    def work(cluster: "Cluster | None") -> int:
        from pipeline.engine import QueryError, engine_of, open_engine
        from pipeline.parts import assemble
        from pipeline.spread import survived, tried

        if args.report is not None and not args.report.resolve().parent.is_dir():
            raise UsageError(f"--report {args.report}: want a file in an existing folder, got none; run `mkdir -p {args.report.parent}`")
        if args.report is not None and args.report.is_dir():
            raise UsageError(f"--report {args.report}: want a file, got a folder")
        opening = (args.recipe, args.model, args.code, args.device, args.seed, args.false_alarm, None, args.bits, args.search)
        engine = open_engine(args.gallery, *opening, partial(assemble, cluster) if cluster else engine_of)
        if args.budget_ms is not None and engine.verify and len(engine.gallery):  # what is compiled is loaded before a clock runs
            tried(lambda: engine.verify and engine.verify.pair(engine.gallery.features[0], engine.gallery.features[0]))
        pages, failed = [], 0
        for name in args.queries:
            try:
                query = survived(name, partial(engine.query, name))
                answer = survived(name, partial(engine.answer, query, args.k, args.candidates, args.budget_ms))
                print(json.dumps(answer.to_json()) if args.json else table(answer), flush=True)
                if args.report is not None:
                    pages.append(survived(name, partial(page, engine, query, answer)))
            except QueryError as error:
                print(f"run: {printable(str(error))}", file=sys.stderr)
                failed += 1
        if args.report is not None and pages:
            from pipeline.report import write_report

            try:
                write_report(args.report, pages)
            except OSError as error:
                raise UsageError(f"--report {args.report}: want a file that can be written, got {error.strerror}") from None
            print(f"report: {args.report}", file=sys.stderr)
        return 0 if not failed else 3 if failed < len(args.queries) else 2

    return finish("run", job)


if __name__ == "__main__":
    sys.exit(main())
