"""Functions whose body runs after the call has returned: generators, coroutines.

Invariant: looking at a callable runs none of its code.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

from ..heap.allowlist import Wrapped

__all__ = ["RESUMES", "resumed", "show_kind"]

RESUMED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
RESUMES = "is a generator or asynchronous function, whose body runs after the call has returned"


def resumed(callee: Any) -> types.FunctionType | None:
    """The generator, coroutine or asynchronous generator function that a call of fn starts."""
    while isinstance(callee, (functools.partial, types.MethodType, Wrapped)):
        if isinstance(callee, functools.partial):
            callee = callee.func
        else:
            callee = callee.fn if isinstance(callee, Wrapped) else callee.__func__
    if not isinstance(callee, types.FunctionType):
        callee = getattr(type(callee), "__call__", None)  # noqa: B004  (the function, not whether)
    code = getattr(callee, "__code__", None)
    return callee if code is not None and code.co_flags & RESUMED else None


def show_kind(decorated: Any, fn: Callable[..., Any]) -> None:
    """Give a decorated function what `inspect` looks at to see which kind of function it is."""
    inner = resumed(fn)
    if inner is None or not isinstance(
        fn, (types.FunctionType, types.MethodType, functools.partial)
    ):
        return
    decorated.__name__ = inner.__name__
    if inspect.iscoroutinefunction(inner) and hasattr(inspect, "markcoroutinefunction"):
        inspect.markcoroutinefunction(decorated)
