"""Making calls of Python's own world again in a replay: what has to come before the operations,
and what comes after all that the call leaves is in place.

Invariant: what was done before the operations of a call that is not replayed is undone; what comes
after is done whole, and an exception that it raises is the user's.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...backends.api import layout
from ...core.signals import passing
from ..heap.facts import Holder

__all__ = [
    "First",
    "Told",
    "told",
    "refused",
    "undo",
    "settled",
    "saved",
    "saver",
    "state_of",
    "tell",
]


def _access(owner: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """What reads and what writes the state of a generator of random numbers."""
    if isinstance(owner, np.random.RandomState):
        return owner.get_state, owner.set_state
    if isinstance(owner, np.random.Generator):
        bits = owner.bit_generator
        return lambda: bits.state, functools.partial(setattr, bits, "state")
    return owner.getstate, owner.setstate


def state_of(owner: Any) -> Any:
    """The state of a generator of random numbers, as a value that can be compared."""
    state = _access(owner)[0]()
    if isinstance(owner, np.random.RandomState):  # (name, array of keys, ...)
        name, keys, *rest = state
        return name, np.asarray(keys).tobytes(), *rest
    return state


# methods of a RandomState that move nothing but its bit generator
_SIMPLE = {"rand", "random", "random_sample", "uniform", "randint", "permutation", "choice"}
_BYTES = 625 * 4  # the state of MT19937: its key, and a position


_bits_of = operator.attrgetter("_bit_generator")  # of a RandomState


def _put_back(bits: Any, state: bytes) -> None:
    with bits.lock:
        ctypes.memmove(bits.ctypes.state_address, state, _BYTES)


def _raw(owner: Any) -> Callable[[], Any]:
    """The same for the bit generator alone, as its bytes: a hundredth of the time."""
    bits = _bits_of(owner)
    with bits.lock:
        return functools.partial(
            _put_back, bits, ctypes.string_at(bits.ctypes.state_address, _BYTES)
        )


@functools.lru_cache(1)
def _has_raw() -> bool:
    """Whether a generator can be brought back so, by experiment."""
    try:
        owner = np.random.RandomState(7)
        owner.standard_normal()
        for count in (1, 700, 3):
            before, restore = state_of(owner), _raw(owner)
            numbers = owner.randint(0, 9, count).tolist()
            moved = state_of(owner) != before
            restore()
            again = state_of(owner) == before and owner.randint(0, 9, count).tolist() == numbers
            if not (moved and again):
                return False
    except Exception:
        return False
    return True


def saved(owner: Any, name: str) -> Callable[[], Any]:
    """What brings a generator of random numbers back to where it is before this method is
    called."""
    simple = type(owner) is np.random.RandomState and name in _SIMPLE
    if simple and type(_bits_of(owner)) is np.random.MT19937 and _has_raw():
        return _raw(owner)
    read, write = _access(owner)
    return functools.partial(write, read())


def saver(owner: Any, name: str) -> Callable[[Any], Callable[[], Any]]:
    """`saved` for a method of one generator, which it does not keep; fast where its fields are
    known."""
    known = layout() if type(owner) is random.Random else None
    fields = None if known is None else known.twister(owner)
    if fields is None:
        return functools.partial(saved, name=name)
    return functools.partial(_copied, fields)


def _copied(fields: memoryview, owner: Any) -> Callable[[], Any]:
    return functools.partial(_give_back, fields, bytes(fields), owner, owner.gauss_next)


def _give_back(fields: memoryview, words: bytes, owner: Any, gauss: Any) -> None:
    fields[:] = words
    owner.gauss_next = gauss


class First:
    """A call that is made before the operations, whose result they and the commit may use.

    `owner`: the object whose method it is (None: none); `operands`: terms of the arguments, and the
    `names` of the last of them; `mark`: its place, name, file and line; `draws`: it moves the state
    of its owner, which is brought back where the call is not replayed."""

    __slots__ = (
        *("function", "owner", "operands", "names", "type", "mark", "draws"),
        *("_results", "_saved", "_saver", "_ready"),
    )

    def __init__(
        self,
        function: Callable[..., Any],
        owner: Holder | None,
        operands: tuple[Any, ...],
        names: tuple[str, ...],
        kind: type,
        mark: tuple[Any, ...],
        draws: bool,
    ) -> None:
        self.function, self.owner, self.operands = function, owner, operands
        self.names, self.type, self.mark, self.draws = names, kind, mark, draws
        self._results: dict[int, Any] = {}  # by thread
        self._saved: dict[int, Callable[[], Any]] = {}
        self._ready: dict[int, tuple[Any, Callable[[], Any] | None]] = {}  # drawn ahead
        self._saver: Callable[[Any], Callable[[], Any]] | None = None

    def place(self) -> Any:
        """What is equal for the same call of the same program."""
        owner = None if self.owner is None else self.owner.id
        return "call", id(self.function), owner, self.names, self.type, self.mark

    def run(self, *arguments: Any) -> Any:
        """Make the call; TypeError where it gives something of another type."""
        thread = threading.get_ident()
        bound: tuple[Any, ...] = () if self.owner is None else (self.owner.get(),)
        restore = self._saved.pop(thread, None)
        if restore is not None:  # it is tried again in the same replay
            restore()
        ready = self._ready.pop(thread, None)
        if ready is not None:
            self._results[thread], restore = ready
            if restore is not None:
                self._saved[thread] = restore
            return ready[0]
        if self.draws:
            save = self._saver
            if save is None:
                save = self._saver = saver(bound[0], self.function.__name__)
            self._saved[thread] = save(bound[0])
        count = len(arguments) - len(self.names)
        named = dict(zip(self.names, arguments[count:])) if self.names else {}
        result = self.function(*bound, *arguments[:count], **named)
        if type(result) is not self.type:
            raise TypeError(type(result).__name__)
        self._results[thread] = result
        return result

    def now(self) -> Any:
        """What it gave to the replay that is under way in this thread."""
        return self._results[threading.get_ident()]

    def take_over(self, result: Any, restore: Callable[[], Any] | None) -> None:
        """It has been made for the replay that comes next in this thread, and is undone so (None:
        with the one before)."""
        self._ready[threading.get_ident()] = result, restore

    def undo(self) -> None:
        """As if it had not been made."""
        thread = threading.get_ident()
        restore = self._saved.pop(thread, None)
        if restore is not None:
            restore()
        ready = self._ready.pop(thread, None)
        if ready is not None and ready[1] is not None:
            ready[1]()

    def keep(self) -> None:
        """The replay has run: what was done is not undone any more."""
        self._saved.pop(threading.get_ident(), None)


def settled(calls: Sequence[First], missed: Any, replay: Callable[..., Any], *given: Any) -> Any:
    """One replay; what these calls did for it is undone where it does not run."""
    try:
        result = replay(*given)
    except BaseException:
        undo(calls)
        raise
    if result is missed:
        undo(calls)
    return result


def undo(calls: Sequence[First]) -> None:
    """Undo what was done for a call that is not replayed, the latest first."""
    for call in reversed(calls):
        call.undo()


class Told(NamedTuple):
    """A call that is made after everything else: the function, the object whose method it is, the
    recipes of its arguments, the names of the last of them, and what tells it from others (by id,
    its name, file and line)."""

    function: Callable[..., Any]
    owner: Holder | None
    specs: tuple[Any, ...]
    names: tuple[str, ...]
    mark: tuple[Any, ...]

    def place(self) -> Any:
        """What is equal for the same call of the same program."""
        owner = None if self.owner is None else self.owner.id
        return self.mark, owner, self.names


def told(call: Told, build: Callable[[Any], Any]) -> tuple[Any, ...]:
    """A call with the values of its arguments, or the exception that these raise."""
    try:
        values = [build(spec) for spec in call.specs]
    except Exception as error:
        return refused(error)
    count = len(values) - len(call.names)
    bound = () if call.owner is None else (call.owner.get(),)
    return call.function, (*bound, *values[:count]), dict(zip(call.names, values[count:]))


def _raises(error: Exception) -> None:
    raise error


def refused(error: Exception) -> tuple[Any, ...]:
    """What is done in the place of a call whose arguments raise."""
    return _raises, (error,), {}


def tell(calls: Sequence[tuple[Any, ...]]) -> None:
    """Make calls; what one raises ends the call of the user."""
    for function, arguments, named in calls:
        try:
            function(*arguments, **named)
        except BaseException as error:
            passing(error)
            raise
