"""A call operation by operation: `step_through`, the values of each on demand.

Invariant: looking changes nothing. What a replay was given is kept, so its values are computed
again, by the kernels of eager mode, from what that very call began with: the bits are the same.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np

from ..core import dtypes as dt
from ..core.errors import HybridError, Site
from ..core.sites import user_site
from ..ir.door import bind as door
from ..ir.door.evaluate import kernel_at
from ..ir.door.pending import value_of
from ..ir.graph.graph import Const, Graph, Node, Value
from ..ir.graph.rewrite import dependencies
from ..ir.mode import Mode
from ..ir.tensor import new_handle

__all__ = ["Step", "Steps", "step_through"]

SHOWN = 200  # rows of a notebook's table


class _Replayed:
    """The values of one graph, of which those are computed that somebody asks for."""

    def __init__(self, graph: Graph, inputs: Sequence[Any]) -> None:
        self.values: dict[Value, Any] = dict(zip(graph.inputs, inputs, strict=True))

    def __call__(self, value: Value) -> Any:
        if isinstance(value, Const):
            return door.on_device(value.data, value.aval.device)
        if value not in self.values:
            for node in list(dependencies([value], self.values)):
                results = kernel_at(node, [self(operand) for operand in node.inputs])
                self.values.update(zip(node.outputs, results))
        return self.values[value]


class Step:
    """One operation of a call: the name `op`, its `params`, the user's line `site`, and whether it
    was part of a replay (`replayed`); `avals`: records (shape, dtype, device) of what it got and
    made; `inputs` and `outputs` are tensors with the values, computed when they are asked for.
    Writing to them changes nothing else.

    >>> import hybrid
    >>> steps = hybrid.step_through(lambda x: (x * 2).exp(), hybrid.zeros(2))
    >>> steps[1].op, steps[1].inputs[0].tolist(), steps[1].outputs[0].tolist()
    ('exp', [0.0, 0.0], [1.0, 1.0])
    """

    __slots__ = ("number", "op", "params", "site", "replayed", "avals", "_values")

    def __init__(
        self,
        number: int,
        op: str,
        params: dict[str, Any],
        site: Site | None,
        avals: tuple[Sequence[Any], Sequence[Any]],
        values: Callable[[], tuple[Sequence[Any], Sequence[Any]]],
        replayed: bool,
    ) -> None:
        self.number, self.op, self.params, self.site = number, op, params, site
        self.avals, self._values, self.replayed = avals, values, replayed

    def _tensors(self, which: int) -> tuple[Any, ...]:
        return tuple(map(new_handle, self._values()[which], self.avals[which]))

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The operands, as tensors.

        >>> import hybrid
        >>> hybrid.step_through(lambda x: x + 1, hybrid.ones(2))[0].inputs
        (tensor([1., 1.]), tensor(1.))
        """
        return self._tensors(0)

    @property
    def outputs(self) -> tuple[Any, ...]:
        """The results, as tensors.

        >>> import hybrid
        >>> hybrid.step_through(lambda x: x + 1, hybrid.ones(2))[0].outputs
        (tensor([2., 2.]),)
        """
        return self._tensors(1)

    def __repr__(self) -> str:
        made = ", ".join(map(str, self.avals[1]))
        return f"{self.number}: {self.op} -> {made}" + (f"  # {self.site}" if self.site else "")

    def __str__(self) -> str:
        """With the range of each value."""
        lines = [repr(self)]
        for name, tensors in ("input", self.inputs), ("output", self.outputs):
            lines += [f"  {name} {i}: {_range_of(x)}" for i, x in enumerate(tensors)]
        return "\n".join(lines)


def _range_of(tensor: Any) -> str:
    """Record, least and greatest element, and how many are no numbers."""
    array = door.host_array(tensor)
    if not array.size:
        return str(tensor._a)
    if not dt.is_float(tensor.dtype):
        return f"{tensor._a}, min {array.min()}, max {array.max()}"
    wide = array.astype(np.float64)
    bad = int(np.isnan(wide).sum())
    known = wide[~np.isnan(wide)]
    text = f", min {np.min(known):.6g}, max {np.max(known):.6g}" if known.size else ""
    return f"{tensor._a}{text}" + (f", {bad} NaN" if bad else "")


class Steps(Sequence[Step]):
    """The operations of one call in order, and its `result`; `error` where it raised.

    `at(line)` gives those that a line of the source asked for; str() lists all, without computing
    any.  It keeps the values that the call began with and those that were looked at.

    >>> import hybrid
    >>> steps = hybrid.step_through(lambda x: (x * 2).exp().sum(), hybrid.zeros(2))
    >>> [step.op for step in steps], float(steps.result)
    (['multiply', 'exp', 'sum'], 2.0)
    """

    def __init__(self, name: str) -> None:
        self.name, self._steps = name, list[Step]()
        self.result: Any = None
        self.error: Exception | None = None

    def __len__(self) -> int:
        return len(self._steps)

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> list[Step]: ...
    def __getitem__(self, index: Any) -> Any:
        return self._steps[index]

    def at(self, line: int) -> list[Step]:
        """The steps of one line, by its number in the file; HybridError where it has none.

        >>> import hybrid
        >>> steps = hybrid.step_through(lambda x: x + 1, hybrid.ones(2))
        >>> [step.op for step in steps.at(steps[0].site.line)]
        ['add']
        """
        found = [step for step in self._steps if step.site is not None and step.site.line == line]
        if not found:
            lines = sorted({step.site.line for step in self._steps if step.site is not None})
            shown = ", ".join(map(str, lines[:20])) + (", ..." if len(lines) > 20 else "")
            raise HybridError(f"no operation of {self.name} comes from line {line}; lines: {shown}")
        return found

    def __repr__(self) -> str:
        return f"<{len(self)} steps of {self.name}; print() lists them, [i] is one>"

    def __str__(self) -> str:
        return "\n".join([f"{self.name}: {len(self)} steps", *map(repr, self._steps)])

    def _repr_html_(self) -> str:
        rows = [
            f"<tr><td>{step.number}</td><td><b>{html.escape(step.op)}</b></td>"
            f"<td>{html.escape(', '.join(map(str, step.avals[1])))}</td>"
            f"<td>{'replay' if step.replayed else 'eager'}</td>"
            f"<td>{step.site.line if step.site else ''}</td><td style='text-align:left'><code>"
            f"{html.escape(step.site.text() if step.site else '')}</code></td></tr>"
            for step in self._steps[:SHOWN]
        ]
        more = f"<p>and {len(self) - SHOWN} more</p>" if len(self) > SHOWN else ""
        head = "".join(f"<th>{t}</th>" for t in ("", "op", "makes", "run", "line", "source"))
        return (
            f"<b>{html.escape(self.name)}</b>: {len(self)} steps"
            f"<table><tr>{head}</tr>{''.join(rows)}</table>{more}"
        )

    def add(self, *step: Any) -> None:
        """Note one more step, without its number.

        >>> import hybrid
        >>> steps = hybrid.Steps("mine")
        >>> steps.add("exp", {}, None, ([], []), tuple, False)
        >>> len(steps), steps[0].op
        (1, 'exp')
        """
        self._steps.append(Step(len(self._steps), *step))


class _Stepping(Mode):
    """Keeps what operations run, and what replays begin with."""

    __slots__ = ("steps",)
    checks = True

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def on_op(
        self, op: Any, params: Any, operands: tuple[Any, ...], outputs: tuple[Any, ...]
    ) -> None:
        given, made = [[value_of(x) for x in handles] for handles in (operands, outputs)]
        avals = [x._a for x in operands], [x._a for x in outputs]
        self.steps.add(op.name, dict(params), user_site(2), avals, lambda: (given, made), False)

    def check(self, graph: Graph, inputs: Sequence[Any]) -> None:
        """Keep a graph that is about to be replayed, with the values that it is given."""
        values = _Replayed(graph, inputs)
        for node in graph.nodes:
            avals = [v.aval for v in node.inputs], [v.aval for v in node.outputs]
            head = node.op.name, dict(node.params), node.site
            self.steps.add(*head, avals, _later(values, node), True)


def _later(values: _Replayed, node: Node) -> Callable[[], tuple[list[Any], list[Any]]]:
    return lambda: ([values(v) for v in node.inputs], [values(v) for v in node.outputs])


def step_through(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Steps:
    """Call a function and return the operations of that call, with their values on demand.

    A decorated function that would be replayed, and whose recording has no branches on tensors, is
    replayed, state and all; the steps are then those of its recorded graph, and their values are
    computed, with the same bits, when they are asked for.  Other calls run eagerly, and the values
    of each step are kept.  What the call raises is kept as `error`, with the steps before it.
    Raises TypeError for what cannot be called.

    >>> import hybrid
    >>> @hybrid.function
    ... def scaled(x):
    ...     return (x * 3).sum()
    >>> for _ in range(3):
    ...     y = scaled(hybrid.ones(2))
    >>> steps = hybrid.step_through(scaled, hybrid.ones(2))
    >>> print(steps[0].replayed, steps[0].outputs[0], steps.result)
    True tensor([3., 3.]) tensor(6.)
    """
    if not callable(fn):
        raise TypeError(f"step_through takes a function to call, not a {type(fn).__name__}")
    steps = Steps(getattr(fn, "__qualname__", type(fn).__name__))
    before = door.push_mode(_Stepping(steps))
    try:
        steps.result = fn(*args, **kwargs)
    except Exception as error:
        steps.error = error
    finally:
        door.pop_mode(before)
    return steps
