"""Public functions of records without parameters: `bind` written out flat for one and two inputs.

Invariant: the tables of a flat function hold only signatures that need no conversion, and it does
for them what `bind` does; every other call goes through the general door.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

from ..op import Op
from ..tensor import TENSOR, Handle
from .bind import (
    FAST,
    STATE,
    TABLE_LIMIT,
    TABLES,
    Entry,
    bind,
    constant_of,
    entry_for,
    lifted,
    promoted,
)
from .guard import shielded

__all__ = [
    "function_of",
    "flat",
    "set_tensor_class",
]

_SPACES: list[dict[str, Any]] = []  # namespaces of the flat functions
_NUMBERS = frozenset([float, int])
_BINARY = """
def {name}(x, y, /):
    try:
        a = x._a; b = y._a
        if STATE.special: return slow(OP, (x, y))
        e = same[a] if a is b else table[a, b]
        xn = x._node; yn = y._node
        xv = x._v; yv = y._v
    except (AttributeError, KeyError, TypeError): e = None
    if e is None:
        found = scalars.get((type(y), y, x._a)) if type(y) in NUMBERS and isinstance(x, H) else None
        if found is None or STATE.special: return first(x, y)
        e, yv = found
        xn = x._node; xv = x._v; yn = None
    out = new(T)
    out._v = v = e.kernel(xv, yv)
    out._a = e.out
    if xn is None and yn is None or not e.differentiable: out._node = None
    else: out._node = (e, (xn, yn), ({k0}, {k1}), {ko})
    return out
"""
_UNARY = """
def {name}(x, /):
    try:
        a = x._a
        if STATE.special: return slow(OP, (x,))
        e = same[a]
    except (AttributeError, KeyError, TypeError): e = None
    if e is None: return first(x)
    out = new(T)
    xn = x._node
    xv = x._v
    out._v = v = e.kernel(xv)
    out._a = e.out
    if xn is None or not e.differentiable: out._node = None
    else: out._node = (e, (xn,), ({k0},), {ko})
    return out
"""


def function_of(op: Op) -> Callable[..., Any]:
    """The function of a record; of a map record without parameters a flat one for one and two
    inputs.

    The fast tables hold only signatures that need no promotion; everything else takes `bind`.
    """
    if op.kind != "map" or op.nin not in (1, 2) or op.nout != 1 or op.params or op.check:

        def function(*xs: Any, **params: Any) -> Any:
            if op.nin is not None and len(xs) != op.nin:
                raise TypeError(f"{op.name} takes {op.nin} tensors, not {len(xs)}")
            return bind(op, *xs, **params)
    else:
        function = _flat(op)
    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.doc
    function.op = op  # type: ignore[attr-defined]
    return function


def flat(op: Op, general: Callable[..., Any]) -> Callable[..., Any]:
    """A function of two tensors for a record without parameters: signatures that were seen go
    straight to their kernel, everything else goes through `general`."""
    return _flat(op, general)


def _learner(
    op: Op,
    general: Callable[..., Any] | None,
    same: dict[Any, Entry],
    table: dict[Any, Entry],
    scalars: dict[Any, tuple[Entry, Any]],
) -> Callable[..., Any]:
    """What a flat function does with calls that its tables do not know; it fills the tables."""

    def first(*xs: Any) -> Any:
        """Any call that the tables do not know:
        run it the general way, then remember its signature."""
        out = bind(op, *xs) if general is None else general(*xs)
        number = general is None and len(xs) == 2 and type(xs[1]) in _NUMBERS
        if number and not STATE.special and isinstance(xs[0], Handle):
            remember(*xs)
        if all(isinstance(x, Handle) for x in xs) and not STATE.special:
            ins = tuple([x._a for x in xs])
            e = TABLES.get(op, {}).get(((), ins))
            if e is not None:
                if len(table) > TABLE_LIMIT:
                    table.clear()
                if len(same) > TABLE_LIMIT:
                    same.clear()
                if len(set(ins)) == 1:
                    same[ins[0]] = e
                elif len(ins) == 2:
                    table[ins] = e
        return out

    def remember(x: Any, y: Any) -> None:
        """Keep the entry of a tensor with a Python number, unless it converts the tensor.  The
        number is part of the key, so 0.0 (equal to -0.0) is not kept."""
        a, b = promoted(op, lifted(op, (x, y)))
        if a is x and constant_of(b) is not None and not (y == 0 and type(y) is float):
            if len(scalars) > TABLE_LIMIT:
                scalars.clear()
            scalars[type(y), y, x._a] = (entry_for(op, (a._a, b._a), ()), b._v)

    return first


def _flat(op: Op, general: Callable[..., Any] | None = None) -> Callable[..., Any]:
    same: dict[Any, Entry] = {}
    table: dict[Any, Entry] = {}
    # (type, number, aval): entry and value of the number's literal
    scalars: dict[Any, tuple[Entry, Any]] = {}
    FAST.extend((same, table, scalars))
    keep = op.keeps
    code = _template(
        op.nin == 2, "0" in keep or "*" in keep, "1" in keep or "*" in keep, "out" in keep
    )
    door = shielded(op.name, general or (lambda *xs: bind(op, *xs)))
    space: dict[str, Any] = {
        "STATE": STATE,
        "slow": lambda op, xs: door(*xs),
        "OP": op,
        "same": same,
        "table": table,
        "first": shielded(op.name, _learner(op, general, same, table, scalars)),
        "new": object.__new__,
        "T": TENSOR[0],
        "scalars": scalars,
        "H": Handle,
        "NUMBERS": _NUMBERS,
    }
    _SPACES.append(space)
    return FunctionType(
        code.replace(co_name=op.name, co_qualname=op.name, co_filename=f"<hybrid {op.name}>"),
        space,
        op.name,
    )


@lru_cache(None)
def _template(binary: bool, keep0: bool, keep1: bool, keep_out: bool) -> CodeType:
    """The code of a flat function, compiled once per form of its tape entry."""
    text = (_BINARY if binary else _UNARY).format(
        name="flat",
        k0="xv" if keep0 else "None",
        k1="yv" if keep1 else "None",
        ko="(v,)" if keep_out else "None",
    )
    made = compile(text, "<hybrid>", "exec")
    return next(c for c in made.co_consts if isinstance(c, CodeType))


def set_tensor_class(cls: type) -> None:
    """The class of every result; eager/tensor.py calls this once."""
    TENSOR[0] = cls
    for space in _SPACES:
        space["T"] = cls
