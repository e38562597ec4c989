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
import urllib.request
from pathlib import Path

import pytest
import skimage
from pictures import ROOT, write_picture


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
    for name in ("pyproject.toml", "LICENSE", "README.md"):
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


@pytest.fixture(scope="module")
def folder(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with five photos and, by the console command, their gallery."""
    folder = tmp_path_factory.mktemp("empty")
    for name in ("astronaut", "camera", "chelsea", "coffee", "coins"):
        write_picture(folder / "photos" / f"{name}.png", getattr(skimage.data, name)())
    two_look = python.parent / "two-look"
    assert "5 indexed" in run(two_look, "index", "photos", "--gallery", "gallery", cwd=folder)
    return folder


def test_the_console_command_of_the_wheel_answers(python: Path, folder: Path) -> None:
    two_look = python.parent / "two-look"
    found = run(
        two_look, "search", "photos/coins.png", "--gallery", "gallery", "--json", cwd=folder
    )
    (first, *_) = json.loads(found)["results"]
    assert (first["image"], first["accepted"]) == ("coins.png", True)
    assert run(two_look, "--version", cwd=folder).startswith("two-look ")


PROGRAM = """
import numpy as np
import pipeline
from PIL import Image

pixels = np.asarray(Image.open("photos/chelsea.png"))
with pipeline.open_gallery("gallery") as gallery:
    best = gallery.search(pixels, k=1).results[0]
print(best.image, best.accepted)
print(pipeline.verify(pixels[40:, 60:], "photos/chelsea.png").accepted)
print(pipeline.verify(pixels, "photos/coffee.png").accepted)
"""


def test_a_program_of_ten_lines_searches_and_verifies(python: Path, folder: Path) -> None:
    assert run(python, "-c", PROGRAM, cwd=folder) == "chelsea.png True\nTrue\nFalse\n"


def test_the_page_of_the_wheel_is_served(python: Path, folder: Path) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra `web`")
    command = [python, "-m", "pipeline.serve", "--gallery", "gallery", "--port", "0"]
    with subprocess.Popen(
        list(map(str, command)), cwd=folder, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stderr is not None
            line = next(line for line in server.stderr if "answers from" in line)
            address = re.search(r"http://\S+", line)
            assert address is not None
            with urllib.request.urlopen(address[0], timeout=30) as page:
                assert b"<title>" in page.read()
            photo = (folder / "photos/camera.png").read_bytes()
            asked = urllib.request.Request(address[0].rstrip("/") + "/search?k=1", photo)
            with urllib.request.urlopen(asked, timeout=60) as answer:
                assert json.load(answer)["results"][0]["image"] == "camera.png"
        finally:
            server.terminate()


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
    assert re.fullmatch("'fastapi[^ ]+' 'python-multipart[^ ]+' 'uvicorn[^ ]+'", wanted)
    assert run(python, "-c", code, cwd=tmp_path) == f"`pip install {wanted}`\n"
