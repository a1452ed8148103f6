"""Small records of every kind, and running them on the eager CPU backend: small calls give the bits
of the interpreter, too."""

from __future__ import annotations

from typing import Any

import numpy as np

from hybrid.backends.api import backend
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.ir import contract
from hybrid.ir.op import KINDS, ContractOp, Op, map_infer
from hybrid.ir.oracle import round_to

CPU, REFERENCE = backend("cpu"), backend("reference")
LIMIT = 1 << 12  # elements of the operands up to which a call is interpreted as well
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3.4e38, 1.5, -2.25]


def record(name: str, nin: int, body: Any, kind: str = "map", **more: Any) -> Op:
    infer = more.pop("infer", None) or map_infer(name, more.pop("result", "same"))
    return KINDS[kind](name, nin, infer, body=body, **more)


def kernel(op: Op, *xs: np.ndarray, **params: Any) -> Any:
    ins = [aval(x.shape, dt.canonical(x.dtype)) for x in xs]
    return CPU.eager(op, params, ins, op.infer(*ins, **params))


def run(op: Op, *xs: np.ndarray, **params: Any) -> Any:
    got = kernel(op, *xs, **params)(*xs)
    if sum(x.size for x in xs) <= LIMIT:
        want = interpreted(op, *xs, **params)
        for a, b in zip(*[r if isinstance(r, tuple) else (r,) for r in (got, want)], strict=True):
            same(a, b)
    return got


def interpreted(op: Op, *xs: np.ndarray, **params: Any) -> Any:
    ins = [aval(x.shape, dt.canonical(x.dtype)) for x in xs]
    return REFERENCE.kernel(op, params, ins, op.infer(*ins, **params))(*xs)


def bits(a: np.ndarray) -> np.ndarray:
    """The elements' bit patterns, NaN made one pattern."""
    a = np.ascontiguousarray(a)
    if a.dtype.kind in "fV" or a.dtype == dt.bfloat16:
        wide = a.astype(np.float64)
        a = np.where(np.isnan(wide), wide.dtype.type(np.nan).view(np.uint64), wide.view(np.uint64))
    return a


def same(a: np.ndarray, b: np.ndarray) -> None:
    assert type(a) is np.ndarray and a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_array_equal(bits(a), bits(b))


def data(shape: tuple[int, ...], d: np.dtype, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(shape) * 3
    if dt.is_float(d) and a.size:
        flat = a.reshape(-1)
        flat[rng.integers(0, a.size, min(a.size, 20))] = rng.choice(SPECIAL, min(a.size, 20))
    with np.errstate(all="ignore"):
        return round_to(a if dt.is_float(d) else np.nan_to_num(a), d).reshape(shape)


ADD = record("t_add", 2, lambda s, x, y: x + y, reference=lambda x, y: x + y)
MIX = record("t_mix", 2, lambda s, x, y: s.fma(x, y, s.sqrt(s.abs(x))) / (y + 1.5))
LESS = record("t_less", 2, lambda s, x, y: x < y, result="bool")
NOT = record("t_not", 1, lambda s, x: ~x)
BOTH = record(
    "t_both",
    2,
    lambda s, x, y: (x + y, x < y),
    nout=2,
    infer=lambda x, y: (map_infer("t", "same")(x, y)[0], map_infer("t", "bool")(x, y)[0]),
)
TO = record(
    "t_to",
    1,
    lambda s, x, dtype: s.convert(x, {dt.int32: "i32", dt.float64: "f64"}.get(dtype, "f32")),
    infer=lambda a, dtype: (a.with_(dtype=dtype),),
    params=("dtype",),
)
IOTA = record(
    "t_iota",
    0,
    lambda s, n: s.convert(s.index(), "f32"),
    params=("n",),
    infer=lambda n: (aval((n, 3), dt.float32),),
)
TAKE = record(
    "t_take",
    2,
    lambda s, x, i: x.at_coords(i, s.coord(1)),
    gathers=(0,),
    infer=lambda x, i: (x.with_((i.shape[0], x.shape[1])),),
)
CHECKED = record(
    "t_checked",
    1,
    lambda s, i, n: i,
    params=("n",),
    infer=lambda i, n: (i,),
    check=lambda s, i, n: (i < 0) | (i >= n),
    check_message=lambda avals, p: f"index must be below {p['n']}",
)
SHAPES = [(), (1,), (7,), (16,), (3, 5), (2, 3, 17), (0,), (3, 0), (1000,)]
FLOATS = [dt.float16, dt.bfloat16, dt.float32, dt.float64]


def variants(x: np.ndarray) -> list[np.ndarray]:
    """The same values with other strides."""
    wide = np.zeros(tuple(2 * d for d in x.shape), x.dtype)
    every = tuple(slice(None, None, 2) for _ in x.shape)
    wide[every] = x
    back = tuple(slice(None, None, -1) for _ in x.shape)
    raw = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype) if x.ndim == 1 and x.size else None
    out = [np.asfortranarray(x), wide[every], np.ascontiguousarray(x[back])[back]]
    if raw is not None:
        raw[:] = x
        out.append(raw)
    return out


def inferred(shape_of: Any) -> Any:
    return lambda *a: (a[0].with_(shape_of(*[x.shape for x in a])),)


MATMUL = ContractOp("t_matmul", 2, inferred(contract.matmul_shape), layout=contract.matmul_layout)
