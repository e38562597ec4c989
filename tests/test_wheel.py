"""What strangers install: the wheel, in an environment and a folder of its own, carries the model
and the page and answers a query.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from pictures import ROOT, picture, write_picture


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel, and beside it the dependencies of this
    one but not its checkout.
    """
    folder = tmp_path_factory.mktemp("wheel")
    # a copy: setuptools leaves a build folder behind, and takes what an earlier one left
    source = folder / "source"
    for name in ("pipeline", "stages", "artifacts/two_stage"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source, cwd=folder)
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    found = folder / "venv" / "bin" / "python"
    run(*pip, "--python", found, "install", "-q", "--no-deps", *folder.glob("*.whl"), cwd=folder)
    own = Path(
        run(
            found, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
        ).strip()
    )
    # on the path, its own .pth files unread
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return found


def test_the_wheel_indexes_and_answers_from_an_empty_folder(python: Path, tmp_path: Path) -> None:
    for seed in range(5):
        write_picture(tmp_path / "photos" / f"{seed}.png", picture(seed, 320, 240))
    assert "5 indexed" in run(
        python, "-m", "pipeline.index", "photos", "--gallery", "gallery", cwd=tmp_path
    )
    answer = json.loads(
        run(
            python,
            "-m",
            "pipeline.run",
            "photos/3.png",
            "--gallery",
            "gallery",
            "--json",
            cwd=tmp_path,
        )
    )
    assert (answer["results"][0]["image"], answer["results"][0]["accepted"]) == ("3.png", True)


def test_the_wheel_has_the_page_and_knows_what_its_extras_need(
    python: Path, tmp_path: Path
) -> None:
    code = """if True:
        import pipeline, pipeline.web, pathlib
        from pipeline.base.install import CHECKOUT, add_extra
        assert CHECKOUT is None and "site-packages" in pipeline.__file__
        assert (pathlib.Path(pipeline.web.__file__).parent / "page.html").is_file()
        print(add_extra("web"))
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = " ".join(map(shlex.quote, project["optional-dependencies"]["web"]))
    assert re.fullmatch("'fastapi[^ ]+' 'uvicorn[^ ]+'", wanted)
    assert run(python, "-c", code, cwd=tmp_path) == f"`pip install {wanted}`\n"
