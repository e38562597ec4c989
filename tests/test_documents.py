"""What README.md and docs/ promise holds: commands exist and take the flags that are given, links
lead somewhere, and the examples run and print what is shown.
"""

import importlib
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from math import isclose
from pathlib import Path
from typing import Any

import pytest

import pipeline
from pipeline.commands import app, prepare, study
from pipeline.results.documents import documents

ROOT = Path(__file__).resolve().parents[1]
TEXTS = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in documents(ROOT)}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
# a block of code, and what is shown below it as its output
EXAMPLE = re.compile(
    r"^```(sh|python)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)
# a number with a fraction; seconds are told apart by their unit
WITH_FRACTION = re.compile(r"(?<![\w.])\d+\.\d+(?:e[+-]\d+)?(?: s\b)?(?!\.)")
PROGRAMS = {"bash", "curl", "dask", "docker", "eval", "export", "pip", "python", "two-look"}
SEVERAL = {"pipeline.commands.prepare": prepare.STEPS, "pipeline.commands.study": study.STUDIES}


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command in the shell blocks of a document."""
    for kind, block in BLOCK.findall(text):
        for line in block.splitlines() if kind == "sh" else ():
            if words := shlex.split(line, comments=True):
                yield words


def module_of(words: list[str]) -> tuple[str, list[str]]:
    """The module whose `main` a command of this project calls, and the arguments that it gets."""
    first, *rest = words
    if first == "two-look":
        module = app.COMMANDS[rest.pop(0)]
    elif rest[0] == "-m":
        module, rest = rest[1], rest[2:]
    else:
        script = ROOT / rest.pop(0)
        module = f"pipeline.commands.{script.stem}"
        assert f"from {module} import main" in script.read_text("utf-8")
    return (SEVERAL[module][rest[0]], rest[1:]) if module in SEVERAL else (module, rest)


@pytest.mark.parametrize("document", TEXTS)
def test_its_commands_exist_and_take_their_arguments(document: str) -> None:
    for words in commands(TEXTS[document]):
        assert words[0] in PROGRAMS, words
        if words[0] == "bash":
            assert (ROOT / words[1]).is_file()
        if words[0] not in ("python", "two-look"):
            continue
        module, arguments = module_of(words)
        parser = importlib.import_module(module).make_parser()
        try:
            parser.parse_args(arguments)
        except SystemExit as stop:
            raise AssertionError(shlex.join(words)) from stop
        known = {flag for action in parser._actions for flag in action.option_strings}
        assert {word for word in arguments if re.match(r"--?[a-z]", word)} <= known, words


def anchors(text: str) -> set[str]:
    """The names by which links reach the headings of a document."""
    titles = re.findall(r"^#+ (.*)$", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", TEXTS)
def test_its_links_lead_somewhere(document: str) -> None:
    prose = BLOCK.sub("", TEXTS[document])
    links = re.findall(r"\]\(([^)]+)\)", prose) + re.findall(r'src="([^"]+)"', prose)
    assert links
    for link in links:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text("utf-8")), link


@pytest.mark.parametrize("document", TEXTS)
def test_the_files_that_it_names_exist(document: str) -> None:
    named = re.findall(
        r"`((?:pipeline|stages|scripts|tests|artifacts)/[\w/.-]+)`", BLOCK.sub("", TEXTS[document])
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", TEXTS)
def test_nothing_is_left_to_fill_in(document: str) -> None:
    text = TEXTS[document]
    assert not re.search(r"@[A-Z]+@|TODO|FIXME|/work/|/tmp/|/home/", text)
    assert text.startswith("# ")
    assert text.count("```") % 2 == 0


@pytest.mark.parametrize("document", TEXTS)
def test_it_uses_one_word_for_one_thing(document: str) -> None:
    prose = BLOCK.sub("", TEXTS[document])
    assert not re.search(r"false match|non-match|\bmended\b|\bTop-1\b(?! and)", prose)
    blocks = re.sub(r"<!-- table.*?<!-- end", "", TEXTS[document], flags=re.DOTALL)
    typed = [words for words in commands(blocks) if words[0] == "python"]
    assert [words for words in typed if "scripts/tables.py" not in words] == []


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 200
    assert len(TEXTS["README.md"].encode()) <= 12_000
    assert (ROOT / "docs/images/report.png").stat().st_size < 250_000
    linked = set(re.findall(r"\]\((docs/[^)#]+\.md)", TEXTS["README.md"]))
    benchmarks = {name for name in TEXTS if name.startswith("docs/benchmarks/")}
    assert linked | benchmarks == TEXTS.keys() - {"README.md"}
    index = TEXTS["docs/benchmarks/index.md"]
    assert all(
        f"({Path(name).name})" in index for name in benchmarks - {"docs/benchmarks/index.md"}
    )


@pytest.mark.parametrize("document", [name for name in TEXTS if "benchmarks" not in name])
def test_its_figures_stand_in_a_table(document: str) -> None:
    """Quality figures in sentences, on the pages that do not explain a table below them."""
    cells = {
        figure
        for text in TEXTS.values()
        for row in re.findall(r"^\|.*$", text, re.MULTILINE)
        for figure in re.findall(r"\d*\.\d{2,3}\b", row)
    }
    prose = BLOCK.sub("", TEXTS[document]).partition("## Not in a results file")[0]
    sentences = "\n".join(line for line in prose.splitlines() if not line.startswith("|"))
    figures = set(re.findall(r"(?<![\w.])(?:\d+)?\.\d{2,3}\b(?!\.)", sentences))
    of_code = {"3.11", "0.49", ".995"}  # Python's version; of capacity.json; stages/faiss_index.py
    assert figures - cells - of_code == set()


def test_the_model_card_says_what_the_card_says() -> None:
    card = (ROOT / "artifacts/two_stage/card.json").read_text("utf-8")
    figures = re.findall(r"\| \.(\d{4}) \|", TEXTS["docs/model-card.md"])
    assert figures
    assert all(re.search(rf"\b0\.{figure}", card) for figure in figures)
    for source in json.loads(card)["sources"]:
        row = f"({source['source']})"
        assert row in TEXTS["docs/model-card.md"]
        assert f"| {source['photos']:,} |" in TEXTS["docs/model-card.md"]


def test_every_public_name_option_command_and_request_is_described() -> None:
    python, using, http = (TEXTS[f"docs/{name}.md"] for name in ("python", "using", "http"))
    assert [name for name in pipeline.__all__ if not re.search(rf"\b{name}\b", python)] == []
    options = {field.name for field in fields(pipeline.SearchOptions)}
    assert options <= set(re.findall(r"^\| `(\w+)` \|", python, re.MULTILINE))
    assert [name for name in app.COMMANDS if f"`two-look {name}`" not in using] == []
    for several in SEVERAL.values():
        assert [name for name in several if f"`{name}`" not in using] == []
    served = (ROOT / "pipeline/web/app.py").read_text("utf-8")
    paths = re.findall(r"@app\.(get|post)\(\s*\"(/[^\"]*)\"", served)
    assert len(paths) > 5
    assert [path for how, path in paths if f"`{how.upper()} {path}" not in http] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with the demo's photos; what the first example indexes, the others find."""
    from pipeline.datasets.demo import write

    home = tmp_path_factory.mktemp("examples")
    write(home / "demo")
    return home


def assert_alike(shown: str, printed: str) -> None:
    """Exactly, spaces included. Another processor rounds otherwise: what has a fraction (distances,
    expected false alarms) may differ in its last digits; times may be any.
    """
    assert WITH_FRACTION.sub("#", shown.rstrip()) == WITH_FRACTION.sub("#", printed.rstrip())
    for a, b in zip(WITH_FRACTION.findall(shown), WITH_FRACTION.findall(printed), strict=True):
        if not a.endswith(" s"):
            assert isclose(float(a), float(b), rel_tol=0.01), printed


def test_examples_are_compared_exactly() -> None:
    shown = "1  0.9148  25  3.9e-08  * a.jpg  0.12 s\n"
    assert_alike(shown, "1  0.9149  25  3.9e-08  * a.jpg  7.05 s\n")
    for other in ("26", "25 "):
        with pytest.raises(AssertionError):
            assert_alike(shown, shown.replace("25", other))
    with pytest.raises(AssertionError):
        assert_alike(shown, shown.replace("0.9148", "0.8148"))


@pytest.mark.parametrize("document", ["README.md", "docs/using.md", "docs/python.md"])
def test_its_examples_run_and_print_what_is_shown(
    document: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    if document != "README.md":  # where it runs alone
        pipeline.index("demo/photos", "demo/gallery")
    names: dict[str, Any] = {}
    compared = 0
    for kind, block, shown in EXAMPLE.findall(TEXTS[document]):
        capsys.readouterr()
        if kind == "python":
            exec(compile(block, document, "exec"), names)
        elif shown:
            for line in block.splitlines():
                assert app.main(shlex.split(line, comments=True)[1:]) == 0
        if shown:
            assert_alike(shown, capsys.readouterr().out)
            compared += 1
    assert compared
