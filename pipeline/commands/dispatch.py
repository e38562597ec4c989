"""Programs of several commands: the first word names a module, the rest is for its `main`."""

import argparse
import ast
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from pipeline.cli import Parser, without_command


def run_subcommand(
    prog: str, about: str | None, modules: Mapping[str, str], argv: list[str] | None = None
) -> int:
    """Hand the rest of the arguments to the `main` of the module that the first one names."""
    given = sys.argv[1:] if argv is None else argv
    prog = Parser.invoked_as or prog
    name = subcommand_parser(prog, about, modules).parse_args(given[:1]).name
    job: Callable[[list[str]], int] = importlib.import_module(modules[name]).main
    before, Parser.invoked_as = Parser.invoked_as, f"{prog} {name}"
    try:
        return job(given[1:])
    finally:
        Parser.invoked_as = before


def subcommand_parser(prog: str, about: str | None, modules: Mapping[str, str]) -> Parser:
    """What `--help` of a program of several commands says; the commands are not imported for it."""
    lines = [f"  {name:18s}{_summary(module)}" for name, module in modules.items()]
    parser = Parser(
        prog=prog,
        description=about,
        epilog="\n".join(["commands:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name", choices=tuple(modules), metavar="NAME", help="one of the commands below"
    )
    return parser


def _summary(module: str) -> str:
    """The first clause of a module's docstring, read without importing it."""
    spec = find_spec(module)
    source = Path(spec.origin).read_text("utf-8") if spec and spec.origin else ""
    about = " ".join((ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0].split())
    return re.split(r"[:;.?] ", without_command(about))[0].removesuffix(".")
