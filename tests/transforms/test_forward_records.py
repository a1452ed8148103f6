"""Every differentiable record: what forward mode pushes through it is the transpose of its vjp,
to second order, and eager and traced bits agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from record_cases import NAMES, bits, cases, differentiable, rng_of

import hybrid as hb
from hybrid.core import dtypes as dt
from hybrid.ir.door.bind import bind
from hybrid.ir.op import NO_GRAD, OPS

DIFFERENTIABLE = [n for n in NAMES if OPS[n].vjp is not NO_GRAD and "f" in OPS[n].accepts]


def _calls(name: str, most: int = 3) -> Any:
    """(function of the differentiable inputs, these, tangents for them) of a few samples."""
    op, rng = OPS[name], rng_of(OPS[name])
    for xs, params in cases(op)[:most]:
        at = differentiable(op, xs, params)
        if not at:
            continue
        given = [hb.tensor(x) for x in xs]

        def function(*inputs: Any, given: Any = given, at: Any = at, params: Any = params) -> Any:
            full = list(given)
            for place, tensor in zip(at, inputs):
                full[place] = tensor
            made = bind(op, *full, **params)
            listed = made if isinstance(made, tuple) else (made,)
            return tuple(t for t in listed if dt.is_float(t.dtype))

        primals = tuple(given[i] for i in at)
        if not function(*primals):
            continue
        yield function, primals, tuple(hb.tensor(rng.normal(size=p.shape)) for p in primals)


def _inner(one: Any, other: Any) -> float:
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(one, other)]
    return sum(float((a * b).sum()) for a, b in pairs)


def _scale(one: Any, other: Any) -> float:
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(one, other)]
    return 1.0 + sum(float(np.abs(a * b).sum()) for a, b in pairs)


def _weights(name: str, outs: Any) -> Any:
    rng = rng_of(OPS[name])
    return tuple(hb.tensor(rng.normal(size=t.shape), dtype=t.dtype) for t in outs)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_pushing_is_the_transpose_of_pulling(name: str) -> None:
    for function, primals, tangents in _calls(name):
        outs, pushed = hb.jvp(function, primals, tangents)
        plain = function(*primals)
        assert [bits(np.asarray(t)).tolist() for t in outs] == [
            bits(np.asarray(t)).tolist() for t in plain
        ]
        assert [(t.shape, t.dtype) for t in pushed] == [(t.shape, t.dtype) for t in outs]
        weights = _weights(name, outs)
        pulled = hb.vjp(function, *primals)[1](weights)
        error = _inner(pushed, weights) - _inner(pulled, tangents)
        near = 1e-9 if all(t.dtype is dt.float64 for t in outs) else 1e-5
        assert abs(error) <= near * (_scale(pushed, weights) + _scale(pulled, tangents))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_gradient_of_a_tangent_is_a_tangent_of_a_gradient(name: str) -> None:
    for function, primals, tangents in _calls(name, 2):
        weights = _weights(name, function(*primals))

        def total(*inputs: Any, function: Any = function, weights: Any = weights) -> Any:
            return sum((o * w).sum() for o, w in zip(function(*inputs), weights))

        numbers = tuple(range(len(primals)))

        def along(*inputs: Any, function: Any = total, tangents: Any = tangents) -> Any:
            return hb.jvp(function, inputs, tangents)[1]

        forward = hb.jvp(hb.grad(total, numbers), primals, tangents)[1]
        reverse = hb.grad(along, numbers)(*primals)
        for one, other in zip(forward, reverse):
            near = 1e-8 * max(1.0, float(np.abs(np.asarray(other)).max(initial=0.0)))
            np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-7, atol=near)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_traced_bits_are_eager_ones(name: str) -> None:
    for function, primals, tangents in _calls(name, 1):
        if not all(t.size for t in function(*primals)):
            continue

        def both(primals: Any, tangents: Any, function: Any = function) -> Any:
            return hb.jvp(function, primals, tangents)

        want = both(primals, tangents)
        traced = hb.function(both, wait=True)
        for _ in range(3):
            got = traced(primals, tangents)
            for a, b in zip((*got[0], *got[1]), (*want[0], *want[1])):
                assert bits(np.asarray(a)).tolist() == bits(np.asarray(b)).tolist()
