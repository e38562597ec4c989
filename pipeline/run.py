"""python -m pipeline.run QUERY... --gallery DIR: rank a gallery's photos by what they share with
the query.

A query is a photo's path, a folder, all of whose photos ask one after the other, or
gallery:RELATIVE_PATH for a photo that is indexed. Output is a table, or one JSON object a line.
"""

import argparse
import json
import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.names import INDEXED, printable
from pipeline.base.values import box, positive
from pipeline.cli import (
    Parser,
    add_cluster,
    add_gallery,
    add_model,
    add_search,
    add_turns,
    called,
    finish,
    joined_cluster,
    search_options,
)

if TYPE_CHECKING:
    from pipeline.report.html import Page
    from pipeline.search.query import Query

LOG = logging.getLogger("pipeline.run")


def make_parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.run",
        description=__doc__.split("\n\n")[0],
        epilog=__doc__.split("\n\n")[1],
    )
    parser.add_argument(
        "queries",
        nargs="+",
        metavar="QUERY",
        help="a photo's path, a folder of photos, or gallery:RELATIVE_PATH",
    )
    parser.add_argument(
        "--box",
        type=box,
        action="append",
        metavar="X,Y,W,H",
        help=(
            "only a part of the photo is searched for: left, top, width and height in px of the"
            " upright photo; with several queries once for each, in their order"
        ),
    )
    parser.add_argument(
        "--together",
        action="store_true",
        help="all photos given are one query, of one thing: what any of them finds is found",
    )
    add_gallery(parser, several=True)
    add_search(parser)
    add_turns(parser)
    add_model(parser)
    add_cluster(parser)
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line instead of tables"
    )
    parser.add_argument("--absolute", action="store_true", help="photos by their absolute paths")
    parser.add_argument(
        "--budget-ms",
        type=positive,
        metavar="MS",
        help=(
            "time for verifying the candidates of a query: the best are verified first, the"
            " others keep coarse order"
        ),
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="verify without early stops; there are none, so that it changes nothing",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help="also draw the answers: photos, match lines, why each place",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    return finish("run", lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Answer the queries one after the other. Returns the exit code."""
    from pipeline.base.errors import QueryError
    from pipeline.base.files import check_place
    from pipeline.library import open_gallery
    from pipeline.report.html import page_of, write_report
    from pipeline.report.text import table
    from pipeline.search.absolute import absolute, not_there
    from pipeline.search.asked import asked_of
    from pipeline.search.open import engine_of
    from pipeline.search.together import of_one

    check_place("--report", args.report)
    asked = asked_of(args.queries, args.box)
    with joined_cluster(args.cluster) as cluster:
        retry = cluster.retry if cluster else lambda query, ask: ask()
        options = search_options(args)
        gallery = open_gallery(
            args.gallery, options, assemble=cluster.assemble if cluster else engine_of
        )
        engine = gallery.engine
        if args.budget_ms is not None and engine.verify and len(gallery):
            first = f"{INDEXED}{gallery.names[0]}"  # what is compiled is loaded before a clock runs
            retry(first, lambda: gallery.evidence(first, gallery.names[0]))
        pages: list[Page] = []
        failed, gone = 0, []
        limits = {"candidates": args.candidates, "budget_ms": args.budget_ms}

        def tell(name: str, queries: "list[Query]") -> None:
            given = queries if args.together else queries[0]
            answer = retry(name, partial(gallery.search, given, args.k, **limits))
            told = absolute(engine, answer) if args.absolute else answer
            print(json.dumps(told.to_json()) if args.json else table(told), flush=True)
            gone.extend(not_there(told) if args.absolute else [])
            if args.report is not None:
                for number, query in enumerate(queries, 1):
                    part = of_one(answer, number, query) if args.together else answer
                    if part.results or not args.together:
                        pages.append(retry(name, partial(page_of, engine, query, part)))

        encoded: list[Query] = []
        for each in asked:
            try:
                each.check()
                encoded.append(retry(each.name, partial(gallery.encode, each.name, each.box)))
                if not args.together:
                    tell(each.name, [encoded.pop()])
            except QueryError as error:
                print(f"{called('run')}: {printable(str(error))}", file=sys.stderr)
                failed += 1
        if encoded:
            tell(encoded[0].name, encoded)
    if gone:
        LOG.warning(
            f"{len(set(gone))} of the photos shown are not where they were indexed, such as"
            f" {printable(gone[0])}"
        )
    if args.report is not None and pages:
        write_report(args.report, pages)
        LOG.info(f"report: {args.report}")
    return 0 if not failed else 3 if failed < len(asked) else 2


if __name__ == "__main__":
    sys.exit(main())
