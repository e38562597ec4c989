"""Re-rank any engine's shortlists by the second look, many at once: `query,image` rows or a TREC
run in, the same out.

Queries are paths relative to the file of candidates, gallery:RELATIVE_PATH, or ids of --queries-
map; images are indexed paths. A TREC run is read by score, as trec_eval reads it. Finished queries
are kept in OUT.part: killed and run again, the job goes on with the next one. OUT appears whole at
the end, replacing an earlier one; its bytes depend on the candidates, the gallery and the flags,
not on --jobs or kills. A query that cannot be read keeps its list as it was, without evidence.
"""

import hashlib
import json
import os
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.errors import UsageError
from pipeline.base.names import printable
from pipeline.cli import (
    Parser,
    add_cluster,
    add_false_alarm,
    add_gallery,
    add_jobs,
    add_model,
    add_prefix,
    add_recipe,
    add_seed,
    finish,
    joined_cluster,
    search_options,
)

if TYPE_CHECKING:
    from pipeline.base.lookup import Lookup
    from pipeline.cluster.jobs import ClusterJobs
    from pipeline.rerank.journal import Journal
    from pipeline.search.process import Opening
    from pipeline.search.shortlists import Shortlist


def check_out(out: Path, candidates: Path) -> None:
    """What is wrong with --out is said before hours of work."""
    if not out.resolve().parent.is_dir():
        raise UsageError(
            f"--out {out}: expected a file in an existing folder, got none; run `mkdir -p"
            f" {out.parent}`"
        )
    if out.is_dir():
        raise UsageError(f"--out {out}: expected a file, got a folder")
    if out.resolve() == candidates.resolve():
        raise UsageError(f"--out {out}: expected another file than --candidates, got the same")


def read_candidates(
    path: Path,
    form: str,
    lookup: "Lookup",
    skip_bad: bool,
    queries_map: Path | None = None,
) -> "tuple[list[Shortlist], str]":
    """The lists and a sha256 of what they were read from. Mistakes end the job before it begins,
    unless they are to be skipped.
    """
    from pipeline.base.tables import read_bytes
    from pipeline.rerank.lists import read_lists, read_queries

    data = read_bytes(path)
    queries = None if queries_map is None else read_queries(queries_map)
    lists, mistakes = read_lists(path, data, form, lookup, queries)
    if mistakes and not (skip_bad and lists):
        others = len(mistakes) - 1
        more = f" (and {others} more mistake{'s' if others > 1 else ''})" if others else ""
        raise UsageError(f"{mistakes[0]}{more}; nothing is done; --skip-bad leaves such rows out")
    for mistake in mistakes:
        print(f"rerank: {mistake}; left out", file=sys.stderr)
    digest = hashlib.sha256(data)
    if lookup.prefixes or queries:
        digest.update(json.dumps([lookup.prefixes, queries]).encode())
    return lists, digest.hexdigest()


def rerank(
    opening: "Opening",
    lists: "list[Shortlist]",
    journal: "Journal",
    jobs: int,
    counts: Counter[str],
    cluster: "ClusterJobs | None" = None,
) -> dict[str, str]:
    """Answer what the journal does not hold yet. Returns the queries that failed, with the
    reason."""
    from tqdm import tqdm

    from pipeline.rerank.jobs import rerank_all
    from pipeline.search.shortlists import Failed, in_chunks

    failed = {}
    todo = [each for each in lists if each.query not in journal.done]
    jobs = min(jobs, sum(1 for _ in in_chunks(todo)) or 1)
    threads = cluster.threads if cluster else max(1, (os.cpu_count() or 1) // jobs)
    opening = replace(opening, options=replace(opening.options, threads=threads))
    answers = (
        cluster.rerank(opening, todo, counts)
        if cluster
        else rerank_all(opening, todo, jobs, counts)
    )
    with tqdm(
        total=len(lists), initial=len(journal.done), desc="rerank", unit="query", mininterval=0.5
    ) as bar:
        for answer in answers:
            if isinstance(answer, Failed):
                failed[answer.query] = answer.reason
            else:
                bar.update(journal.add(answer))
        bar.update(journal.sync())
    return failed


def make_parser() -> Parser:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    add_gallery(parser, several=True)
    parser.add_argument(
        "--candidates",
        type=Path,
        required=True,
        metavar="FILE",
        help="the shortlists: CSV `query,image`, best first, or a TREC run",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="the re-ranked lists; its name says the format, too",
    )
    parser.add_argument(
        "--format", choices=("csv", "trec"), help="what --candidates is (default: by its name)"
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out rows that are wrong instead of ending"
    )
    parser.add_argument(
        "--queries-map",
        type=Path,
        metavar="FILE.csv",
        help="queries are ids: a CSV `id,path` says which photo each is, relative to that CSV",
    )
    add_prefix(parser)
    add_recipe(parser)
    add_seed(parser)
    add_false_alarm(parser)
    add_model(parser)
    add_jobs(parser, "processes")
    add_cluster(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a line")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        from pipeline.base.files import write_whole
        from pipeline.base.lookup import Lookup
        from pipeline.gallery.binding import check_recipe
        from pipeline.gallery.merge import listed, members, read_bindings
        from pipeline.model.card import find_model, read_settings
        from pipeline.rerank.journal import fits, journalling
        from pipeline.rerank.lists import COLUMNS, check_writable, form_of, write_lists
        from pipeline.search.process import Opening, read_version
        from pipeline.search.shortlists import stamp

        began = time.monotonic()
        check_out(args.out, args.candidates)
        form = args.format or form_of(args.candidates)
        if form is None:
            raise UsageError(
                f"{args.candidates}: expected .csv, .trec, .run or .txt, got another name; run with"
                " `--format csv` or `--format trec`"
            )
        model = None if args.model is None else str(find_model(args.model))
        names, version = read_version(args.gallery, model)
        made = read_bindings(args.gallery)
        check_recipe(
            listed(args.gallery),
            made,
            read_settings(made.where).bits if args.bits else 0,
            args.recipe,
            args.bits,
        )
        recipe = args.recipe or made.recipe
        # somebody else has found the candidates
        options = replace(
            search_options(args), recipe=recipe, model=model, bits=None, shortlist="global"
        )
        lists, digest = read_candidates(
            args.candidates,
            form,
            Lookup(names, tuple(args.prefix), made.photos.labels),
            args.skip_bad,
            args.queries_map,
        )
        out_form = form_of(args.out) or form
        check_writable(args.out, out_form, lists, names)

        opening = Opening(
            tuple(folder.resolve() for folder in members(args.gallery)), options, version
        )
        flags = {
            "recipe": recipe,
            "seed": str(args.seed),
            "false_alarm": str(args.false_alarm),
            "device": args.device,
            "format": form,
            "columns": ",".join(COLUMNS),
        }
        bound = {
            "candidates": digest,
            "gallery": version.photos,
            "model": version.model,
            "program": version.program,
            **flags,
        }
        given = {each.query: each for each in lists}
        counts: Counter[str] = Counter()
        with journalling(
            args.out.with_name(args.out.name + ".part"),
            bound,
            lambda answer: fits(answer, len(given[answer.query].rows)),
        ) as journal:
            for query in [
                query for query in journal.done if journal[query].stamp != stamp(given[query].where)
            ]:
                del journal.done[query]  # its photo is another one by now
            resumed = len(journal.done)
            with joined_cluster(args.cluster) as cluster:
                failed = rerank(opening, lists, journal, args.jobs, counts, cluster)
            for each in lists:
                if each.query in failed:
                    print(
                        f"rerank: {printable(failed[each.query])}; its list"
                        f" {'stays as it was' if journal.done else 'is not written'}",
                        file=sys.stderr,
                    )
            if not journal.done:
                if args.queries_map is None:
                    print(
                        "rerank: where queries are called by ids, `--queries-map FILE.csv` says"
                        " which photo each is",
                        file=sys.stderr,
                    )
                return 2
            answered = (
                (each, None if each.query in failed else journal[each.query]) for each in lists
            )
            try:
                write_whole(args.out, write_lists(out_form, recipe, answered, names))
            except OSError as error:
                raise UsageError(
                    f"--out {args.out}: expected to write, got {error.strerror}; see to that and"
                    " run again"
                ) from None
            journal.path.unlink()
        report = {
            "out": str(args.out),
            "queries": len(lists),
            "pairs": sum(len(each.rows) for each in lists),
        }
        report |= {
            "resumed": resumed,
            "retried": counts["retried"],
            "failed": len(failed),
            "seconds": round(time.monotonic() - began, 3),
        }
        if args.json:
            print(json.dumps(report))
        else:
            print(
                "{out}: {queries} queries, {pairs} pairs; {resumed} resumed, {retried} retried,"
                " {failed} failed; {seconds} s".format(**report)
            )
        return 3 if failed else 0

    return finish("rerank", job)


if __name__ == "__main__":
    sys.exit(main())
