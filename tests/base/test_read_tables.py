"""Tables as spreadsheets, shells and other programs write them: all are the same rows, by every
reader, or are named for what they are.
"""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.base.errors import UsageError
from pipeline.base.lookup import Lookup
from pipeline.base.tables import table_rows
from pipeline.datasets.split import read as read_split
from pipeline.evaluate.ground_truth import read_truth
from pipeline.evaluate.studies.compare import read as read_measures
from pipeline.rerank.lists import read_lists, read_queries

NAMES = ("a b.png", "dir/möwe, 2.jpg")
PLAIN = 'query,relevant\nq 1.png,a b.png\nq 1.png,"dir/möwe, 2.jpg"\n'


def rows(data: bytes, tmp_path: Path) -> list[tuple[str, ...]]:
    path = tmp_path / "table.csv"
    path.write_bytes(data)
    lines = list(table_rows(path, ("query", "relevant")))
    assert not any(line.wrong for line in lines)
    return [tuple(cell.strip() for cell in line.cells) for line in lines]


def separated(mark: str) -> str:
    return f'query{mark}relevant\nq 1.png{mark}a b.png\nq 1.png{mark}"dir/möwe, 2.jpg"\n'


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-be"),  # both without a mark
        PLAIN.encode("utf-16-le"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-32"),
        separated(";").encode(),
        separated("\t").encode("utf-16"),  # "Unicode text" of Excel
        separated("|").encode(),
        b"sep=;\r\n" + separated(";").encode(),  # as Excel writes it
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.removesuffix("\n").encode(),
        PLAIN.replace("query,relevant", "Query,RELEVANT").encode(),
        PLAIN.replace("query,relevant", ' "query" , relevant ').encode(),
        PLAIN.replace(",a b", " , a b").encode(),
        PLAIN.replace(",a b.png", ' , "a b.png" ').encode(),
        ("\n\n" + PLAIN.replace("\n", "\n\n,\n  \n")).encode(),  # empty rows of a spreadsheet
        PLAIN.replace("\n", ",\n").encode(),  # and empty columns
        PLAIN.replace("relevant\n", "relevant,note\n").encode(),  # a column that no row fills
        (PLAIN + "query,relevant\n").encode(),  # two files put together by `cat`
        PLAIN.replace("relevant", "relevant\u00a0").encode(),
        b'note,relevant,query\r\nx,a b.png,q 1.png\n"x\ny","dir/m\xc3\xb6we, 2.jpg",q 1.png',
    ],
    ids=range(24),
)
def test_one_table_in_many_forms(data: bytes, tmp_path: Path) -> None:
    assert rows(data, tmp_path) == [("q 1.png", name) for name in NAMES]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "expected a header with query,relevant, got nothing"),
        (b"q.png,a.png\n", "got q.png,a.png; write `query,relevant` as its first line"),
        (b"query relevant\nq.png a.png\n", "got query relevant; write"),
        (b"query,query,relevant\n", "expected one column query, got two"),
        (b"PK\x03\x04....[Content_Types].xml", "expected text, got an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "expected text, got an old Office file"),
        (b"<!doctype html><p>Sign in", "expected text, got an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "got a git-lfs pointer"),
        (b"\x1f\x8b\x08", "expected text, got a gzip archive"),
        (b"PAR1\x15", "expected text, got a Parquet file"),
        (b"\xff\xfeq\x00u\x00e", "expected text in utf-16-le, got bytes that are not from byte 4"),
        (b'query,relevant\nq,"a.png\nr,b.png\n', "line 2: expected a CSV, got unexpected end"),
    ],
)
def test_what_is_no_such_table_is_named(data: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        rows(data, tmp_path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("q.png", "expected 2 columns as in the header, got 1"),
        ("q.png,a,b.png", "expected 2 columns as in the header, got 3; quote cells that hold a"),
    ],
)
def test_a_row_that_is_wrong_has_its_line(row: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f'query,relevant\n"two\nlines",a.png\n{row}\n')
    line = list(table_rows(path, ("query", "relevant")))[-1]
    assert (line.number, line.cells) == (4, ())
    assert line.wrong.startswith(said)


def lists(path: Path) -> list[tuple[str, str]]:
    found, mistakes = read_lists(path, path.read_bytes(), "csv", Lookup(("a.png", "b.png")))
    assert mistakes == []
    return [(each.query, ("a.png", "b.png")[row]) for each in found for row in each.rows]


READERS: list[tuple[str, list[tuple[str, ...]], Callable[[Path], Any], Any]] = [
    (
        "query,relevant",
        [("q", "a.png"), ("q", "b.png")],
        lambda path: [case.relevant for case in read_truth(path, Lookup(("a.png", "b.png")))],
        [{"a.png", "b.png"}],
    ),
    ("query,image", [("q", "a.png"), ("q", "b.png")], lists, [("q", "a.png"), ("q", "b.png")]),
    (
        "id,path",
        [("7", "gallery:a.png"), ("8", "/x/b.png")],
        read_queries,
        {"7": "gallery:a.png", "8": "/x/b.png"},
    ),
    (
        "photo,role",
        [("x/a.png", "train"), ("x/b.png", "query")],
        read_split,
        [("x/a.png", "train"), ("x/b.png", "query")],
    ),
    (
        "query,AP,hit@1,coarse_AP,coarse_hit@1",
        [("q", ".5", "1", ".25", "0")],
        read_measures,
        {"q": (0.5, 1, 0.25, 0)},
    ),
]


@pytest.mark.parametrize("form", ["plain", "excel", "unicode text", "old mac"])
@pytest.mark.parametrize(("header", "cells", "read", "wanted"), READERS)
def test_every_reader_reads_alike(
    form: str,
    header: str,
    cells: list[tuple[str, ...]],
    read: Callable[[Path], Any],
    wanted: object,
    tmp_path: Path,
) -> None:
    mark, end, encoding = {
        "plain": (",", "\n", "utf-8"),
        "excel": (";", "\r\n", "utf-8-sig"),
        "unicode text": ("\t", "\r\n", "utf-16"),
        "old mac": (" , ", "\r", "utf-8"),
    }[form]
    lines = [header.upper().split(","), *cells, ("",) * len(cells[0])]
    path = tmp_path / "table.csv"
    path.write_bytes(end.join(mark.join(line) for line in lines).encode(encoding))
    assert read(path) == wanted


@pytest.mark.parametrize(
    ("query", "relevant"),
    [
        ("./q 1.png", "./dir/möwe.png"),
        ("sub\\\\deep.png", "dir\\\\möwe.png"),
        (".\\\\sub\\\\deep.png", ".\\\\dir\\\\möwe.png"),
        ("sub//deep.png", "dir//möwe.png"),
        (" sub/deep.png ", "\u00a0dir/möwe.png\u00a0"),
        ("sub/../sub/deep.png", "dir/../dir/möwe.png"),
        (unicodedata.normalize("NFD", "é.png"), unicodedata.normalize("NFD", "dir/möwe.png")),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_paths_meet_the_photos_that_they_mean(
    query: str, relevant: str, encoding: str, tmp_path: Path
) -> None:
    for name in ("q 1.png", "sub/deep.png", "é.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    if encoding == "cp1252":  # it has no accents of their own
        query, relevant = (unicodedata.normalize("NFC", text) for text in (query, relevant))
    text = f"query,relevant\n{query},{relevant}\n".replace("\\\\", "\\")
    (tmp_path / "truth.csv").write_bytes(text.encode(encoding))
    (case,) = read_truth(tmp_path / "truth.csv", Lookup(("dir/möwe.png", "dir/mowe.png")))
    assert Path(case.query).is_file()
    assert case.relevant == {"dir/möwe.png"}
