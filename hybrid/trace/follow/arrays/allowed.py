"""The NumPy functions, methods and operators that replays compute again.

Invariant: what is listed reads its arguments only, changes nothing that others see and gives the
same bits for the same arguments; arrays are taken in the first `spreads` places only, so that none
is written to.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...heap.allowlist import is_a
from ..terms import NUMBERS, OPERATORS, Symbol

__all__ = [
    "SHAPING",
    "SIGNED",
    "ArrayFunction",
    "creating",
    "function_of",
    "may_warn",
    "method_of",
    "of_symbol",
    "with_names",
]

SIGNED = frozenset(["shape", "ndim", "size", "dtype", "itemsize", "nbytes"])  # attributes
# by how many of the first arguments may be arrays
_METHODS = {
    1: """all any argmax argmin argsort astype copy cumprod cumsum diagonal flatten item max mean
        min prod ravel repeat reshape round squeeze std sum swapaxes trace transpose var""",
    2: "dot searchsorted take",
    3: "clip",
}
_FUNCTIONS = {
    1: """all any argmax argmin argsort array asarray ascontiguousarray astype
        atleast_1d atleast_2d broadcast_to concatenate copy count_nonzero cumprod cumsum diff
        expand_dims flip fliplr flipud frombuffer hstack linalg.norm max mean median min
        moveaxis nan_to_num ones_like pad percentile prod quantile ravel repeat reshape roll rot90
        round sort squeeze stack std sum swapaxes tile trace transpose tril triu var vstack
        zeros_like""",
    2: "allclose array_equal digitize dot full_like inner isclose outer searchsorted take",
    3: "clip interp where",
}
_NAMED = """a a_max a_min arr axis axis1 axis2 axes constant_values copy count ddof decimals dtype
    endpoint fill_value k keepdims kind max method min mode n nan neginf newshape num offset ord
    order pad_width posinf q reps repeats right shape shift side start step stop"""
_NAMES = frozenset(_NAMED.split())
_BINARY: tuple[Symbol, ...] = ("+", "-", "*", "/", "//", "%", "**", "&", "|", "^", "<<", ">>")
_BINARY += ("<", "<=", "==", "!=", ">", ">=")
# whose results have the shape that those of all operands ask for
SHAPING: dict[str, Callable[..., Any]] = {symbol: OPERATORS[symbol] for symbol in _BINARY}
SHAPING["@"] = operator.matmul
_SYMBOLS = {**SHAPING, "[]": operator.getitem}
_ALONE: dict[str, Callable[..., Any]] = {
    **{"neg": operator.neg, "invert": operator.invert, "T": np.transpose}
}


_CREATING = [np.arange, np.eye, np.full, np.identity, np.linspace, np.ones, np.zeros]


class ArrayFunction(NamedTuple):
    """What computes, and how many of its first arguments may be arrays."""

    function: Callable[..., Any]
    spreads: int = 1


def _found(path: str) -> Any:
    found: Any = np
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


_OF_ARRAYS = {
    name: ArrayFunction(getattr(np.ndarray, name), spreads)
    for spreads, names in _METHODS.items()
    for name in names.split()
}
_KNOWN = {
    id(found): ArrayFunction(found, spreads)
    for spreads, names in _FUNCTIONS.items()
    for found in map(_found, names.split())
    if found is not None
}
_OF_SCALARS = {
    name: method._replace(function=getattr(np.generic, name))
    for name, method in _OF_ARRAYS.items()
    if hasattr(np.generic, name)
}
_KNOWN |= {id(m.function): m for table in (_OF_ARRAYS, _OF_SCALARS) for m in table.values()}
_BUILTINS: tuple[Any, ...] = (*NUMBERS, abs, round, sum, min, max)
_KNOWN |= {id(builtin): ArrayFunction(builtin) for builtin in _BUILTINS}


def method_of(value: Any, name: str) -> Callable[..., Any] | None:
    """The method with this name of an array or scalar; None for others."""
    found = (_OF_ARRAYS if type(value) is np.ndarray else _OF_SCALARS).get(name)
    return None if found is None else found.function


def of_symbol(symbol: str) -> ArrayFunction | None:
    """What an operator or attribute computes; None for others."""
    found = _SYMBOLS.get(symbol)
    if found is not None:
        return ArrayFunction(found, 2)  # type: ignore[arg-type]
    return ArrayFunction(_ALONE[symbol]) if symbol in _ALONE else None


def function_of(function: Any) -> ArrayFunction | None:
    """How a function, method or type computes; None for others."""
    if is_a(function, np.ufunc):
        listed = function.signature is None and getattr(np, function.__name__, None) is function
        return ArrayFunction(function, function.nin) if listed else None
    if is_a(function, type) and issubclass(function, (np.number, np.bool_)):
        return ArrayFunction(function)
    return _KNOWN.get(id(function))


_WARNING = ("mean", "std", "var", "median", "quantile", "percentile")
_OF_EMPTY = [getattr(np, name) for name in _WARNING]
_OF_EMPTY += [getattr(np.ndarray, name) for name in _WARNING[:3]]


def may_warn(function: Any) -> bool:
    """Whether a function tells in Python that an array is empty."""
    inner = function.function if is_a(function, _Named) else function
    return any(inner is known for known in _OF_EMPTY)


class _Named:
    """A function whose last arguments have names."""

    __slots__ = ("function", "names")

    def __init__(self, function: Callable[..., Any], names: tuple[str, ...]) -> None:
        self.function, self.names = function, names

    def __call__(self, *values: Any) -> Any:
        count = len(values) - len(self.names)
        return self.function(*values[:count], **dict(zip(self.names, values[count:])))


@functools.lru_cache(1024)  # of functions in a list, so equal ones are one object
def _named(function: Callable[..., Any], names: tuple[str, ...]) -> _Named:
    return _Named(function, names)


def creating(function: Any, names: tuple[str, ...]) -> ArrayFunction | None:
    """How a function makes an array of numbers, called with these names; None for others."""
    known = any(function is creator for creator in _CREATING) and _NAMES.issuperset(names)
    made = _named(function, names) if names else function
    return ArrayFunction(made, 0) if known else None


def with_names(call: ArrayFunction, names: tuple[str, ...], count: int) -> ArrayFunction | None:
    """The same for so many arguments, the last of which have these names; None where one of them
    may be written to."""
    if call.function is np.nan_to_num and ("copy" in names or count - len(names) > 1):
        return None  # it may change what it gets
    if not names:
        return call
    fit = _NAMES.issuperset(names) and not is_a(call.function, np.ufunc)
    return call._replace(function=_named(call.function, names)) if fit else None
