"""What turns PTX into the code of a card: the program `ptxas`, or the library nvJitLink.

Invariant: multiplications and additions stay apart, nothing is flushed to zero or approximated; a
text that does not assemble is a BackendError with what the assembler said.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from ....core.errors import BackendError

__all__ = ["Assembler", "Ptxas", "JitLink", "assembler", "find_wheels"]

_WHEELS = ("cu13", "cu12", "cuda_nvcc", "nvjitlink")  # folders of NVIDIA's wheels that may have one
_PTX_INPUT = 2  # NVJITLINK_INPUT_PTX
_OLDEST = 12  # CUDA whose assemblers know what LLVM writes


class Assembler(Protocol):
    """`name` says which one it is, with its version: it is part of the key of its results.  `major`
    is that of the CUDA it belongs to."""

    name: str
    major: int

    def __call__(self, ptx: str, arch: str) -> bytes: ...


class Ptxas:
    """NVIDIA's assembler, one process a text."""

    def __init__(self, program: str) -> None:
        self.program = program
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        version = re.search(r"V(\d+\.\d+\.\d+)", told.stdout)
        if version is None:
            raise OSError(f"{program} does not tell its version")
        self.name, self.major = f"ptxas {version[1]}", int(version[1].partition(".")[0])

    def __call__(self, ptx: str, arch: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="hybrid-ptx-") as folder:
            source, made = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
            source.write_text(ptx)
            command = [self.program, f"-arch={arch}", "-O3", "--fmad=false", str(source)]
            done = subprocess.run(
                [*command, "-o", str(made)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise BackendError(f"{self.name} refused generated PTX: {_said(done.stderr)}")
            return made.read_bytes()


class JitLink:
    """nvJitLink through ctypes: assembles in this process."""

    def __init__(self, path: str) -> None:
        self.library = ctypes.CDLL(path)
        major, minor = ctypes.c_uint(), ctypes.c_uint()
        self._function("Version")(ctypes.byref(major), ctypes.byref(minor))
        self.name, self.major = f"nvJitLink {major.value}.{minor.value}", major.value

    @lru_cache(None)  # noqa: B019  (there is one of its kind in a process)
    def _function(self, name: str) -> Any:
        """A function by its name with a version, as the library exports them."""
        for major in (13, 12):
            for minor in range(9, -1, -1):
                found = getattr(self.library, f"__nvJitLink{name}_{major}_{minor}", None)
                if found is not None:
                    return found
        plain = getattr(self.library, f"nvJitLink{name}", None)
        if plain is None:
            raise BackendError(f"this nvJitLink has no function {name}; install a newer one")
        return plain

    def __call__(self, ptx: str, arch: str) -> bytes:
        options = [f"-arch={arch}".encode(), b"-O3", b"-fma=0"]
        handle = ctypes.c_void_p()
        given = (ctypes.c_char_p * len(options))(*options)
        if self._function("Create")(ctypes.byref(handle), len(options), given):
            raise BackendError(f"{self.name} cannot assemble for {arch}")
        try:
            return self._linked(handle, ptx.encode())
        finally:
            self._function("Destroy")(ctypes.byref(handle))

    def _linked(self, handle: Any, text: bytes) -> bytes:
        size = ctypes.c_size_t
        failed = self._function("AddData")(handle, _PTX_INPUT, text, size(len(text)), b"kernel")
        if failed or self._function("Complete")(handle):
            said = self._read(handle, "GetErrorLog").rstrip(b"\0").decode(errors="replace")
            raise BackendError(f"{self.name} refused generated PTX: {_said(said)}")
        return self._read(handle, "GetLinkedCubin")

    def _read(self, handle: Any, name: str) -> bytes:
        length = ctypes.c_size_t()
        self._function(f"{name}Size")(handle, ctypes.byref(length))
        text = ctypes.create_string_buffer(max(length.value, 1))
        self._function(name)(handle, text)
        return text.raw[: length.value]


def _said(text: str, longest: int = 2000) -> str:
    """What an assembler wrote, cut where it is long."""
    text = text.strip() or "it said nothing"
    return text if len(text) <= longest else f"{text[:longest]}..."


def find_wheels() -> Iterator[Path]:
    """Folders in which NVIDIA's wheels keep programs and libraries."""
    for entry in sys.path:
        for wheel in _WHEELS:
            folder = Path(entry or ".", "nvidia", wheel)
            if folder.is_dir():
                yield folder


def _programs() -> Iterator[str]:
    on_path = shutil.which("ptxas")
    if on_path:
        yield on_path
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    for folder in [
        *(Path(home) for home in homes if home),
        *find_wheels(),
        Path("/usr/local/cuda"),
    ]:
        program = folder / "bin" / "ptxas"
        if os.access(program, os.X_OK):
            yield str(program)


def _libraries() -> Iterator[str]:
    for folder in find_wheels():
        yield from map(str, sorted((folder / "lib").glob("libnvJitLink.so*")))
    yield from ("libnvJitLink.so.13", "libnvJitLink.so.12")


def _candidates() -> Iterator[Assembler]:
    """The assemblers of this machine, the best first."""
    for kind, paths in ((Ptxas, _programs()), (JitLink, _libraries())):
        for path in paths:
            try:
                made = kind(path)
            except (OSError, subprocess.SubprocessError, BackendError):
                continue
            if made.major >= _OLDEST:
                yield made


@lru_cache(8)
def assembler(newest: int = 99) -> Assembler:
    """The assembler of this machine, of no newer CUDA than the driver's `newest`, which could not
    read its results; BackendError where there is none."""
    for found in _candidates():
        if found.major <= newest:
            return found
    extra = "cuda12" if newest < 13 else "cuda13"
    raise BackendError(
        "there is nothing here that assembles GPU code for this driver (neither ptxas nor "
        f"libnvJitLink); install it with `pip install 'hybrid[{extra}]'`, or put the bin folder of "
        "the CUDA toolkit on PATH"
    )
