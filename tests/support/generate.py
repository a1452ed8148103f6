"""Random graphs over op records: every record is tried through its kind, its parameter names and
its samples.

Invariant: a generated graph is valid; the same choices give the same graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from hybrid.compiler.lower.regions import traits
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.core.errors import HybridError
from hybrid.ir.graph.graph import Const, Graph, Node, Value, make_node
from hybrid.ir.op import Op, common_dtype

__all__ = ["Random", "graphs", "SHAPES"]

Choose = Callable[[int], int]  # n -> a number in 0..n-1
SHAPES = (
    (),
    (1,),
    (3,),
    (4,),
    (3, 4),
    (4, 3),
    (1, 4),
    (2, 3, 4),
    (5, 1),
    (0, 4),
    (3, 17),
    (2, 1, 3),
)
NUMBERS = (0.0, -0.0, 1.0, -1.5, 2.0, 0.5)


class Random:
    """A graph under construction."""

    def __init__(
        self, choose: Choose, ops: Sequence[Op], dtypes: Sequence[np.dtype] = (dt.float32,)
    ) -> None:
        self.choose, self.ops, self.dtypes = choose, list(ops), list(dtypes)
        self.inputs: list[Value] = []
        self.nodes: list[Node] = []
        self.pool: list[Value] = []

    def pick(self, items: Sequence[Any]) -> Any:
        return items[self.choose(len(items))]

    def input(self, shape: tuple[int, ...], d: np.dtype) -> Value:
        v = Value(aval(shape, d))
        self.inputs.append(v)
        self.pool.append(v)
        return v

    def literal(self, d: np.dtype, value: Any) -> Const:
        with np.errstate(all="ignore"):
            x = np.array(value).astype(d)
        x.flags.writeable = False
        return Const(aval(x.shape, d), x)

    def add(self, op: Op, params: dict[str, Any], ins: Sequence[Value]) -> bool:
        """Append a node when the record takes these operands."""
        try:
            free = [v for i, v in enumerate(ins) if i not in op.fixed]
            if (
                op.kind in ("map", "contract", "place")
                and free
                and not op.gathers
                and not op.has("convert")
            ):
                d = common_dtype(op, tuple(v.aval for v in ins))
                if any(v.aval.dtype is not d for i, v in enumerate(ins) if i not in op.fixed):
                    return False
            elif free and dt.kind(free[0].aval.dtype) not in op.accepts:
                return False
            n = make_node(op, params, ins)
            if op.kind in ("map", "row"):
                traits(n)  # some bodies take fewer dtypes than the record says
        except (HybridError, ValueError, TypeError, LookupError):
            return False
        if sum(v.aval.size for v in n.outputs) > 4096:
            return False
        self.nodes.append(n)
        self.pool += n.outputs
        return True

    def step(self) -> None:
        op = self.pick(self.ops)
        names = set(op.params)
        if op.kind == "map" and not names and not op.gathers and op.nin is not None:
            self.add(op, {}, [self.operand(op, i) for i in range(op.nin)])
        elif op.kind == "row" and "axes" in names and names <= {"axes", "dtype"} and op.nin == 1:
            self.row(op)
        elif op.kind == "view" and names in ({"shape"}, {"axes"}):
            self.view(op)
        elif op.kind == "contract" and not names:
            self.add(op, {}, [self.pick(self.pool) for _ in range(op.nin or 2)])
        elif op.kind == "place" and names == {"axis"}:
            x = self.pick(self.pool)
            same = [
                v for v in self.pool if v.aval.dtype is x.aval.dtype and v.aval.ndim == x.aval.ndim
            ]
            self.add(
                op,
                {"axis": self.choose(max(x.aval.ndim, 1))},
                [x, *(self.pick(same) for _ in range(2))],
            )
        elif op.samples is not None:
            self.sample(op)

    def operand(self, op: Op, i: int) -> Value:
        if i in op.fixed:
            flags = [v for v in self.pool if v.aval.dtype is dt.bool_]
            return self.pick(flags) if flags else self.input(self.pick(SHAPES), dt.bool_)
        if self.choose(5) == 0:
            return self.literal(self.pick(self.dtypes), self.pick(NUMBERS))
        return self.pick(self.pool[-6:] if self.choose(2) else self.pool)

    def row(self, op: Op) -> None:
        x = self.pick(self.pool)
        if x.aval.ndim == 0:
            return
        start = self.choose(x.aval.ndim)
        params: dict[str, Any] = {"axes": (start, start + 1 + self.choose(x.aval.ndim - start))}
        if "dtype" in op.params:
            if not dt.is_float(x.aval.dtype):
                return
            params["dtype"] = x.aval.dtype
        start, stop = params["axes"]
        # only plain reductions take a group that other axes follow
        if stop != x.aval.ndim:
            try:
                (out,) = op.infer(x.aval, **params)
            except (HybridError, ValueError):
                return
            if out.shape != x.aval.shape[:start] + x.aval.shape[stop:]:
                return
        self.add(op, params, [x])

    def view(self, op: Op) -> None:
        x = self.pick(self.pool)
        shape = x.aval.shape
        if "axes" in op.params:
            order = list(range(len(shape)))
            for i in range(len(order) - 1, 0, -1):
                j = self.choose(i + 1)
                order[i], order[j] = order[j], order[i]
            self.add(op, {"axes": tuple(order)}, [x])
            return
        n = x.aval.size
        flat = [
            (n,),
            (1, n),
            (n, 1),
            shape[:1] + (1,) + shape[1:],
            (*shape, 1),
            (2, *shape),
            (3, 4),
            shape[::-1],
        ]
        new = self.pick(flat)
        if np.prod(new, dtype=np.int64) == n or self.choose(2):
            self.add(op, {"shape": tuple(new)}, [x])

    def sample(self, op: Op) -> None:
        assert op.samples is not None
        cases = list(op.samples(np.random.default_rng(self.choose(4))))
        arrays, params = self.pick(cases)
        ins: list[Value] = []
        first = self.pick(self.dtypes)
        for x in map(np.asarray, arrays):
            if x.dtype.kind == "f":
                d = first if dt.is_float(first) else dt.float32
                fits = [v for v in self.pool if v.aval is aval(x.shape, d)]
                if fits and self.choose(3):
                    ins.append(self.pick(fits))
                else:
                    ins.append(self.input(x.shape, d) if self.choose(3) else self.literal(d, x))
            else:
                ins.append(self.literal(dt.canonical(x.dtype), x))  # indices must stay in range
        self.add(op, dict(params), ins)

    def graph(self) -> Graph:
        """The last values and a few others as outputs."""
        made = [v for n in self.nodes for v in n.outputs]
        used = {v for n in self.nodes for v in n.inputs}
        ends = [v for v in made if v not in used][-6:]
        return Graph(self.inputs, self.nodes, [*ends, *(self.pick(self.pool) for _ in range(2))])

    def states(self, g: Graph) -> list[tuple[int, int]]:
        """Outputs that are new values of inputs."""
        free, out = list(range(len(g.inputs))), []
        for k, v in enumerate(g.outputs):
            fits = [i for i in free if g.inputs[i].aval is v.aval]
            if fits and self.choose(2):
                out.append((k, fits[0]))
                free.remove(fits[0])
        return out


@st.composite
def graphs(
    draw: Any, ops: Sequence[Op], dtypes: Sequence[np.dtype] = (dt.float32,), steps: int = 14
) -> Any:
    """(graph, states) over the given records."""
    r = Random(lambda n: draw(st.integers(0, n - 1)), ops, dtypes)
    for _ in range(2 + r.choose(3)):
        r.input(r.pick(SHAPES), r.pick(r.dtypes))
    for _ in range(2 + r.choose(steps)):
        r.step()
    g = r.graph()
    return g, r.states(g)
