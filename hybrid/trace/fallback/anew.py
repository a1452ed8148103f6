"""Functions that a program decorates anew again and again, as a lambda in a function that it calls:
once it is seen that recordings of their code are made for nothing, new ones run plainly at first.

Invariant: such a function is recorded when its own calls have taken PAYS times what that takes, so
that decorating never costs a call more than a share of it; what else is asked of it finds it whole.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from types import CodeType, FunctionType
from typing import Any

from ...core import signals
from ...core.cache import keep
from .budget import CLOCK, Budget
from .deferred import CHOICE
from .nap import become, stands_in

__all__ = ["made_anew", "plain_at_first", "started"]

# A function counts so much, and 1 once a signature of it came again and was accepted or given up.
WEIGHT = 16
MOST = 256  # of one code: as many functions that lived for a while, or 16 others
UNTIMED = 3  # first calls of a new one
RECORDINGS = 3  # of a function: two, and what is compiled
PAYS = 3
RAN, SECONDS, PRICE = range(3)  # of a new one: its calls, what they took, when it starts
_LIMIT = 1024  # codes


class Origin:
    """What is known of the functions of one code: their `weight`, the accounts of the latest."""

    __slots__ = ("code", "weight", "accounts")

    def __init__(self, code: CodeType) -> None:
        self.code, self.weight = code, 0
        self.accounts: deque[Budget] = deque(maxlen=MOST // WEIGHT)

    def came_again(self) -> None:
        """A signature of one of them was met again."""
        self.weight -= WEIGHT - 1

    def price(self) -> float:
        """Seconds that calls of a new one take before it is recorded."""
        recordings = sum([account.recordings for account in self.accounts])
        seconds = sum([account.free + account.spent for account in self.accounts])
        return PAYS * RECORDINGS * seconds / recordings if recordings else 0.0


_ORIGINS: dict[int, Origin] = {}  # by id of the code, which they keep
_MAKERS: dict[type, Any] = {}  # class -> what makes an object that runs plainly at first
_LOCKS = [threading.RLock()]  # one of them starts in one thread

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _LOCKS.__setitem__(0, threading.RLock()))


def started(decorated: Any) -> Any:
    """Note a decorated function that was made as usual; it is returned."""
    fn = decorated.fn
    if type(fn) is FunctionType:
        code = fn.__code__
        origin = _ORIGINS.get(id(code)) or keep(_ORIGINS, id(code), Origin(code), _LIMIT)
        origin.weight += WEIGHT
        account = vars(decorated)["_budget"]
        account.origin = origin
        origin.accounts.append(account)
    return decorated


def made_anew(kind: type, fn: Any, wait: bool | None) -> Any:
    """A decorated function that runs plainly at first; None where it is to be made as usual."""
    if type(fn) is not FunctionType:
        return None
    origin = _ORIGINS.get(id(fn.__code__))
    if origin is None or origin.weight < MOST or CHOICE[0] == "always":
        return None
    return _MAKERS[kind](fn, wait, origin)


def plain_at_first(awake: Any) -> Any:
    """Make the class that objects of a class have until they are started: of these, only the
    function is there, all else is made when it is asked for."""

    class Anew(awake):  # type: ignore[misc]
        _binds = True
        _counts: list[float]
        _origin: Origin

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            counts = self._counts
            counts[RAN] += 1
            if counts[RAN] <= UNTIMED:
                return self.fn(*args, **kwargs)
            if counts[RAN] == UNTIMED + 1:
                counts[PRICE] = self._origin.price()
            if counts[SECONDS] >= counts[PRICE]:
                counts[RAN] -= 1
                _start(self, Anew, awake)
                return self(*args, **kwargs)
            begun = CLOCK[0]()
            try:
                return self.fn(*args, **kwargs)
            finally:
                counts[SECONDS] += CLOCK[0]() - begun

        def __getattr__(self, name: str) -> Any:
            _start(self, Anew, awake)
            return getattr(self, name)

    stands_in(Anew, awake, {})
    _MAKERS[awake] = _maker(Anew)
    return awake


def _maker(kind: type) -> Any:
    """What makes an object of a class, at little cost."""
    new: Any = object.__new__

    def make(fn: Any, wait: bool | None, origin: Origin) -> Any:
        self: Any = new(kind)
        self.__dict__ = {
            "fn": fn,
            "_wait": wait,
            "_origin": origin,
            "_counts": [0, 0.0, 0.0],
            "__module__": fn.__module__,
            "__doc__": fn.__doc__,
        }
        return self

    return make


def _start(decorated: Any, anew: type, awake: Any) -> None:
    """Make a function as it is made as usual; its calls so far were eager ones."""
    with signals.held, _LOCKS[0]:
        if type(decorated) is not anew:  # another thread was faster
            return
        own = vars(decorated)
        if "_budget" in own:  # it is being made
            raise AttributeError("a part of a decorated function that is being made")
        awake.__init__(decorated, own["fn"], own["_wait"])
        own["_eager"] += own["_counts"][RAN]
        become(decorated, awake)
