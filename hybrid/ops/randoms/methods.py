"""The functions of `hybrid.random` that draw, as methods of Generator.

Invariant: `generator.name(...)` is `hybrid.random.name(..., generator=generator)`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..base.surface import SURFACE, Public
from ..indexing.generators import Generator
from . import continuous, families, orders, standard, urns, vectors

__all__ = ["MODULES"]

MODULES = (
    continuous,
    families,
    orders,
    standard,
    urns,
    vectors,
)  # whose marks are in SURFACE by now


def _method(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def method(self: Generator, *arguments: Any, **more: Any) -> Any:
        return function(*arguments, generator=self, **more)

    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    rest = inspect.signature(function).parameters.values()
    others = [p for p in rest if p.name not in ("generator", "device")]
    method.__signature__ = inspect.Signature([first, *others])  # type: ignore[attr-defined]
    method.__name__, method.__qualname__ = name, f"Generator.{name}"
    method.__doc__ = f"`hybrid.random.{name}` with the numbers of this generator."
    method.__annotations__ = function.__annotations__
    return method


def _give(row: Public) -> None:
    drawing = "generator" in getattr(row.function, "__annotations__", {})
    for name in row.random if drawing else ():
        setattr(Generator, name, _method(row.function, name))


for _row in SURFACE:
    _give(_row)
