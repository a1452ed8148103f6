"""`profile`: what each kernel of a recorded call costs, with the line it came from.

Invariant: the tensors of the program are not changed; kernels run on private copies of the state.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from .backends.api import KernelTime
from .core.errors import HybridError
from .decorator import Function, unbound

__all__ = ["profile", "Profile"]


class Profile(list[KernelTime]):
    """Kernels of one call in execution order; str() and the notebook show the slowest first.

    >>> import hybrid
    >>> double = hybrid.function(lambda x: x + x)
    >>> x = hybrid.ones(1000)
    >>> _ = double(x), double(x)
    >>> print(hybrid.profile(double, x))
    <lambda>: 1 kernels, ... us
    ...
    """

    def __init__(self, name: str, rows: Sequence[KernelTime]) -> None:
        super().__init__(rows)
        self.name = name

    @property
    def seconds(self) -> float:
        """Sum of the kernels' least times.

        >>> import hybrid
        >>> hybrid.Profile("nothing", []).seconds
        0
        """
        return sum(r.seconds for r in self)

    def slowest(self) -> list[KernelTime]:
        """The kernels by falling time.

        >>> import hybrid
        >>> double = hybrid.function(lambda x: x + x)
        >>> x = hybrid.ones(1000)
        >>> _ = double(x), double(x)
        >>> [kernel.kind for kernel in hybrid.profile(double, x).slowest()]
        ['map']
        """
        return sorted(self, key=lambda kernel: -kernel.seconds)

    def __str__(self) -> str:
        heading = f"{self.name}: {len(self)} kernels, {self.seconds * 1e6:.1f} us"
        return "\n".join([heading, *map(str, self.slowest()[:30])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = []
        for kernel in self.slowest()[:30]:
            site = html.escape(str(kernel.site or ""))
            width = f"{max(kernel.share * 100, 0.5):.1f}%"
            share_bar = f"<div style='background:#1a56db;height:.9em;width:{width}'></div>"
            cells = (
                kernel.kind,
                html.escape(kernel.shape),
                f"{kernel.seconds * 1e6:.1f} us",
                f"{kernel.gbytes:.0f} GB/s",
                f"{kernel.gops:.0f} G/s",
                str(kernel.threads),
                f"{kernel.bound:.0%}" if kernel.bound else "",
            )
            rows.append(
                "<tr>"
                + "".join(f"<td>{c}</td>" for c in cells)
                + f"<td style='width:12em'>{share_bar}</td><td><code>{site}</code></td></tr>"
            )
        heading = "".join(
            f"<th>{h}</th>"
            for h in (
                *("kind", "shape", "time", "bytes", "operations", "threads", "of the bound"),
                *("share", "line"),
            )
        )
        return (
            f"<b>{html.escape(self.name)}</b>: {len(self)} kernels, {self.seconds * 1e6:.1f} us"
            f"<table><tr>{heading}</tr>{''.join(rows)}</table>"
        )


def profile(fn: Function, *args: Any, runs: int = 20, **kwargs: Any) -> Profile:
    """Time every kernel that a decorated function replays for these arguments: the least of `runs`.

    Rows hold seconds; str() shows microseconds.  Raises HybridError, saying why, when the call is
    not replayed (call it at least twice first), TypeError for a function without the decorator.

    >>> import hybrid
    >>> double = hybrid.function(lambda x: x + x)
    >>> x = hybrid.ones(1000)
    >>> _ = double(x), double(x)
    >>> len(hybrid.profile(double, x))
    1
    """
    fn, args = unbound(fn, args)
    if not isinstance(fn, Function):
        raise TypeError("profile takes a function made by @hybrid.function")
    prepared, inputs = fn.inputs(*args, **kwargs)
    if prepared is None:
        raise HybridError(f"nothing to profile: {inputs}")
    rows = prepared.executable.profile(inputs, runs)
    return Profile(getattr(fn.fn, "__qualname__", "function"), rows)
