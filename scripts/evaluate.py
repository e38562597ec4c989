"""Measure a gallery against known answers: mAP, precision and hit rate of both looks together and of the first alone.

--truth is a CSV `query,relevant`, one relevant photo a row: queries relative to the CSV, relevant photos to the gallery's
folder. --labels folder instead takes every indexed photo as a query, leaves it out, and its parent folder is its class.
mAP is over the full depth, divided by the number of relevant photos.
"""

import json
import sys
from typing import TYPE_CHECKING

from pipeline.flags import Parser, UsageError, add_gallery, add_model, add_search, add_truth, finish
from pipeline.truth import Case, read_cases

if TYPE_CHECKING:
    from pipeline.engine import Engine


def evaluate(engine: "Engine", cases: list[Case], k: int, candidates: str | None) -> dict[str, object]:
    """Every query ranked to full depth, by both looks and by the first alone."""
    import numpy as np
    from tqdm import tqdm

    from pipeline.engine import QueryError
    from pipeline.metrics import measure

    both, first, totals = [], [], []
    for case in tqdm(cases, desc="evaluate", unit="query", mininterval=0.5):
        try:
            query = engine.query(case.query)
        except QueryError as error:
            raise UsageError(str(error)) from None
        coarse, order = engine.rank(query, k, candidates, depth=len(engine.gallery))
        kept = np.array([engine.gallery.names[row] != case.left_out for row in coarse.rows[0]])
        relevant = np.array([engine.gallery.names[row] in case.relevant for row in coarse.rows[0]])
        both.append(relevant[order][kept[order]])
        first.append(relevant[kept])
        totals.append(len(case.relevant))
    return {"queries": len(cases), **measure(both, totals).to_json(), "coarse": measure(first, totals).to_json()}


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    add_gallery(parser)
    add_truth(parser)
    add_search(parser)
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    args = parser.parse_args(argv)

    def job() -> int:
        from pipeline.engine import open_engine

        engine = open_engine(args.gallery, args.recipe, args.model, args.code, args.device, args.seed, args.false_alarm)
        cases = read_cases(args.truth, args.gallery, engine.gallery.names)
        result = evaluate(engine, cases, args.k, args.candidates)
        if args.json:
            print(json.dumps(result))
        else:
            coarse = result["coarse"]
            assert isinstance(coarse, dict)
            print(f"{result['queries']} queries, {len(engine.gallery)} photos, recipe {args.recipe}, model {engine.binding.model}")
            print(f"{'':14s}{'both looks':>12s}{'first look':>12s}")
            for name, value in coarse.items():
                print(f"{name:14s}{result[name]:12.4f}{value:12.4f}")
        return 0

    return finish("evaluate", job)


if __name__ == "__main__":
    sys.exit(main())
