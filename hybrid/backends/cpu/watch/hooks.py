"""The hooks of a watched thread, behind native code that drops what nobody asks for.

Most calls of a recorded step happen inside hybrid and NumPy, and a hook in Python costs as much as
ten of them; even a hook in C has the interpreter run every instruction the slow way.

Invariant: a code object in the table is kept alive by `_kept`, so an address stands for one code.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType
from typing import Any

import numpy as np

from ....core.signals import foreign
from ...events import EventFilter, Hooks, PlainHooks
from ..machine.host import keep_forever, python_address
from ..machine.jit import compile_ir
from . import hooks_ir as ir

__all__ = ["NativeFilter", "event_filter"]

MOST = ir.SLOTS // 2  # slots of the table in use
FRAME = 1024  # bytes of native stack that a call takes while `evaluate` is in place, at most
SWITCHES = sys.version_info[:2] == (
    3,
    11,
)  # later interpreters make hooks dear to put on, and cheap
ALL = (1 << 64) - 1


class NativeFilter:
    """The EventFilter of CPython."""

    def __init__(self) -> None:
        self._module = compile_ir(
            ir.filter_text(), ["profile", "trace", "evaluate", "share", "here"]
        )
        self._table = np.zeros((ir.SLOTS, 2), np.uint64)
        self._kept: dict[int, tuple[CodeType, Any]] = {}
        names: Any = ctypes.py_object * len(ir.EVENTS)
        self._names = names(*ir.EVENTS)
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
        names = "profile", "trace", "evaluate"
        self._profile, self._trace, self._evaluate = map(self._module.address, names)
        self._objects: tuple[Any, ...] = ()
        self.switches = SWITCHES

    # ---- one watch
    def begin(self, hooks: Hooks) -> None:
        words = self._words
        if len(self._kept) >= MOST:
            self._forget()
        words[ir.EPOCH // 8] += 1
        words[ir.RUN // 8] += 1
        words[ir.HOOKED // 8] = 1
        self._objects = hooks
        for index, held in enumerate(self._objects, ir.PROFILE // 8):
            words[index] = id(held)
        default, interpreter = words[ir.EVALUATE // 8], self._interpreter()
        if self.switches and sys.getrecursionlimit() * FRAME <= self._room() * 3 // 4:
            if self._evaluator(interpreter) == default:
                self._set_evaluator(interpreter, self._evaluate)
        self.resume()

    def _forget(self) -> None:
        """Empty the table that native code looks at, and what keeps its files alive."""
        self._table[:] = 0
        self._kept.clear()

    def _room(self) -> int:
        """Bytes of this thread's stack that are left; 0 where that is not known."""
        library, attributes = ctypes.CDLL(None), (ctypes.c_char * 256)()
        lowest, size = ctypes.c_uint64(), ctypes.c_uint64()
        try:
            library.pthread_self.restype = ctypes.c_void_p
            itself = ctypes.c_void_p(library.pthread_self())
            if library.pthread_getattr_np(itself, attributes):
                return 0
            references = ctypes.byref(lowest), ctypes.byref(size)
            failed = library.pthread_attr_getstack(attributes, *references)
            library.pthread_attr_destroy(attributes)
        except AttributeError:
            return 0
        return 0 if failed else max(self._here() - lowest.value, 0)

    def pause(self) -> bool:
        if self._words[ir.THREAD // 8] != self._thread():
            return False
        self._words[ir.THREAD // 8] = 0
        if self._words[ir.HOOKED // 8]:
            sys.setprofile(None)
            sys.settrace(None)
        return True

    def resume(self) -> None:
        if not self._objects:
            return
        self._words[ir.THREAD // 8] = self._thread()
        if self._words[ir.HOOKED // 8]:
            profile, trace, *_ = self._objects
            self._set_trace(self._trace, trace)
            self._set_profile(self._profile, profile)

    def end(self) -> None:
        self._words[ir.THREAD // 8] = 0
        self._words[ir.RUN // 8] += 1
        self._objects = ()
        interpreter = self._interpreter()
        if self._evaluator(interpreter) == self._evaluate:
            self._set_evaluator(interpreter, self._words[ir.EVALUATE // 8])

    # ---- quiet code
    def quiet(self, code: CodeType, note: Any, looks: bool = False) -> bool:
        address, table = id(code), self._table
        if address in self._kept or len(self._kept) >= MOST:
            return address in self._kept
        slot = ((address >> 4) * ir.GOLDEN & ALL) >> (64 - ir.BITS)
        while table[slot, 0]:
            slot = (slot + 1) % ir.SLOTS
        self._kept[address] = code, note
        table[slot, 1] = self._words[ir.EPOCH // 8]
        table[slot, 0] = address | looks
        return True

    def entered(self) -> Iterator[tuple[CodeType, Any]]:
        now = self._table[:, 1] == np.uint64(self._words[ir.EPOCH // 8])
        for address in (self._table[now, 0] & np.uint64(ALL - 1)).tolist():
            if address:
                yield self._kept[address]


# ---- whether this interpreter is as `evaluate` takes it to be
class _Box:
    def __getitem__(self, index: int) -> int:
        return index


def _quiet(box: _Box, count: int) -> int:
    total = 0
    for index in range(count):
        total += box[index]
    return total


def _loud(box: _Box, count: int) -> int:
    return _quiet(box, count)


def _switching_works(hooks: NativeFilter) -> bool:
    """Whether all calls are seen that quiet code makes, also where the interpreter has specialised
    it to call without a new evaluation, and whether frames are laid out as expected."""
    box, count = _Box(), 100
    for _ in range(4):
        _quiet(box, count)
    seen: list[tuple[str, CodeType]] = []
    returned: list[Any] = []
    looked: dict[int, Any] = {}

    def profile(frame: Any, event: str, value: Any) -> None:
        seen.append((event, frame.f_code))

    hooks.quiet(_quiet.__code__, "quiet")
    try:
        hooks.begin(Hooks(profile, lambda *_: None, returned.append, looked))
        _loud(box, count)
    finally:
        hooks.end()
        sys.setprofile(None)
        sys.settrace(None)
    return (
        seen.count(("call", _Box.__getitem__.__code__)) == count
        and seen.count(("call", _loud.__code__)) == 1
        and _quiet.__code__ not in [code for _, code in seen]
        and returned == [sum(range(count))]
        and (_quiet.__code__, "quiet") in list(hooks.entered())
    )


@lru_cache(1)
def event_filter() -> EventFilter:
    """The filter of this process; a plain one where none can be made."""
    try:
        made = NativeFilter()
        made.switches = SWITCHES and _switching_works(made)
    except Exception as error:
        if foreign(error):
            raise
        return PlainHooks()
    keep_forever(made)  # a thread that ends late may still call it
    return made
