"""Kernels: functions that numba compiles once on a machine, kept as object files and loaded by
llvmlite alone.

To import numba and to let it load what it has compiled costs most of a second of a process that may
have half a second's work. What a kernel gets is arrays and numbers and what it gives is written
into arrays, so its machine code needs nothing of numba, and numba is imported only where a kernel
is compiled.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

NUMBERS = {
    "int64": ctypes.c_int64,
    "float64": ctypes.c_double,
    "float32": ctypes.c_float,
    "bool": ctypes.c_bool,
}
# what compiled code may call besides itself: of the C library, by name
OUTSIDE = {"memset", "memcpy", "memmove"}
LOCK = threading.RLock()


@dataclass(frozen=True)
class Parameter:
    """A number, or an array of so many dimensions, contiguous."""

    dtype: str
    dimensions: int
    name: str

    @classmethod
    def of(cls, text: str) -> Parameter:
        """As in "int8[:,:] query" or "int64 limit"."""
        found = re.fullmatch(r"(\w+)(\[[:,]+\])? (\w+)", text)
        if found is None:
            raise ValueError(f"kernel: expected parameters like `int8[:,:] query`, got `{text}`")
        return cls(found[1], (found[2] or "").count(":"), found[3])

    def flat(self, value: Any) -> list[Any]:
        """What machine code takes: the number, or the array's address and shape."""
        if not self.dimensions:
            return [value]
        if (
            value.dtype != self.dtype
            or value.ndim != self.dimensions
            or not value.flags.c_contiguous
        ):
            raise TypeError(
                f"{self.name}: expected a contiguous array of {self.dtype} with"
                f" {self.dimensions} dimensions, got {value.dtype} with {value.ndim}"
            )
        return [value.ctypes.data, *value.shape]


@dataclass(frozen=True, eq=False)
class Kernel:
    """`name` of `module`, a function that numba can compile, as machine code. It may neither
    allocate nor raise, and returns an integer.
    """

    module: str
    name: str
    parameters: tuple[Parameter, ...]

    @classmethod
    def of(cls, module: str, name: str, parameters: str) -> Kernel:
        """parameters: as the function has them, with their types, divided by ", "."""
        return cls(module, name, tuple(Parameter.of(each) for each in parameters.split(", ")))

    def __call__(self, *values: Any) -> int:
        flat: list[Any] = []
        for parameter, value in zip(self.parameters, values, strict=True):
            flat += parameter.flat(value)
        return int(self._entry(*flat))

    @cached_property
    def _entry(self) -> Callable[..., int]:
        """The machine code as a function of addresses, lengths and numbers."""
        kinds: list[Any] = []
        for each in self.parameters:
            kinds += (
                [ctypes.c_void_p, *[ctypes.c_int64] * each.dimensions]
                if each.dimensions
                else [NUMBERS[each.dtype]]
            )
        import llvmlite.binding as llvm

        with LOCK:
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
            engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
            engine.add_object_file(llvm.ObjectFileRef.from_data(self._machine_code()))
            engine.finalize_object()
            ENGINES.append(engine)
            # ctypes leaves the interpreter free while the code runs
            return ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(engine.get_function_address(self.name))

    def _machine_code(self) -> bytes:
        """From the disk, or compiled and kept there."""
        import importlib.metadata

        import llvmlite.binding as llvm

        source = Path(__file__).with_name(f"{self.module.rpartition('.')[2]}.py")
        key = hashlib.sha256(repr(self).encode())
        used = re.findall(r"^from stages\.(\w+) import", source.read_text(), re.MULTILINE)
        for name in ("compiled", source.stem, *used):
            key.update(source.with_name(f"{name}.py").read_bytes())
        for part in (
            importlib.metadata.version("numba"),
            llvm.llvm_version_info,
            llvm.get_host_cpu_name(),
            llvm.get_host_cpu_features().flatten(),
        ):
            key.update(repr(part).encode())
        file = f"{source.stem}.{self.name}.{key.hexdigest()[:16]}.o"
        folders = (
            source.parent / "__pycache__",
            Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "two-look",
        )
        for folder in folders:
            with suppress(OSError):
                kept = (folder / file).read_bytes()
                if hashlib.sha256(kept[32:]).digest() == kept[:32]:
                    return kept[32:]
        compiled = self._compile()
        for folder in folders:
            with suppress(OSError):
                keep(folder / file, hashlib.sha256(compiled).digest() + compiled)
                break
        return compiled

    def _compile(self) -> bytes:
        """An object file with one function for other code to call. Raises RuntimeError where the
        kernel calls into Python.
        """
        import llvmlite.binding as llvm
        import numba

        names, takes, gives = [], [], []
        for each in self.parameters:
            dtype = getattr(numba, "boolean" if each.dtype == "bool" else each.dtype)
            names.append(each.name)
            takes.append(numba.types.CPointer(dtype) if each.dimensions else dtype)
            lengths = [f"{each.name}_{axis}" for axis in range(each.dimensions)]
            names += lengths
            takes += [numba.int64] * len(lengths)
            shape = f"({', '.join(lengths)},)"
            gives.append(f"carray({each.name}, {shape})" if lengths else each.name)
        # numba takes no *args where C calls
        function = getattr(importlib.import_module(self.module), self.name)
        scope = {"carray": numba.carray, "kernel": function}
        exec(f"def entry({', '.join(names)}): return kernel({', '.join(gives)})", scope)
        wrapped = numba.cfunc(numba.int64(*takes), error_model="numpy")(scope["entry"])
        module, machine = llvm.parse_assembly(wrapped.inspect_llvm()), target_machine()
        for each in module.functions:
            if each.name == wrapped.native_name:
                each.name = self.name
            elif not each.is_declaration:
                # nobody else calls it: what it never does, such as to raise, goes
                each.linkage = "internal"
        passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(3))
        passes.getModulePassManager().run(module, passes)
        for each in module.functions:
            if (
                each.is_declaration
                and not each.name.startswith("llvm.")
                and each.name not in OUTSIDE
            ):
                raise RuntimeError(f"{self.module}.{self.name}: calls {each.name}")
        compiled: bytes = machine.emit_object(module)
        return compiled


ENGINES: list[Any] = []  # whose code runs until the process ends


def target_machine() -> Any:
    """Of this processor, as numba has it."""
    import llvmlite.binding as llvm

    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="static" if llvm.Target.from_default_triple().name.startswith("x86") else "default",
        codemodel="jitdefault",
        jit=True,
    )


def keep(path: Path, data: bytes) -> None:
    """Whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_bytes(data)
    part.replace(path)
