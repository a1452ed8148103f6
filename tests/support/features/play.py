"""Runs a program plainly and decorated and compares all there is after every call.

Invariant: both runs start equal: modules, generators of random numbers, output.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import io
import linecache
import random
import types
import warnings
from typing import Any

import numpy as np
from frozen import difference, frozen

import hybrid as hb
from hybrid.core.errors import IndexOutOfRange
from hybrid.trace.fallback.deferred import CHOICE

from .make import Case

__all__ = ["OUTSIDE", "REFUSED", "failure_of", "play", "script"]

HIDDEN = (types.ModuleType, types.FunctionType, type, hb.Function)
OUTSIDE = "outside of the step"
# documented limits: errors of hybrid's own that say the way out
REFUSALS: tuple[str, ...] = ()
REFUSED = "refused: "
_SERIAL = [0]


def _module(source: str, decorate: Any) -> dict[str, Any]:
    _SERIAL[0] += 1
    name = f"<features {_SERIAL[0]}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    space = {"function": decorate, "__name__": "features_program", "results": []}
    try:
        exec(compile(source, name, "exec", dont_inherit=True), space)
    finally:
        linecache.cache.pop(name, None)
    return space


def _state(space: dict[str, Any]) -> Any:
    """All data of the module, gradients and modes included."""
    found = {
        name: value
        for name, value in space.items()
        if not name.startswith("__") and not isinstance(value, HIDDEN) and name != "function"
    }
    leaf, model, block = (space.get(name) for name in ("leaf", "model", "block"))
    tensors = {name: v for name, v in found.items() if isinstance(v, hb.Tensor)}
    same = [(a, b) for a in tensors for b in tensors if a < b and tensors[a] is tensors[b]]
    grads = [None if leaf is None else leaf.grad]
    for module in (model, block):
        if module is not None:
            grads += [p.grad for p in module.parameters()]
            found[f"state of {type(module).__name__}"] = module.state_dict()
    config = space.get("Config")
    shared = getattr(config, "share", None)
    cell = space["get"]() if "get" in space else None
    plain = {n: v for n, v in found.items() if not isinstance(v, hb.nn.Module)}
    plain.pop("optimizer", None)
    return frozen([plain, grads, same, shared, cell, hb.random.get_state(), random.random()])


def _here(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return function(*args, **kwargs)


def _in_thread(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Every call in a thread of its own."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(_here, function, args, kwargs).result()


def play(case: Case, decorate: Any) -> list[tuple[str, Any]]:
    """(what, data) after every call."""
    hb.manual_seed(7)
    random.seed(7)
    np.random.seed(7)
    seen: list[tuple[str, Any]] = []
    out = io.StringIO()
    called = _in_thread if case.seed % 8 == 5 else _here
    with contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        space = _module(case.source(), decorate)
        for number, (change, arguments) in enumerate(case.calls):
            result: Any = None
            try:
                exec(change, space)
                given = eval(f"(lambda *a, **k: (a, k))({', '.join(arguments)})", space)
            except Exception as error:  # a change that does not fit: both worlds say the same
                seen.append((f"call {number}, before", (type(error).__name__, str(error))))
                continue
            args, kwargs = given
            try:
                result = called(space["step"], args, kwargs)
            except IndexOutOfRange as error:  # leaves other state in a replay, as documented
                seen.append((f"call {number}, error", type(error).__name__))
                return seen
            except Exception as error:
                seen.append((f"call {number}, error", (type(error).__name__, str(error))))
            alias = [i for i, v in enumerate(args) if v is result]
            space["results"].append(result)
            seen.append((f"call {number}, result", frozen(result)))
            seen.append((f"call {number}, alias", alias))
            seen.append((f"after call {number}", _state(space)))
            seen.append((f"output of call {number}", out.getvalue()))
    return seen


def failure_of(case: Case) -> tuple[str, str]:
    """(what differs, the error that plain Python raises in the first call, if any)."""
    plain = play(case, lambda fn: fn)
    made: list[Any] = []

    def decorate(fn: Any) -> Any:
        made.append(hb.function(fn))
        return made[-1]

    before = CHOICE[0]
    if case.seed % 3:  # else by the clock, in turns at first
        CHOICE[0] = "always"
    try:
        traced = play(case, decorate)
    except Exception as error:
        return f"{type(error).__name__} {OUTSIDE}: {error}", ""
    finally:
        CHOICE[0] = before
    for (what, one), (_, other) in zip(plain, traced):
        found = difference(one, other)
        if found:
            limit = any(text in str(other) for text in REFUSALS)
            return f"{REFUSED if limit else ''}{what}: {found}", _error(plain)
    if len(plain) != len(traced):
        return "one run is longer", _error(plain)
    return "", _error(plain)


def _error(seen: list[tuple[str, Any]]) -> str:
    for what, data in seen:
        if what.endswith(("error", "before")):
            return str(data)
    return ""


def script(case: Case, failure: str) -> str:
    """The program as a script that shows both runs."""
    return f'''# seed {case.seed}: {failure}
import random, warnings
import numpy as np
import hybrid as hb

warnings.simplefilter("ignore")
SOURCE = """\\
{case.source()}"""
CALLS = [
{"".join(f"    ({change!r}, {', '.join(arguments)!r})," + chr(10) for change, arguments in case.calls)}]


def play(decorate):
    hb.manual_seed(7), random.seed(7), np.random.seed(7)
    space = dict(function=decorate, __name__="__main__", results=[])
    exec(compile(SOURCE, "program", "exec", dont_inherit=True), space)
    for change, arguments in CALLS:
        try:
            exec(change, space)
            result = eval(f"step([[arguments]])", space)
        except Exception as error:
            result = error
        space["results"].append(result)
        print(repr(result))


for decorate in (lambda fn: fn, hb.function):
    print("----")
    play(decorate)
'''.replace("[[arguments]]", "{arguments}")
