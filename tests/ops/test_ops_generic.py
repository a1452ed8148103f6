"""What every op record promises, checked from the record alone: no test here names an op.

Eager results are within the record's ulp of its NumPy reference for every dtype it takes, special
values included; first and second derivatives agree with finite differences in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from backend_kinds import EVERY, OWN_SUMS, params_on, sampled, tensor
from record_cases import (
    ELEMENTWISE,
    MODEST,
    NAMES,
    SPECIAL,
    bits,
    cases,
    cast,
    differentiable,
    dtypes_of,
    gradient,
    params_for,
    rng_of,
    run,
    scalar,
    takes,
)

import hybrid
from hybrid.core import dtypes as dt
from hybrid.core.aval import HOST
from hybrid.ir.door.bind import bind
from hybrid.ir.op import OPS, Op


def keeps_precision(op: Op, params: dict[str, Any]) -> bool:
    """Whether no parameter asks for a dtype in which finite differences mean nothing."""
    return all(v is dt.float64 for v in params.values() if isinstance(v, np.dtype))


def oracle(op: Op, xs: list[np.ndarray], params: dict[str, Any]) -> list[np.ndarray]:
    assert op.reference is not None, f"{op.name} has no reference"
    with np.errstate(all="ignore"):
        got = op.reference(*xs, **params)
    return [np.asarray(r) for r in (got if isinstance(got, tuple) else (got,))]


def spacing(ref: np.ndarray, d: np.dtype, op: Op) -> np.ndarray:
    """One ulp of dtype d at each reference value; sums may cancel, so theirs is at least that of a
    64th of the largest result."""
    info: Any = {2: {dt.float16: (10, -14), dt.bfloat16: (7, -126)}}.get(d.itemsize, {}).get(d) or {
        dt.float32: (23, -126),
        dt.float64: (52, -1022),
    }[d]
    a = np.abs(ref.astype(np.longdouble))
    a = np.where(np.isfinite(a), a, 1)
    if op.kind != "map" and a.size:
        a = np.maximum(a, a.max() / 64)
    with np.errstate(all="ignore"):
        e = np.maximum(np.floor(np.log2(np.where(a == 0, 1, a))), info[1])
    e = np.where(a == 0, info[1], e)
    return np.exp2((e - info[0]).astype(np.longdouble))


def by_modulus(op: Op, got: list[np.ndarray], ref: list[np.ndarray], what: str) -> None:
    """Parts of complex numbers, whose error counts against their modulus."""
    if op.has("woven"):
        got, ref = ([*np.moveaxis(parts[0], -1, 0)] for parts in (got, ref))
    d = dt.canonical(got[0].dtype)
    with np.errstate(all="ignore"):
        modulus = np.hypot(*[r.astype(np.longdouble) for r in ref])
        error = np.hypot(*[g.astype(np.longdouble) - r for g, r in zip(got, ref)])
        limit = op.ulp if not dt.is_half(d) else max(2.0, op.ulp / 4096 + 1.5)
    assert all(g.shape == r.shape for g, r in zip(got, ref)), what
    worst = error / spacing(modulus, d, op)
    assert not worst.size or worst.max() <= limit, f"{what}: {worst.max():.3g} ulp"


def compare(op: Op, got: np.ndarray, ref: np.ndarray, what: str, signs: bool = False) -> None:
    d = dt.canonical(got.dtype)
    assert got.shape == ref.shape, f"{what}: shape {got.shape}, reference {ref.shape}"
    if not dt.is_float(d):
        np.testing.assert_array_equal(got, ref.astype(d), err_msg=what)
        return
    with np.errstate(all="ignore"):
        rounded = ref.astype(d)
    wide = got.astype(np.longdouble)
    nan = np.isnan(rounded)
    assert (np.isnan(wide) == nan).all(), (
        f"{what}: NaN where {np.argwhere(np.isnan(wide) != nan)[:3].tolist()}"
    )
    limit = max(op.ulp, 0.0) if not dt.is_half(d) else max(1.01, op.ulp / 4096 + 0.51)
    with np.errstate(all="ignore"):
        exact = wide == rounded.astype(np.longdouble)
        error = np.abs(wide - ref.astype(np.longdouble)) / spacing(ref, d, op)
    edge = np.isinf(wide) != np.isinf(rounded.astype(np.longdouble))
    error = np.where(
        exact | nan, 0, np.where(edge, np.where(overflows(wide, ref, d, op), 0, np.inf), error)
    )
    if error.size:
        at = np.unravel_index(np.argmax(error), error.shape)
        assert error[at] <= max(limit, 0.51), (
            f"{what}: {error[at]:.3g} ulp at {at}: got {got[at]}, reference {ref[at]}"
        )
    if signs:
        zero = (rounded == 0) & (wide == 0)
        assert (np.signbit(wide) == np.signbit(rounded.astype(np.longdouble)))[zero].all(), (
            f"{what}: sign of a zero"
        )


def overflows(wide: np.ndarray, ref: np.ndarray, d: np.dtype, op: Op) -> np.ndarray:
    """Where one of result and reference is infinite, the other within the bound of the maximum."""
    with np.errstate(all="ignore"):
        a = np.minimum(np.abs(wide), np.abs(ref.astype(np.longdouble)))
        top = np.longdouble(
            float(np.asarray(np.inf, d).dtype.type(0) + np.finfo(np.float32).max)
            if d is not dt.float64
            else np.finfo(np.float64).max
        )
    return a >= top * (1 - 2.0**-20)


@pytest.mark.parametrize("name", NAMES)
def test_eager_matches_reference(name: str, backend_kind: str) -> None:
    op = OPS[name]
    found = sampled(cases(op), backend_kind)
    floats = any(x.dtype == np.float64 for xs, _ in found for x in xs)
    for d in dtypes_of(op) if floats else [dt.float64]:
        for k, (xs, p) in enumerate(found):
            ys, q = cast(xs, d, op), params_for(p, d, op)
            if not takes(op, ys, q):
                continue
            results, wanted = run(op, ys, q, backend_kind), oracle(op, ys, q)
            what = f"{name}[{d.name}] case {k} {q}"
            if op.has("modulus"):
                by_modulus(op, results, wanted, what)
                continue
            for got, ref in zip(results, wanted, strict=True):
                compare(op, got, ref, what)


@pytest.mark.parametrize("name", NAMES)
def test_strided_inputs_give_the_same_bits(name: str) -> None:
    """Transposed, reversed and stretched memory changes no bit."""
    op = OPS[name]
    for xs, p in cases(op)[:4]:
        ys, q = (
            cast(xs, dt.float32 if "f" in op.accepts else dt.int32, op),
            params_for(p, dt.float32, op),
        )
        base = run(op, ys, q, HOST.kind)
        odd = []
        for x in ys:
            if not x.ndim:
                odd.append(x)
                continue
            wide = np.zeros(tuple(2 * n for n in x.shape), x.dtype)
            view = wide[
                tuple(
                    slice(None, None, 2)
                    if i % 2
                    else slice(2 * n - 1, None, -2)
                    if n
                    else slice(0, 0)
                    for i, n in enumerate(x.shape)
                )
            ]
            view[...] = x
            odd.append(view)
        got = bind(op, *[strided(v) for v in odd], **q)
        for a, b in zip(base, got if isinstance(got, tuple) else (got,)):
            np.testing.assert_array_equal(bits(a), bits(np.asarray(b)), err_msg=f"{name} {q}")


def strided(v: np.ndarray) -> Any:
    """A tensor whose value is exactly this view."""
    t = hybrid.tensor(v.copy())
    t._v = np.asarray(v)
    return t


@pytest.mark.parametrize("name", [n for n in NAMES if OPS[n].nin != 0])
def test_replay_gives_the_same_bits(name: str, backend_kind: str) -> None:
    """A traced call of the record alone: recorded twice, then replayed."""
    op, kind = OPS[name], backend_kind
    for xs, p in cases(op)[:2]:
        ys, q = (
            cast(xs, dt.float32 if "f" in op.accepts else dt.int32, op),
            params_for(p, dt.float32, op),
        )
        if not takes(op, ys, q):
            continue
        base, ts = run(op, ys, q, kind), [tensor(y, kind) for y in ys]
        q = params_on(q, kind)
        traced = hybrid.function(lambda *a: bind(op, *a, **q))  # noqa: B023
        for _ in range(3):
            got = traced(*ts)
            for a, b in zip(base, got if isinstance(got, tuple) else (got,)):
                b = np.asarray(b)
                assert a.shape == b.shape and a.dtype == b.dtype
                np.testing.assert_array_equal(bits(a), bits(b), err_msg=f"{name} {q}")
        assert "REPLAY" in traced.explain()


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("d", [dt.float32, dt.bfloat16], ids=str)
def test_special_values(name: str, d: np.dtype, backend_kind: str) -> None:
    """Elementwise: NaN, infinities, signed zeros, subnormals, all pairs of them."""
    op = OPS[name]
    with np.errstate(all="ignore"):
        one = np.array(SPECIAL if op.nin == 1 else MODEST, np.float64).astype(d)
    grids = np.meshgrid(*[one] * min(op.nin, 3), indexing="ij") if op.nin <= 3 else [one] * op.nin
    xs = [np.ascontiguousarray(g) for g in grids]
    if not takes(op, xs, {}):
        pytest.skip(f"does not take {d.name}")
    for got, ref in zip(run(op, xs, {}, backend_kind), oracle(op, xs, {}), strict=True):
        compare(op, got, ref, f"{name} of special values", signs=True)


def slope(
    f: Any, xs: list[np.ndarray], at: list[int], direction: list[np.ndarray], h: float = 1e-5
) -> float:
    """Central difference of f along a direction (fourth order)."""

    def move(t: float) -> float:
        ys = list(xs)
        for i, v in zip(at, direction):
            ys[i] = xs[i] + t * v
        return f(ys)

    return (8 * (move(h) - move(-h)) - (move(2 * h) - move(-2 * h))) / (12 * h)


def check_derivatives(
    op: Op,
    xs: list[np.ndarray],
    p: dict[str, Any],
    at: list[int],
    seeds: list[np.ndarray],
    kind: str,
    rng: np.random.Generator,
) -> None:
    """First and second derivatives along random directions against finite differences."""
    direction = [rng.uniform(-1, 1, xs[i].shape) for i in at]

    def value(ys: list[np.ndarray]) -> float:
        return float(scalar(op, [tensor(y, kind) for y in ys], p, seeds).item())

    def first(ys: list[np.ndarray]) -> float:
        return sum(
            float((g * d).sum()) for g, d in zip(gradient(op, ys, p, at, seeds, kind), direction)
        )

    got = first(xs)
    want = slope(value, xs, at, direction)
    scale = (
        1
        + abs(want)
        + sum(float(np.abs(g).sum()) for g in gradient(op, xs, p, at, seeds, kind)) * 0.01
    )
    assert abs(got - want) <= 2e-6 * scale, (
        f"{op.name} {p}: derivative {got}, finite difference {want}"
    )
    other = [rng.uniform(-1, 1, xs[i].shape) for i in at]
    got2 = sum(
        float((g * d).sum()) for g, d in zip(gradient(op, xs, p, at, seeds, kind, direction), other)
    )
    want2 = slope(first, xs, at, other)
    assert abs(got2 - want2) <= 2e-5 * (1 + abs(want2) + abs(got)), (
        f"{op.name} {p}: second derivative {got2}, finite difference {want2}"
    )


@pytest.mark.parametrize("name", NAMES)
def test_derivatives(name: str, backend_kind: str) -> None:
    op, kind = OPS[name], backend_kind
    if op.kind == "attend" and kind in OWN_SUMS:
        pytest.skip("finds the keys of a peak by score: products have to have the contract's bits")
    checked, most = 0, 3 if EVERY or kind == HOST.kind else 1
    for xs, p in cases(op):
        p = params_on(params_for(p, dt.float64, op), kind)
        at = differentiable(op, xs, p)
        if not at or checked == most or not keeps_precision(op, p):
            continue
        checked += 1
        rng = rng_of(op)
        outs = run(op, xs, p, kind)
        seeds = [rng.uniform(0.5, 1.5, o.shape) for o in outs if dt.is_float(dt.canonical(o.dtype))]
        if not seeds:
            continue
        check_derivatives(op, xs, p, at, seeds, kind, rng)


@pytest.mark.parametrize("name", NAMES)
def test_record_is_complete(name: str) -> None:
    op = OPS[name]
    assert op.doc, "a record says what it computes"
    assert op.reference is not None and (
        op.body is not None or op.layout is not None or op.kind == "scatter"
    )
    assert op.samples is not None or op.kind == "map"
    assert all(isinstance(p, str) for p in op.params)
