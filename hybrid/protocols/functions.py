"""`__array_function__`: NumPy's other functions (np.mean, np.concatenate, ...) on tensors.

Invariant: arguments are read by NumPy's signature and given to the public function of that name by
the names that this has; an argument that it lacks and that is not NumPy's default is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from .. import ops
from ..ir.door.bind import as_tensor
from ..ir.numpys import counterparts
from ..ir.tensor import Handle
from .results import NOT_GIVEN, in_dtype, on_host, refuse, spelled, written

__all__ = ["array_function"]

Function = Callable[..., Any]
Given = dict[str, Any]
_KINDS = inspect.Parameter
_ABSENT = (NOT_GIVEN, None)
# files, texts and memory: their results are no arrays, so values are what they ask for
_EXPORTS = frozenset(["save", "savez", "savez_compressed", "savetxt"])
_EXPORTS |= frozenset(
    ["array_repr", "array_str", "array2string", "may_share_memory", "shares_memory"]
)
_QUESTIONS = frozenset(("allclose", "array_equal", "array_equiv"))  # a bool of the values
_WRITERS = frozenset(["copyto", "put", "place", "putmask", "fill_diagonal", "put_along_axis"])
# keywords of NumPy that ask for nothing which can be seen on tensors
_UNSEEN = frozenset(["subok", "casting", "kind", "optimize", "assume_unique", "device", "copy"])
_OTHERWISE = {"cumsum": "cumulative_sum", "cumprod": "cumulative_prod"}
_JOINS = frozenset(["concatenate", "concat", "stack", "hstack", "vstack"])


@lru_cache(None)
def _names() -> dict[int, str]:
    """By the identity of NumPy's functions that ask for the protocol, their path in hybrid."""
    found: dict[int, str] = {}
    asks: Any = type(np.sum)
    for module, prefix in ((np, ""), (np.linalg, "linalg."), (np.fft, "fft.")):
        for name, value in vars(module).items():
            if isinstance(value, asks):
                own = str(value.__name__)
                known = getattr(module, own, None) is value
                found.setdefault(id(value), prefix + (own if known else name))
    return found


@lru_cache(None)
def _signature(function: Function) -> inspect.Signature:
    return inspect.signature(function)


def _parameters(function: Function) -> tuple[inspect.Parameter, ...]:
    return tuple(_signature(function).parameters.values())


def array_function(self: Any, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """NumPy's protocol: what `func(*args, **kwargs)` is where a tensor is among the arguments."""
    if not all(issubclass(kind, (Handle, np.ndarray)) for kind in types):
        return NotImplemented
    path = _names().get(id(func), f"{func.__name__}")
    if path in _EXPORTS or (path in _WRITERS and isinstance(args[0], np.ndarray)):
        return on_host(func, args, kwargs)
    given = dict(_signature(func).bind(*args, **kwargs).arguments)
    theirs = _parameters(func)
    out = given.pop("out", None)
    function = spelled(path)
    if path in _ADAPTED:
        result = _ADAPTED[path](path, theirs, given)
    elif function is None and path in _QUESTIONS:
        return on_host(func, args, kwargs)
    elif function is None:
        raise refuse(path)
    else:
        result = _called(path, function, theirs, given)
    return result if out is None else written(out, result)


_AHEAD = (_KINDS.POSITIONAL_ONLY, _KINDS.POSITIONAL_OR_KEYWORD)  # of what a star takes


def _called(
    path: str, function: Function, theirs: tuple[inspect.Parameter, ...], given: Given
) -> Any:
    """Hybrid's function with the arguments that NumPy's was given."""
    taken = dict(given)
    starred = next((p.name for p in theirs if p.kind is _KINDS.VAR_POSITIONAL), None)
    more = next((p.name for p in theirs if p.kind is _KINDS.VAR_KEYWORD), None)
    keywords = dict(taken.pop(more, {})) if more else {}
    dtype = taken.pop("dtype", None) if path in _JOINS else None
    if starred is not None:
        leading = taken.pop(starred, ())
        spare = {n: v for n, v in taken.items() if not _unsaid(function, n, v, theirs)}
        for name in spare:
            if name not in [p.name for p in _parameters(function)]:
                raise refuse(path, f" with {name}=")
        before = [spare.pop(p.name) for p in theirs if p.kind in _AHEAD and p.name in spare]
        result = function(*before, *leading, **spare, **keywords)
    else:
        result = _by_name(path, function, theirs, taken, keywords)
    return in_dtype(result, dtype)


def _unsaid(
    function: Function, name: str, value: Any, theirs: tuple[inspect.Parameter, ...]
) -> bool:
    """Whether an argument need not be given on: it is NumPy's default, or asks for nothing."""
    default = next((p.default for p in theirs if p.name == name), _KINDS.empty)
    if name in [p.name for p in _parameters(function)]:
        return value is NOT_GIVEN or (value is None and default in _ABSENT)
    plain = isinstance(value, (bool, int, float, str, type(None)))
    return name in _UNSEEN or value is default or (plain and bool(value == default))


def _by_name(
    path: str,
    function: Function,
    theirs: tuple[inspect.Parameter, ...],
    given: Given,
    keywords: Given,
) -> Any:
    ours = tuple([p for p in _parameters(function) if p.name != "out"])  # which is apart
    pairs = counterparts(ours, theirs)
    known = {p.name: p for p in ours}
    chosen: Given = dict(keywords)
    for parameter in theirs:
        name = parameter.name
        if name not in given and parameter.default in (*_ABSENT, _KINDS.empty):
            continue
        value = given.get(name, parameter.default)
        target = pairs.get(name)
        if target is None:
            if not _unsaid(function, name, value, theirs) and not _plain_order(name, value):
                raise refuse(path, f" with {name}=")
        elif not _unsaid(function, name, value, theirs) or name not in known:
            if name in given or value != known[target].default:
                chosen[target] = value
    return _apply(function, ours, chosen)


def _plain_order(name: str, value: Any) -> bool:
    """Whether it is an order that a value in row-major order has."""
    return name == "order" and value in ("C", "K", "A", None)


def _apply(function: Function, ours: tuple[inspect.Parameter, ...], chosen: Given) -> Any:
    args, rest = [], dict(chosen)
    for parameter in ours:
        if parameter.kind is _KINDS.KEYWORD_ONLY or parameter.name not in rest:
            break
        args.append(rest.pop(parameter.name))
    return function(*args, **rest)


# ---- functions whose arguments mean something else, or that hybrid has under another name
def _running(path: str, theirs: tuple[inspect.Parameter, ...], given: Given) -> Any:
    function = spelled(path) or spelled(_OTHERWISE[path])
    assert function is not None
    array, axis = as_tensor(in_dtype(given["a"], given.get("dtype"))), given.get("axis")
    array, axis = (ops.ravel(array), 0) if axis is None else (array, axis)
    return function(array, axis=axis)


def _split(path: str, theirs: tuple[inspect.Parameter, ...], given: Given) -> Any:
    array, sections = as_tensor(given["ary"]), given["indices_or_sections"]
    axis = given.get("axis", 0)
    parts = ops.hsplit(ops.moveaxis(array, axis, 0)[None], sections)
    return [ops.moveaxis(part[0], 0, axis) for part in parts]


def _permuted(path: str, theirs: tuple[inspect.Parameter, ...], given: Given) -> Any:
    return ops.transpose(given["a"], given.get("axes"))


def _searched(path: str, theirs: tuple[inspect.Parameter, ...], given: Given) -> Any:
    sorter = given.get("sorter")
    side = given.get("side", "left")
    return ops.searchsorted(given["a"], given["v"], side=side, sorter=sorter)


_ADAPTED: dict[str, Function] = {
    **dict.fromkeys(_OTHERWISE, _running),
    "split": _split,
    "permute_dims": _permuted,
    "searchsorted": _searched,
}
