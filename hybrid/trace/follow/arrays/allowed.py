"""The NumPy functions, methods and operators that are computed again by replays.

Invariant: what is listed reads its arguments only, changes nothing and gives the same bits for the
same arguments, and is called here without an argument that it could write to.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["ATTRIBUTES", "OPERATORS", "ArrayFunction", "evaluated", "function_of", "method_of"]

ATTRIBUTES = frozenset(["shape", "ndim", "size", "dtype", "itemsize", "nbytes"])
_METHODS = """all any argmax argmin argsort astype clip copy cumprod cumsum diagonal flatten max
    mean min prod ravel repeat reshape round squeeze std sum swapaxes trace transpose var"""
METHODS: dict[str, Any] = {name: getattr(np.ndarray, name) for name in _METHODS.split()}
# functions of one array, further arguments are the same in each call
_FUNCTIONS = """all any argmax argmin argsort array asarray ascontiguousarray astype
    atleast_1d atleast_2d broadcast_to clip concatenate copy cumprod cumsum diff expand_dims flip
    frombuffer hstack linalg.norm max mean median min moveaxis nan_to_num pad prod quantile ravel
    repeat reshape roll round sort split squeeze stack std sum swapaxes tile transpose tril triu var
    vstack where"""
# all of whose arguments may be data
_OF_SEVERAL = ("where",)
_NAMED = frozenset(
    [
        "a",
        "axis",
        "axis1",
        "axis2",
        "axes",
        "copy",
        "ddof",
        "decimals",
        "dtype",
        "keepdims",
        "kind",
        "mode",
        "n",
        "newshape",
        "order",
        "ord",
        "reps",
        "repeats",
        "shape",
        "shift",
        "side",
        "constant_values",
        "pad_width",
        "count",
        "offset",
    ]
)
OPERATORS: dict[str, Callable[..., Any]] = {
    **{"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv},
    **{"//": operator.floordiv, "%": operator.mod, "**": operator.pow, "@": operator.matmul},
    **{"&": operator.and_, "|": operator.or_, "^": operator.xor},
    **{"<<": operator.lshift, ">>": operator.rshift},
    **{"<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne},
    **{">": operator.gt, ">=": operator.ge, "neg": operator.neg, "invert": operator.invert},
    **{"[]": operator.getitem, "T": np.transpose},
}


class ArrayFunction(NamedTuple):
    """A function in the place of an operator, with the names of its last arguments; `spreads`: how
    many of the first may be data."""

    function: Callable[..., Any]
    names: tuple[str, ...] = ()
    spreads: int = 1


def _found(path: str) -> Any:
    found: Any = np
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


_KNOWN: dict[int, tuple[Any, int]] = {
    id(function): (function, 3 if name in _OF_SEVERAL else 1)
    for name in _FUNCTIONS.split()
    if (function := _found(name)) is not None
}
_KNOWN |= {id(method): (method, 1) for method in METHODS.values()}


def method_of(name: str) -> Any:
    """The method of arrays with this name; None for others."""
    return METHODS.get(name)


def function_of(function: Any, names: tuple[str, ...]) -> ArrayFunction | None:
    """How a function or method computes, called with these names; None for others."""
    if not _NAMED.issuperset(names):
        return None
    if isinstance(function, np.ufunc):
        known = function.signature is None and getattr(np, function.__name__, None) is function
        return ArrayFunction(function, names, function.nin) if known and not names else None
    found = _KNOWN.get(id(function))
    return None if found is None else ArrayFunction(function, names, found[1])


def evaluated(call: ArrayFunction, values: tuple[Any, ...]) -> Any:
    """What a function gives."""
    split = len(values) - len(call.names)
    return call.function(*values[:split], **dict(zip(call.names, values[split:])))
