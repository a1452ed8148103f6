"""Modules called inside deferred calls: those that are large enough are recorded and replayed.

What calls a module has to run each time, but the module itself may do the same whenever it is
called.  Invariant: a module on its own is a decorated function of the module and its arguments, so
all that is promised of those holds; every other module is part of the deferred call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...core import trees
from ...core.cache import keep
from ...core.errors import ArgumentError
from ...ir.collector import Collector
from ...ir.door.context import begin_collecting, current_mode, grad_enabled, set_aside
from ...ir.tensor import Handle

__all__ = ["Parts", "LARGE"]

LARGE = 16  # ops that are worth leaving a deferred call for
MOST_MODULES = 1024  # whose sizes are known
Call = Callable[..., Any]


class Parts:
    """The modules that one function calls.

    `make` decorates the function that calls them; `sizes`: ops of modules by their id and whether
    the tape is on, 0 for those that are not replayed (of a module that took another one's id this
    may be wrong, which costs time only); `ops`: how many ops replays of them have done."""

    __slots__ = ("make", "function", "sizes", "ops", "info")

    def __init__(self, make: Callable[[Call], Any]) -> None:
        self.make = make
        self.function: Any = None
        self.sizes: dict[tuple[int, bool], int] = {}
        self.ops = 0
        self.info: Any = None

    @property
    def news(self) -> int:
        """A number that moves while modules are recorded and compiled."""
        return 0 if self.info is None else self.info.records + self.info.compilations

    def run(
        self, mode: Collector, call: Call, module: Any, args: tuple[Any, ...], kwargs: Any
    ) -> Any:
        """The result of `call(module, *args, **kwargs)`; NotImplemented: it is to run here."""
        key = id(module), grad_enabled()
        size = self.sizes.get(key)
        if size == 0:
            return NotImplemented
        if size is None:
            before = mode.done + len(mode.segment.results)
            mode.inline = module
            result = call(module, *args, **kwargs)
            count = mode.done + len(mode.segment.results) - before
            # one on the tape is differentiated here, where a backward pass is a bundle
            fits = count >= LARGE and not _on_tape(result)
            keep(self.sizes, key, count if fits else 0, MOST_MODULES)
            return result
        if self.function is None:
            self.function = self.make(call)
            vars(self.function)["_say"] = _silent
            self.info = self.function.cache_info()
        return self._apart(mode, key, module, args, kwargs)

    def _apart(
        self,
        mode: Collector,
        key: tuple[int, bool],
        module: Any,
        args: tuple[Any, ...],
        kwargs: Any,
    ) -> Any:
        try:
            set_aside(mode)
            result = self.function(module, *args, **kwargs)
        finally:
            if current_mode() is not mode:
                begin_collecting(mode)
        before, info = self.info, self.function.cache_info()
        self.info = info
        if info.replays > before.replays:
            self.ops += self.sizes.get(key, 0)
        elif info.eager + info.deferred > before.eager + before.deferred:
            if not self.function.on_trial:  # it was given up
                self.sizes[key] = 0
        return result


def _on_tape(result: Any) -> bool:
    try:
        found = trees.leaves(result)
    except ArgumentError:  # it holds itself
        return True
    return any(isinstance(t, Handle) and t._node is not None for t in found)


def _silent(reason: str, text: str) -> None:
    """Says nothing: the function around has its own word."""
