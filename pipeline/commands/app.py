"""The console command `two-look`: every command of this project under one name.

`NAME --help` says what a command takes.
"""

import importlib
import os
import sys

from pipeline.cli import Parser
from pipeline.commands.dispatch import run_subcommand, subcommand_parser

COMMANDS = {  # name -> its module, whose docstring says what it does
    "index": "pipeline.index",
    "search": "pipeline.run",
    "serve": "pipeline.serve",
    "groups": "pipeline.groups",
    "parts": "pipeline.commands.parts",
    "info": "pipeline.commands.info",
    "list": "pipeline.commands.list",
    "check": "pipeline.commands.check",
    "export": "pipeline.commands.export",
    "evaluate": "pipeline.commands.evaluate",
    "sweep": "pipeline.commands.sweep",
    "rerank": "pipeline.commands.rerank",
    "train": "pipeline.commands.train",
    "import-weights": "pipeline.commands.import_weights",
    "prepare": "pipeline.commands.prepare",
    "study": "pipeline.commands.study",
    "bench": "pipeline.commands.bench",
    "reproduce-seed004": "pipeline.commands.reproduce_seed004",
}


def main(argv: list[str] | None = None) -> int:
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what could come next
        complete()
    return run_subcommand("two-look", __doc__, COMMANDS, argv)


def complete() -> None:
    """Answer the shell's question by argcomplete, which then ends the process: the command that is
    being typed is loaded, and no other."""
    import argcomplete

    typed = os.environ.get("COMP_LINE", "").split()
    parser: Parser = subcommand_parser("two-look", __doc__, COMMANDS)
    if len(typed) > 1 and typed[1] in COMMANDS:
        module = importlib.import_module(COMMANDS[typed[1]])
        if hasattr(module, "make_parser"):
            parser = Parser(prog="two-look")
            commands = parser.add_subparsers()
            commands.add_parser(
                typed[1], parents=[module.make_parser()], conflict_handler="resolve"
            )
    argcomplete.autocomplete(parser)


if __name__ == "__main__":
    sys.exit(main())
