"""The house rules that a reader relies on: who may import whom, what stages may not do, and that
help comes at once.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
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
            dotted(base) in FOREIGN for base in node.bases
        ] == [True]
        if (
            isinstance(node, ast.ClassDef)
            and not foreign
            and not any(is_frozen(decorator) for decorator in node.decorator_list)
        ):
            faults.append(f"class {node.name} is no frozen dataclass")
    return faults


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_keeps_the_rules(path: Path) -> None:
    assert broken(path.read_text("utf-8"), path.relative_to(ROOT).parts[0]) == []
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
    ],
)
def test_the_rules_find_what_breaks_them(folder: str, source: str, fault: str) -> None:
    assert fault in broken(source, folder)


def test_the_rules_let_pass_what_is_right() -> None:
    assert broken("from numba import types\nclass Lanes(types.Type):\n    pass", "stages") == []
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


@pytest.mark.parametrize(
    "path",
    [*SOURCES, *sorted((ROOT / "tests").glob("*.py"))],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_a_file_is_one_idea_long(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 250


COMMANDS = [path for path in SOURCES if 'if __name__ == "__main__":' in path.read_text("utf-8")]


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_help_imports_nothing_heavy(path: Path) -> None:
    heavy = HEAVY if path.parent.name == "scripts" else (*HEAVY, "cv2", "PIL", "tqdm", "joblib")
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
