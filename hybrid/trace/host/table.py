"""Which functions of the standard library a replay may call again: what they are for, and the
result that they give.

Invariant: allowed by list, by the function itself or the exact class of its object; each only
reads its arguments and reads or moves state that no fact describes (a stream, a clock, a
generator of random numbers), so calling it before or after the operations is all that it does.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import logging
import os
import random
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ..heap.allowlist import STDLIB, is_a, lookup

__all__ = [
    "GLOBALS",
    "HostFunction",
    "CallSite",
    "host_function",
    "owns_state",
    "helper",
    "code_of",
]

Use: TypeAlias = Literal["output", "clock", "draw", "text"]


class CallSite(NamedTuple):
    """Where user code makes a call: what warnings and log records say of it."""

    file: str
    line: int
    function: str
    globals: dict[str, Any]


class HostFunction(NamedTuple):
    """What a function is for; `result`: the exact type of what it gives (None: nothing to use);
    `placed`: makes what is called in its place, where it looks at who calls it; `shows`: it writes
    texts of its arguments, tensors too."""

    name: str
    use: Use
    result: type | None = None
    placed: Callable[[CallSite], Callable[..., Any]] | None = None
    shows: bool = False


# ---- log records and warnings, which tell where they come from
def _log(level: int | None, site: CallSite, logger: Any, *args: Any) -> None:
    """What a logger does with a message; the level is the first argument of some."""
    if level is None:
        level, *args = args  # type: ignore[assignment]
    if not logger.isEnabledFor(level):
        return
    message, *values = args
    logger.handle(
        logger.makeRecord(
            logger.name, level, site.file, site.line, message, tuple(values), None, site.function
        )
    )


def _log_at_root(level: int | None, site: CallSite, *args: Any) -> None:
    """The same for the functions of the module."""
    if not logging.root.handlers:
        logging.basicConfig()
    _log(level, site, logging.root, *args)


def _warn(site: CallSite, message: Any, category: Any = None) -> None:
    warnings.warn_explicit(
        message,
        category or UserWarning,
        site.file,
        site.line,
        site.globals.get("__name__", "<string>"),
        site.globals.setdefault("__warningregistry__", {}),
    )


_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "log": None,
}


def _logging() -> dict[int, HostFunction]:
    found = {}
    for name, level in _LEVELS.items():
        for function, again in (
            (getattr(logging.Logger, name), _log),
            (getattr(logging, name), _log_at_root),
        ):
            placed = functools.partial(functools.partial, again, level)
            found[id(function)] = HostFunction(f"logging.{name}", "output", placed=placed)
    return found


# ---- functions, by id
_CLOCKS = "time perf_counter monotonic process_time thread_time"
_FUNCTIONS: dict[int, HostFunction] = {
    id(print): HostFunction("print", "output", shows=True),
    id(warnings.warn): HostFunction(
        "warnings.warn", "output", placed=lambda site: functools.partial(_warn, site)
    ),
    **{
        id(getattr(time, name)): HostFunction(f"time.{name}", "clock", float)
        for name in _CLOCKS.split()
    },
    **{
        id(getattr(time, name + "_ns")): HostFunction(f"time.{name}_ns", "clock", int)
        for name in _CLOCKS.split()
    },
    **_logging(),
    id(json.dumps): HostFunction("json.dumps", "text", str),
}

# ---- methods, by the exact class of the object
_WRITES = {
    name: HostFunction(f"write to a stream ({name})", "output") for name in ("write", "flush")
}
_ROWS = {name: HostFunction(f"write rows ({name})", "output") for name in ("writerow", "writerows")}
_DRAWN = {
    random.Random: """random uniform triangular gauss normalvariate lognormvariate expovariate
        betavariate gammavariate paretovariate weibullvariate vonmisesvariate randint randrange
        getrandbits""",
    np.random.RandomState: """rand randn random random_sample uniform normal standard_normal beta
        gamma exponential standard_exponential laplace logistic lognormal randint permutation
        choice binomial poisson dirichlet multinomial""",
    np.random.Generator: """random uniform normal standard_normal beta gamma exponential
        standard_exponential laplace logistic lognormal integers permutation choice binomial
        poisson dirichlet multinomial""",
}
_METHODS: dict[type, dict[str, HostFunction]] = {
    **{
        kind: _WRITES
        for kind in (
            io.TextIOWrapper,
            io.StringIO,
            io.BytesIO,
            io.BufferedWriter,
            io.BufferedRandom,
            io.FileIO,
        )
    },
    type(csv.writer(io.StringIO())): _ROWS,
    **{
        kind: {name: HostFunction(f"{kind.__name__}.{name}", "draw") for name in names.split()}
        for kind, names in _DRAWN.items()
    },
}
# the generators behind the functions of the modules `random` and `numpy.random`
GLOBALS: tuple[Any, Any] = random.random.__self__, np.random.rand.__self__  # type: ignore[attr-defined]
# of other packages, by module and name of the class
_FOREIGN = {
    ("tqdm.std", "tqdm"): {
        name: HostFunction(f"tqdm.{name}", "output")
        for name in (
            *("update", "set_postfix", "set_postfix_str", "set_description"),
            *("set_description_str", "refresh"),
        )
    }
}
# packages whose own Python writes what others print
_WRITERS = ("tqdm", "ipykernel", "IPython", "_pytest", "pytest", "colorama", "zmq", "traitlets")


def _of_object(owner: Any, name: str, function: Any) -> HostFunction | None:
    """A method of an object."""
    kind = type(owner)
    found = _METHODS.get(kind)
    if found is not None:
        return found.get(name)
    for base in kind.__mro__ if "tqdm" in sys.modules else ():
        methods = _FOREIGN.get((base.__module__, base.__name__))
        if methods is not None and function is lookup(base, name):
            return methods.get(name)
    return None


def owns_state(kind: type) -> bool:
    """Whether objects of a class hold nothing but state that such functions read or move."""
    return kind in _METHODS


def host_function(function: Any, owner: Any = None) -> HostFunction | None:
    """What a callable is for; `owner`: the object whose method it is, where it is not bound."""
    found = _FUNCTIONS.get(id(function))
    if found is not None:
        return found
    if is_a(function, types.BuiltinFunctionType):
        owner, name = function.__self__, function.__name__
        if owner is None or is_a(owner, types.ModuleType):
            return None
        return _of_object(owner, name, function)
    if is_a(function, types.MethodType):
        inner = function.__func__
        found = _FUNCTIONS.get(id(inner))
        name = getattr(inner, "__name__", "")
        return found or _of_object(function.__self__, name, inner)
    name = getattr(function, "__name__", None)
    return None if owner is None or name is None else _of_object(owner, name, function)


@functools.lru_cache(1)
def _codes() -> dict[int, HostFunction]:
    """Functions in Python, by the id of their code."""
    found = {}
    found[id(json.dumps.__code__)] = _FUNCTIONS[id(json.dumps)]
    modules = logging, logging.Logger
    for holder in modules:
        for name in _LEVELS:
            function = getattr(holder, name)
            found[id(function.__code__)] = _FUNCTIONS[id(function)]
    for name, entry in _METHODS[random.Random].items():
        function = lookup(random.Random, name)
        if is_a(function, types.FunctionType):
            found[id(function.__code__)] = entry
    return found


def code_of(code: types.CodeType) -> HostFunction | None:
    """The function in Python that has this code."""
    found = _codes().get(id(code))
    if found is None and code.co_filename.endswith(_TQDM):
        return _FOREIGN["tqdm.std", "tqdm"].get(code.co_name)
    return found


_TQDM = os.path.join("tqdm", "std.py")


@functools.lru_cache(4096)
def helper(filename: str) -> bool:
    """Code that works for such a function: the standard library, and who shows what is printed."""
    if filename.startswith("<frozen "):
        return True
    parts = filename.split(os.sep)
    if "site-packages" in parts:
        place = parts.index("site-packages") + 1
        return parts[place].removesuffix(".py") in _WRITERS
    return filename.startswith(STDLIB)
