"""NumPy's signatures: what its functions call their arguments, and which of these ask for nothing.

Invariant: a table of names here is read from `inspect.signature` of NumPy's function; nothing runs
unless a call has an argument that hybrid's function does not have by that name or in that place.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["asks_nothing", "counterparts", "numpys_parameters", "takes_out", "universal"]

Parameters = tuple[inspect.Parameter, ...]
_KINDS = inspect.Parameter
_RENAMED = {
    "a_min": ("min",),
    "a_max": ("max",),
    "ddof": ("ddof", "correction"),
    "fill_value": ("fill_value", "value"),
    "test_elements": ("test_elements", "test"),
    "subscripts": ("spec",),
}
# namespaces whose names are not NumPy's functions
_OTHERS = ("nn", "random", "special", "optim", "randoms")
_SORTS = ("quicksort", "mergesort", "heapsort", "stable", "introselect", "sort", "table", None)
# arguments of NumPy that ask for nothing which can be seen on tensors, and their values
_UNSEEN: Mapping[str, Sequence[Any]] = {
    "kind": _SORTS,
    "subok": (True, False),
    "assume_unique": (True, False),
    "overwrite_input": (True, False),
    "sorted": (True, False),  # what is sorted is also in some order
}


@lru_cache(None)
def numpys_parameters(name: str, home: str = "") -> Parameters:
    """The parameters of NumPy's function of a name, or of the method of its arrays; () where there
    is none.  `home` is the module in which hybrid's function is, any where it is not said."""
    parts = home.split(".")
    if name.startswith("_") or _apart(home):
        return ()
    inner = [place for place in (np.linalg, np.fft) if place.__name__.split(".")[-1] in parts]
    places: list[Any] = [*inner, np] if home else [np, np.linalg, np.fft]
    places = [np.ndarray, *places] if "eager" in parts else places
    function: Parameters = next(filter(None, (_read(place, name) for place in places)), ())
    known = {parameter.name for parameter in function}
    named = (_KINDS.POSITIONAL_OR_KEYWORD, _KINDS.KEYWORD_ONLY)
    keywords = [
        parameter.replace(kind=_KINDS.KEYWORD_ONLY)
        for parameter in _read(np.ndarray, name)
        if parameter.kind in named and parameter.name not in known
    ]
    return (*function, *keywords) if function else _read(np.ndarray, name)


def _apart(home: str) -> bool:
    return not set(_OTHERS).isdisjoint(home.split("."))


def _read(place: Any, name: str) -> Parameters:
    function = getattr(place, name, None)
    if not callable(function) or isinstance(function, type):
        return ()
    try:
        return tuple(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return ()


def takes_out(name: str) -> bool:
    """Whether NumPy's function of a name has the parameter `out`."""
    ufunc = isinstance(getattr(np, name, None), np.ufunc)
    return ufunc or any(parameter.name == "out" for parameter in numpys_parameters(name))


def universal(name: str, home: str) -> np.ufunc | None:
    """NumPy's universal function that a function of hybrid's stands for."""
    found = None if _apart(home) else getattr(np, name, None)
    return found if isinstance(found, np.ufunc) else None


def counterparts(ours: Sequence[Any], theirs: Sequence[Any]) -> dict[str, str]:
    """NumPy's parameter -> hybrid's: of the same name, of the name it has here, or in its place."""
    names, others = [parameter.name for parameter in ours], [parameter.name for parameter in theirs]
    pairs = {name: name for name in others if name in names}
    for place, parameter in enumerate(theirs):
        if parameter.name in pairs:
            continue
        found = next((name for name in _RENAMED.get(parameter.name, ()) if name in names), None)
        if found is None and parameter.kind is not _KINDS.KEYWORD_ONLY and place < len(ours):
            beside = ours[place]
            positional = beside.kind in (_KINDS.POSITIONAL_ONLY, _KINDS.POSITIONAL_OR_KEYWORD)
            found = beside.name if positional and beside.name not in others else None
        if found is not None:
            pairs[parameter.name] = found
    return pairs


def asks_nothing(keyword: str, value: Any, theirs: Iterable[inspect.Parameter]) -> bool:
    """Whether an argument of NumPy's function asks for nothing that can be seen on tensors: it is
    the default, or about memory and algorithms."""
    parameters = {parameter.name: parameter for parameter in theirs}
    found = parameters.get(keyword)
    if found is None:
        return False
    plain = value is None or isinstance(value, (bool, int, str))
    if plain and type(value) is type(found.default) and value == found.default:
        return True
    if keyword == "order" and "kind" not in parameters:  # of memory, "F" where it is made
        made = not parameters.keys().isdisjoint(("dtype", "subok"))
        return plain and value in ("C", "K", "A", None, "F")[: 5 if made else 4]
    return plain and value in _UNSEEN.get(keyword, ())
