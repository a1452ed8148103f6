"""Where a function is public, said at the function; all lists of public names are made of it.

Invariant: `SURFACE` holds one row per marked function in the order of definition, and nothing else
names what is public: `hybrid.*`, `hybrid.nn.functional`, the modules of `SPACES`, the methods and
operators of Tensor, the typed stubs and docs/ops.md are read from it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict, TypeVar, Unpack, overload

from ...ir.door.flat import function_of
from ...ir.op import Op

__all__ = ["Public", "SPACES", "SURFACE", "public"]

SPACES = ("fft", "linalg", "random", "special")  # hybrid.<each> holds functions of ops alone

Names = bool | str | tuple[str, ...]
Marked = TypeVar("Marked", bound=Callable[..., Any])


class Public(NamedTuple):
    """One public function: what it is called in each place, () where it is not there."""

    name: str
    function: Callable[..., Any]
    family: str  # the module that defines it
    hybrid: tuple[str, ...]  # hybrid.<name>
    fft: tuple[str, ...]  # hybrid.fft.<name>
    linalg: tuple[str, ...]  # hybrid.linalg.<name>
    random: tuple[str, ...]  # hybrid.random.<name>
    special: tuple[str, ...]  # hybrid.special.<name>
    functional: tuple[str, ...]  # hybrid.nn.functional.<name>
    method: tuple[str, ...]  # Tensor.<name>
    inplace: tuple[str, ...]  # Tensor.<name>, whose result the tensor takes
    operator: tuple[str, ...]  # Tensor.__<name>__, with its reflected and in-place forms


SURFACE: list[Public] = []


class Visibility(TypedDict, total=False):
    """Where a function is public: False for nowhere, True under its own name, or names."""

    hybrid: Names
    fft: Names
    linalg: Names
    random: Names
    special: Names
    functional: Names
    method: Names
    inplace: Names
    operator: Names


def _names(said: Names, own: str) -> tuple[str, ...]:
    if isinstance(said, bool):
        return (own,) if said else ()
    return (said,) if isinstance(said, str) else said


@overload
def public(target: Op, /, **where: Unpack[Visibility]) -> Callable[..., Any]: ...
@overload
def public(target: Marked, /, **where: Unpack[Visibility]) -> Marked: ...
@overload
def public(**where: Unpack[Visibility]) -> Callable[[Marked], Marked]: ...


def public(target: Any = None, /, **where: Unpack[Visibility]) -> Any:
    """Mark a function as public, in `hybrid` where nothing else is said; a record gets its
    function.

    Values are True (its own name), a name, or several: `hybrid=("acos", "arccos")`; the first name
    in `hybrid` is its own.  `inplace=True` is the method whose name ends in an underscore.

    >>> @public(hybrid=False, method=("total", "overall"))
    ... def total(x): ...
    >>> SURFACE.pop().method
    ('total', 'overall')
    """
    family = sys._getframe(1).f_globals["__name__"]
    if target is None:
        return lambda function: _mark(function, family, where)
    return _mark(function_of(target) if isinstance(target, Op) else target, family, where)


def _mark(function: Any, family: str, where: Visibility) -> Any:
    own = function.__name__
    at_home = _names(where.get("hybrid", True), own)
    own = at_home[0] if at_home else own
    inplace = where.get("inplace", False)
    spaces: dict[str, Any] = {space: _names(_said(where, space), own) for space in SPACES}
    SURFACE.append(
        Public(
            own,
            function,
            family,
            hybrid=at_home,
            functional=_names(where.get("functional", False), own),
            method=_names(where.get("method", False), own),
            inplace=_names(inplace, own + "_"),
            operator=_names(where.get("operator", False), own),
            **spaces,
        )
    )
    return function


def _said(where: Any, space: str) -> Names:
    """What a mark says of a module of SPACES."""
    said: Names = where.get(space, False)
    return said
