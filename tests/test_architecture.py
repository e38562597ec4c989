"""The house rules that a reader relies on: who may import whom, what stages may not do, and that
help comes at once.
"""

import ast
import graphlib
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pictures import ROOT

ALLOWED = {"stages": set(), "pipeline": {"stages"}, "scripts": {"stages", "pipeline"}}
SOURCES = [path for folder in ALLOWED for path in sorted((ROOT / folder).rglob("*.py"))]
FOREIGN_CODE = {
    "cPickle",
    "dill",
    "cloudpickle",
    "shelve",
    "marshal",
    "torchvision.ops",
    "torchvision.io",
}
# what numba and torch want a class of ours to be
FOREIGN = ("types.Type", "models.PrimitiveModel", "nn.Module", "nn.BatchNorm2d")
# what a stage expects of another, said in types alone
PROTOCOL = "Protocol"
# the one file of the stages that reads and writes: what its own sources were compiled into; and
# runs text, its own, for numba wants a function of as many parameters as a kernel has
COMPILED = {
    "stages/compiled.py": {
        "calls exec",
        "calls source.read_text",
        "calls .read_bytes",
        "calls part.write_bytes",
        "uses os.environ",
    }
}
HEAVY = ("torch", "torchvision", "sklearn", "skimage", "scipy", "matplotlib")


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in the file, and every name taken from one, in
    full."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an expression; calls and subscripts on the way are left out."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{dotted(value)}.{name}"
    return ""


def calls(tree: ast.AST) -> Iterator[tuple[str, dict[str | None, ast.expr]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func), {keyword.arg: keyword.value for keyword in node.keywords}


def broken(source: str, folder: str) -> list[str]:
    """What a file of this folder does that it may not."""
    tree, faults = ast.parse(source), []
    for name in imports(tree):
        top = name.split(".")[0]
        if top in {*ALLOWED, "tests"} - ALLOWED[folder] - {folder}:
            faults.append(f"imports {name}")
        if name.startswith("pickle.") and name != "pickle.UnpicklingError":
            faults.append(f"imports {name}")
        if (
            any(name == bad or name.startswith(bad + ".") for bad in FOREIGN_CODE)
            or name == "joblib.load"
        ):
            faults.append(f"imports {name}")
    for node in ast.walk(tree):
        used = dotted(node) if isinstance(node, ast.Attribute) else ""
        if used in ("torchvision.ops", "torchvision.io") or (
            used.startswith("pickle.") and used != "pickle.UnpicklingError"
        ):
            faults.append(f"uses {used}")
    for name, keywords in calls(tree):
        if name in ("eval", "exec", "compile", "__import__", "joblib.load"):
            faults.append(f"calls {name}")
        weights_only = keywords.get("weights_only")
        if name == "torch.load" and not (
            isinstance(weights_only, ast.Constant) and weights_only.value is True
        ):
            faults.append("calls torch.load without weights_only=True")
        allow_pickle = keywords.get("allow_pickle", ast.Constant(False))
        if not (isinstance(allow_pickle, ast.Constant) and allow_pickle.value is False):
            faults.append(f"calls {name} with allow_pickle")
    return faults + (impure(tree) if folder == "stages" else [])


def is_frozen(decorator: ast.expr) -> bool:
    named = (
        {k.arg: ast.unparse(k.value) for k in decorator.keywords}
        if isinstance(decorator, ast.Call)
        else {}
    )
    return (
        isinstance(decorator, ast.Call)
        and dotted(decorator.func) == "dataclass"
        and named.get("frozen") == "True"
    )


def raisable(node: ast.ClassDef) -> bool:
    """An exception: its bases are exceptions, by their names."""
    bases = [dotted(base) or "" for base in node.bases]
    return bool(bases) and all(base == "Exception" or base.endswith("Error") for base in bases)


def impure(tree: ast.AST) -> list[str]:
    """Where a stage reaches beyond its arguments, or a class of it could be changed after it is
    made.
    """
    faults = [f"calls {name}" for name, _ in calls(tree) if name in ("open", "print", "input")]
    faults += [
        f"calls {name}"
        for name, _ in calls(tree)
        if name.endswith((".open", ".read_bytes", ".read_text", ".write_bytes", ".write_text"))
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and dotted(node) in ("os.environ", "os.getenv"):
            faults.append(f"uses {dotted(node)}")
        foreign = isinstance(node, ast.ClassDef) and [
            dotted(base) in (*FOREIGN, PROTOCOL) for base in node.bases
        ] == [True]
        if (
            isinstance(node, ast.ClassDef)
            and not foreign
            and not raisable(node)
            and not any(is_frozen(decorator) for decorator in node.decorator_list)
        ):
            faults.append(f"class {node.name} is no frozen dataclass")
    return faults


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_keeps_the_rules(path: Path) -> None:
    name = path.relative_to(ROOT)
    assert set(broken(path.read_text("utf-8"), name.parts[0])) == COMPILED.get(str(name), set())
    tree = parsed(path)
    assert not tree.body or ast.get_docstring(tree)


@pytest.mark.parametrize(
    ("folder", "source", "fault"),
    [
        ("stages", "import pipeline.graph", "imports pipeline.graph"),
        ("stages", "def f():\n    from pipeline import graph", "imports pipeline.graph"),
        ("pipeline", "from scripts.train import main", "imports scripts.train.main"),
        ("scripts", "import tests", "imports tests"),
        ("pipeline", "import pickle\npickle.load(f)", "uses pickle.load"),
        ("pipeline", "from pickle import Unpickler", "imports pickle.Unpickler"),
        ("pipeline", "import dill as json", "imports dill"),
        ("pipeline", "from joblib import load", "imports joblib.load"),
        ("pipeline", "x = joblib.load(y)", "calls joblib.load"),
        ("scripts", "torch.load(p)", "calls torch.load without weights_only=True"),
        (
            "scripts",
            "torch.load(p, weights_only=False)",
            "calls torch.load without weights_only=True",
        ),
        ("scripts", "np.load(p, allow_pickle=True)", "calls np.load with allow_pickle"),
        ("scripts", "np.load(p, allow_pickle=maybe)", "calls np.load with allow_pickle"),
        ("stages", "from torchvision import ops", "imports torchvision.ops"),
        ("stages", "import torchvision.io.image", "imports torchvision.io.image"),
        ("stages", "torchvision.ops.nms(b, s, 1)", "uses torchvision.ops"),
        ("pipeline", "eval(text)", "calls eval"),
        ("stages", "Path(p).open()", "calls .open"),
        ("stages", "print(1)", "calls print"),
        ("stages", "x = os.environ['A']", "uses os.environ"),
        ("stages", "class Stage:\n    pass", "class Stage is no frozen dataclass"),
        (
            "stages",
            "@dataclass(eq=False)\nclass Stage:\n    pass",
            "class Stage is no frozen dataclass",
        ),
        (
            "stages",
            "class Stage(Base, types.Type):\n    pass",
            "class Stage is no frozen dataclass",
        ),
        (
            "stages",
            "class Stage(Base, Protocol):\n    pass",
            "class Stage is no frozen dataclass",
        ),
    ],
)
def test_the_rules_find_what_breaks_them(folder: str, source: str, fault: str) -> None:
    assert fault in broken(source, folder)


def test_the_rules_let_pass_what_is_right() -> None:
    assert broken("from numba import types\nclass Lanes(types.Type):\n    pass", "stages") == []
    assert broken("class WrongError(Exception):\n    pass", "stages") == []
    assert broken("from typing import Protocol\nclass Index(Protocol):\n    pass", "stages") == []
    assert broken("import numpy as np\nnp.load(p, allow_pickle=False)", "pipeline") == []
    assert (
        broken(
            "import torch\ntorch.load(p, weights_only=True)\nmodel.eval()\nimport"
            " torchvision.models",
            "scripts",
        )
        == []
    )
    # what torch.load raises
    assert (
        broken("import pickle\ntry:\n    f()\nexcept pickle.UnpicklingError:\n    pass", "scripts")
        == []
    )
    assert (
        broken(
            "from stages.records import Image\n@dataclass(frozen=True)\nclass Stage:\n    pass",
            "stages",
        )
        == []
    )


LINES = 400  # of a file; a longer one needs a reason
LONG = {
    "stages/affine_kernels.py": "one algorithm, whose steps share sixteen lanes",
    "stages/verify_torch.py": "one algorithm, matching and fitting on a GPU, read beside its twins",
}


def test_a_long_file_has_a_reason() -> None:
    long = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if len(path.read_text("utf-8").splitlines()) > LINES
    }
    assert long == set(LONG)


# package -> the packages that its files import. A package is a folder of pipeline/, a file that
# lies directly there (`pipeline` is its __init__.py), stages or scripts. In an order in which none
# imports one below it.
MAY_IMPORT: dict[str, set[str]] = {
    "pipeline": set(),
    "stages": set(),
    "graph": set(),
    "base": {"stages"},
    "cli": {"base", "pipeline"},
    "model": {"base", "stages"},
    "results": {"base"},
    "datasets": {"base", "cli", "model", "stages"},
    "gallery": {"base", "cli", "model", "stages"},
    "recipes": {"base", "graph", "model", "stages"},
    "search": {"base", "gallery", "graph", "model", "recipes", "stages"},
    "indexing": {"base", "gallery", "model", "recipes", "search"},
    "index": {"base", "cli", "gallery", "indexing"},
    "pairs": {"base", "search", "stages"},
    "bench": {"base", "datasets", "gallery", "model", "pairs", "recipes", "search", "stages"},
    "cluster": {"base", "gallery", "graph", "model", "recipes", "search", "stages"},
    "library": {"base", "gallery", "model", "recipes", "search", "stages"},
    "report": {"base", "search", "stages"},
    "groups": {"base", "cli", "gallery", "library", "pairs", "report", "stages"},
    "rerank": {"base", "search"},
    "evaluate": {
        "base",
        "cli",
        "datasets",
        "gallery",
        "model",
        "recipes",
        "report",
        "results",
        "search",
        "stages",
    },
    "run": {"base", "cli", "library", "report", "search"},
    "training": {"base", "gallery", "model", "recipes", "report", "results", "search", "stages"},
    "web": {"base", "gallery", "report", "search", "stages"},
    "commands": {
        "base",
        "bench",
        "cli",
        "datasets",
        "evaluate",
        "gallery",
        "groups",
        "indexing",
        "library",
        "model",
        "recipes",
        "report",
        "rerank",
        "results",
        "search",
        "stages",
        "training",
    },
    "serve": {"base", "cli", "gallery", "search", "web"},
    "scripts": {"commands"},
}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCES
}


def package(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] != "pipeline":
        return parts[0]
    return "pipeline" if parts[1] == "__init__" else parts[1]


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All that runs: what only a type checker reads is left out."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield child
            yield from statements(child)


def packages_used(source: str) -> set[str]:
    """The packages that a file imports from, inside functions too."""
    found = set()
    for node in statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in whole]
        else:
            continue
        found |= {package(MODULES[name]) for name in names if name in MODULES}
    return found


def edges() -> dict[str, set[str]]:
    """What every package imports today."""
    found: dict[str, set[str]] = {package(path): set() for path in SOURCES}
    for path in SOURCES:
        found[package(path)] |= packages_used(path.read_text("utf-8")) - {package(path)}
    return found


def unlike(found: Mapping[str, set[str]], allowed: Mapping[str, set[str]]) -> list[str]:
    """Where two tables of imports differ, either way."""
    told = []
    for name in sorted({*found, *allowed}):
        used, may = found.get(name, set()), allowed.get(name, set())
        told += [f"{name} imports {other}" for other in sorted(used - may)]
        told += [f"{name} does not import {other} any more" for other in sorted(may - used)]
        told += [f"{name}: no such package"] if name not in found else []
        told += [f"{name}: not in MAY_IMPORT"] if name not in allowed else []
    return told


def test_a_package_imports_what_it_may() -> None:
    assert unlike(edges(), MAY_IMPORT) == []


def test_packages_do_not_go_round_in_a_circle() -> None:
    graphlib.TopologicalSorter(edges()).prepare()  # raises CycleError with the circle
    placed: set[str] = set()
    for name, used in MAY_IMPORT.items():
        assert used <= placed, f"{name} stands above {', '.join(sorted(used - placed))}"
        placed.add(name)


def test_what_is_imported_is_seen_wherever_it_stands() -> None:
    assert packages_used("from pipeline import index, __version__") == {"index", "pipeline"}
    assert packages_used("def f():\n    import stages.gallery") == {"stages"}
    assert packages_used("import numpy, pipeline.evaluate.studies.compare") == {"evaluate"}
    assert packages_used("if TYPE_CHECKING:\n    from pipeline.web import app") == set()
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()
    assert unlike({"a": {"b"}, "b": set()}, {"a": {"c"}, "c": set()}) == [
        "a imports b",
        "a does not import c any more",
        "b: not in MAY_IMPORT",
        "c: no such package",
    ]


def clustered(source: str) -> bool:
    """Whether a file imports Dask, wherever in it."""
    return any(name.split(".")[0] in ("dask", "distributed") for name in imports(ast.parse(source)))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_dask_is_the_clusters_matter_alone(path: Path) -> None:
    assert package(path) == "cluster" or not clustered(path.read_text("utf-8"))


def test_dask_is_seen() -> None:
    assert clustered("def f():\n    from distributed import Client")
    assert clustered("import dask.array as da")
    assert not clustered("from pipeline.cluster import tasks")
    assert any(clustered(path.read_text("utf-8")) for path in SOURCES)


def test_every_folder_of_code_is_packaged() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] != "scripts"
    }
    packages = project["tool"]["setuptools"]["packages"]
    assert sorted(packages) == sorted({*folders, "pipeline.artifacts"})


COMMANDS = [path for path in SOURCES if 'if __name__ == "__main__":' in path.read_text("utf-8")]


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_help_imports_nothing_heavy(path: Path) -> None:
    often = path.parent == ROOT / "pipeline"  # typed often: index, run, serve
    heavy = (*HEAVY, "cv2", "PIL", "tqdm", "joblib") if often else HEAVY
    code = f"""if True:
        import runpy, sys
        sys.argv = [{str(path)!r}, "--help"]
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as stop:
            heavy = [name for name in {heavy!r} if name in sys.modules]
            sys.exit(f"imported {{heavy}}" if heavy else stop.code)
        sys.exit("no help")
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def test_the_commands_are_found() -> None:
    assert {"run.py", "index.py"} <= {path.name for path in COMMANDS}
