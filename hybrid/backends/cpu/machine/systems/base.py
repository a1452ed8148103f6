"""What the engine and the rest of the backend ask of an operating system.

Native code asks through a few functions in IR text, the same names on each system (PRIMITIVES),
which take C functions from the control block, where the pool puts the addresses of `functions`.

Invariant: a wait may end early, so whoever waits looks again; everything else does what it says or
reports that it could not.
"""

from __future__ import annotations

import ctypes
import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from .....core.errors import BackendError
from ..asm import Fn
from ..control import FUNCTION_SLOTS, FUNCTIONS, MAX_WORKERS

__all__ = ["Cache", "System", "ORDINARY_CACHES", "PRIMITIVES", "MASK_BYTES", "STACK_BYTES"]

STACK_BYTES = 1 << 20  # of a worker thread
MASK_BYTES = 128  # of a mask of CPUs: a bit for each of the first 1024
# name, result and parameters of each, after `ptr %ctl`
PRIMITIVES: dict[str, tuple[str, dict[str, str]]] = {
    "system_now": ("i64", {}),  # monotonic nanoseconds
    "system_wait": ("void", {"word": "ptr", "seen": "i32"}),  # sleep while *word == seen
    "system_wake": ("void", {"word": "ptr", "count": "i64"}),  # as many sleepers; MAX_WORKERS: all
    "system_start": ("i1", {"worker": "ptr"}),  # a thread that runs ctl.worker(worker): done?
    "system_bind": ("void", {"mask": "ptr"}),  # this thread to the CPUs of a mask, if it can be
    "system_block": ("void", {"old": "ptr"}),  # keep all signals from this thread
    "system_unblock": ("void", {"old": "ptr"}),  # what it had before
    "system_take": ("ptr", {"bytes": "i64"}),  # memory at a multiple of 64, or null
    "system_free": ("void", {"memory": "ptr"}),
}


class Cache(NamedTuple):
    """A cache as one core sees it."""

    size: int  # bytes
    ways: int


# of each level, where the system does not tell
ORDINARY_CACHES = Cache(32 << 10, 8), Cache(512 << 10, 8), Cache(8 << 20, 16)


class System(ABC):
    """One operating system: its C functions, and what it tells of the machine."""

    name: ClassVar[str]
    functions: ClassVar[tuple[str, ...]]  # C functions that native code calls
    libraries: ClassVar[tuple[str | None, ...]] = (None,)  # where they are; None: the process
    needs: ClassVar[str] = ""  # which release has all of them
    tested: ClassVar[bool] = False  # whether anybody has run it
    outside: ClassVar[tuple[str, ...]] = ()  # functions that LLVM may call for its own ends
    unused: ClassVar[tuple[str, ...]] = ()  # symbols that object code names and never reads

    # ---- C functions
    @cached_property
    def loaded(self) -> list[Any]:
        """The libraries, those that this machine lacks left out."""
        found = []
        for library in self.libraries:
            try:
                found.append(self.load(library))
            except OSError:
                continue
        return found

    def load(self, library: str | None) -> Any:
        return ctypes.CDLL(library)

    def found(self, name: str) -> Any:
        """A C function, or None."""
        for library in self.loaded:
            try:
                return getattr(library, name)
            except AttributeError:
                continue
        return None

    def find(self, name: str) -> Any:
        """A C function; BackendError where no library has it."""
        function = self.found(name)
        if function is None:
            raise BackendError(
                f"the C function {name} is not available in this process; native code cannot run"
                + (f" (it needs {self.needs})" if self.needs else "")
            )
        return function

    def address(self, name: str) -> int:
        """Address of a C function."""
        address: int | None = ctypes.cast(self.find(name), ctypes.c_void_p).value
        if not address:
            raise BackendError(f"the C function {name} has no address; native code cannot run")
        return address

    # ---- native code
    def place(self, name: str) -> int:
        """Where the control block keeps the address of one of `functions`."""
        return FUNCTIONS + 8 * self.functions.index(name)

    def text(self) -> str:
        """IR of the PRIMITIVES."""
        assert len(self.functions) <= FUNCTION_SLOTS
        parts = []
        for name, (result, params) in PRIMITIVES.items():
            writer = Fn(name, result, "noinline", ctl="ptr", **params)
            getattr(self, name.removeprefix("system_") + "_text")(writer)
            parts.append(writer.text())
        return "".join(parts)

    def call(self, writer: Fn, result: str, name: str, *arguments: str, variadic: str = "") -> str:
        """A call of a C function."""
        address = writer.ld("%ctl", self.place(name))
        return writer.call(result, address, *arguments, variadic=variadic)

    def each_or_all(self, writer: Fn, one: str, every: str, *arguments: str) -> None:
        """Wake by functions that wake one thread, or all."""
        with writer.when(writer.cmp("uge", "%count", MAX_WORKERS)):
            self.call(writer, "void", every, "ptr %word", *arguments)
            writer.go("out")
            writer.label(writer.fresh())
        with writer.each("%count"):
            self.call(writer, "void", one, "ptr %word", *arguments)
        writer.label("out")
        writer.ret()

    @abstractmethod
    def now_text(self, writer: Fn) -> None: ...

    @abstractmethod
    def wait_text(self, writer: Fn) -> None: ...

    @abstractmethod
    def wake_text(self, writer: Fn) -> None: ...

    @abstractmethod
    def start_text(self, writer: Fn) -> None: ...

    def bind_text(self, writer: Fn) -> None:
        writer.ret()

    @abstractmethod
    def block_text(self, writer: Fn) -> None: ...

    @abstractmethod
    def unblock_text(self, writer: Fn) -> None: ...

    @abstractmethod
    def take_text(self, writer: Fn) -> None: ...

    @abstractmethod
    def free_text(self, writer: Fn) -> None: ...

    def dressed(self, source: str, layout: Callable[[], str]) -> str:
        """A text as this system's LLVM needs it: names of symbols follow from the data layout."""
        return f'target datalayout = "{layout()}"\n{source}'

    # ---- memory and threads
    def pages(self, nbytes: int) -> mmap.mmap:
        """Zeroed pages of this process alone."""
        return mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    @abstractmethod
    def free(self, address: int) -> None:
        """Give back what `system_take` gave (also while Python shuts down)."""

    @abstractmethod
    def trim(self) -> None:
        """Return free memory of the C library to the system, where it can."""

    @abstractmethod
    def thread_attributes(self, memory: int) -> int:
        """What `system_start` finds in ctl.attr; may fill 256 bytes at `memory`."""

    @abstractmethod
    def stack_end(self) -> int:
        """The lowest address of this thread's stack; 0 where that is not known."""

    # ---- the machine
    @abstractmethod
    def cores(self) -> int:
        """Cores that threads of this process should run on."""

    def present(self) -> int:
        """Cores that they can run on."""
        return self.cores()

    def nodes(self) -> tuple[frozenset[int], ...]:
        """The CPUs that threads of this process may run on, by node of memory, where there are
        several nodes and the system tells of them; else nothing."""
        return ()

    @abstractmethod
    def quota(self) -> float:
        """How much of their time the system grants, in cores; inf: all."""

    def memory(self) -> int:
        """Bytes of memory that this process may use; 0 where the system does not tell."""
        return 0

    @abstractmethod
    def caches(self) -> tuple[Cache, Cache, Cache]:
        """The three levels of data caches; ordinary ones where the system does not tell."""
