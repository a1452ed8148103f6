"""Looking inside eager code: stop at the first NaN, list every intermediate value.

Invariant: watching changes no result.  Both work inside decorated functions: these run eagerly
while watched, but `debug` lets a replay happen whose operations it has looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core import dtypes as dt
from ..core.errors import HybridError, Site
from ..core.sites import user_site
from ..core.switches import SWITCHES
from ..ir.door import bind as door
from ..ir.door.evaluate import evaluate_eager
from ..ir.door.pending import value_of
from ..ir.graph.graph import Graph, Node
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


Value = tuple[Any, Any]  # a value and its record


def _host(value: Value) -> np.ndarray:
    """The elements on the host, in double precision."""
    return np.asarray(door.fetched(value[0], value[1].device), np.float64)


class _Checks(Mode):
    """Looks at what every op makes, also those that a replay stands for."""

    __slots__ = ("inf",)
    checks = True

    def __init__(self, inf: bool) -> None:
        self.inf = inf

    def on_op(
        self, op: Any, params: Any, operands: tuple[Any, ...], outputs: tuple[Any, ...]
    ) -> None:
        """Raise when an output is bad and no input is."""
        given = [(value_of(x), x._a) for x in operands]
        if self._made(given, [(value_of(x), x._a) for x in outputs]):
            self._blame(op, given, [(value_of(x), x._a) for x in outputs], user_site(2))

    def check(self, graph: Graph, inputs: Sequence[Any]) -> None:
        """The same for each operation of a graph, on these values of its inputs."""

        def look(node: Node, operands: Sequence[Any], results: Sequence[Any]) -> None:
            given = list(zip(operands, [value.aval for value in node.inputs]))
            made = list(zip(results, [value.aval for value in node.outputs]))
            if self._made(given, made):
                self._blame(node.op, given, made, node.site)

        evaluate_eager(graph, inputs, look)

    def _bad(self, value: Value) -> int:
        """Number of NaN (and infinite) elements."""
        if not dt.is_float(value[1].dtype):
            return 0
        elements = door.fetched(value[0], value[1].device)
        half = value[1].dtype is dt.bfloat16
        elements = elements.astype(np.float32) if half else elements
        return int((~np.isfinite(elements)).sum() if self.inf else np.isnan(elements).sum())

    def _made(self, operands: list[Value], outputs: list[Value]) -> bool:
        return any(map(self._bad, outputs)) and not any(map(self._bad, operands))

    def _blame(
        self, op: Any, operands: list[Value], outputs: list[Value], site: Site | None
    ) -> None:
        output = next(filter(self._bad, outputs))
        values = _host(output)
        bad = ~np.isfinite(values) if self.inf else np.isnan(values)
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        what = "NaN" if np.isnan(values[where]) else "infinity"
        lines = [
            f"{op.name} made {self._bad(output)} bad element(s) of {output[1]}; "
            f"the first, {what}, is at {where}"
        ]
        for number, operand in enumerate(operands):
            numbers = _host(operand)
            if numbers.size:
                extremes = f"min {numbers.min():.6g}, max {numbers.max():.6g}"
                lines.append(f"  input {number}: {operand[1]}, {extremes}")
        raise NanError("\n".join([*lines, f"  at {site}"]))


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

    With ``nan=True`` the op that makes the first NaN raises NanError, with its line and operands;
    with ``inf=True`` infinities count, too.  A NaN that was already in an operand is not blamed on
    the op.  A decorated function that would be replayed has each of its operations checked
    before the replay, so that after an error all state is as it was before the call; one that would
    not runs eagerly, operation by operation.

    On a device that works beside the host an index that is out of range is noticed by the kernels,
    and raised where the host next waits for them.  With ``sync=True`` the host waits in every call
    that may fail so.  TypeError for a setting that is not True or False.

    >>> import hybrid
    >>> f = hybrid.function(lambda x: hybrid.log(x).sum())
    >>> for _ in range(3):
    ...     y = f(hybrid.tensor([1.0, -1.0]))
    >>> with hybrid.debug(nan=True):
    ...     f(hybrid.tensor([1.0, -1.0]))
    Traceback (most recent call last):
    hybrid.eager.debug.NanError: ...
    >>> with hybrid.debug(sync=True):
    ...     hybrid.arange(3)[hybrid.tensor([0, 2])].tolist()
    [0, 2]
    """

    __slots__ = ("sync", "_checks", "_old")

    def __init__(self, *, nan: bool = False, inf: bool = False, sync: bool = False) -> None:
        for name, value in {"nan": nan, "inf": inf, "sync": sync}.items():
            if not isinstance(value, (bool, np.bool_)):
                raise TypeError(f"debug: {name} is True or False, not {type(value).__name__}")
        self.sync = bool(sync)
        self._checks = _Checks(bool(inf)) if nan or inf else None
        self._old = list[Any]()

    @property
    def nan(self) -> bool:
        """Whether a NaN raises.

        >>> import hybrid
        >>> hybrid.debug(nan=True).nan, hybrid.debug(sync=True).nan
        (True, False)
        """
        return self._checks is not None

    @property
    def inf(self) -> bool:
        """Whether an infinity does.

        >>> import hybrid
        >>> hybrid.detect_nan(inf=True).inf, hybrid.detect_nan().inf
        (True, False)
        """
        return self._checks is not None and self._checks.inf

    def __enter__(self) -> debug:
        SWITCHES.wait += self.sync
        if self._checks is not None:
            self._old.append(door.current_mode())
            door.push_mode(self._checks)  # last: an interrupt before it leaves the modes as before
        return self

    def __exit__(self, *error: Any) -> None:
        if self._checks is not None:
            door.pop_mode(self._old[-1])
            del self._old[-1]
        SWITCHES.wait -= self.sync


class detect_nan(debug):  # noqa: N801  (used like a function)
    """The same as ``debug(nan=True, inf=inf)``.

    >>> import hybrid
    >>> with hybrid.detect_nan():
    ...     hybrid.log(hybrid.tensor([1.0, -1.0]))
    Traceback (most recent call last):
    hybrid.eager.debug.NanError: ...
    """

    __slots__ = ()

    def __init__(self, inf: bool = False) -> None:
        super().__init__(nan=True, inf=inf)
