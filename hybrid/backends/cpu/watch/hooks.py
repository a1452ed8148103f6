"""The hooks of a watched thread, behind native code that drops what nobody asks for.

Most calls of a recorded step happen inside hybrid and NumPy, and a hook in Python costs as much as
ten of them; even a hook in C has the interpreter run every instruction the slow way.

Invariant: a code object in the table is kept alive by `_kept`, so an address stands for one code.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

from ....core.cache import keep
from ....core.signals import critical, foreign
from ...events import EventFilter, Hooks, PlainHooks
from ..machine.host import keep_forever, python_address, stack_end
from ..machine.jit import compile_ir
from . import hooks_ir as ir
from .monitor import Monitor

__all__ = ["NativeFilter", "event_filter"]

MOST = ir.SLOTS // 2  # slots of the table in use
MOST_DEEP = 256  # code and classes that are known to go deep
# Bytes of native stack that a call takes while `evaluate` is in place; C code between two frames
# may take more, with and without it.
FRAME = 1024
# Frames inside one another while `evaluate` is in place: CPython 3.12 counts native calls apart.
NESTED = 300 if sys.version_info[:2] == (3, 12) else 1 << 30
ROOM = 60  # frames that what is told of may take
SETS = sys.version_info < (3, 12)  # whether to set hooks: later interpreters have Monitor
ALL = (1 << 64) - 1


class Scope(NamedTuple):
    """One watch: the objects that native code calls, whose hooks they are, and the monitor while
    that tells of user code."""

    objects: tuple[Any, ...] = ()
    hooks: Hooks | None = None
    telling: Monitor | None = None


NOBODY = Scope()


class NativeFilter:
    """The EventFilter of CPython."""

    def __init__(self) -> None:
        names = ["profile", "trace", "evaluate", "share", "here"]
        self._module = compile_ir(ir.filter_text(), names)
        self._table = np.zeros((ir.SLOTS, 2), np.uint64)
        self._kept: dict[int, tuple[CodeType, Any]] = {}
        events: Any = ctypes.py_object * len(ir.EVENTS)
        self._names = events(*ir.EVENTS)
        self._name = "f_trace"
        self._words = (ctypes.c_uint64 * (ir.FIRST_FUNCTION // 8 + len(ir.FUNCTIONS)))()
        first = self._table.ctypes.data, 0, ctypes.addressof(self._names), id(None), id(self._name)
        functions = map(python_address, ir.FUNCTIONS)
        for index, word in [*enumerate(first), *enumerate(functions, ir.FIRST_FUNCTION // 8)]:
            self._words[index] = word
        share = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._module.address("share"))
        share(ctypes.addressof(self._words))
        kind = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.py_object)
        self._set_profile = kind(python_address("PyEval_SetProfile"))
        self._set_trace = kind(python_address("PyEval_SetTrace"))
        self._thread = ctypes.PYFUNCTYPE(ctypes.c_void_p)(python_address("PyThreadState_Get"))
        self._interpreter = ctypes.PYFUNCTYPE(ctypes.c_void_p)(
            python_address("PyInterpreterState_Get")
        )
        self._here = ctypes.CFUNCTYPE(ctypes.c_uint64)(self._module.address("here"))
        pointer = ctypes.c_void_p
        self._evaluator = ctypes.PYFUNCTYPE(pointer, pointer)(
            python_address("_PyInterpreterState_GetEvalFrameFunc")
        )
        self._set_evaluator = ctypes.PYFUNCTYPE(None, pointer, pointer)(
            python_address("_PyInterpreterState_SetEvalFrameFunc")
        )
        self._profile, self._trace, self._evaluate = map(self._module.address, names[:3])
        self._stacks = threading.local()
        self.monitor = None if SETS else Monitor(self._state(), self._begun)
        self._scope = NOBODY
        self._inside: dict[int, tuple[CodeType, Any]] = {}  # quiet code that was not met
        self.switches = True
        # code and classes whose calls went too deep, by their ids
        self._deep: dict[int, CodeType | type | None] = {}

    def _state(self) -> Any:
        """The word THREAD."""
        return (ctypes.c_uint64 * 1).from_buffer(self._words, ir.THREAD)

    # ---- one watch
    def begin(self, hooks: Hooks) -> None:
        words = self._words
        if len(self._kept) >= MOST:
            self._forget()
        words[ir.EPOCH // 8] += 1
        words[ir.RUN // 8] += 1
        words[ir.HOOKED // 8] = 1
        self._inside.clear()
        objects = hooks.profile, hooks.trace, hooks.returned, hooks.looked, self._meet
        self._scope = Scope(objects, hooks)
        for index, held in enumerate(objects, ir.PROFILE // 8):
            words[index] = id(held)
        default, interpreter = words[ir.EVALUATE // 8], self._interpreter()
        switches = self.switches and id(hooks.root) not in self._deep
        if switches and sys.getrecursionlimit() * FRAME <= self._room() * 3 // 4:
            if self._evaluator(interpreter) == default:
                words[ir.DEPTH // 8], words[ir.DEEPEST // 8] = 0, self._left()
                self._set_evaluator(interpreter, self._evaluate)
                self._begin_monitor(hooks)
        words[ir.SETS // 8] = self._scope.telling is None
        self.resume()

    def _left(self) -> int:
        """How many more frames may be inside one another."""
        frame: FrameType | None = sys._getframe()
        used = 0
        while frame is not None:
            used, frame = used + 1, frame.f_back
        return max(min(sys.getrecursionlimit() - used - ROOM, NESTED), 0)

    def _begin_monitor(self, hooks: Hooks) -> None:
        """Let the interpreter tell of user code, where it can."""
        if self.monitor is not None:
            self._keep(self.monitor.hook(), None, ir.OURS)
            if self.monitor.begin(hooks.profile, hooks.trace):
                self._scope = self._scope._replace(telling=self.monitor)

    @critical
    def _meet(self, code: CodeType | None, space: dict[str, Any]) -> None:
        """Code is about to run that is not known to be quiet; None: too deep inside other code,
        which does not matter where each frame has no native one."""
        hooks = self._scope.hooks
        if code is None:
            if hooks is not None:
                keep(self._deep, id(hooks.root), hooks.root, MOST_DEEP)
                hooks.deep()
        elif hooks is not None and not hooks.met(code, space) and self._scope.telling is not None:
            self._scope.telling.meet(code)

    @critical
    def _begun(self, code: CodeType, space: dict[str, Any]) -> bool:
        """Whether code that has started is quiet; it may be without having been met."""
        if id(code) not in self._kept:
            self._words[ir.HOOKED // 8] = 1
            self._meet(code, space)
        elif code.co_name == "__init__":
            self._inside[id(code)] = self._kept[id(code)]
        return id(code) in self._kept

    def _forget(self) -> None:
        """Empty the table that native code looks at, and what keeps its files alive."""
        self._table[:] = 0
        self._kept.clear()

    def _room(self) -> int:
        """Bytes of this thread's stack that are left, or 0: the system looks its end up in a
        file."""
        lowest: int | None = getattr(self._stacks, "lowest", None)
        if lowest is None:
            lowest = self._stacks.lowest = stack_end()
        return max(self._here() - lowest, 0) if lowest else 0

    def pause(self) -> bool:
        if self._words[ir.THREAD // 8] != self._thread():
            return False
        self._words[ir.THREAD // 8] = 0
        if self._words[ir.HOOKED // 8] and self._scope.telling is None:
            sys.setprofile(None)
            sys.settrace(None)
        return True

    def resume(self) -> None:
        if not self._scope.objects:
            return
        self._words[ir.THREAD // 8] = self._thread()
        if self._words[ir.HOOKED // 8] and self._scope.telling is None:
            profile, trace, *_ = self._scope.objects
            self._set_trace(self._trace, trace)
            self._set_profile(self._profile, profile)

    def end(self) -> None:
        self._words[ir.THREAD // 8] = 0
        self._words[ir.RUN // 8] += 1
        self._scope = NOBODY
        if self.monitor is not None:
            self.monitor.end()
        interpreter = self._interpreter()
        if self._evaluator(interpreter) == self._evaluate:
            self._set_evaluator(interpreter, self._words[ir.EVALUATE // 8])

    def instructions(self, frame: FrameType) -> None:
        if self._scope.telling is not None:
            self._scope.telling.instructions(frame.f_code)
        else:
            frame.f_trace_opcodes = True

    # ---- quiet code
    def quiet(self, code: CodeType, note: Any, looks: bool = False) -> bool:
        return self._keep(code, note, ir.LOOKS * looks)

    def _keep(self, code: CodeType, note: Any, bits: int) -> bool:
        address, table = id(code), self._table
        if address in self._kept or len(self._kept) >= MOST:
            return address in self._kept
        slot = ((address >> 4) * ir.GOLDEN & ALL) >> (64 - ir.BITS)
        while table[slot, 0]:
            slot = (slot + 1) % ir.SLOTS
        self._kept[address] = code, note
        table[slot, 1] = self._words[ir.EPOCH // 8]
        table[slot, 0] = address | bits
        return True

    def entered(self) -> Iterator[tuple[CodeType, Any]]:
        now = self._table[:, 1] == np.uint64(self._words[ir.EPOCH // 8])
        for address in (self._table[now, 0] & np.uint64(ALL & ~(ir.LOOKS | ir.OURS))).tolist():
            if address:
                yield self._kept[address]
        yield from self._inside.values()


# ---- whether this interpreter is as `evaluate` takes it to be
class _Box:
    def __init__(self) -> None:
        pass

    def __getitem__(self, index: int) -> int:
        return index

    @property
    def number(self) -> int:
        return 1

    def method(self) -> int:
        return 1


def _items(count: int) -> Iterator[int]:
    yield from range(count)


def _quiet(box: _Box, count: int) -> int:
    total = 0
    for index in _items(count):
        total += box[index] + box.number + box.method()
        _Box()
    return total


def _loud(box: _Box, count: int) -> int:
    return _quiet(box, count)


def _switching_works(hooks: NativeFilter) -> bool:
    """Whether all calls are seen that quiet code makes, also where the interpreter has specialised
    it to call without a new evaluation, and whether frames are laid out as expected."""
    box, count = _Box(), 40
    for _ in range(2):
        _quiet(box, count)
    seen: list[tuple[str, CodeType]] = []
    returned: list[Any] = []

    def profile(frame: Any, event: str, value: Any) -> None:
        seen.append((event, frame.f_code))

    def met(code: CodeType, space: dict[str, Any]) -> bool:
        return False

    hooks.quiet(_quiet.__code__, "quiet")
    try:
        hooks.begin(Hooks(profile, lambda *_: None, returned.append, {}, met))
        _loud(box, count)
    finally:
        hooks.end()
        sys.setprofile(None)
        sys.settrace(None)
    many = [f.__code__ for f in (_Box.__init__, _Box.__getitem__, _Box.method)]
    many.append(_Box.number.fget.__code__)  # type: ignore[attr-defined]
    return (
        all(seen.count(("call", code)) == count for code in many)
        and seen.count(("call", _items.__code__)) == count + 1
        and seen.count(("call", _loud.__code__)) == 1
        and _quiet.__code__ not in [code for _, code in seen]
        and returned == [sum(range(count)) + 2 * count]
        and (_quiet.__code__, "quiet") in list(hooks.entered())
    )


def _made() -> NativeFilter:
    """A filter that switches where this interpreter lets it."""
    made = NativeFilter()
    made.switches = _switching_works(made)
    if not made.switches and made.monitor is not None:
        made.monitor.starts = made.switches = True
        made.switches = _switching_works(made)
    return made


@lru_cache(1)
def event_filter() -> EventFilter:
    """The filter of this process; a plain one where none can be made."""
    try:
        made = _made()
    except Exception as error:
        if foreign(error):
            raise
        return PlainHooks()
    keep_forever(made)  # a thread that ends late may still call it
    return made
