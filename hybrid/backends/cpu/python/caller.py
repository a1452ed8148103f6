"""From Python straight into kernels: C functions over ndarray objects, the fast door of every eager
op.

Invariant: a caller runs its steps with the floating-point control word at its default, owns
everything the native side points to, and returns fresh arrays, or what its fallback returns when an
argument is not what the steps were made for or a step fails.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy._core import _multiarray_umath as _umath  # type: ignore[attr-defined]

from ....core.aval import Aval
from ....core.errors import BackendError
from ..machine.asm import UNLIKELY, Fn
from ..machine.host import INTRINSICS, python_address
from ..machine.jit import Code, compile_ir

__all__ = [
    "Step",
    "make_caller",
    "pointer",
    "words_array",
    "Method",
    "offsets",
    "function_table",
    "table_of",
    "call_fallback",
    "MAX_SLOTS",
]

MAX_SLOTS = 72
_MAX_OUTS = 16
_P, _I = ctypes.c_void_p, ctypes.c_int
_METH_FASTCALL = 0x80
_C_CONTIGUOUS = 1
_STEP = 48  # bytes of a step descriptor
_TUPLE_ITEMS, _BYTES_DATA = tuple.__basicsize__, bytes.__basicsize__ - 1

# words of a caller's own table
(
    STEPS,
    NSTEPS,
    NARGS,
    NOUTS,
    CHECKED,
    TEMP,
    RESULT,
    SHARED,
    SCRATCH,
    CONTROL,
    PLAN,
    FALLBACK,
    FUNCTIONS,
    OUTPUTS,
) = range(0, 112, 8)
# words of the table of Python's and NumPy's functions
_NAMES = (
    "Py_IncRef",
    "Py_DecRef",
    "PyObject_Vectorcall",
    "PyTuple_New",
    "PyTuple_SetItem",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
)
(
    INCREF,
    DECREF,
    VECTORCALL,
    TUPLE_NEW,
    TUPLE_SET,
    SAVE,
    RESTORE,
    NEW_ARRAY,
    ARRAY_TYPE,
    SET_BASE,
    NONE,
) = range(0, 88, 8)
# NumPy's stable C API: PyArray_NewFromDescr, PyArray_Type, PyArray_SetBaseObject
_NUMPY = (94, 2, 282)


class Step(NamedTuple):
    """One kernel over all its items: code, argument words, and what its generator says about it."""

    code: Code
    words: Sequence[int]
    items: int
    grain: int
    scratch: int


# ---- what is known about ndarray objects
@lru_cache(None)
def offsets() -> tuple[int, int]:
    """Where ndarray objects keep data pointer and flags; found by looking at several arrays."""
    arrays: list[np.ndarray] = [
        np.ones(3, np.float32),
        np.zeros((2, 4))[:, 1:3],
        np.empty((), np.int8),
        np.zeros((2, 3)).T,
    ]
    arrays[0].flags.writeable = False
    data = [
        at
        for at in range(16, 64, 8)
        if all(ctypes.c_size_t.from_address(id(a) + at).value == a.ctypes.data for a in arrays)
    ]
    flags = [
        at
        for at in range(24, 104, 4)
        if all(ctypes.c_int.from_address(id(a) + at).value == a.flags.num for a in arrays)
    ]
    if len(data) != 1 or len(flags) != 1:
        raise BackendError(
            f"NumPy {np.__version__} lays out its arrays in an unknown way; use another release"
        )
    return data[0], flags[0]


_DATA = offsets()[0]


def pointer(array: np.ndarray, _word: Any = ctypes.c_size_t.from_address, _at: int = _DATA) -> int:
    """The data pointer of an array (at an eighth of the cost of array.ctypes.data)."""
    return _word(id(array) + _at).value


# ---- the native function
def _gather(f: Fn, table: str, nargs: str, bufs: str) -> None:
    """Data pointers of the arguments into bufs; to the fallback when an argument does not fit."""
    data, flags = offsets()
    f.go_if(f.cmp("ne", "%count", nargs), "fallback")
    checked = f.op(f"trunc i64 {f.ld(table, CHECKED, 'i64')} to i32")
    with f.each(nargs) as i:
        a = f.ld(f.nth("%args", i))
        f.st("ptr", f.ld(a, data), f.nth(bufs, i))
        clear = f.op(f"xor i32 {f.ld(a, flags, 'i32')}, -1")
        missing = f.op(f"and i32 {checked}, {clear}")
        f.go_if(f.cmp("ne", missing, 0, "i32"), "fallback")


def _allocate(
    f: Fn, table: str, functions: str, nargs: str, nouts: str, bufs: str, outs: str
) -> None:
    data = offsets()[0]
    f.st("ptr", f.ld(table, TEMP), f.nth(bufs, f.add(nargs, nouts)))
    with f.each(nouts) as j:
        spec = f.at(table, f.add(f.op(f"mul i64 {j}, 24"), OUTPUTS))
        descr = f.ld(spec, 0)
        f.call("void", f.ld(functions, INCREF), f"ptr {descr}")
        nd = f.op(f"trunc i64 {f.ld(spec, 8, 'i64')} to i32")
        out = f.call(
            "ptr",
            f.ld(functions, NEW_ARRAY),
            f"ptr {f.ld(functions, ARRAY_TYPE)}",
            f"ptr {descr}",
            f"i32 {nd}",
            f"ptr {f.ld(spec, 16)}",
            "ptr null",
            "ptr null",
            "i32 0",
            "ptr null",
        )
        f.st("ptr", out, f.nth(outs, j))
        f.st("i64", j, "%made")
        f.go_if(f.op(f"icmp eq ptr {out}, null"), "nomemory")
        f.st("ptr", f.ld(out, data), f.nth(bufs, f.add(nargs, j)))


def _run(f: Fn, table: str, functions: str, bufs: str, status: str) -> None:
    steps, count = f.ld(table, STEPS), f.ld(table, NSTEPS, "i64")
    f.branch(f.cmp("ne", f.ld(table, SHARED, "i64"), 0), "shared", "serial")
    f.label("shared")
    thread = f.call("ptr", f.ld(functions, SAVE))
    failed = f.var("i64")
    got = f.call(
        "i64",
        f.ld(table, PLAN),
        f"ptr {f.ld(table, CONTROL)}",
        f"ptr {steps}",
        f"i64 {count}",
        f"ptr {bufs}",
        f"i64 {f.ld(table, SCRATCH, 'i64')}",
        f"ptr {failed}",
    )
    f.st("i64", got, status)
    f.call("void", f.ld(functions, RESTORE), f"ptr {thread}")
    f.go("ran")
    f.label("serial")
    csr = f.op("call i32 @hy_fp_enter()")
    scratch = f.ld(table, SCRATCH)
    f.st("i64", 0, status)
    with f.each(count) as k:
        step = f.nth(steps, k, _STEP)
        got = f.call(
            "i64",
            f.ld(step),
            f"ptr {bufs}",
            f"ptr {f.ld(step, 8)}",
            "i64 0",
            f"i64 {f.ld(step, 16, 'i64')}",
            f"ptr {scratch}",
        )
        f.st("i64", got, status)
        f.go_if(f.cmp("ne", got, 0), "stopped")
    f.label("stopped")
    f.do(f"call void @hy_fp_leave(i32 {csr})")
    f.label("ran")


def _return(f: Fn, table: str, functions: str, nouts: str, outs: str) -> None:
    f.go_if(f.cmp("ne", nouts, 1), "other", unlikely=False)
    f.ret(f.ld(outs))
    f.label("other")
    f.go_if(f.cmp("eq", nouts, 0), "given", unlikely=False)
    pack = f.call("ptr", f.ld(functions, TUPLE_NEW), f"i64 {nouts}")
    f.st("i64", nouts, "%made")
    f.go_if(f.op(f"icmp eq ptr {pack}, null"), "nomemory")
    with f.each(nouts) as j:
        f.call(
            "i32",
            f.ld(functions, TUPLE_SET),
            f"ptr {pack}",
            f"i64 {j}",
            f"ptr {f.ld(f.nth(outs, j))}",
        )
    f.ret(pack)
    f.label("given")
    last = f.ld(f.nth("%args", f.ld(table, RESULT, "i64")))
    f.call("void", f.ld(functions, INCREF), f"ptr {last}")
    f.ret(last)


def _drop_outputs(f: Fn, functions: str, outs: str, count: str) -> None:
    with f.each(count) as j:
        f.call("void", f.ld(functions, DECREF), f"ptr {f.ld(f.nth(outs, j))}")


def _text() -> str:
    f = Fn("hy_eager", "ptr", "nounwind", me="ptr", args="ptr", count="i64")
    f.head.append("  %made = alloca i64, align 8")
    bufs, outs, status = f.var("ptr", MAX_SLOTS), f.var("ptr", _MAX_OUTS), f.var("i64")
    table = table_of(f)
    functions, nargs, nouts = (
        f.ld(table, FUNCTIONS),
        f.ld(table, NARGS, "i64"),
        f.ld(table, NOUTS, "i64"),
    )
    _gather(f, table, nargs, bufs)
    _allocate(f, table, functions, nargs, nouts, bufs, outs)
    _run(f, table, functions, bufs, status)
    f.go_if(f.cmp("ne", f.ld(status, 0, "i64"), 0), "failed")
    _return(f, table, functions, nouts, outs)
    f.label("failed")
    _drop_outputs(f, functions, outs, nouts)
    f.go("fallback")
    f.label("fallback")
    call_fallback(f, functions, f.ld(table, FALLBACK))
    f.label("nomemory")
    _drop_outputs(f, functions, outs, f.ld("%made", 0, "i64"))
    f.ret("null")
    return INTRINSICS + f.text() + UNLIKELY


# ---- making callers
class _MethodDef(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("meth", _P), ("flags", _I), ("doc", ctypes.c_char_p)]


@lru_cache(None)
def function_table() -> Any:
    """Addresses of the Python and NumPy functions native code calls (by word: INCREF, ...)."""
    capsule = ctypes.pythonapi.PyCapsule_GetPointer
    capsule.restype, capsule.argtypes = _P, [ctypes.py_object, ctypes.c_char_p]
    api = ctypes.cast(capsule(_umath._ARRAY_API, None), ctypes.POINTER(_P))
    return (_P * 11)(*[python_address(n) for n in _NAMES], *[api[n] for n in _NUMPY], id(None))


class Method:
    """A C function of the METH_FASTCALL kind; `make(words, kept)` gives callables that find `words`
    as the bytes of the first item of their tuple `self` and keep `kept` alive."""

    def __init__(self, name: str, text: str) -> None:
        if sys.byteorder != "little" or not getattr(sys, "_is_gil_enabled", lambda: True)():
            raise BackendError(
                "the native CPU backend needs a Python build with the GIL; use the default build"
            )
        self._module = compile_ir(text, [name])
        self._record = _MethodDef(b"kernel", self._module.address(name), _METH_FASTCALL, None)
        self._new = ctypes.pythonapi.PyCFunction_NewEx
        self._new.restype, self._new.argtypes = ctypes.py_object, [_P, ctypes.py_object, _P]

    def make(self, words: Sequence[int], kept: Any) -> Callable[..., Any]:
        packed = b"".join((w & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little") for w in words)
        return self._new(ctypes.addressof(self._record), (packed, kept, self), None)


def table_of(f: Fn) -> str:
    """In a method with parameters (me, args, count): the address of its words."""
    return f.at(f.ld("%me", _TUPLE_ITEMS), _BYTES_DATA)


def call_fallback(f: Fn, functions: str, back: str) -> None:
    """Return fallback(*args), or None when there is no fallback."""
    f.go_if(f.op(f"icmp eq ptr {back}, null"), "nothing", unlikely=False)
    f.ret(
        f.call(
            "ptr", f.ld(functions, VECTORCALL), f"ptr {back}", "ptr %args", "i64 %count", "ptr null"
        )
    )
    f.label("nothing")
    none = f.ld(functions, NONE)
    f.call("void", f.ld(functions, INCREF), f"ptr {none}")
    f.ret(none)


@lru_cache(None)
def _eager() -> Method:
    return Method("hy_eager", _text())


_SCRATCH: list[tuple[int, Any]] = []


def _scratch(nbytes: int) -> tuple[int, Any]:
    """Aligned memory that serial callers share: they hold the GIL, so one runs at a time."""
    if not _SCRATCH or len(_SCRATCH[-1][1]) < nbytes + 64:
        block = ctypes.create_string_buffer(max(1 << 16, nbytes + 64))
        _SCRATCH[:] = [(-(-ctypes.addressof(block) // 64) * 64, block)]
    return _SCRATCH[-1]


def words_array(words: Sequence[int]) -> Any:
    """64-bit words as a C array that native code may read."""
    return (ctypes.c_uint64 * max(len(words), 1))(*[w & 0xFFFFFFFFFFFFFFFF for w in words])


def _layout(outs: Sequence[Aval]) -> tuple[list[int], list[Any]]:
    """Words (dtype object, rank, address of the sizes) for each output, and what they point to."""
    words: list[int] = []
    kept: list[Any] = []
    for a in outs:
        dims = (ctypes.c_int64 * max(a.ndim, 1))(*a.shape)
        words += [id(a.dtype), a.ndim, ctypes.addressof(dims)]
        kept += [a.dtype, dims]
    return words, kept


def make_caller(
    steps: Sequence[Step],
    nargs: int,
    outs: Sequence[Aval] = (),
    *,
    temp: int = 0,
    result: int = -1,
    contiguous: bool = False,
    fallback: Callable[..., Any] | None = None,
    shared: Any = None,
) -> Callable[..., Any]:
    """A C function f(*arrays) that runs steps over the slots (arguments, outputs, workspace).

    outs        outputs that f allocates (NumPy's allocator) and returns: an array or a tuple
    result      with no `outs`: number of the argument to return
    temp        bytes of workspace (serial callers only)
    contiguous  arguments must be C-contiguous, else `fallback(*arrays)` is the result
    fallback    also called when a step fails; without it f returns None then
    shared      the pool: run on all threads without the GIL; None: on this thread, with it

    Shapes and dtypes of arguments are not checked.
    """
    if nargs + len(outs) + 1 > MAX_SLOTS or len(outs) > _MAX_OUTS:
        raise BackendError(
            f"a kernel with {nargs} inputs and {len(outs)} outputs is too large; split the op"
        )
    functions = function_table()
    args = [words_array(s.words) for s in steps]
    table = (ctypes.c_uint64 * (6 * max(len(steps), 1)))(
        *[
            w
            for s, a in zip(steps, args)
            for w in (s.code.address, ctypes.addressof(a), s.items, max(s.grain, 1), s.scratch, 0)
        ]
    )
    need = max((s.scratch for s in steps), default=0)
    scratch, block = (need, None) if shared is not None else _scratch(need)
    work = ctypes.create_string_buffer(temp + 64) if temp else None
    layout, kept = _layout(outs)
    words = [
        ctypes.addressof(table),
        len(steps),
        nargs,
        len(outs),
        _C_CONTIGUOUS if contiguous else 0,
        -(-ctypes.addressof(work) // 64) * 64 if work is not None else 0,
        result % max(nargs, 1),
        int(shared is not None),
        scratch,
        shared.ctl if shared is not None else 0,
        shared.address("hy_plan") if shared is not None else 0,
        id(fallback) if fallback is not None else 0,
        ctypes.addressof(functions),
        *layout,
    ]
    kept += [[s.code for s in steps], args, table, block, work, fallback, shared, functions]
    return _eager().make(words, kept)
