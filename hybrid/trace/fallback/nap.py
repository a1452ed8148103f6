"""Calls of a function that runs eagerly whatever comes, without a look at their signatures.

Invariant: only where the look costs more than it brings (calls of less than WORTH seconds, or
inside of others, almost none of which is served otherwise), and never for long: REST calls, at most
as many as make up for what looking takes.
"""

from __future__ import annotations

import functools
import itertools
import operator
import threading
import weakref
from collections.abc import Callable
from typing import Any

from ...backends.api import layout
from ...core.aval import Aval
from ...core.cache import keep
from ...ir.door.context import LOCAL
from ...ir.tensor import Handle
from .budget import CLOCK, Budget

__all__ = [
    "InnerCalls",
    "LONGEST",
    "MAX_REST",
    "Nap",
    "Napping",
    "PassedBy",
    "UNCOUNTED",
    "asleep",
    "become",
    "stands_in",
]

STREAK = 32  # eager calls, less WEIGHT for each other one, before the first nap
SETTLED = 8  # the same where all of them were of signatures that are not tried again soon
WEIGHT = 8
LOOKS = 2  # calls that are looked at between naps
REST, MAX_REST = 32, 256  # calls of a nap: doubled each time, at once the most where settled
SHARE, LONGEST = 0.02, 4096  # of the time of calls that looks may take; calls that this makes a nap
FREE = 5e-3  # seconds of looks that do
ODD, BRIEF = 8, 1e-5  # what a look counts at most, times the one before, and that at least
POOR = 4  # eager calls most of whose inner calls are not served, before those are not looked at
UNCOUNTED = 1 << 40  # more calls than there are in one
MOST = 64  # signatures that are passed by
_PLAIN: frozenset[Any] = frozenset((bool, int, float, str, type(None)))  # values that keys tell
WORTH = 1e-3  # seconds of a call that a look at its signature is small beside


class Nap:
    """`slept`: calls of naps since somebody asked (`credit`); `weight`: for how many calls one that
    is looked at stands; `hopeful`: the call that runs now may be recorded when it comes again;
    `settled`: it is one of a signature that was given up, as were all since others came; `began`:
    when the look at it began; `debt`: seconds of looks beyond their share; `before`: of the one
    before: more than ODD times that is an odd one, in which the thread had to wait."""

    __slots__ = ("hopeful", "settled", "weight", "slept", "streak", "rest", "others", "least") + (
        "began",
        "debt",
        "before",
    )

    def __init__(self) -> None:
        self.slept = self.streak = self.others = 0
        self.rest, self.weight, self.least = REST, 1, WORTH
        self.hopeful = self.settled = False
        self.began = self.debt = 0.0
        self.before = FREE / STREAK

    def tire(self, others: int, seconds: float) -> int:
        """A call ran eagerly: how many next ones do so unseen.  `others`: calls so far that did
        not; `seconds`: what it took (the first of a shape takes long, so the least counts)."""
        settled, self.settled = self.settled, False
        if self.began:
            look = CLOCK[0]() - self.began - seconds
            taken, self.before = min(look, ODD * self.before), max(look, BRIEF)
            self.began, self.debt = 0.0, max(self.debt + taken - SHARE * seconds, 0.0)
        if self.hopeful:
            self.hopeful = False
            return self._hoping(seconds)
        self.least = min(self.least, seconds)
        if others != self.others:
            self.streak = max(0, self.streak - WEIGHT * (others - self.others))
            self.others, self.rest, self.weight = others, REST, 1
        self.streak += 1
        enough = self.streak >= STREAK or (settled and self.streak >= SETTLED)
        enough = enough and self.least < WORTH
        if not enough and (self.debt < FREE or self.streak < SETTLED):
            return 0
        rest = 0
        if enough:
            rest = MAX_REST if settled else self.rest
            self.rest = min(2 * rest, MAX_REST)
        share = SHARE * max(self.least if self.least < WORTH else seconds, 1e-9)
        rest = max(rest, min(int(self.debt / share), LONGEST), 1)
        self.debt = max(self.debt - rest * share, 0.0)
        self.streak, self.least = STREAK - LOOKS, WORTH
        self.weight = rest // LOOKS
        self.slept += rest
        return rest

    def _hoping(self, seconds: float) -> int:
        """The same where such a call may be recorded when it comes again: as few as make looks
        cheap."""
        if self.debt < FREE or seconds >= WORTH:
            return 0
        self.debt = max(self.debt - REST * SHARE * seconds, 0.0)
        self.weight = REST // LOOKS
        self.slept += REST
        return REST

    def credit(self) -> int:
        """Calls that nobody looked at, once."""
        slept, self.slept = self.slept, 0
        return slept


class PassedBy:
    """Signatures that were given up, of a function whose other calls are replayed: calls of these
    run in Python without a look at their signature, as many in a row as a nap takes. So do calls
    that no plan of their signature serves, where their values or the one plan tell them apart.

    `rows`: how many are left and were begun with, the state of the signature (weakly) and what it
    was, by what tells its calls apart at a glance."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: dict[Any, list[Any]] = {}

    def takes(self, args: tuple[Any, ...]) -> bool:
        """Whether a call is one of them, which is counted."""
        row = self.rows.get(_glance(args))
        if row is None or row[0] <= 0:
            return False
        state = row[2]()
        if state is None or state.state != row[3]:
            row[0] = 0
            return False
        row[0] -= 1
        if state.plans:
            state.fruitless += 1
        else:
            state.idle += 1
        return True

    def begin(self, args: tuple[Any, ...], state: Any, table: dict[Any, Any]) -> None:
        """The next calls like this one are not looked at, unless others, which a glance would not
        tell from it, are replayed."""
        key = _glance(args)
        if key is None or (len(state.plans) > 1 and not any(type(p) is tuple for p in key)):
            return
        seen = list(table.items())
        mine = next((_visible(signature) for signature, one in seen if one is state), None)
        for signature, other in seen:
            if other is not state and other.plans and _visible(signature) == mine:
                return
        row = self.rows.get(key)
        again = row is not None and row[2]() is state
        rest = min(2 * row[1], MAX_REST) if again and row is not None else REST
        keep(self.rows, key, [rest, rest, weakref.ref(state), state.state], MOST)


def _glance(args: tuple[Any, ...]) -> Any:
    """The records of distinct tensors, plain values, and whether gradients are recorded; None for
    other calls."""
    key: list[Any] = [LOCAL.grad]
    tensors = 0
    for given in args:
        if isinstance(given, Handle):
            tensors += 1
            key.append(given._a)
        elif type(given) in _PLAIN:
            key.append((type(given), given))
        else:
            return None
    met = {id(given) for given in args if isinstance(given, Handle)}
    return tuple(key) if len(met) == tensors else None


def _visible(signature: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
    """What a glance sees of the calls of a signature: records, and values that it holds."""
    values = [part for part in signature if type(part) is tuple and part and part[0] in _PLAIN]
    return [part for part in signature if type(part) is Aval], values


_CALLED = frozenset(("fn",))  # attributes that a sleeping function's calls depend on
_ASLEEP: dict[type, type] = {}  # class -> that of its objects while they sleep


def _none() -> int:
    """What is left of a nap that is over."""
    return 0


def _counting(function: Any, calls: int, last: Any) -> tuple[Callable[..., Any], Callable[[], int]]:
    """See ObjectLayout.counted, where there is none."""
    left = itertools.repeat(function, calls)

    def call(*args: Any, **kwargs: Any) -> Any:
        return next(left, last)(*args, **kwargs)

    return call, functools.partial(operator.length_hint, left)


class Napping:
    """A function that may sleep: for that it gets the class that `asleep` made of its own."""

    __slots__ = ("__dict__", "_ahead")  # what is called while it sleeps
    fn: Callable[..., Any]
    _budget: Budget
    _eager: int
    _direct: Callable[..., Any] | None
    _ahead: Callable[..., Any]
    _passed_by: PassedBy | None = None
    _signatures: Any
    _of_all: Callable[[], Any]
    _sealed: Callable[[Any], bool]
    _affordable: Callable[[Any], bool]
    _linked: Any

    def __init__(self) -> None:
        self._left: Callable[[], int] = _none
        self._ahead = _none

    @property
    def _unseen(self) -> int:
        """Calls that are counted as eager and have yet to come."""
        return self._left()

    def _pass_by(self, state: Any, args: tuple[Any, ...]) -> None:
        """A call of a signature that was given up, that no plan serves or that is not recorded for
        now: let the next ones go by, if a look at them costs more than it brings and others are
        served directly."""
        if state.state == "EAGER":
            done = state.why and state.deferral is None
        else:
            done = not state.plans or self._of_all() is None
        if done and self._direct and self._budget.usual < WORTH:
            self._passed_by = self._passed_by or PassedBy()
            self._passed_by.begin(args, state, self._signatures)

    def _goes_by(self, state: Any, given: Any) -> bool:
        """Whether a call that no plan serves is not recorded; the next ones like it (`given`: its
        arguments, where they are bare) may go by."""
        if state.work is None and not self._sealed(state) and self._affordable(state):
            return False
        if given is not None and self._linked is None:
            self._pass_by(state, given)
        return True

    def _sleep(self, calls: int, run: Callable[..., Any] | None = None) -> bool:
        """Let the next calls run the user's function, or what stands for it, and the one after them
        wake this up."""
        awake = type(self)
        other = _ASLEEP.get(awake)
        if other is None:  # a class of its own, or another thread was faster
            return False
        known = layout()
        count = _counting if known is None else known.counted
        self._ahead, left = count(run or self.fn, calls, _alarm(weakref.ref(self), awake))
        self._eager += calls
        self._budget.unseen += calls if calls <= LONGEST else 0
        self._left = left
        become(self, other)
        return True

    def _wake(self) -> None:
        """End a nap early: what is left of it has not come."""
        awake = getattr(type(self), "awake", None)
        if awake is not None:
            left = self._unseen
            self._eager -= left
            self._budget.unseen -= left if left <= LONGEST else 0
            self._left = _none
            become(self, awake)


def become(napping: Any, kind: type) -> None:
    """Give an object another class."""
    napping.__class__ = kind


def _alarm(sleeper: Callable[[], Any], awake: type) -> Callable[..., Any]:
    """The call that wakes a function, which does not keep it."""

    def ring(*args: Any, **kwargs: Any) -> Any:
        function = sleeper()
        function.__class__ = awake
        return function(*args, **kwargs)

    return ring


def asleep(awake: Any) -> Any:
    """Make the class that objects of a class have while their calls go unseen.

    Calling one calls its `_ahead`, which hands on to the user's function, or to the alarm: all by C
    code, so that such a call costs next to nothing."""

    made_of = awake

    class Asleep(awake):  # type: ignore[misc]
        awake = made_of
        __call__ = Napping.__dict__["_ahead"]

        def __setattr__(self, name: str, value: Any) -> None:
            if name in _CALLED:  # another function is to be called from now on
                self._wake()
            awake.__setattr__(self, name, value)

    stands_in(Asleep, awake, _ASLEEP)
    return awake


def stands_in(kind: Any, awake: Any, table: dict[type, type]) -> None:
    """Let a class be the one that objects of another have for a while: it is called like that, and
    they are pickled as objects of that."""

    def __reduce__(self: Any) -> Any:
        made = awake.__reduce__(self)
        return made if isinstance(made, str) else (awake, *made[1:])

    kind.__reduce__ = __reduce__
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(kind, name, getattr(awake, name))
    table[awake] = kind


class _Here(threading.local):
    """How deep each function's calls of a thread are inside of each other, by id of its counts."""

    def __init__(self) -> None:
        self.depths: dict[int, int] = {}


_HERE = _Here()


class InnerCalls:
    """Whether calls of a function inside of one that runs eagerly (recursion over data, say) are
    looked at: only where most of them are served otherwise, and now and then.

    `poor`: calls in a row in which that was not so; `blind`: how many next ones are not looked
    into; `depth`: how many calls of this thread are inside of each other right now; `outer`: how
    many outermost ones there were; `met`: whether there were others, or something else calls itself
    for data."""

    __slots__ = ("poor", "blind", "rest", "outer", "met")

    def __init__(self) -> None:
        self.poor = self.blind = self.outer = 0
        self.rest, self.met = REST, False

    @property
    def depth(self) -> int:
        return _HERE.depths.get(id(self), 0)

    @depth.setter
    def depth(self, depth: int) -> None:
        if depth:
            _HERE.depths[id(self)] = depth
        else:
            _HERE.depths.pop(id(self), None)

    def enter(self) -> bool:
        """Note a call that runs eagerly; whether it is an outermost one."""
        outermost = not self.depth
        self.outer, self.met = self.outer + outermost, self.met or not outermost
        return outermost

    def unlooked(self) -> bool:
        """Note an outermost call; whether those inside of it are not looked at."""
        self.blind -= self.blind > 0
        return self.blind > 0

    def seen(self, eager: int, served: int) -> None:
        """An outermost call has ended: how many inside of it ran eagerly, and how many not."""
        if eager and served >= eager:
            self.poor, self.rest = 0, REST
        elif eager:
            self.poor += 1
            if self.poor >= POOR:
                self.poor = POOR - 1
                self.blind, self.rest = self.rest, min(2 * self.rest, MAX_REST)
