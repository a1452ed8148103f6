"""Kernels loaded on a device, each once while somebody holds it.

Invariant: a function's handle is valid while its Loaded object lives; a module leaves the card only
when the card has nothing left to do.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from weakref import WeakValueDictionary

from ....core.cache import Bounded
from ....core.signals import protected
from .assemble import assemble
from .driver import Driver

__all__ = ["Loaded", "Modules"]

_KEPT = 1024  # functions used last stay loaded though nobody holds them
_DEAD = 256  # modules that wait to be unloaded


class Loaded:
    """One kernel on one device: `handle` is the driver's function."""

    __slots__ = ("symbol", "handle", "shared", "module", "_dead", "__weakref__")

    def __init__(self, symbol: str, handle: int, shared: int, module: int, dead: list[int]) -> None:
        self.symbol, self.handle, self.shared = symbol, handle, shared
        self.module, self._dead = module, dead

    def __del__(self) -> None:
        self._dead.append(self.module)  # no driver call: this may run anywhere

    def __repr__(self) -> str:
        return f"Loaded({self.symbol})"


class Modules:
    """The kernels of one device."""

    def __init__(self, driver: Driver, arch: str) -> None:
        self._driver, self._arch = driver, arch
        self._loaded: WeakValueDictionary[str, Loaded] = WeakValueDictionary()
        self._recent = Bounded[Loaded](_KEPT)
        self._dead: list[int] = []
        self._lock = threading.RLock()

    @protected
    def load(self, functions: Sequence[tuple[str, str, int]]) -> list[Loaded]:
        """Functions for (symbol, LLVM IR text, bytes of dynamic shared memory), in order.

        The context of the device must be this thread's.  A symbol stands for one text; asked for
        again with more shared memory it may be started with more."""
        with self._lock:
            held = {s: self._loaded.get(s) for s, _, _ in functions}
            texts = [(s, text) for s, text, _ in functions if held[s] is None]
            images = assemble(texts, self._arch) if texts else {}
            if len(self._dead) > _DEAD:
                self.unload()
            return [self._function(s, shared, held, images) for s, _, shared in functions]

    def _function(
        self, symbol: str, shared: int, held: dict[str, Loaded | None], images: dict[str, bytes]
    ) -> Loaded:
        found = held[symbol]
        if found is None:
            module = self._driver.load(images[symbol])
            handle = self._driver.function(module, symbol, shared)
            found = Loaded(symbol, handle, shared, module, self._dead)
            held[symbol] = self._loaded[symbol] = found
        elif shared > found.shared:
            self._driver.function(found.module, symbol, shared)
            found.shared = shared
        return self._recent.of(symbol, lambda: found)

    def unload(self) -> None:
        """Take modules that nobody holds off the card."""
        with self._lock:
            if self._dead:
                self._driver.wait_device()
            while self._dead:
                self._driver.unload(self._dead.pop())

    def trim(self) -> None:
        """Keep only what somebody holds."""
        self._recent.clear()
        self.unload()

    def __len__(self) -> int:
        return len(self._loaded)
