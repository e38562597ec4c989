"""The README's commands exist, and so do the flags it gives them; its files are there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = [
    line.split("#")[0].split()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
PYTHON = [words for words in COMMANDS if words[0] == "python"]


@pytest.mark.parametrize(
    "program",
    sorted({tuple(w[:3]) if w[1] == "-m" else tuple(w[:2]) for w in PYTHON}),
    ids=" ".join,
)
def test_help_answers_and_knows_every_flag_the_readme_uses(program: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, *program[1:], "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    for words in PYTHON:
        if tuple(words[: len(program)]) == program:
            for flag in (w for w in words if w.startswith("-") and w != "-m"):
                assert re.search(rf"(^|[\s\[,]){re.escape(flag)}\b", done.stdout), (
                    f"{' '.join(words)}: {flag} is not in --help"
                )


def test_shell_commands_name_files_that_exist() -> None:
    scripts = [words[1] for words in COMMANDS if words[0] == "bash"]
    assert scripts == ["scripts/demo.sh", "scripts/test.sh"]
    assert all((ROOT / script).is_file() for script in scripts)


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.search(r"@[A-Z]+@|TODO|FIXME", README)
