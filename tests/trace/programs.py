"""Random Python programs over all op records, as source text that a decorated function can be made
from.

Invariant: the same draws give the same text; a program only uses public entry points (`bind` on a
record, operators).
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any

import numpy as np

import hybrid
from hybrid.core import dtypes as dt
from hybrid.core.errors import HybridError
from hybrid.ir.door.bind import bind
from hybrid.ir.op import OPS

__all__ = ["Program", "make_program"]

SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42, -1e-42, 3e38, 1.0, -1.0)
UNARY = (
    "exp",
    "tanh",
    "sigmoid",
    "square",
    "negative",
    "abs",
    "sin",
    "relu",
    "gelu",
    "softplus",
    "floor",
    "rsqrt",
    "log1p",
)
BINARY = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "atan2", "hypot")
ROWS = ("sum", "mean", "max", "min", "softmax", "log_softmax", "logsumexp", "var", "prod")


class Program:
    """`source` of `def program(x0, ...)`, its `inputs`, and `function()` to make it anew."""

    def __init__(
        self, lines: list[str], inputs: list[np.ndarray], outs: list[str], consts: dict[str, Any]
    ) -> None:
        names = ", ".join(f"x{i}" for i in range(len(inputs)))
        self.source = (
            "\n".join(
                [
                    f"def program({names}):",
                    *("    " + x for x in lines),
                    f"    return {', '.join(outs)},",
                ]
            )
            + "\n"
        )
        self.inputs, self.consts = inputs, consts

    def function(self) -> Callable[..., Any]:
        name = f"<program {abs(hash(self.source))}>"
        linecache.cache[name] = (len(self.source), None, self.source.splitlines(True), name)
        space = {"bind": bind, "hybrid": hybrid, **self.consts, "__name__": "program"}
        exec(compile(self.source, name, "exec"), space)
        return space["program"]


class _Maker:
    def __init__(self, pick: Callable[[int], int]) -> None:
        self.pick = pick
        self.rng = np.random.default_rng(pick(1 << 16))
        self.lines: list[str] = []
        self.inputs: list[np.ndarray] = []
        self.consts: dict[str, Any] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}  # float values by name
        self.float = (dt.float32, dt.float32, dt.float64, dt.float16, dt.bfloat16)[pick(5)]

    def choose(self, items: Any) -> Any:
        return items[self.pick(len(items))]

    def input(self, a: np.ndarray) -> str:
        if a.dtype.kind == "f":
            with np.errstate(all="ignore"):
                a = a.astype(self.float)
            if a.size and self.pick(4) == 0:
                flat = a.reshape(-1)
                for _ in range(1 + self.pick(3)):
                    with np.errstate(all="ignore"):
                        flat[self.pick(flat.size)] = self.choose(SPECIAL)
        self.inputs.append(np.ascontiguousarray(a).reshape(a.shape))
        return f"x{len(self.inputs) - 1}"

    def const(self, value: Any) -> str:
        if (
            isinstance(value, (bool, int, float, type(None)))
            and value == value
            and abs(value or 0) != float("inf")
        ):
            return repr(value)
        name = f"K{len(self.consts)}"
        self.consts[name] = value
        return name

    def emit(self, text: str, shape: Any = None) -> str:
        name = f"t{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        if shape is not None:
            self.shapes[name] = tuple(shape)
        return name

    def record(self) -> None:
        """One op record on one of its own samples."""
        op = self.choose([o for o in OPS.values() if o.kind != "host"])
        if op.samples is None:
            shape = self.choose(((3, 17), (5,), (), (2, 1, 4), (0, 3)))
            low, high = op.domain
            arrays: list[Any] = [self.rng.uniform(low, high, shape) for _ in range(op.nin or 2)]
            if "f" not in op.accepts:
                arrays = [
                    np.abs(a * 3).astype(np.int32) if "i" in op.accepts else a > 0 for a in arrays
                ]
            if 0 in op.fixed:
                arrays[0] = arrays[0] > 0
            params: dict[str, Any] = {}
        else:
            cases = list(op.samples(self.rng))
            arrays, params = cases[self.pick(len(cases))]
        names = []
        for a in map(np.asarray, arrays):
            x = self.input(a)
            if a.dtype.kind == "f" and not op.gathers and self.pick(2):
                x = self.wrap(x)
            names.append(x)
        self.consts[f"OP_{op.name}"] = op
        given = "".join(f", {k}={self.const(v)}" for k, v in params.items())
        out = self.emit(f"bind(OP_{op.name}{''.join(', ' + n for n in names)}{given})")
        self.last = [out] if op.nout == 1 else [f"{out}[{i}]" for i in range(op.nout)]
        self.outs += self.last

    def wrap(self, x: str) -> str:
        """A cheap producer in front of an operand, so that fusion has something to do."""
        return self.emit(
            self.choose(
                (
                    f"{x} * 1.5",
                    f"{x} + {x}",
                    f"hybrid.negative(-{x})",
                    f"hybrid.abs({x})",
                    f"hybrid.where({x} > 0.25, {x}, {x} * 0.5)",
                )
            )
        )

    def chain(self) -> None:
        """A few ops on float tensors of one shape, with reductions, views and products."""
        shape = self.choose(((4, 18), (3, 5), (2, 3, 4), (33,), (1, 7)))
        live = [self.input(self.rng.uniform(-2, 2, shape)) for _ in range(2)]
        for _ in range(2 + self.pick(5)):
            kind, x = self.pick(6), self.choose(live)
            if kind < 2:
                live.append(self.emit(f"hybrid.{self.choose(UNARY)}({x})"))
            elif kind == 2:
                live.append(self.emit(f"hybrid.{self.choose(BINARY)}({x}, {self.choose(live)})"))
            elif kind == 3:
                row, axis = self.choose(ROWS), self.pick(len(shape))
                keep = "" if "softmax" in row else ", keepdims=True"
                live.append(self.emit(f"{x} - hybrid.{row}({x}, axis={axis}{keep})"))
            elif kind == 4 and len(shape) == 2:
                live.append(self.emit(f"({x} @ {self.choose(live)}.T) @ {x}"))
            else:
                live.append(self.emit(f"hybrid.flip({x}, axis=0).reshape(-1).reshape{shape}"))
        self.outs += live[-2:]


def make_program(pick: Callable[[int], int]) -> Program | None:
    """A program that runs eagerly, or None when the draws gave one that an op refuses."""
    m = _Maker(pick)
    m.outs = []
    m.record()
    if pick(2):
        m.chain()
    p = Program(m.lines, m.inputs, m.outs, m.consts)
    try:
        p.function()(*[hybrid.tensor(a) for a in p.inputs])
    except (HybridError, ValueError, TypeError, IndexError, OverflowError):
        return None
    return p
