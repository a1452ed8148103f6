"""Calls that alternate between plans, or pass numbers, texts and objects beside tensors, served
without a look at their signatures.

A way leads from the arguments of a call, as they were written, to one plan.  Invariant: it serves a
call only if that has the signature of the plan: the same count and names of arguments, tensors that
the entry checks, and for every other argument the same object, or an equal number or text.
"""

from __future__ import annotations

import inspect
import types
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from ...ir.tensor import Handle
from ..heap.signature import Regard, by_identity
from ..record.outputs import Plain
from .paths import crossing, or_aside
from .plans import ReplayPlan
from .prepare import MISS

__all__ = ["Way", "Ways", "way_of", "MAX_WAYS", "FREE", "EACH"]

MAX_WAYS = 8
FREE, EACH = 64, 512  # ways that a function may make, and one more for so many replays
MAX_MISSES = 4096  # calls that no way served, after which they are found anew
_SINGLE = frozenset(map(id, (None, True, False, Ellipsis, NotImplemented)))


class Way(NamedTuple):
    """`serve(*values)` gives the result or NotImplemented; `given`: how many values; `names`: of
    the keywords, which are the last of them."""

    plan: ReplayPlan
    given: int
    names: tuple[str, ...]
    serve: Callable[..., Any]


class Ways:
    """The ways of a function, all of which are forgotten together (`caller()` is its `_direct`).

    `taken`: calls by way since they were last counted at the plans.  Nothing here leads back to the
    function, which goes when it is dropped."""

    __slots__ = ("ways", "taken", "misses", "dropped")

    def __init__(self, ways: list[Way], dropped: Callable[[], None]) -> None:
        self.ways, self.misses, self.dropped = ways, 0, weakref.WeakMethod(dropped)
        self.taken = [0] * len(ways)

    def caller(self) -> Callable[..., Any]:
        """What takes a call without keywords."""
        serving = tuple([(i, way.serve) for i, way in enumerate(self.ways) if not way.names])
        taken = self.taken

        def call(*args: Any) -> Any:
            for number, serve in serving:
                result = serve(*args)
                if result is not NotImplemented:
                    taken[number] += 1
                    return result
            return self.missed()

        call.ways = self  # type: ignore[attr-defined]
        return call

    def count(self) -> int:
        """Count the calls at their plans; how many there were."""
        for number, way in enumerate(self.ways):
            way.plan.calls += self.taken[number]
        calls = sum(self.taken)
        self.taken[:] = [0] * len(self.ways)
        return calls

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call with keywords."""
        names = tuple(kwargs)
        for number, way in enumerate(self.ways):
            if way.names == names:
                result = way.serve(*args, *kwargs.values())
                if result is not NotImplemented:
                    self.taken[number] += 1
                    return result
        return self.missed()

    def missed(self) -> Any:
        """No way serves a call: forget all where that goes on, so that others are found."""
        self.misses += 1
        dropped = self.dropped()
        if self.misses > MAX_MISSES and dropped is not None:
            dropped()
        return NotImplemented

    def serves(self, plan: ReplayPlan) -> bool:
        """Whether one of them leads to a plan."""
        return any(way.plan is plan for way in self.ways)


def way_of(
    function: Any,
    plan: ReplayPlan,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    tensors: list[Any],
    regard: Regard,
) -> Way | None:
    """The way from calls written like this one to the plan that served it; None where there is no
    way without a look at the signature."""
    entry, names = _serving(plan), tuple(kwargs)
    writing = _writing(function, len(args), names)
    if entry is None or writing is None or plan.recording.data:
        return None
    values = (*args, *kwargs.values())
    chosen = [index for index in writing.order if isinstance(values[index], Handle)]
    found = [values[index] for index in chosen]
    if len(found) != len(tensors) or any(a is not b for a, b in zip(found, tensors)):
        return None
    held: dict[str, Any] = {"entry": entry, "function": function}
    checks = _nodes(plan, chosen, held)
    rest = [(f"values[{i}]", value) for i, value in enumerate(values) if i not in chosen]
    if writing.defaults:  # a tuple: what is in it stays
        checks.append("function.__defaults__ is positional")
        held["positional"] = getattr(function, "__defaults__", None)
    for place, value in [*rest, *writing.defaults]:
        check = _check(value, regard, place, f"held{len(held)}")
        if check is None:
            return None
        checks.append(check)
        held[f"held{len(held)}"] = id(value) if check.startswith("id(") else value
    if not checks and chosen == list(range(len(values))):
        return Way(plan, len(values), names, entry)
    passed = ", ".join([f"values[{index}]" for index in chosen])
    checks.insert(0, f"len(values) == {len(values)}")
    text = f"def serve(*values):\n if {' and '.join(checks)}:\n  return entry({passed})\n"
    exec(compile(f"{text} return NotImplemented\n", "<hybrid way>", "exec"), held)
    return Way(plan, len(values), names, held.pop("serve"))


def _nodes(plan: ReplayPlan, chosen: list[int], held: dict[str, Any]) -> list[str]:
    """Conditions on the tape nodes of tensors, where the entry does not look at them."""
    if plan.served is not None and plan.served.whole:
        return []
    checks = []
    for index, wanted in zip(chosen, plan.recording.inputs):
        held[f"node{index}"] = wanted.node
        checks.append(f"type(values[{index}]._node) is node{index}")
    return checks


def _serving(plan: ReplayPlan) -> Callable[..., Any] | None:
    """What takes the tensors of a call, which need not be looked at before."""
    served, result = plan.served, plan.recording.outcome.result
    if served is None or served.direct is not None:
        return None if served is None else served.direct
    if isinstance(result, Plain) and result.value is NotImplemented:
        return None
    crossed = crossing(plan) if plan.recording.path else None
    if crossed is not None:
        return crossed
    replay = served.replay

    def serve(*tensors: Any) -> Any:
        answer = replay(tensors)
        return NotImplemented if answer is MISS else answer

    return or_aside(serve) if plan.recording.path else serve


def _check(value: Any, regard: Regard, place: str, held: str) -> str | None:
    """The condition under which a signature holds the same for what is in a place."""
    cls = type(value)
    if id(value) in _SINGLE or cls is float or cls is complex:
        return f"{place} is {held}"
    if cls is int or cls is str or cls is bytes:
        return f"({place} is {held} or type({place}) is {cls.__name__} and {place} == {held})"
    return f"id({place}) == {held}" if by_identity(value, regard) else None


class Writing(NamedTuple):
    """`order`: the arguments as the signature has them, by their number as written; `defaults`: of
    parameters that the call leaves out, each with the expression that finds it."""

    order: list[int]
    defaults: list[tuple[str, Any]]


def _writing(function: Any, given: int, names: tuple[str, ...]) -> Writing | None:
    """How a call is written; None where that is not known."""
    if not isinstance(function, types.FunctionType):
        return None if names else Writing(list(range(given)), [])
    code = function.__code__
    count, keywords = code.co_argcount, code.co_kwonlyargcount
    if code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        whole = not names and given >= count and not keywords
        return Writing(list(range(given)), []) if whole else None
    parameters = code.co_varnames[: count + keywords]
    place = {parameters[index]: index for index in range(min(given, count))}
    twice = not place.keys().isdisjoint(names)
    place.update((name, given + index) for index, name in enumerate(names))
    if given > count or twice or not place.keys() <= set(parameters):
        return None
    defaults = []
    positional, named = function.__defaults__ or (), function.__kwdefaults__ or {}
    for index, name in enumerate(parameters):
        if name not in place:
            number = index - count  # from the end
            if index >= count and name in named:
                defaults.append((f"(function.__kwdefaults__ or {{}}).get({name!r})", named[name]))
            elif index < count and -number <= len(positional):
                defaults.append((f"function.__defaults__[{number}]", positional[number]))
            else:
                return None
    if any(isinstance(value, Handle) for _, value in defaults):
        return None
    return Writing([place[name] for name in parameters if name in place], defaults)
