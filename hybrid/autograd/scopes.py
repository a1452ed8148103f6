"""Scopes that switch the tape on and off.

Invariant: the tape is as it was when a scope ends, whatever ends it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..core.errors import ArgumentError
from ..core.signals import critical
from ..ir.door import bind as door
from ..ir.door.arguments import described

__all__ = ["no_grad", "enable_grad", "set_grad_enabled", "need_callable"]


class _GradScope:
    """A context manager and decorator that switches the tape on this thread."""

    __slots__ = ("enabled", "_before")

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self._before: list[bool] = []  # of scopes that are entered again inside themselves, too

    @critical
    def __enter__(self) -> None:
        self._before.append(door.grad_enabled())
        door.set_grad(self.enabled)  # last: an interrupt before it leaves the tape as it was

    @critical
    def __exit__(self, *error: Any) -> None:
        door.set_grad(self._before[-1])
        del self._before[-1]

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        need_callable("enable_grad" if self.enabled else "no_grad", function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with _GradScope(self.enabled):
                return function(*args, **kwargs)

        return wrapped


def need_callable(what: str, function: Any) -> None:
    """ArgumentError for a call of `what` with something that is no function."""
    if not callable(function):
        raise ArgumentError(f"{what}: fn is {described(function)}: it takes a function")


def no_grad(fn: Callable[..., Any] | None = None) -> Any:
    """Scope (or decorator, with or without parentheses) in which ops are not put on the tape.

    Raises ArgumentError for an argument that is no function.

    >>> import hybrid
    >>> with hybrid.no_grad(): y = hybrid.ones(3, requires_grad=True) * 2
    >>> y.requires_grad
    False
    """
    return _GradScope(False) if fn is None else _GradScope(False)(fn)


def enable_grad(fn: Callable[..., Any] | None = None) -> Any:
    """Scope (or decorator) in which ops are put on the tape again.

    Raises ArgumentError for an argument that is no function.

    >>> import hybrid
    >>> with hybrid.no_grad(), hybrid.enable_grad(): y = hybrid.ones(3, requires_grad=True) * 2
    >>> y.requires_grad
    True
    """
    return _GradScope(True) if fn is None else _GradScope(True)(fn)


class _GradSwitch(_GradScope):
    """A scope that is in force from the moment it is made, as PyTorch's set_grad_enabled."""

    __slots__ = ("_fresh",)

    def __init__(self, enabled: bool) -> None:
        super().__init__(enabled)
        self._fresh = True
        super().__enter__()

    def __enter__(self) -> None:
        if not self._fresh:
            super().__enter__()
        self._fresh = False

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if self._fresh:
            self._fresh = False
            self.__exit__()
        return super().__call__(function)


def set_grad_enabled(on: bool) -> _GradScope:
    """Switch the tape of this thread on or off, at once; as a `with` scope, until its end.

    >>> import hybrid
    >>> with hybrid.set_grad_enabled(False): y = hybrid.ones(3, requires_grad=True) * 2
    >>> y.requires_grad
    False
    """
    return _GradSwitch(bool(on))
