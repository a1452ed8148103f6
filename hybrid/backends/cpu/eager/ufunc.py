"""Native loops as real NumPy ufuncs: the cheapest way from Python to a small elementwise kernel.

Invariant: a ufunc made here has exactly one loop, for exactly the dtypes it was made for, and keeps
the code of that loop in memory; NumPy only walks broadcasting and strides.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy._core import _multiarray_umath as _umath  # type: ignore[attr-defined]

from ....ir.scalar.program import Program
from ..machine.jit import Code, compile_many
from .ufunc_loop import ufunc_loop_text

__all__ = ["make_ufunc", "program_ufunc", "usable", "MAX_OPERANDS"]

MAX_OPERANDS = 32  # NPY_MAXARGS of every NumPy release

_P, _I, _S = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
_capsule = ctypes.pythonapi.PyCapsule_GetPointer
_capsule.restype, _capsule.argtypes = _P, [ctypes.py_object, _S]
_table = ctypes.cast(_capsule(_umath._UFUNC_API, None), ctypes.POINTER(_P))
# slots 1 and 2 of NumPy's stable ufunc C API
_from_func = ctypes.PYFUNCTYPE(ctypes.py_object, _P, _P, _P, _I, _I, _I, _I, _S, _S, _I)(_table[1])
_register = ctypes.PYFUNCTYPE(_I, ctypes.py_object, _I, _P, _P, _P)(_table[2])
_KEPT: list[Any] = []


def _keep_alive(ufunc: Any, what: Any) -> None:
    """Tie `what` to the life of a ufunc (older NumPy: keep it for ever)."""
    try:
        ufunc.__dict__["_hybrid"] = what
    except (AttributeError, TypeError):
        _KEPT.append(what)


def make_ufunc(name: str, code: Code, ins: Sequence[np.dtype], outs: Sequence[np.dtype]) -> Any:
    """A ufunc whose only loop is `code`, an inner loop over operands of exactly these dtypes."""
    nums = [d.num for d in (*ins, *outs)]
    label = name.encode()
    if max(nums) < 128:
        loops, data = (_P * 1)(code.address), (_P * 1)()
        types: Any = (ctypes.c_char * len(nums))(*nums)  # type: ignore[misc]
        kept: tuple[Any, ...] = (code, loops, data, types, label)
        made = _from_func(
            ctypes.addressof(loops),
            ctypes.addressof(data),
            ctypes.addressof(types),
            1,
            len(ins),
            len(outs),
            -1,
            label,
            b"",
            0,
        )
    else:  # a dtype from outside NumPy (bfloat16): registered by type number instead
        made = _from_func(None, None, None, 0, len(ins), len(outs), -1, label, b"", 0)
        types = (_I * len(nums))(*nums)
        _register(made, max(nums), code.address, ctypes.addressof(types), None)
        kept = (code, types, label)
    _keep_alive(made, kept)
    return made


_UFUNCS: OrderedDict[Any, Any] = OrderedDict()
_LIMIT = 2048


def program_ufunc(
    name: str, program: Program, ins: Sequence[np.dtype], outs: Sequence[np.dtype]
) -> Any:
    """The ufunc of an elementwise program (no positions, no loads); equal requests share one."""
    key = (program, tuple(ins), tuple(outs))
    made = _UFUNCS.get(key)
    if made is None:
        digest = hashlib.sha256(
            repr((program, [d.name for d in (*ins, *outs)])).encode()
        ).hexdigest()
        symbol = f"u_{digest[:32]}"
        (code,) = compile_many(
            [(symbol, ufunc_loop_text(program, tuple(ins), tuple(outs), symbol))]
        )
        made = _UFUNCS[key] = make_ufunc(name, code, ins, outs)
        if len(_UFUNCS) > _LIMIT:
            _UFUNCS.popitem(last=False)
    return made


def usable(program: Program, ins: Sequence[np.dtype], outs: Sequence[np.dtype]) -> bool:
    """Whether NumPy can drive the program: operands, no positions, and the C API's limits."""
    return (
        len(ins) > 0
        and len(ins) + len(outs) <= MAX_OPERANDS
        and not program.params
        and not any(i.prim in ("index", "coord", "load") for i in program.instrs)
    )
