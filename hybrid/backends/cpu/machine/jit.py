"""LLVM IR text -> object code -> addresses in this process.

Invariant: an address is valid as long as the Code or NativeModule that gave it is referenced, and
object code is linked only if it needs no symbol from outside (LLVM would abort the process
otherwise).
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import Any
from weakref import WeakValueDictionary

import llvmlite
import llvmlite.binding as llvm

from ....core.cache import NATIVE
from ....core.errors import BackendError, blame
from ....core.signals import critical, foreign, held, protected, tools
from .beside import INSIDE, THREAD, Beside, emit_each
from .diskcache import DiskCache, Kept, default_cache
from .host import usable_cores
from .systems import system
from .systems.objects import object_symbols
from .target import Processor

__all__ = [
    "Code",
    "NativeModule",
    "compile_ir",
    "compile_many",
    "codes_of",
    "is_caching",
    "prefix",
    "lookup",
    "object_for",
    "beside",
    "remembers",
    "set_cache",
    "stored",
    "keep",
    "ABI_VERSION",
]

ENGINE_BYTES = 64 << 10  # what LLVM keeps beside the code of an engine, roughly
ABI_VERSION = 1  # raise when texts keep their wording but must not reuse old object code


class _Target:
    """A processor as LLVM sees it; made on first use."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor
        self.prefix = repr((tuple(processor), llvm.llvm_version_info, ABI_VERSION)).encode()
        self.emitters: dict[int, Any] = {}
        for name in system().outside:
            llvm.add_symbol(name, system().address(name))

    def machine(self, level: int) -> Any:
        return self.processor.machine(level)

    @cached_property
    def layout(self) -> str:
        """How data lie in memory, as LLVM writes it."""
        return str(self.machine(2).target_data)

    def dressed(self, source: str) -> str:
        """A text as LLVM needs it here."""
        return self.processor.fitted(system().dressed(source, lambda: self.layout))

    def emit(self, source: str, level: int) -> bytes:
        if level not in self.emitters:
            self.emitters[level] = self.machine(level)
        context = llvm.create_context()
        try:
            module = llvm.parse_assembly(self.dressed(source), context)
            module.verify()
        except RuntimeError as error:
            raise BackendError(f"generated code is not valid LLVM IR: {error}") from None
        module.triple = self.processor.triple
        binary: bytes = self.emitters[level].emit_object(module)
        module.close()
        return binary


tools(os.path.dirname(os.path.abspath(str(llvmlite.__file__))) + os.sep)

_LOCK = threading.RLock()
_LLVM_LOCK: Any = getattr(llvm.ffi.lib, "_lock", None) or threading.RLock()  # llvmlite's own
_UNSET: Any = object()
_CACHE: DiskCache | None = _UNSET  # the default one is made on first use
_CODES: WeakValueDictionary[str, Code] = WeakValueDictionary()
_MODULES: WeakValueDictionary[bytes, NativeModule] = WeakValueDictionary()


@critical
def _before_fork() -> None:
    """Wait until no thread is inside LLVM: in the child its locks would stay locked."""
    _LOCK.acquire()
    _LLVM_LOCK.__enter__()
    INSIDE.acquire()


@critical
def _after_fork() -> None:
    INSIDE.release()
    _LLVM_LOCK.__exit__(None, None, None)
    _LOCK.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )


@lru_cache(1)
def _target() -> _Target:
    return _Target(Processor.native())


@lru_cache(4)
def _other(processor: Processor) -> _Target:
    return _Target(processor)


def set_cache(cache: DiskCache | None) -> DiskCache | None:
    """Use this disk cache (None: no cache) from now on; returns the one used before."""
    global _CACHE
    previous, _CACHE = _disk(), cache
    return previous


def _disk() -> DiskCache | None:
    global _CACHE
    if _CACHE is _UNSET:
        _CACHE = default_cache()
    return _CACHE


def remembers() -> bool:
    """Whether what is kept is found again by other processes."""
    storage = _disk()
    return storage is not None and storage.usable


class _Engine:
    """Linked object code; freed with the last Code or NativeModule that refers to it."""

    __slots__ = ("_engine", "_objects", "__weakref__")

    def __init__(self, objects: Iterable[bytes]) -> None:
        target, objects = _target(), list(objects)
        NATIVE.made += sum(map(len, objects)) + ENGINE_BYTES
        self._objects = [llvm.ObjectFileRef.from_data(o) for o in objects]
        # llvmlite's memory manager reserves the memory of an object in one piece
        self._engine = llvm.create_mcjit_compiler(
            llvm.parse_assembly(""), target.machine(2), use_lmm=True
        )
        for compiled in self._objects:
            self._engine.add_object_file(compiled)
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        return self._engine.get_function_address(name)  # type: ignore[no-any-return]

    def __del__(self, _held: Any = held, _leaving: Any = sys.is_finalizing) -> None:
        # llvmlite frees an object twice when it is interrupted on the way
        engine = getattr(self, "_engine", None)
        if engine is not None and not _leaving():
            with _held:
                self._close(engine)

    @critical
    def _close(self, engine: Any) -> None:
        engine.close()
        for compiled in self._objects:
            compiled.close()


class Code:
    """One native function: `symbol` and `address`; keeps its code in memory."""

    __slots__ = ("symbol", "address", "digest", "_engine", "__weakref__")

    def __init__(self, symbol: str, address: int, digest: bytes, engine: _Engine) -> None:
        self.symbol, self.address, self.digest, self._engine = symbol, address, digest, engine

    def __repr__(self) -> str:
        return f"Code({self.symbol} at {self.address:#x})"


class NativeModule:
    """A compiled module with several functions."""

    __slots__ = ("_addresses", "_engine", "__weakref__")

    def __init__(self, names: Sequence[str], engine: _Engine) -> None:
        self._engine = engine
        self._addresses = {n: engine.address(n) for n in names}

    def address(self, name: str) -> int:
        """Address of one of the names given to `compile_ir`."""
        return self._addresses[name]

    def has(self, names: Iterable[str]) -> bool:
        """Whether all these functions are in it."""
        return self._addresses.keys() >= set(names)


def _object(source: str, digest: bytes, names: Iterable[str], level: int) -> bytes:
    """Object code of a text, cached or compiled."""
    binary = stored(digest)
    if binary is not None:
        return _complete(binary, names)
    binary = _complete(_compiler(level)(source), names)
    keep(digest, binary)
    return binary


def _compiler(level: int) -> Callable[[str], bytes]:
    """What makes object code of a text in this thread."""
    target, beside = _target(), THREAD.beside
    if beside is not None:
        return lambda source: beside.emit(target.dressed(source), target.processor.triple, level)
    return lambda source: target.emit(source, level)


def _private_compiler(level: int) -> Callable[[str], bytes]:
    """The same, without a lock of llvmlite's."""
    target = _target()
    emit = Beside(target.machine, lambda: False).emit
    return lambda source: emit(target.dressed(source), target.processor.triple, level)


def _complete(binary: bytes, names: Iterable[str]) -> bytes:
    """Object code, which must define `names` and need nothing."""
    defined, missing = object_symbols(binary)
    missing -= {*system().outside, *system().unused}
    if missing:
        raise BackendError(
            f"generated code needs symbols from outside: {', '.join(sorted(missing))}; "
            "express them in the algebra instead"
        )
    absent = set(names) - defined
    if absent:
        raise BackendError(f"generated code does not define {', '.join(sorted(absent))}")
    return binary


def object_for(
    processor: Processor, source: str, names: Iterable[str], closed: bool = True
) -> bytes:
    """Object code of a text for any processor, for a linker; nothing is cached.  `closed`: it must
    need nothing from outside, as all kernels."""
    with _LOCK:
        binary = _other(processor).emit(source, 2)
    if closed:
        _complete(binary, names)
    return binary


def stored(digest: bytes, what: Kept = ".o") -> bytes | None:
    """Bytes from the disk cache; any trouble with it is a miss."""
    try:
        storage = _disk()
        return None if storage is None else storage.get(digest, what)
    except Exception as error:
        if foreign(error):
            raise
        return None


def keep(digest: bytes, binary: bytes, what: Kept = ".o") -> None:
    """Keep object code, or bytes of another kind, on disk, where that works: it can always be made
    again."""
    try:
        storage = _disk()
        if storage is not None:
            storage.put(digest, binary, what)
    except Exception as error:
        if foreign(error):
            raise


def is_caching() -> bool:
    """Whether anything can be kept on disk."""
    return _disk() is not None


def prefix() -> bytes:
    """What object code depends on beside its text."""
    return _target().prefix


def _key(source: str, level: int) -> bytes:
    return hashlib.sha256(b"%d" % level + _target().prefix + source.encode()).digest()


@protected
def compile_ir(source: str, names: Sequence[str], level: int = 2) -> NativeModule:
    """Compile one module; equal texts give the same NativeModule while it is alive.

    >>> compile_ir("define i64 @one() { ret i64 1 }", ["one"]).address("one") != 0
    True
    """
    with _LOCK:
        digest = _key(source, level)
        module = _MODULES.get(digest)
        if module is None or not module.has(names):
            module = _MODULES[digest] = NativeModule(
                names, _Engine([_object(source, digest, names, level)])
            )
        return module


@protected
def compile_many(kernels: Iterable[tuple[str, str]], level: int = 2) -> list[Code]:
    """Code of each (symbol, text) pair, in order; what is not in memory is read from the disk cache
    or compiled.

    A symbol stands for one text in the whole process (generators derive it from the text).
    """
    kernels = list(kernels)
    digests = {source: _key(source, level) for source in {source for _, source in kernels}}
    ahead = _ahead(kernels, digests, level)
    with _LOCK:
        found: dict[str, Code] = {}
        fresh: dict[str, tuple[bytes, bytes]] = {}
        order = []
        for symbol, source in kernels:
            order.append(symbol)
            digest = digests[source]
            known_code = found.get(symbol) or _CODES.get(symbol)
            known = known_code.digest if known_code is not None else fresh.get(symbol, (digest,))[0]
            if known != digest:
                raise BackendError(f"two texts share the symbol {symbol}")
            if known_code is not None:
                found[symbol] = known_code
            elif symbol not in fresh:
                try:
                    binary = ahead.get(digest)
                    if binary is None:
                        binary = _object(source, digest, (symbol,), level)
                    fresh[symbol] = digest, binary
                except Exception as error:
                    blame(error, symbol=symbol)
                    raise
        found |= _linked(fresh)
        return [found[s] for s in order]


@protected
def codes_of(wanted: Iterable[tuple[str, bytes]]) -> list[Code] | None:
    """Code of each (symbol, digest) pair out of memory or the disk cache; None where some is in
    neither, or the symbol has another text in this process."""
    wanted = list(wanted)
    with _LOCK:
        found: dict[str, Code] = {}
        fresh: dict[str, tuple[bytes, bytes]] = {}
        for symbol, digest in dict.fromkeys(wanted):
            code = _CODES.get(symbol)
            if code is not None:
                found[symbol] = code
                continue
            binary = stored(digest)
            if binary is None or symbol in fresh:
                return None
            fresh[symbol] = digest, _complete(binary, (symbol,))
        if any(found[symbol].digest != digest for symbol, digest in wanted if symbol in found):
            return None
        found |= _linked(fresh)
        return [found[symbol] for symbol, _ in wanted]


def _linked(fresh: Mapping[str, tuple[bytes, bytes]]) -> dict[str, Code]:
    """Code of symbols that are not in memory, of (digest, object code) each."""
    if not fresh:
        return {}
    engine = _Engine(binary for _, binary in fresh.values())
    made = {s: Code(s, engine.address(s), digest, engine) for s, (digest, _) in fresh.items()}
    _CODES.update(made)
    return made


def _ahead(
    kernels: Iterable[tuple[str, str]], digests: Mapping[str, bytes], level: int
) -> dict[bytes, bytes]:
    """Object code of what is not in memory, by digest, made without a lock that others need: by
    this thread alone where it compiles beside others, else by as many as there are cores."""
    wanted: dict[bytes, tuple[str, str]] = {}
    for symbol, source in kernels:
        if symbol not in _CODES:
            wanted.setdefault(digests[source], (symbol, source))
    found = {digest: stored(digest) for digest in wanted}
    missing = [digest for digest, binary in found.items() if binary is None]
    alone = THREAD.beside is not None or len(missing) < 2
    threads, compiler = (1, _compiler) if alone else (usable_cores(), _private_compiler)
    texts = [wanted[digest][1] for digest in missing]
    emitted = emit_each(texts, threads, lambda: compiler(level)) if texts else []
    made = dict(zip(missing, emitted, strict=True))
    complete = {}
    for digest, (symbol, _) in wanted.items():
        try:
            binary = found[digest] or made[digest]
            if isinstance(binary, Exception):
                raise binary
            complete[digest] = _complete(binary, (symbol,))
        except Exception as error:
            blame(error, symbol=symbol)
            raise
        if digest in made:
            keep(digest, binary)
    return complete


@contextmanager
def beside(cancelled: Callable[[], bool]) -> Iterator[None]:
    """Scope of a thread in which its code is compiled while others compile theirs; `Cancelled` is
    raised before a text when `cancelled()` is true."""
    THREAD.beside = Beside(lambda level: _target().machine(level), cancelled)
    try:
        yield
    finally:
        THREAD.beside = None


def lookup(symbol: str) -> Code | None:
    """The Code of a symbol if it is in memory."""
    return _CODES.get(symbol)
