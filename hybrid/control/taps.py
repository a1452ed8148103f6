"""Taps: values in the middle of a decorated function that can be looked at after a call.

Invariant: a tap changes no bit of any result; what it holds is that of the latest call.
"""

from __future__ import annotations

import sys
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..autograd.backward import stop_gradient
from ..core.cache import Living
from ..core.errors import ArgumentError
from ..ir.door import bind as door
from ..ir.tensor import Handle, new_handle

__all__ = ["tap", "Probes", "Tap", "probed"]


class Probes:
    """What taps saw in the latest call of a function: `values` by name.  `begun`, a method of its
    owner, says how many calls began so far, so that a new one is noticed."""

    __slots__ = ("code", "begun", "values", "names", "latest", "__weakref__")

    def __init__(self, function: Callable[..., Any], begun: Callable[[], int]) -> None:
        code = getattr(function, "__code__", None)
        self.code = code if type(code) is types.CodeType else None
        self.begun = weakref.WeakMethod(begun)  # the owner holds this
        self.values: dict[str, list[Any]] = {}
        self.names: dict[str, None] = {}  # of all calls
        self.latest = -1  # the number of the call that the values are of
        if self.code is not None:
            _LIVING.add(self)

    def owner(self) -> Any:
        """The decorated function."""
        begun = self.begun()
        return None if begun is None else begun.__self__  # type: ignore[attr-defined]

    def calls(self) -> int:
        """How many calls of the function have begun."""
        begun = self.begun()
        return -1 if begun is None else begun()

    def add(self, name: str, tensor: Any) -> None:
        """One more value of the call that is running."""
        if self.latest != self.calls():
            self.latest, self.values = self.calls(), {}
        self.names[name] = None
        self.values.setdefault(name, []).append(tensor)

    def seen(self, name: str) -> list[Any]:
        """The values of a tap in the latest call."""
        if name not in self.names:
            known = ", ".join(map(repr, self.names)) or "none"
            raise ArgumentError(f"no tap {name!r} was met in a call of this function; met: {known}")
        return list(self.values.get(name, ())) if self.latest == self.calls() else []


_LIVING: Living[Probes] = Living()


class Tap(NamedTuple):
    """A tap of a recorded call: its name, the output of the graph that it saw, whose probes it
    fills, and of these which are of the recorded function itself."""

    name: str
    output: int
    filled: tuple[weakref.ref[Probes], ...]
    own: tuple[bool, ...]


def tap(x: Any, name: str) -> Any:
    """The tensor x itself, whose value `fn.probe(name)` gives after a call of the decorated
    function fn that this happens in.

    It costs a replay one more result; the bits of all others stay.  A tap that is met several times
    in a call (in a loop) gives several values.  In a branch or loop of `hybrid.cond`, `scan` and
    the like, which run as one operation, it makes the function run eagerly.
    Raises TypeError for what is no tensor.

    >>> import hybrid
    >>> @hybrid.function
    ... def f(x):
    ...     return hybrid.tap(x * 2, "doubled").sum()
    >>> for k in range(4):
    ...     y = f(hybrid.ones(2) * k)
    >>> [value.tolist() for value in f.probe("doubled")]
    [[6.0, 6.0]]
    """
    if not isinstance(x, Handle):
        raise TypeError(f"tap needs a tensor, not a {type(x).__name__}")
    if type(name) is not str:
        raise TypeError(f"the name of a tap is a str, not a {type(name).__name__}")
    running = _running()
    for probes in running:
        probes.add(name, stop_gradient(x))
    mode = door.current_mode()
    if mode is not None:
        mode.on_tap(x, name, running)
    return x


def _running() -> list[Probes]:
    """The probes of the decorated functions that are being called."""
    codes: dict[Any, list[Probes]] = {}
    for probes in _LIVING:
        codes.setdefault(probes.code, []).append(probes)
    frame: types.FrameType | None = sys._getframe(2)
    found, several = dict[int, Probes](), list[Probes]()
    while frame is not None:
        chosen = codes.get(frame.f_code, [])
        if len(chosen) > 1:  # functions of one code: whose method called it is seen further up
            several, chosen = chosen, []
        elif several and not chosen:
            owner = _owner(frame)
            chosen = [probes for probes in several if probes.owner() is owner]
            several = [] if chosen else several
        found.update({id(probes): probes for probes in chosen})
        frame = frame.f_back
    return list(found.values())


def _owner(frame: types.FrameType) -> Any:
    """The object whose method of hybrid's runs in a frame."""
    own = str(frame.f_globals.get("__name__", "")).startswith("hybrid.")
    method = own and frame.f_code.co_varnames[:1] == ("self",)
    return frame.f_locals.get("self") if method else _owner


def probed(taps: Sequence[Tap], value: Callable[[int], tuple[Any, Any]]) -> None:
    """A replay is over: fill the probes; `value` gives the value and record of an output."""
    filled: dict[int, tuple[Probes, bool, dict[str, list[Any]]]] = {}
    for name, output, targets, own in taps:
        for ref, mine in zip(targets, own):
            probes = ref()
            if probes is not None:
                values = filled.setdefault(id(probes), (probes, mine, {}))[2]
                values.setdefault(name, []).append(new_handle(*value(output)))
    for probes, mine, values in filled.values():
        probes.values = values
        probes.latest = probes.calls() + mine  # the replay is counted when it has returned
        probes.names.update(dict.fromkeys(values))
