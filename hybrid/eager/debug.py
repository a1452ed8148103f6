"""Looking inside eager code: stop at the first NaN, list every intermediate value.

Invariant: watching changes no result; both work inside decorated functions, which run eagerly while
watched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..core import dtypes as dt
from ..core.errors import HybridError, Site
from ..core.sites import user_site
from ..core.switches import SWITCHES
from ..ir.door import bind as door
from ..ir.mode import Mode

__all__ = ["debug", "detect_nan", "intermediates", "Intermediate", "NanError"]


class NanError(HybridError, FloatingPointError):
    """An operation made a NaN (or, if asked for, an infinity) out of finite numbers.

    >>> import hybrid
    >>> try:
    ...     with hybrid.detect_nan():
    ...         hybrid.sqrt(hybrid.tensor([4.0, -1.0]))
    ... except hybrid.NanError as error:
    ...     print(str(error).splitlines()[0])
    sqrt made 1 bad element(s) of float32[2]; the first, NaN, is at (1,)
    """


def _bad(handle: Any, infinite: bool) -> int:
    """Number of NaN (and infinite) elements."""
    if not dt.is_float(handle._a.dtype):
        return 0
    value = door.fetched(handle._v, handle._a.device)
    value = value.astype(np.float32) if handle._a.dtype is dt.bfloat16 else value
    return int((~np.isfinite(value)).sum() if infinite else np.isnan(value).sum())


class detect_nan(Mode):  # noqa: N801  (used like a function)
    """Scope in which the op that makes the first NaN raises NanError, naming op, line and operands.

    With ``inf=True`` infinities count too.  A NaN that was already in an operand is not blamed on
    the op.

    >>> import hybrid
    >>> with hybrid.detect_nan():
    ...     hybrid.log(hybrid.tensor([1.0, -1.0]))
    Traceback (most recent call last):
    hybrid.eager.debug.NanError: ...
    """

    __slots__ = ("inf", "_old")

    def __init__(self, inf: bool = False) -> None:
        self.inf, self._old = inf, []  # type: ignore[var-annotated]

    def __enter__(self) -> detect_nan:
        self._old.append(door.current_mode())
        door.push_mode(self)  # last: an interrupt before it leaves the modes as they were
        return self

    def __exit__(self, *error: Any) -> None:
        door.pop_mode(self._old[-1])
        del self._old[-1]

    def on_op(
        self, op: Any, params: Any, operands: tuple[Any, ...], outputs: tuple[Any, ...]
    ) -> None:
        """Raise when an output is bad and no input is."""
        if not any(_bad(o, self.inf) for o in outputs) or any(_bad(x, self.inf) for x in operands):
            return
        output = next(o for o in outputs if _bad(o, self.inf))
        values = np.asarray(door.fetched(output._v, output._a.device), np.float64)
        where = tuple(
            int(i) for i in np.argwhere(~np.isfinite(values) if self.inf else np.isnan(values))[0]
        )
        what = "NaN" if np.isnan(values[where]) else "infinity"
        lines = [
            f"{op.name} made {_bad(output, self.inf)} bad element(s) of {output._a}; "
            f"the first, {what}, is at {where}"
        ]
        for number, operand in enumerate(operands):
            numbers = np.asarray(door.fetched(operand._v, operand._a.device), np.float64)
            if numbers.size:
                extremes = f"min {numbers.min():.6g}, max {numbers.max():.6g}"
                lines.append(f"  input {number}: {operand._a}, {extremes}")
        raise NanError("\n".join([*lines, f"  at {user_site(2)}"]))


class Intermediate(NamedTuple):
    """One op that ran: its name, the user's line, its results.

    >>> import hybrid
    >>> hybrid.intermediates(lambda x: x + 1, hybrid.ones(2))[0].outputs
    (tensor([2., 2.]),)
    """

    op: str
    site: Site | None
    outputs: tuple[Any, ...]


class _Collector(Mode):
    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: list[Intermediate] = []

    def on_op(
        self, op: Any, params: Any, operands: tuple[Any, ...], outputs: tuple[Any, ...]
    ) -> None:
        self.found.append(Intermediate(op.name, user_site(2), outputs))


def intermediates(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Intermediate]:
    """Run fn eagerly and return every op it ran, in order, with its results.

    >>> import hybrid
    >>> [i.op for i in hybrid.intermediates(lambda x: (x * 2).exp(), hybrid.ones(3))]
    ['multiply', 'exp']
    """
    watch = _Collector()
    before = door.push_mode(watch)
    try:
        fn(*args, **kwargs)
    finally:
        door.pop_mode(before)
    return watch.found


class debug:  # noqa: N801  (used like a function)
    """Scope in which errors are raised by the call that made them.

    On a device that works beside the host an index that is out of range is noticed by the kernels,
    and raised where the host next waits for them.  With ``sync=True`` the host waits in every call
    that may fail so.

    >>> import hybrid
    >>> with hybrid.debug(sync=True):
    ...     hybrid.arange(3)[hybrid.tensor([0, 2])].tolist()
    [0, 2]
    """

    __slots__ = ("sync",)

    def __init__(self, *, sync: bool = False) -> None:
        self.sync = bool(sync)

    def __enter__(self) -> debug:
        SWITCHES.wait += self.sync
        return self

    def __exit__(self, *error: Any) -> None:
        SWITCHES.wait -= self.sync
