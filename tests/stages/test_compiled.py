"""Kernels: compiled once, loaded without numba, and never from a file that is not whole."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages import compiled
from stages.compiled import Kernel

SOURCE = """
import numba


@numba.njit
def total(values, times):
    found = 0
    for v in range(len(values)):
        found += times * values[v]
    return found


@numba.njit
def strict(values):
    if len(values) == 0:
        raise ValueError("none")
    return values[0]


@numba.njit
def roomy(values):
    return len(values.copy())
"""


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of kernels in a folder of its own."""
    path = tmp_path / "planted_kernels.py"
    path.write_text(SOURCE)
    (tmp_path / "compiled.py").write_text("# what stands for compiled.py\n")
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "compiled.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield path
    sys.modules.pop("planted_kernels", None)


def total() -> Kernel:
    return Kernel.of("planted_kernels", "total", "int64[:] values, int64 times")


def kept(kernels: Path) -> list[Path]:
    return sorted(kernels.parent.glob("__pycache__/*.o"))


def test_a_kernel_computes_and_is_compiled_once(
    kernels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert total()(np.arange(5), 3) == 30
    assert len(kept(kernels)) == 1
    monkeypatch.setattr(Kernel, "_compile", None)  # would be called
    assert total()(np.arange(6), 2) == 30


def test_a_file_that_is_not_whole_is_compiled_again(kernels: Path) -> None:
    assert total()(np.arange(5), 3) == 30
    (file,) = kept(kernels)
    whole = file.read_bytes()
    for damage in (b"", whole[:100], whole[:-1] + bytes([whole[-1] ^ 1]), b"\x00" * len(whole)):
        file.write_bytes(damage)
        assert total()(np.arange(5), 3) == 30
        assert len(file.read_bytes()) == len(whole)


def test_another_source_is_another_file(kernels: Path) -> None:
    assert total()(np.arange(5), 3) == 30
    sys.modules.pop("planted_kernels")
    kernels.write_text(SOURCE.replace("times *", "times * 2 *"))
    assert total()(np.arange(5), 3) == 60
    assert len(kept(kernels)) == 2


def test_where_the_source_lies_need_not_be_writable(kernels: Path, tmp_path: Path) -> None:
    (tmp_path / "__pycache__").write_text("a file where a folder was wanted")
    assert total()(np.arange(5), 3) == 30
    assert len(list(tmp_path.glob("cache/two-look/*.o"))) == 1
    (tmp_path / "cache" / "two-look").rename(tmp_path / "gone")
    (tmp_path / "cache" / "two-look").write_text("nor here")
    assert total()(np.arange(5), 3) == 30


@pytest.mark.parametrize(
    "values",
    [np.arange(5, dtype=np.int32), np.arange(10)[::2], np.zeros((2, 2), np.int64), np.zeros(3)],
)
def test_a_wrong_array_is_refused(kernels: Path, values: np.ndarray) -> None:
    with pytest.raises(TypeError, match="values: expected a contiguous array of int64 with 1"):
        total()(values, 3)


@pytest.mark.parametrize("name", ["strict", "roomy"])
def test_a_kernel_that_needs_the_interpreter_is_refused(kernels: Path, name: str) -> None:
    with pytest.raises(RuntimeError, match=f"planted_kernels.{name}: calls "):
        Kernel.of("planted_kernels", name, "int64[:] values")(np.arange(3))


def test_parameters_are_read_or_refused() -> None:
    with pytest.raises(ValueError, match="expected parameters like"):
        Kernel.of("planted_kernels", "total", "int64[:]values")


def test_what_is_compiled_runs_without_numba() -> None:
    """The second time at the latest."""
    ask = (
        "import sys, numpy as np; from stages.match import Nearest;"
        "print(Nearest()(np.eye(5, 8, dtype=np.int8) * 127, np.eye(5, 8, dtype=np.int8) * 127)"
        ".tolist(), 'numba' in sys.modules)"
    )
    for _ in range(2):
        said = subprocess.run(
            [sys.executable, "-c", ask], check=True, capture_output=True, text=True, env=os.environ
        ).stdout
    assert said.strip() == f"{[[k, k] for k in range(5)]} False"
