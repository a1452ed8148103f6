"""Inputs of every op record, made of the record alone, and its results and derivatives on them.

Invariant: no function here names an op.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from backend_kinds import params_on, tensor

import hybrid
from hybrid.core import dtypes as dt
from hybrid.ir.door.bind import bind
from hybrid.ir.op import NO_GRAD, OPS, Op
from hybrid.ir.tensor import Handle

Case = tuple[list[np.ndarray], dict[str, Any]]
NAMES = sorted(n for n in OPS if not n.startswith("_test"))
SPECIAL = [
    np.nan,
    np.inf,
    -np.inf,
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -2.5,
    3.0,
    1e-40,
    -1e-40,
    3e38,
    -3e38,
    1e-45,
    88.5,
    -104.0,
    2.0**24,
    1e10,
    -7.25,
]
MODEST = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e-40, -1e-45]


def rng_of(op: Op) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(op.name.encode()))


def default_cases(op: Op, rng: np.random.Generator) -> list[Case]:
    """Elementwise inputs of several shapes, broadcast against each other."""
    if op.params or not op.nin:
        return []
    lo, hi = op.domain
    shapes = [
        [(7,)] * op.nin,
        [(3, 5)] * op.nin,
        [()] * op.nin,
        [(0, 2)] * op.nin,
        [(4, 33)] + [(33,)] * (op.nin - 1),
        [(2, 1)] + [(1, 3)] * (op.nin - 1),
    ]
    return [([rng.uniform(lo, hi, s) for s in row], {}) for row in shapes]


def cases(op: Op) -> list[Case]:
    rng = rng_of(op)
    if op.samples is not None:
        return [(list(xs), dict(p)) for xs, p in op.samples(rng)]
    return default_cases(op, rng)


def cast(xs: list[np.ndarray], d: np.dtype, op: Op) -> list[np.ndarray]:
    """Floating samples as dtype d (for integers: scaled to be distinct); others stay."""
    out = []
    for i, x in enumerate(xs):
        if x.dtype != np.float64 or (i in op.fixed and dt.is_int(d)):
            out.append(x.astype(d) if x.dtype == np.float64 and not dt.is_int(d) else x)
        elif dt.is_int(d):
            out.append(
                np.asarray(np.clip(np.rint(x * 4), 0 if dt.kind(d) == "u" else -100, 100)).astype(d)
            )
        else:
            out.append(x.astype(d))
    return out


def params_for(params: dict[str, Any], d: np.dtype, op: Op) -> dict[str, Any]:
    """Sample parameters with the dtype under test in the place of float64."""
    return {k: (d if v is dt.float64 and op.nin else v) for k, v in params.items()}


def run(op: Op, xs: list[np.ndarray], params: dict[str, Any], kind: str) -> list[np.ndarray]:
    got = bind(op, *[tensor(x, kind) for x in xs], **params_on(params, kind))
    return [np.asarray(t) for t in (got if isinstance(got, tuple) else (got,))]


def takes(op: Op, xs: list[np.ndarray], params: dict[str, Any]) -> bool:
    """Whether the record's own rule accepts these dtypes."""
    try:
        op.infer(*[hybrid.tensor(x)._a for x in xs], **params)
    except hybrid.DTypeError:
        return False
    return True


def dtypes_of(op: Op) -> list[np.dtype]:
    out = []
    if "f" in op.accepts:
        out += [dt.float32, dt.float64, dt.float16, dt.bfloat16]
    if "i" in op.accepts and op.kind != "row":
        out += [dt.int32]
    return out + ([dt.uint8] if "u" in op.accepts and op.kind != "row" else [])


def bits(x: np.ndarray) -> np.ndarray:
    """Bit patterns, NaN canonical."""
    x = np.ascontiguousarray(x)
    if x.dtype.kind == "f":
        x = np.where(np.isnan(x), np.asarray(np.nan, x.dtype), x)
    return x.reshape(-1).view(np.uint8)


ELEMENTWISE = [
    n
    for n in NAMES
    if OPS[n].kind == "map"
    and OPS[n].samples is None
    and not OPS[n].params
    and "f" in OPS[n].accepts
    and OPS[n].nin
    and not OPS[n].gathers
]


# ---- derivatives
def differentiable(op: Op, xs: list[np.ndarray], params: dict[str, Any]) -> list[int]:
    """Inputs with a gradient: floating samples of a record with a vjp."""
    if op.vjp is NO_GRAD or "f" not in op.accepts:
        return []
    return [i for i, x in enumerate(xs) if x.dtype == np.float64 and x.size and i not in op.fixed]


def scalar(op: Op, ts: list[Any], params: dict[str, Any], seeds: list[np.ndarray]) -> Any:
    """Sum of results times fixed numbers, over the floating results."""
    got = bind(op, *ts, **params)
    outs = [t for t in (got if isinstance(got, tuple) else (got,)) if dt.is_float(t.dtype)]
    total = None
    for o, s in zip(outs, seeds):
        part = (o * hybrid.tensor(s, device=o.device)).sum()
        total = part if total is None else total + part
    return total


def gradient(
    op: Op,
    xs: list[np.ndarray],
    params: dict[str, Any],
    at: list[int],
    seeds: list[np.ndarray],
    kind: str,
    second: list[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """First derivatives, or derivatives of (first derivatives times `second`)."""
    ts = [tensor(x, kind, requires_grad=i in at) for i, x in enumerate(xs)]
    leaves = [ts[i] for i in at]
    first = hybrid.gradients(
        scalar(op, ts, params, seeds), leaves, create_graph=second is not None, allow_unused=True
    )
    if second is None:
        return [np.zeros(x.shape) if g is None else np.array(g) for g, x in zip(first, leaves)]
    total = None
    for g, v in zip(first, second):
        if isinstance(g, Handle) and g.requires_grad:
            part = (g * hybrid.tensor(v, device=g.device)).sum()
            total = part if total is None else total + part
    if total is None:
        return [np.zeros(x.shape) for x in leaves]
    got = hybrid.gradients(total, leaves, allow_unused=True)
    return [np.zeros(x.shape) if g is None else np.array(g) for g, x in zip(got, leaves)]


# ---- orders and masks
ORDERED = (
    "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 bfloat16 float32 float64"
).split()


def given_values(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> Any:
    """A tensor for orders and masks: many equal elements, and those at the ends."""
    kind: np.dtype = getattr(dt, "bool_" if dtype == "bool" else dtype)
    if kind is dt.bool_:
        return hybrid.tensor(rng.integers(0, 2, shape).astype(bool))
    if not dt.is_float(kind):
        info = np.iinfo(dtype)
        values = rng.integers(info.min, info.max, shape, kind, endpoint=True)
        few = rng.random(shape) < 0.5
        values[few] = values[few] // (info.max // 3 or 1)
        return hybrid.tensor(values)
    values = np.round(rng.standard_normal(shape) * 3, 1)
    for special in (0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1e-40, -1e-40):
        values[rng.random(shape) < 0.06] = special
    return hybrid.tensor(values, dtype=dtype)
