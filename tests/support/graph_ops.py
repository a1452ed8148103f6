"""Records of every kind for the tests of graphs, passes and plans, and a builder of graphs.

Invariant: the records are in the registry only inside `registered()`, so that tests which walk all
ops of the package never meet them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np

from hybrid.compiler.lower.affine import reshape_strides
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.core.errors import ShapeError, Site
from hybrid.core.shapes import broadcast_shapes, broadcast_strides, contiguous_strides
from hybrid.ir import contract as layouts
from hybrid.ir.graph.graph import Const, Graph, Node, Value, make_node
from hybrid.ir.op import KINDS, OPS, Op, map_infer
from hybrid.ir.scalar.program import TYPE

__all__ = ["T", "Build", "lit", "registered", "random_inputs"]


def _require(ok: bool) -> None:
    if not ok:
        raise ShapeError("the test record does not take these shapes")


class _Ops(dict[str, Op]):
    def __getattr__(self, name: str) -> Op:
        return self[name]


T = _Ops()


def _op(name: str, kind: str, nin: int | None, infer: Any, facts: str = "", **more: Any) -> None:
    said = {"body": None, "layout": None, **more}
    T[name] = KINDS[kind](f"test_{name}", nin, infer, facts=frozenset(facts.split()), **said)


def _map(
    name: str, nin: int, body: Any, facts: str = "", result: str = "same", **more: Any
) -> None:
    more.setdefault("accepts", "iuf")
    _op(name, "map", nin, map_infer(name, result), facts, body=body, result=result, **more)


_map("add", 2, lambda s, x, y: x + y, "commutative", unit={1: -0.0, 0: -0.0}, reference=np.add)
_map("sub", 2, lambda s, x, y: x - y, unit={1: 0.0})
_map("mul", 2, lambda s, x, y: x * y, "commutative", unit={1: 1, 0: 1}, reference=np.multiply)
_map("div", 2, lambda s, x, y: x / y, accepts="f")
_map("neg", 1, lambda s, x: -x, "involution")
_map("floor", 1, lambda s, x: s.floor(x), "idempotent", accepts="f")
_map("same", 1, lambda s, x: x, "pure_copy")
_map("relu", 1, lambda s, x: s.max(x, 0), reference=lambda x: np.maximum(x, 0))
_map("root", 1, lambda s, x: s.sqrt(s.fma(x, x, x * 0.5 + 1.0)), accepts="f")
_map("less", 2, lambda s, x, y: x < y, result="bool")
_map("where", 3, lambda s, c, x, y: s.select(c, x, y), fixed=(0,), accepts="biuf")
_op(
    "adam",
    "map",
    3,
    lambda p, g, m: _require(p.shape == g.shape == m.shape) or (p, m),
    nout=2,
    accepts="f",
    body=lambda s, p, g, m: (p - (m * 0.9 + g) * 0.1, m * 0.9 + g),
)
_op(
    "convert",
    "map",
    1,
    lambda a, dtype: (a.with_(None, dtype),),
    "convert",
    params=("dtype",),
    body=lambda s, x, dtype: s.convert(x, TYPE[dtype]),
)
_op(
    "full",
    "map",
    0,
    lambda shape, dtype, bits: (aval(shape, dtype),),
    "constant",
    params=("shape", "dtype", "bits"),
    body=lambda s, shape, dtype, bits: s.bits(TYPE[dtype], bits),
)
_op(
    "value",
    "map",
    0,
    lambda shape, value: (aval(shape, dt.float32),),
    params=("shape", "value"),
    body=lambda s, shape, value: s.const("f32", value),
)
_op(
    "arange",
    "map",
    0,
    lambda shape: (aval(shape, dt.int64),),
    params=("shape",),
    body=lambda s, shape: s.index() * 2,
)
_op(
    "checked",
    "map",
    1,
    lambda a, n: (a,),
    params=("n",),
    body=lambda s, x, n: s.select(x < 0, x + n, x),
    check=lambda s, x, n: (x < -n) | (x >= n),
    check_message=lambda avals, params: f"outside of {params['n']} rows",
)
_op(
    "take",
    "map",
    2,
    lambda x, i: (x.with_((i.shape[0], x.shape[1])),),
    gathers=(0,),
    body=lambda s, x, i: x.at(i * x.shape[1] + s.coord(1)),
)
_op(
    "scatter",
    "scatter",
    2,
    lambda i, u, rows: (u.with_((rows, u.shape[1])),),
    "zeros",
    params=("rows",),
)
_op("sort", "host", 1, lambda a: (a,), body=lambda x: np.sort(x, axis=-1))


# ---- rows
def _dropped(a: Any, axes: Any) -> tuple[Any]:
    return (a.with_(a.shape[: axes[0]] + a.shape[axes[1] :]),)


def _softmax(s: Any, x: Any, axes: Any) -> Any:
    e = x - s.rmax(x)
    return e / (s.rsum(e) + 1.0)


_op("sum", "row", 1, _dropped, accepts="iuf", params=("axes",), body=lambda s, x, axes: s.rsum(x))
_op("max", "row", 1, _dropped, accepts="iuf", params=("axes",), body=lambda s, x, axes: s.rmax(x))
_op("softmax", "row", 1, lambda a, axes: (a,), accepts="f", params=("axes",), body=_softmax)
_op(
    "center",
    "row",
    2,
    lambda x, w, axes: _require(w.ndim == 1) or (x, *_keep(x, axes)),
    params=("axes",),
    nout=2,
    body=lambda s, x, w, axes: (lambda m: ((x - m) * w, m))(s.rsum(x) / s.rlen(x.type)),
)


def _keep(a: Any, axes: Any) -> tuple[Any]:
    return (a.with_(a.shape[: axes[0]] + (1,) * (axes[1] - axes[0]) + a.shape[axes[1] :]),)


# ---- views
def _reshape(a: Any, st: Any, o: int = 0, *, shape: Any) -> Any:
    got = reshape_strides(a.shape, st, shape)
    return None if got is None else (o, got)


def _reshaped(a: Any, shape: Any) -> tuple[Any]:
    _require(prod(shape) == a.size)
    return (a.with_(shape),)


def _spread(a: Any, shape: Any) -> tuple[Any]:
    _require(len(shape) >= a.ndim and broadcast_shapes("spread", a.shape, shape) == shape)
    return (a.with_(shape),)


_op("reshape", "view", 1, _reshaped, params=("shape",), layout=_reshape)
_op(
    "permute",
    "view",
    1,
    lambda a, axes: (a.with_(tuple(a.shape[i] for i in axes)),),
    params=("axes",),
    layout=lambda a, st, o=0, *, axes: (o, tuple(st[i] for i in axes)),
)
_op(
    "spread",
    "view",
    1,
    _spread,
    params=("shape",),
    layout=lambda a, st, o=0, *, shape: (o, broadcast_strides(a.shape, st, shape)),
)
_op(
    "rows",
    "view",
    1,
    lambda a, begin, size, step: (a.with_((size,) + a.shape[1:]),),
    params=("begin", "size", "step"),
    layout=lambda a, st, o=0, *, begin, size, step: (
        o + begin * st[0],
        (step * st[0],) + tuple(st[1:]),
    ),
)


# ---- placements and contractions
def _concat_infer(*a: Any, axis: int) -> tuple[Any]:
    _require(
        len({(x.ndim, x.shape[:axis] + x.shape[axis + 1 :]) for x in a}) == 1 and axis < a[0].ndim
    )
    return (
        a[0].with_(a[0].shape[:axis] + (sum(x.shape[axis] for x in a),) + a[0].shape[axis + 1 :]),
    )


def _concat(*a: Any, axis: int) -> list[Any]:
    st = contiguous_strides(_concat_infer(*a, axis=axis)[0].shape)
    starts = [0, *accumulate(x.shape[axis] for x in a)]
    return [(0 if x.size == 0 else b * st[axis], x.shape, st) for x, b in zip(a, starts)]


_op("concat", "place", None, _concat_infer, params=("axis",), layout=_concat)
_op(
    "embed",
    "place",
    1,
    lambda a, begin, size: (a.with_((size,) + a.shape[1:]),),
    "zeros",
    params=("begin", "size"),
    layout=lambda a, begin, size: [
        (begin * contiguous_strides(a.shape)[0], a.shape, contiguous_strides(a.shape))
    ],
)
_op(
    "put",
    "place",
    2,
    lambda a, v, begin: (a,),
    "base",
    params=("begin",),
    layout=lambda a, v, begin: [
        (begin * contiguous_strides(a.shape)[0], v.shape, contiguous_strides(a.shape))
    ],
)


def _contract(shape_of: Any) -> Any:
    return lambda *a, **p: (a[0].with_(shape_of(*[x.shape for x in a], **p)),)


_op(
    "linear",
    "contract",
    None,
    accepts="iuf",
    infer=_contract(layouts.linear_shape),
    layout=layouts.linear_layout,
)
_op(
    "matmul",
    "contract",
    2,
    accepts="iuf",
    infer=_contract(layouts.matmul_shape),
    layout=layouts.matmul_layout,
)
_op(
    "conv",
    "contract",
    None,
    accepts="iuf",
    infer=_contract(layouts.conv_shape),
    layout=layouts.conv_layout,
    params=("groups",),
)


def _samples(*rows: Any) -> Any:
    """Operands by shape (floats) or as given (integers), and parameters."""
    return lambda rng: iter(
        [
            ([rng.standard_normal(x) if isinstance(x, tuple) else np.array(x) for x in xs], p)
            for *xs, p in rows
        ]
    )


for _name, _rows in {
    "rows": [
        ((4, 3), {"begin": 3, "size": 2, "step": -1}),
        ((3, 4), {"begin": 1, "size": 2, "step": 1}),
        ((2, 3, 4), {"begin": 0, "size": 1, "step": 2}),
        ((4, 3), {"begin": 1, "size": 0, "step": 1}),
    ],
    "embed": [
        ((3, 4), {"begin": 2, "size": 6}),
        ((3,), {"begin": 0, "size": 3}),
        ((4,), {"begin": 1, "size": 9}),
    ],
    "put": [
        ((4, 3), (2, 3), {"begin": 1}),
        ((4,), (3,), {"begin": 0}),
        ((3, 4), (3, 4), {"begin": 0}),
    ],
    "center": [
        ((3, 4), (4,), {"axes": (1, 2)}),
        ((2, 3, 4), (4,), {"axes": (1, 3)}),
        ((3, 4), (1,), {"axes": (1, 2)}),
    ],
    "softmax": [
        ((3, 4), {"axes": (1, 2)}),
        ((2, 3, 4), {"axes": (2, 3)}),
        ((3, 17), {"axes": (1, 2)}),
    ],
    "take": [((4, 3), [[1], [3], [0]], {}), ((3, 4), [[2], [2]], {})],
    "checked": [([0, -1, 2], {"n": 3}), ([[1], [0], [-2]], {"n": 4})],
    "scatter": [([0, 2, 0], (3, 4), {"rows": 3}), ([1, 1, 0, 3], (4, 3), {"rows": 4})],
    "arange": [({"shape": (3,)}), ({"shape": (3, 4)})],
    "full": [
        ({"shape": (3, 4), "dtype": dt.float32, "bits": 0x80000000}),
        ({"shape": (), "dtype": dt.bfloat16, "bits": 0}),
    ],
    "convert": [
        ((3, 4), {"dtype": dt.float32}),
        ((4, 3), {"dtype": dt.bfloat16}),
        ((3,), {"dtype": dt.int32}),
    ],
    "sort": [((3, 4), {}), ((4,), {})],
    "conv": [
        ((1, 4, 5, 4), (6, 2, 2, 3), (6,), {"groups": 2}),
        ((2, 3, 4, 4), (4, 3, 2, 2), {"groups": 1}),
    ],
    "adam": [((3, 4), (3, 4), (3, 4), {}), ((4,), (4,), (4,), {})],
}.items():
    object.__setattr__(
        T[_name], "samples", _samples(*[r if isinstance(r, tuple) else (r,) for r in _rows])
    )


@contextmanager
def registered() -> Iterator[None]:
    """The test records in the registry."""
    OPS.update({op.name: op for op in T.values()})
    try:
        yield
    finally:
        for op in T.values():
            del OPS[op.name]


# ---- building graphs
def lit(x: Any, d: np.dtype = dt.float32) -> Const:
    """A literal."""
    a = np.array(x, d)
    a.flags.writeable = False
    return Const(aval(a.shape, d), a)


class Build:
    """Makes a graph: `b.input(shape)`, `b(op, values or numbers, **params)`, `b.graph(outputs)`."""

    def __init__(self) -> None:
        self.inputs: list[Value] = []
        self.nodes: list[Node] = []

    def input(self, *shape: int, d: np.dtype = dt.float32) -> Value:
        self.inputs.append(Value(aval(shape, d)))
        return self.inputs[-1]

    def __call__(self, op: Op, *xs: Any, site: Site | None = None, **params: Any) -> Any:
        like = next((x.aval.dtype for x in xs[::-1] if isinstance(x, Value)), dt.float32)
        n = make_node(op, params, [x if isinstance(x, Value) else lit(x, like) for x in xs], site)
        self.nodes.append(n)
        return n.outputs[0] if len(n.outputs) == 1 else n.outputs

    def graph(self, *outputs: Value) -> Graph:
        return Graph(self.inputs, self.nodes, outputs)


SPECIAL = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, 6e-8, 65504.0)


def random_inputs(graph: Graph, seed: int, special: float = 0.1) -> list[np.ndarray]:
    """Values for a graph's inputs; some floats are special."""
    rng = np.random.default_rng(seed)
    out: Sequence[np.ndarray] = []
    for v in graph.inputs:
        a = v.aval
        if dt.is_float(a.dtype):
            x = rng.standard_normal(a.shape) * 2
            x = np.where(rng.random(a.shape) < special, rng.choice(SPECIAL, a.shape), x)
            with np.errstate(all="ignore"):
                out = [*out, np.asarray(x).astype(a.dtype)]
        else:
            out = [*out, rng.integers(0, 2 if a.dtype is dt.bool_ else 3, a.shape).astype(a.dtype)]
    return list(out)
