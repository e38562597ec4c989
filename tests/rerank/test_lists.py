"""Lists of candidates as other engines write them: what is understood, what is named with its line,
what comes out again.
"""

from pathlib import Path

import numpy as np
import pytest

from pipeline.base.errors import UsageError
from pipeline.base.lookup import Lookup
from pipeline.rerank.lists import COLUMNS, check_writable, form_of, read_lists, write_lists
from pipeline.search.shortlists import EVIDENCE, Reranked, Shortlist

NAMES = ("a b.png", "a.png", "b.png", "caf\udce9.png", "new\nline.png", "re\rturn.png")
LOOKUP = Lookup(NAMES)


def read(
    text: str | bytes, form: str = "csv", path: Path = Path("/lists/run.csv")
) -> tuple[dict[str, list[str]], list[str]]:
    """By query the images, best first; and the mistakes."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    lists, mistakes = read_lists(path, data, form, LOOKUP)
    return {each.query: [NAMES[row] for row in each.rows] for each in lists}, mistakes


def test_the_order_of_a_csvs_rows_is_the_ranking_and_a_querys_rows_may_stand_apart() -> None:
    text = "\ufeffscore,image,query,rank\r\n9,b.png,q,7\r\n\r\n1,a.png,p,1\r\n5,a.png,q,1\r\n"
    assert read(text) == ({"q": ["b.png", "a.png"], "p": ["a.png"]}, [])


def test_a_trec_run_is_read_by_its_scores_and_equal_ones_by_rank_then_from_z_to_a() -> None:
    text = "q Q0 a.png 2 .5 tag\n\np Q0 b.png 1 9 tag\nq Q0 b.png 1 .5 tag\np\tQ0\ta.png\t1  9 tag"
    assert read(text, "trec") == ({"q": ["b.png", "a.png"], "p": ["b.png", "a.png"]}, [])
    text = "q Q0 a.png 0 -2 tag\rq Q0 b.png 0 -1e0 tag\r"  # all of rank 0, as BEIR writes them
    assert read(text, "trec") == ({"q": ["b.png", "a.png"]}, [])


def trec_eval_order(lines: list[list[str]]) -> list[str]:
    """The images of one query as trec_eval sorts them: by score, then by docno, both falling."""
    return [row[2] for row in sorted(lines, key=lambda row: (float(row[4]), row[2]), reverse=True)]


def test_ranks_that_say_something_else_than_scores_are_told_and_scores_win(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = ["q Q0 a.png 1 .2 t", "q Q0 b.png 2 .9 t", "q Q0 re 3 .1 t", "p Q0 a.png 1 2 t"]
    names = ("a.png", "b.png", "re")
    with caplog.at_level("INFO"):
        lists, mistakes = read_lists(
            Path("/lists/run.trec"), "\n".join(rows).encode(), "trec", Lookup(names)
        )
    assert mistakes == []
    wanted = trec_eval_order([row.split() for row in rows[:3]])
    assert [names[row] for row in lists[0].rows] == wanted == ["b.png", "a.png", "re"]
    assert "ranks and scores disagree for 1 of 2 queries, first q; read by score" in caplog.text


def test_distances_in_place_of_scores_are_refused() -> None:
    """Read by score they would turn every list upside down."""
    with pytest.raises(UsageError, match="got scores that rise with it in every query, as q"):
        read("q Q0 a.png 1 .2 t\nq Q0 b.png 2 .9 t\np Q0 a.png 1 .1 t\np Q0 b.png 2 .3 t", "trec")


def test_what_is_written_sorts_as_its_ranks_do() -> None:
    """By trec_eval's rule, which breaks ties by name: 4,000 scores, none equal to another."""
    count = 4000
    names = tuple(f"{i:04d}.png" for i in range(count))
    places = np.random.default_rng(0).permutation(count).tolist()
    answer = Reranked("q", None, places, {name: [0] * count for name in EVIDENCE})
    data = write_lists("trec", "t", [(listed("q", *range(count)), answer)], names).decode()
    lines = [line.split(" ") for line in data.splitlines()]
    assert trec_eval_order(lines) == [line[2] for line in lines] == [names[i] for i in places]
    assert [int(line[3]) for line in lines] == list(range(1, count + 1))
    # trec_eval keeps scores as single precision
    assert len({np.float32(line[4]) for line in lines}) == count


def test_a_query_is_relative_to_the_file_or_absolute_or_indexed() -> None:
    lists, _ = read_lists(
        Path("/lists/run.csv"),
        b"query,image\nx/q.png,a.png\n/y/q.png,a.png\ngallery:a.png,a.png\n",
        "csv",
        LOOKUP,
    )
    assert [each.where for each in lists] == ["/lists/x/q.png", "/y/q.png", "gallery:a.png"]
    assert [each.query for each in lists] == ["x/q.png", "/y/q.png", "gallery:a.png"]


@pytest.mark.parametrize(
    ("form", "rows", "said"),
    [
        (
            "csv",
            "q,none.png",
            "line 3: expected an indexed photo, got none.png; index it, or correct the path",
        ),
        (
            "csv",
            "gallery:none.png,a.png",
            "line 3: expected an indexed photo, got none.png; index it, or correct the path",
        ),
        (
            "csv",
            "q,b.png",
            "line 3: expected each image once a query, got b.png for q again, as in line 2",
        ),
        ("csv", "q,", "line 3: expected a query and an image, got 'q', ''"),
        ("csv", ",a.png", "line 3: expected a query and an image, got '', 'a.png'"),
        ("csv", "q", "line 3: expected 2 columns as in the header, got 1"),
        ("csv", "q,a b.png,x", "line 3: expected 2 columns as in the header, got 3"),
        (
            "csv",
            '\n"q\n",a.png\nq,none.png',
            "line 6: expected an indexed photo, got none.png; index it, or correct the path",
        ),
        (
            "csv",
            "q,no\tne.png",
            r"line 3: expected an indexed photo, got no\tne.png; index it, or correct the path",
        ),
        (
            "trec",
            "q Q0 none.png 1 1 t",
            "line 3: expected an indexed photo, got none.png; index it, or correct the path",
        ),
        (
            "trec",
            "q Q0 b.png 1 1 t",
            "line 3: expected each image once a query, got b.png for q again, as in line 2",
        ),
        (
            "trec",
            "q Q0 a b.png 1 1 t",
            (
                "line 3: expected six columns `query Q0 image rank score tag`, got 7; a path with"
                " spaces cannot stand in"
            ),
        ),
        (
            "trec",
            "q Q0 a.png 1 1",
            "line 3: expected six columns `query Q0 image rank score tag`, got 5; ",
        ),
        ("trec", "q Q0 a.png first 1 t", "line 3: expected a whole number as rank, got first"),
        ("trec", "q Q0 a.png 1 high t", "line 3: expected a number as score, got high"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_the_rest_is_read(
    form: str, rows: str, said: str
) -> None:
    before, after = (
        ("query,image\nq,b.png\n", "\nr,a.png\n")
        if form == "csv"
        else ("\nq Q0 b.png 0 1 t\n", "\nr Q0 a.png 0 1 t\n")
    )
    lists, mistakes = read(before + rows + after, form)
    assert mistakes[0].startswith(f"/lists/run.csv: {said}")
    assert len(mistakes) == 1
    assert (lists["q"], lists["r"]) == (["b.png"], ["a.png"])


@pytest.mark.parametrize(
    ("form", "text", "said"),
    [
        ("csv", "", "expected a header with query,image, got "),
        (
            "csv",
            "q Q0 a.png 1 1 t\n",
            (
                "expected a header with query,image, got q Q0 a.png 1 1 t; a TREC run wants"
                " `--format trec`"
            ),
        ),
        ("csv", "query,image\n", "expected at least one row, got none"),
        ("trec", "\n\n", "expected at least one row, got none"),
        (
            "csv",
            'query,image\nq,a.png\nq,"b.png\n',
            "line 3: expected a CSV, got unexpected end of data",
        ),
    ],
)
def test_a_file_without_lists_is_refused(form: str, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=r"run\.csv: ") as refused:
        read(text, form)
    assert said in str(refused.value)


def listed(query: str, *rows: int) -> Shortlist:
    return Shortlist(query, query, np.array(rows, np.int64))


def test_every_name_survives_a_csv() -> None:
    given = [listed('say "q", or\udcff', *range(6)), listed("new\nline", 5, 3)]
    evidence = {name: [7, 8] for name in EVIDENCE}
    data = write_lists(
        "csv",
        "two_stage",
        [(given[0], None), (given[1], Reranked("new\nline", None, [1, 0], evidence))],
        NAMES,
    )
    assert data.startswith(",".join(COLUMNS).encode() + b"\n")
    lists, mistakes = read(data)
    assert mistakes == []
    assert lists == {given[0].query: list(NAMES), "new\nline": ["caf\udce9.png", "re\rturn.png"]}
    assert data.endswith(
        b'caf\xe9.png,1,2,7,7,7,7\n"new\nline","re\rturn.png","2","1","8","8","8","8"\n'
    )


def test_a_list_that_nobody_could_answer_keeps_its_order_without_evidence() -> None:
    assert write_lists("csv", "two_stage", [(listed("q", 2, 1), None)], NAMES).splitlines()[1:] == [
        b"q,b.png,1,1,,,,",
        b"q,a.png,2,2,,,,",
    ]


def test_a_trec_run_has_falling_scores_and_reads_back() -> None:
    answer = Reranked("q", None, [2, 0, 1], {name: [9, 0, 0] for name in EVIDENCE})
    data = write_lists("trec", "seed004", [(listed("q", 1, 2, 3), answer)], NAMES)
    assert data == b"q Q0 caf\xe9.png 1 3 seed004\nq Q0 a.png 2 2 seed004\nq Q0 b.png 3 1 seed004\n"
    assert read(data, "trec") == ({"q": ["caf\udce9.png", "a.png", "b.png"]}, [])


@pytest.mark.parametrize(
    "given", [listed("q", 0), listed("my q", 1), listed("q", 4), listed("q\t", 1)]
)
def test_a_path_with_spaces_is_refused_before_a_trec_run_is_begun(given: Shortlist) -> None:
    check_writable(Path("out.csv"), "csv", [given], NAMES)
    with pytest.raises(
        UsageError,
        match=(
            r"out\.run: expected paths without spaces for a TREC run, got .*; run with `--out"
            r" out\.csv`"
        ),
    ):
        check_writable(Path("out.run"), "trec", [listed("q", 1), given], NAMES)


def test_a_name_says_the_format() -> None:
    assert [
        form_of(Path(name))
        for name in ("r.csv", "r.CSV", "r.trec", "r.run", "r.txt", "r", "r.json")
    ] == ["csv"] * 2 + ["trec"] * 3 + [None] * 2
