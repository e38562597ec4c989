"""What the commands share: flags said once, values that are checked as they are read, and how a
command ends.

Nothing here imports more than the standard library: `--help` answers at once.
"""

import argparse
import importlib
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from pipeline import __version__
from pipeline.base.errors import TwoLookError
from pipeline.base.names import LABELS, RECIPES, SHORTLISTS, TURNS
from pipeline.base.options import SearchOptions, TruthOptions
from pipeline.base.values import (
    at_least_one,
    candidates,
    cluster_address,
    code_length,
    natural,
    positive,
    prefix,
)

if TYPE_CHECKING:
    from pipeline.cluster.jobs import ClusterJobs


class Parser(argparse.ArgumentParser):
    """A mistake in the flags is one line, too; the usage stays behind `--help`. Every command has
    `--version`, `-v` and `-q`.
    """

    invoked_as: ClassVar[str] = ""  # the words that led here, where a program has several commands

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if self.invoked_as:
            kwargs |= {"prog": self.invoked_as}
        super().__init__(*args, **kwargs)
        self.description = without_command(self.description or "")
        if self.add_help:
            self.add_argument("--version", action="version", version=f"two-look {__version__}")
            self.add_argument(
                "-v",
                "--verbose",
                action="store_true",
                help="say more on stderr: what was loaded, and how long it took",
            )
            self.add_argument(
                "-q",
                "--quiet",
                action="store_true",
                help="only errors on stderr: no progress, no notes",
            )

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        found = super().parse_args(*args, **kwargs)
        speak(verbose=found.verbose, quiet=found.quiet)
        return found

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def speak(*, verbose: bool, quiet: bool) -> None:
    """What the package has to say goes to stderr, a line each."""
    logger = logging.getLogger("pipeline")
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    logger.propagate = False
    for old in list(logger.handlers):
        logger.removeHandler(old)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    if quiet:
        os.environ["TQDM_DISABLE"] = "1"
    else:
        os.environ.pop("TQDM_DISABLE", None)


def default_gallery() -> Path:
    return Path(os.environ.get("PIPELINE_GALLERY", "gallery"))


class Gather(argparse.Action):
    """Given once it is what it would be, given again a tuple of all; `const` says whether it may
    be.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        value: object,
        option: str | None = None,
    ) -> None:
        known = getattr(namespace, self.dest)
        if known is not self.default and not self.const:
            raise argparse.ArgumentError(self, "expected one gallery, got several")
        several = known if isinstance(known, tuple) else (known,)
        setattr(namespace, self.dest, value if known is self.default else (*several, value))


def add_gallery(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """several: args.gallery is a Path, or a tuple of them where the flag is given again: what
    `open_engine` takes.
    """
    more = "; again, or a folder of galleries: many as one" if several else ""
    parser.add_argument(
        "--gallery",
        type=Path,
        default=default_gallery(),
        metavar="DIR",
        action=Gather,
        const=several,
        help=f"folder of the gallery{more} (default: $PIPELINE_GALLERY, then ./gallery)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where the network runs (default: auto)",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="NAME|DIR",
        help="model (default: the gallery's own, else the one that comes with this project)",
    )
    add_device(parser)


def add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe",
        choices=RECIPES,
        metavar="NAME",
        help=(
            "the system: two_stage, seed004, am_vggh, resnet50, ...: docs/recipes.md lists all"
            " (default: the gallery's; two_stage for a new gallery)"
        ),
    )
    parser.add_argument(
        "--bits",
        type=code_length,
        metavar="N",
        help="code length of a hashing recipe (default: the gallery's own, else 48)",
    )


def add_search(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    parser.add_argument(
        "-k", type=at_least_one, default=10, metavar="N", help="results per query (default: 10)"
    )
    parser.add_argument(
        "--candidates",
        type=candidates,
        metavar="N|Mx",
        help="photos that are verified: a number, or so many times k (default: the recipe's)",
    )
    parser.add_argument(
        "--shortlist",
        choices=SHORTLISTS,
        help=(
            "what finds the photos that are verified: the codes of whole photos, votes of their"
            " local features, or both (default: both, where the gallery has an index of parts)"
        ),
    )
    parser.add_argument(
        "--expand",
        action="store_true",
        help="photos that were accepted ask again, with their own features inside the query",
    )
    add_false_alarm(parser)
    parser.add_argument(
        "--code",
        choices=("pca", "embedding", "logits"),
        help="what the first look searches (default: pca; hashing has its own)",
    )
    parser.add_argument(
        "--search",
        choices=("auto", "tree", "faiss"),
        default="auto",
        help=(
            "what finds the nearest codes: the ball tree, or FAISS, which the extra `faiss` brings"
            " (default: auto, by their number)"
        ),
    )
    add_seed(parser)


def add_turns(parser: argparse.ArgumentParser, default: str = SearchOptions.turns) -> None:
    parser.add_argument(
        "--turns",
        choices=TURNS,
        default=default,
        help=(
            "the query turned by quarters, too: auto, where it finds nothing as it is; none; or"
            f" all, whatever it finds (default: {default})"
        ),
    )
    parser.add_argument(
        "--mirror", action="store_true", help="the query as it looks in a mirror, too"
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=natural, default=0, metavar="N", help="of all random draws (default: 0)"
    )


def add_jobs(parser: argparse.ArgumentParser, what: str = "threads") -> None:
    parser.add_argument(
        "--jobs",
        type=at_least_one,
        default=os.cpu_count() or 1,
        metavar="N",
        help=f"{what} (default: all cores)",
    )


def add_truth(parser: argparse.ArgumentParser, *, revisited: bool = False) -> None:
    known = parser.add_mutually_exclusive_group(required=True)
    known.add_argument(
        "--truth", type=Path, metavar="FILE.csv", help="the queries and their relevant photos"
    )
    known.add_argument(
        "--labels",
        choices=LABELS,
        help="folder: the first folder is the class, photos at several depths are refused; top:"
        " the same, at any depth; parent: all folders above a photo. Leave-one-out over the"
        " gallery without --queries",
    )
    parser.add_argument(
        "--queries",
        dest="query_gallery",
        type=Path,
        metavar="GALLERY",
        help="the photos of this gallery, of the same model, are the queries: with --labels, or"
        " with --truth where another program computed the features",
    )
    parser.add_argument(
        "--allow-self",
        action="store_true",
        help="also queries that are in the gallery byte for byte",
    )
    add_prefix(parser)
    if revisited:
        known.add_argument(
            "--revisited",
            type=Path,
            metavar="GND.json",
            help="revisited Oxford or Paris: the published ground truth as JSON",
        )
        parser.add_argument(
            "--protocol",
            choices=("easy", "medium", "hard"),
            default="medium",
            help="of --revisited (default: medium)",
        )
        parser.add_argument(
            "--query-photos",
            type=Path,
            metavar="DIR",
            help="where --revisited finds its queries (default: beside GND.json)",
        )


def add_prefix(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prefix",
        type=prefix,
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="indexed paths begin with NEW where the list has OLD; =NEW puts it before all, OLD="
        " takes it away (may be repeated: the first that fits)",
    )


def add_false_alarm(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--false-alarm",
        type=positive,
        default=SearchOptions.false_alarm,
        metavar="RATE",
        help=(
            "unrelated photos accepted per query, expected over all candidates (default:"
            f" {SearchOptions.false_alarm:g}; seed004 accepts by a fixed count, hashing accepts"
            " every candidate)"
        ),
    )


def add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cluster",
        type=cluster_address,
        metavar="ADDRESS",
        help=(
            "work on a Dask cluster: tcp://HOST:PORT of a scheduler that you trust, for it can run"
            " code here, or local:4 for four processes on this machine"
        ),
    )


def search_options(args: argparse.Namespace) -> SearchOptions:
    """What the flags of `add_search`, `add_model` and `add_truth` say of how to open a gallery."""
    given = vars(args)
    names = (
        "recipe",
        "model",
        "code",
        "bits",
        "device",
        "seed",
        "false_alarm",
        "shortlist",
        "expand",
        "turns",
        "mirror",
    )
    said = {name: given[name] for name in names if name in given}
    index, queries = given.get("search", "auto"), given.get("query_gallery")
    return SearchOptions(**said, index=index, queries=queries)


def truth_options(args: argparse.Namespace) -> TruthOptions:
    """What the flags of `add_truth` say of which photos a query should find."""
    given = vars(args)
    return TruthOptions(
        **{name: given[name] for name in TruthOptions.__dataclass_fields__ if name in given}
    )


def called(command: str) -> str:
    """What a command's messages begin with: `search`, where `two-look search` was called."""
    return Parser.invoked_as.partition(" ")[2] or command


def finish(command: str, job: Callable[[], int]) -> int:
    """Run a command's job: a mistake is one line on stderr and 2, anything else is a bug and keeps
    its traceback. That line begins with the command, as it was called.
    """
    command = called(command)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name may hold any byte
    try:
        return job()
    except TwoLookError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"{command}: stopped; what was saved stays, run the same command again to go on",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


@contextmanager
def joined_cluster(address: str | None) -> "Iterator[ClusterJobs | None]":
    """The cluster that `--cluster` names; None without the flag. What it needs is loaded with it
    alone. Raises UsageError.
    """
    if address is None:
        yield None
        return
    with importlib.import_module("pipeline.cluster.jobs").joined(address) as cluster:
        yield cluster


def without_command(about: str) -> str:
    """A command's docstring without the words that it is called by, which `--help` says itself."""
    about = re.sub(r"^(python -m |`)[^:]*:\s*", "", about)
    return about[:1].upper() + about[1:]
