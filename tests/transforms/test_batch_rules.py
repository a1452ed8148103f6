"""Every record under vmap: row by row what it gives alone, whichever inputs have rows."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from record_cases import NAMES, bits, cases, cast, differentiable, rng_of

import hybrid as hb
from hybrid.core import dtypes as dt
from hybrid.ir.door.bind import bind
from hybrid.ir.op import OPS

INSIDE = {"while_loop", "scan", "switch", "expect"}  # records of graphs, which no call gives
NO_LOOP = """add where convert tril sum max softmax var norm layer_norm layer_norm_grad rms_norm
cross_entropy cross_entropy_grad counted_mean reshape permute_dims broadcast_to slice embed unfold
diagonal embed_diagonal concat slice_set cumulative_sum argsort gather scatter_add scatter_set
take_along_axis index_check max_pool max_pool_grad sum_pool sum_pool_grad matmul linear
conv conv_weight_grad attention attention_grad adam_update""".split()
# whose inputs are no others in other places
ORDERED = {"lu_order", "true_places", "true_elements", "true_replaced", "true_spread"}
ROWS = 3
# samples that other numbers, or the same in other places, are none of (tests of the ops have them)
OF_A_KIND = {"cholesky", "complex_cholesky", "lu_order"}
RUN = [
    n for n in NAMES if n not in INSIDE | OF_A_KIND and not OPS[n].has("draw") and OPS[n].nin != 0
]


def _variants(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows like x: other numbers, or the same integers in other places."""
    if x.dtype == np.float64:
        return np.stack([x, *[x * rng.uniform(0.8, 1.0, x.shape) for _ in range(ROWS - 1)]])
    if x.dtype.kind == "f":  # of numbers that only a factor leaves what they are
        return np.stack([x * np.float32(1.0 - k / 8) for k in range(ROWS)])
    return np.stack([np.roll(x.reshape(-1), k).reshape(x.shape) for k in range(ROWS)])


def _subsets(count: int) -> Any:
    every = [f for f in itertools.product([True, False], repeat=count) if any(f)]
    return every if count <= 3 else [every[0], *[f for f in every if sum(f) == 1], every[5]]


def _calls(name: str, most: int = 4) -> Any:
    op, rng = OPS[name], rng_of(OPS[name])
    for xs, params in cases(op)[:most]:
        xs = xs if "f" in op.accepts else cast(xs, dt.int32, op)
        full = [
            np.stack([x] * ROWS) if name in ORDERED else _variants(np.asarray(x), rng) for x in xs
        ]
        for flags in _subsets(len(xs)):
            given = [hb.tensor(f if flag else f[0]) for f, flag in zip(full, flags)]
            yield op, params, given, flags


def _listed(made: Any) -> tuple[Any, ...]:
    return made if isinstance(made, tuple) else (made,)


def _close(got: Any, want: Any) -> None:
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape and got.dtype == want.dtype
    if got.dtype.kind == "f":
        scale = np.abs(want[np.isfinite(want)]).max(initial=1.0)
        near = (1e-11 if got.dtype == np.float64 else 1e-4) * scale
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=near)
    else:
        assert bits(got).tolist() == bits(want).tolist()


@pytest.mark.parametrize("name", RUN)
def test_rows_are_what_the_record_gives_alone(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error" if name in NO_LOOP else "ignore")
        for op, params, given, flags in _calls(name):

            def call(*xs: Any, op: Any = op, params: Any = params) -> Any:
                return _listed(bind(op, *xs, **params))

            got = hb.vmap(call, in_axes=tuple([0 if flag else None for flag in flags]))(*given)
            rows = [
                call(*[x[k] if flag else x for x, flag in zip(given, flags)]) for k in range(ROWS)
            ]
            for out, column in zip(got, zip(*rows), strict=True):
                _close(out, np.stack([np.asarray(t) for t in column]))


def _gradients(op: Any, params: Any, at: list[int], second: bool) -> Any:
    def total(*xs: Any) -> Any:
        outs = [t for t in _listed(bind(op, *xs, **params)) if dt.is_float(t.dtype)]
        return sum((t * t).sum() for t in outs) if outs else (xs[at[0]] * 0).sum()

    first = hb.grad(total, tuple(at))
    if not second:
        return first
    return hb.grad(lambda *xs: sum((g * g).sum() for g in first(*xs)), tuple(at))


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("name", RUN)
def test_gradients_inside_and_outside(name: str, second: bool) -> None:
    done = 0
    for op, params, given, flags in _calls(name, 2):
        at = differentiable(op, [np.asarray(x) for x in given], params)
        if not at or done > 2:
            continue
        done += 1
        function = _gradients(op, params, at, second)
        axes = tuple([0 if flag else None for flag in flags])
        with warnings.catch_warnings():
            warnings.simplefilter("error" if name in NO_LOOP else "ignore")
            inside = hb.vmap(function, in_axes=axes)(*given)
        rows = [
            function(*[x[k] if flag else x for x, flag in zip(given, flags)]) for k in range(ROWS)
        ]
        for out, column in zip(inside, zip(*rows), strict=True):
            _close(out, np.stack([np.asarray(t) for t in column]))

        def outer(*xs: Any, f: Any = function, axes: Any = axes) -> Any:
            return sum((g * g).sum() for g in hb.vmap(f, in_axes=axes)(*xs))

        def looped(*xs: Any, f: Any = function, flags: Any = flags) -> Any:
            pairs = [f(*[x[k] if flag else x for x, flag in zip(xs, flags)]) for k in range(ROWS)]
            return sum((g * g).sum() for row in pairs for g in row)

        for a, b in zip(hb.grad(outer, tuple(at))(*given), hb.grad(looped, tuple(at))(*given)):
            _close(a, b)
