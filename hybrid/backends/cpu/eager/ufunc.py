"""Native loops as real NumPy ufuncs: the cheapest way from Python to a small elementwise kernel.

Invariant: a ufunc made here has exactly one loop, for exactly the dtypes it was made for, and keeps
the code of that loop in memory; NumPy only walks broadcasting and strides.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....core.cache import Bounded
from ....ir.scalar.program import Program
from ..machine.jit import Code, compile_many
from ..python import abi
from ..python.abi import MAX_OPERANDS
from .ufunc_loop import ufunc_loop_text

__all__ = ["make_ufunc", "program_ufunc", "usable", "MAX_OPERANDS"]

_KEPT: list[Any] = []


def _keep_alive(ufunc: Any, what: Any) -> None:
    """Tie `what` to the life of a ufunc (older NumPy: keep it for ever)."""
    try:
        ufunc.__dict__["_hybrid"] = what
    except (AttributeError, TypeError):
        _KEPT.append(what)


def make_ufunc(
    name: str, code: Code, read_types: Sequence[np.dtype], write_types: Sequence[np.dtype]
) -> Any:
    """A ufunc whose only loop is `code`, an inner loop over operands of exactly these dtypes."""
    numbers = [d.num for d in (*read_types, *write_types)]
    label = name.encode()
    if max(numbers) < 128:
        loops, user_data = (ctypes.c_void_p * 1)(code.address), (ctypes.c_void_p * 1)()
        types: Any = (ctypes.c_char * len(numbers))(*numbers)  # type: ignore[misc]
        owners: tuple[Any, ...] = (code, loops, user_data, types, label)
        ufunc = abi.new_ufunc()(
            ctypes.addressof(loops),
            ctypes.addressof(user_data),
            ctypes.addressof(types),
            1,
            len(read_types),
            len(write_types),
            -1,
            label,
            b"",
            0,
        )
    else:  # a dtype from outside NumPy (bfloat16): registered by type number instead
        ufunc = abi.new_ufunc()(
            None, None, None, 0, len(read_types), len(write_types), -1, label, b"", 0
        )
        types = (ctypes.c_int * len(numbers))(*numbers)
        abi.register_loop()(ufunc, max(numbers), code.address, ctypes.addressof(types), None)
        owners = (code, types, label)
    _keep_alive(ufunc, owners)
    return ufunc


_UFUNCS = Bounded[Any](2048)


def program_ufunc(
    name: str, program: Program, read_types: Sequence[np.dtype], write_types: Sequence[np.dtype]
) -> Any:
    """The ufunc of an elementwise program (no positions, no loads); equal requests share one."""
    request = (program, tuple(read_types), tuple(write_types))

    def make() -> Any:
        digest = hashlib.sha256(
            repr((program, [d.name for d in (*read_types, *write_types)])).encode()
        ).hexdigest()
        symbol = f"u_{digest[:32]}"
        (code,) = compile_many(
            [(symbol, ufunc_loop_text(program, tuple(read_types), tuple(write_types), symbol))]
        )
        return make_ufunc(name, code, read_types, write_types)

    return _UFUNCS.of(request, make)


def usable(
    program: Program, read_types: Sequence[np.dtype], write_types: Sequence[np.dtype]
) -> bool:
    """Whether NumPy can drive the program: operands, no positions, and the C API's limits."""
    return (
        len(read_types) > 0
        and len(read_types) + len(write_types) <= MAX_OPERANDS
        and not program.params
        and not any(i.prim in ("index", "coord", "load") for i in program.instrs)
    )
