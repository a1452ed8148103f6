"""A mode that looks at a thread's work and hands all of it to the mode below it.

Invariant: for the mode below (a recorder, a checker, another layer) everything is as if the layer
were not there, but for what a subclass keeps from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..ir.door import bind as door
from ..ir.mode import Mode

__all__ = ["Layer", "NOTHING"]

NOTHING = Mode()


class Layer(Mode):
    """Hooks that go on to `below`; `on` is the scope in which it is the thread's mode."""

    __slots__ = ("below",)

    def __init__(self) -> None:
        self.below: Mode = NOTHING

    @contextmanager
    def on(self) -> Iterator[Any]:
        """Be the mode of this thread."""
        previous = door.push_mode(self)
        self.below = NOTHING if previous is None else previous
        try:
            yield self
        finally:
            door.pop_mode(previous)

    @property
    def whole(self) -> bool:  # type: ignore[override]
        """Whether branches and loops are told as a whole."""
        return self.below.whole

    def control(self, operands: Any) -> Any:
        return self.below.control(operands)

    def check(self, graph: Any, inputs: Any) -> None:
        self.below.check(graph, inputs)

    def pause(self) -> Callable[[], None]:
        return self.below.pause()

    def holds(self, handle: Any) -> int:
        return self.below.holds(handle)


def _handed_on(name: str) -> Callable[..., Any]:
    def hook(self: Layer, *given: Any) -> None:
        getattr(self.below, name)(*given)

    hook.__name__, hook.__qualname__ = name, f"Layer.{name}"
    return hook


for _name in [name for name in vars(Mode) if name.startswith("on_")]:
    setattr(Layer, _name, _handed_on(_name))
