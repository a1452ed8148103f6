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

from ..heap.data import source_of
from ..heap.signature import Regard
from ..record.outputs import Plain
from .native.walk import ArgumentWalk, NoWay
from .paths import crossing, or_aside
from .plans import ReplayPlan
from .prepare import MISS
from .served import Served

__all__ = ["Way", "Ways", "UntapedWays", "way_of", "MAX_WAYS", "FREE", "EACH"]

MAX_WAYS = 12
OFTEN = 64  # calls of a way, after which their order is looked at
FREE, EACH = 64, 512  # ways that a function may make, and one more for so many replays
MAX_MISSES = 4096  # calls that no way served, after which they are found anew


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
        serving = [(i, way.serve) for i, way in enumerate(self.ways) if not way.names]
        if not serving:
            return self.missing()
        taken, serves = self.taken, [way.serve for way in self.ways]
        # the way that was taken after each, which comes first: calls often take turns
        after, latest = [serving[0][0]] * len(serves), serving[0][0]

        def call(*args: Any) -> Any:
            nonlocal serving, latest
            likely = after[latest]
            result = serves[likely](*args)
            if result is not NotImplemented:
                taken[likely] += 1
                latest = likely
                return result
            for number, serve in serving:
                if number == likely:
                    continue
                result = serve(*args)
                if result is not NotImplemented:
                    taken[number] = calls = taken[number] + 1
                    after[latest] = latest = number
                    if not calls % OFTEN:  # those that are taken most come first
                        serving = sorted(serving, key=lambda pair: -taken[pair[0]])
                    return result
            return self.missed()

        def only(*args: Any) -> Any:
            result = alone(*args)
            if result is NotImplemented:
                return self.missed()
            taken[number] += 1
            return result

        if len(serving) == 1:
            ((number, alone),) = serving
            call = only
        call.ways = self  # type: ignore[attr-defined]
        return call

    def missing(self) -> Callable[..., Any]:
        """What takes a call without keywords where all ways have some."""

        def call(*args: Any) -> Any:
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


class UntapedWays:
    """What serves calls without keywords while gradients are not recorded: the latest `plan` of
    tensors alone, weakly, and ways, the latest first; `handles`: code of theirs handles errors."""

    __slots__ = ("plan", "ways", "handles")

    def __init__(self) -> None:
        self.plan: Callable[[], ReplayPlan | None] = _no_plan
        self.ways: tuple[Way, ...] = ()
        self.handles = False

    def learn(self, way: Way) -> None:
        """One more way."""
        others = [other for other in self.ways if other[:3] != way[:3]]
        self.ways = (way, *others)[:MAX_WAYS]

    def serve(self, args: tuple[Any, ...]) -> Any:
        """The result of a call, or NotImplemented."""
        plan = self.plan()
        served = None if plan is None else plan.served
        if served is not None and served.direct is not None and not served.life.dead:
            result = served.direct(*args)
            if result is not NotImplemented:
                plan.calls += 1  # type: ignore[union-attr]
                return result
        for way in self.ways:
            if way.given == len(args):
                result = way.serve(*args)
                if result is not NotImplemented:
                    way.plan.calls += 1
                    return result
        return NotImplemented


def _no_plan() -> None:
    """What stands for the plan where there is none."""


def way_of(
    function: Any,
    plan: ReplayPlan,
    given: tuple[tuple[Any, ...], dict[str, Any]],
    tensors: list[Any],
    regard: Regard,
    owners: bool,
) -> Way | None:
    """The way from calls written like this one to the plan that served it; None where there is no
    way without a look at the signature.  `owners`: plans change containers, which must not be
    among the arguments."""
    args, kwargs = given
    entry, names = _serving(plan), tuple(kwargs)
    writing = _writing(function, len(args), names)
    if entry is None or writing is None:
        return None
    values, walk = (*args, *kwargs.values()), ArgumentWalk(regard)
    try:
        _walk_through(walk, function, values, writing)
    except NoWay:
        return None
    found = [value for _, value in walk.tensors]
    if len(found) != len(tensors) or any(source_of(t) is not v for t, v in zip(tensors, found)):
        return None
    if owners and not walk.plain:
        return None
    served = plan.served
    if served is not None and not served.whole and served.straight is None:
        for (place, _), wanted in zip(walk.tensors, plan.recording.inputs):
            walk.need(f"type({place}._node) is {walk.hold(wanted.node)}")
    if not walk.lines and [p for p, _ in walk.tensors] == [f"v{k}" for k in range(len(values))]:
        return Way(plan, len(values), names, entry)
    if served is not None and entry == served.entry.call:  # without its frame
        serve = walk.function(len(values), served.entry.raw, served.entry.failed)
    else:
        serve = walk.function(len(values), entry)
    return Way(plan, len(values), names, serve)


def _walk_through(
    walk: ArgumentWalk, function: Any, values: tuple[Any, ...], writing: Writing
) -> None:
    """Have the arguments of a call described, as the signature has them: by position."""
    if writing.left_out:
        walk.space["function"] = function
        # a tuple: what is in it stays
        walk.need(f"function.__defaults__ is {walk.hold(getattr(function, '__defaults__', None))}")
    for position in sorted([*writing.given, *writing.left_out]):
        if position in writing.given:
            index = writing.given[position]
            walk.argument(values[index], f"v{index}", position)
            continue
        (place, value), tensors = writing.left_out[position], len(walk.tensors)
        walk.argument(value, walk.name(place), position)
        if len(walk.tensors) > tensors and type(value) not in (int, float):
            raise NoWay


def _serving(plan: ReplayPlan) -> Callable[..., Any] | None:
    """What takes the tensors of a call, which need not be looked at before."""
    served, recording = plan.served, plan.recording
    result = recording.outcome.result
    if served is None or (isinstance(result, Plain) and result.value is NotImplemented):
        return None
    if served.direct is not None and not recording.data and not recording.numbers:
        return served.direct
    crossed = crossing(plan) if recording.path else None
    if crossed is not None:
        return crossed
    foresight = plan.known_paths.foresight
    if foresight is not None:
        return foresight.serve  # type: ignore[no-any-return]
    if type(served) is Served and served.whole_call is not None and not recording.path:
        return served.whole_call
    replay = served.replay

    def serve(*tensors: Any) -> Any:
        answer = replay(tensors)
        return NotImplemented if answer is MISS else answer

    return or_aside(serve) if recording.path else serve


class Writing(NamedTuple):
    """`given`: by position, as the signature has them, the number of each argument as written;
    `left_out`: by position, the expression that finds the default of a parameter, and it."""

    given: dict[int, int]
    left_out: dict[int, tuple[str, Any]]


def _writing(function: Any, given: int, names: tuple[str, ...]) -> Writing | None:
    """How a call is written; None where that is not known."""
    if not isinstance(function, types.FunctionType):
        return None if names else _as_written(given)
    code = function.__code__
    count, keywords = code.co_argcount, code.co_kwonlyargcount
    if code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        whole = not names and given >= count and not keywords
        return _as_written(given) if whole else None
    parameters = code.co_varnames[: count + keywords]
    place = {parameters[index]: index for index in range(min(given, count))}
    twice = not place.keys().isdisjoint(names)
    place.update((name, given + index) for index, name in enumerate(names))
    if given > count or twice or not place.keys() <= set(parameters):
        return None
    left_out: dict[int, tuple[str, Any]] = {}
    positional, named = function.__defaults__ or (), function.__kwdefaults__ or {}
    for index, name in enumerate(parameters):
        if name not in place:
            number = index - count  # from the end
            if index >= count and name in named:
                found = f"(function.__kwdefaults__ or {{}}).get({name!r})"
                left_out[index] = found, named[name]
            elif index < count and -number <= len(positional):
                left_out[index] = f"function.__defaults__[{number}]", positional[number]
            else:
                return None
    written = {index: place[name] for index, name in enumerate(parameters) if name in place}
    return Writing(written, left_out)


def _as_written(given: int) -> Writing:
    return Writing({index: index for index in range(given)}, {})
