"""LLVM IR of kernels -> PTX -> images that a card loads, in parallel and once per user.

Invariant: an image is made of nothing but the text, the architecture, LLVM's and the assembler's
version, which together are its key in memory and on disk.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import llvmlite.binding as llvm

from ....core.cache import NATIVE, Bounded
from ....core.errors import BackendError, blame
from ....core.signals import protected
from ...cpu.machine.jit import keep, stored
from ...cpu.machine.systems import system
from .assemblers import Assembler, assembler
from .driver import driver

__all__ = ["assemble", "ptx_of", "TRIPLE", "ABI_VERSION"]

TRIPLE = "nvptx64-nvidia-cuda"
ABI_VERSION = 1  # raise when texts keep their wording but must not reuse old images
_FEW_WORDS = 544  # that a kernel of any PTX may have
_KNOWS_BOUNDS = 21  # LLVM that reads a kernel's bounds from attributes; older ones take metadata
_BOUNDS = re.compile(
    r'^define ptx_kernel void @([\w.]+)\(.*"nvvm\.maxntid"="(\d+)"(?: "nvvm\.minctasm"="(\d+)")?',
    re.M,
)
_LLVM = threading.RLock()  # a target machine is used by one thread at a time

Made = TypeVar("Made")

# PTX and images of this process, by key
_IMAGES: Bounded[bytes] = Bounded(entries=4096, nbytes=128 << 20, size=len)


@lru_cache(1)
def _target() -> llvm.Target:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        return llvm.Target.from_triple(TRIPLE)
    except RuntimeError as error:
        raise BackendError(
            f"this llvmlite cannot generate PTX ({error}); install a build with the NVPTX target"
        ) from None


@lru_cache(8)
def _machine(arch: str, features: str) -> llvm.TargetMachine:
    return _target().create_target_machine(cpu=arch, features=features, opt=3)


def _features(text: str) -> str:
    """A kernel of many words needs a newer PTX, which older drivers do not take."""
    words = [int(count) for count in re.findall(r"byval\(\[(\d+) x i64\]\)", text)]
    return "+ptx81" if max(words, default=0) > _FEW_WORDS else ""


def _bounds(text: str) -> str:
    """The bounds of kernels as an older LLVM wants them: without them a kernel of many threads may
    get more registers a thread than there are."""
    if llvm.llvm_version_info[0] >= _KNOWS_BOUNDS:
        return ""
    lines, names = [], []
    for number, (symbol, threads, blocks) in enumerate(_BOUNDS.findall(text), 1 << 16):
        least = f', !"minctasm", i32 {blocks}' if blocks else ""
        lines.append(f'!{number} = !{{ptr @{symbol}, !"maxntidx", i32 {threads}{least}}}\n')
        names.append(f"!{number}")
    return f"!nvvm.annotations = !{{{', '.join(names)}}}\n{''.join(lines)}" if names else ""


def ptx_of(text: str, arch: str) -> str:
    """PTX of a module of LLVM IR; BackendError where the text is not valid."""
    with _LLVM:
        machine = _machine(arch, _features(text))
        head = f'target triple = "{TRIPLE}"\ntarget datalayout = "{machine.target_data}"\n'
        context = llvm.create_context()
        try:
            module = llvm.parse_assembly(head + text + _bounds(text), context)
            module.verify()
        except RuntimeError as error:
            raise BackendError(f"generated GPU code is not valid LLVM IR: {error}") from None
        ptx: str = machine.emit_assembly(module)
        module.close()
        return ptx


def _image(symbol: str, text: str, arch: str, key: bytes, maker: Assembler | None) -> bytes:
    """An image from the disk, or made and kept there; without an assembler PTX text."""
    found = None if maker is None else stored(key)
    if found is not None:
        return found
    try:
        ptx = ptx_of(text, arch)
        if maker is None:
            return ptx.encode()
        found = maker(ptx, arch)
    except Exception as error:
        blame(error, symbol=symbol)
        raise
    NATIVE.made += len(found)
    keep(key, found)
    return found


def _together(jobs: Sequence[Callable[[], Made]]) -> list[Made]:
    """Results of jobs that wait for other programs, side by side."""
    if len(jobs) <= 1:
        return [job() for job in jobs]
    workers = min(len(jobs), system().cores() + 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="hybrid-ptx") as pool:
        return [done.result() for done in [pool.submit(job) for job in jobs]]


@protected
def assemble(functions: Iterable[tuple[str, str]], arch: str) -> dict[str, bytes]:
    """Images of kernels, given as (symbol, LLVM IR text), by symbol.

    A driver that says `takes_ptx` gets PTX text.  Raises BackendError where a text is not valid or
    nothing here assembles.
    """
    used = driver()
    wants_ptx = getattr(used, "takes_ptx", False)
    maker = None if wants_ptx else assembler(used.version() // 1000)
    prefix = repr(
        (arch, llvm.llvm_version_info, maker.name if maker else "ptx", ABI_VERSION)
    ).encode()
    texts = dict(functions)
    keys = {
        symbol: hashlib.sha256(prefix + text.encode()).digest() for symbol, text in texts.items()
    }

    def job(symbol: str) -> Callable[[], bytes]:
        text, key = texts[symbol], keys[symbol]
        return lambda: _IMAGES.of(key, lambda: _image(symbol, text, arch, key, maker))

    return dict(zip(texts, _together([job(symbol) for symbol in texts]), strict=True))
