"""Results too large for caches are stored past them, where asked for: the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from emit_harness import run_kernel, same_bits

from hybrid.backends.emit import loops
from hybrid.backends.plan import Access, LoopKernel
from hybrid.ir.scalar.program import Builder

F32, F64 = np.dtype("float32"), np.dtype("float64")
TYPES = {F32: "f32", F64: "f64"}


def _map(d: np.dtype, shape: tuple[int, ...]) -> LoopKernel:
    s = Builder()
    x = s.arg(TYPES[d])
    return _kernel(s.program(x * x + 1.0), d, shape, None)


def _row(d: np.dtype, shape: tuple[int, ...]) -> LoopKernel:
    s = Builder()
    x = s.arg(TYPES[d])
    return _kernel(s.program(x - s.rmax(x)), d, shape, (1, 2))


def _kernel(program, d, shape, group) -> LoopKernel:
    strides = (shape[1], 1)
    return LoopKernel(
        shape, group, program, (Access(0, d, 0, strides),), (Access(1, d, 0, strides),)
    )


def _at(nbytes: int, offset: int) -> np.ndarray:
    """Bytes that start `offset` after a multiple of 64."""
    raw = np.zeros(nbytes + 192, np.uint8)
    start = -raw.ctypes.data % 64 + offset
    return raw[start : start + nbytes]


@pytest.mark.parametrize("d", [F32, F64])
@pytest.mark.parametrize("make", [_map, _row])
@pytest.mark.parametrize("shape", [(3, 1024), (5, 100), (1, 16), (4, 1)])
@pytest.mark.parametrize("offset", [0, 8, 32])
def test_same_bits_at_any_alignment(monkeypatch, d, make, shape, offset):
    x = np.random.default_rng(1).standard_normal(shape).astype(d)
    kernel = make(d, shape)
    plain, streamed = np.zeros(shape, d), _at(x.nbytes, offset).view(d).reshape(shape)
    assert run_kernel(kernel, [x, plain]) == 0
    monkeypatch.setattr(loops, "_STREAM", 1)
    assert shape[1] <= 16 or "!nontemporal" in loops.generate(kernel).text
    assert run_kernel(kernel, [x, streamed]) == 0
    assert same_bits(plain, streamed)


def test_small_results_and_overwritten_operands_stay_in_cache(monkeypatch):
    assert "!nontemporal" not in loops.generate(_map(F32, (64, 1024))).text
    monkeypatch.setattr(loops, "_STREAM", 1)
    kernel = _map(F32, (64, 1024))
    assert "!nontemporal" not in loops.generate(kernel._replace(writes=kernel.reads)).text


@pytest.mark.parametrize("d", [F32, F64])
@pytest.mark.parametrize("n", [1, 5, 16, 17, 64, 1000, 5000])
@pytest.mark.parametrize("least", [False, True])
def test_extremes_order_zeros_and_propagate_nan_of_either_sign(d, n, least):
    rng = np.random.default_rng(n)
    nan = np.array([np.nan, -np.nan], d)
    rows = [
        rng.standard_normal(n),
        np.full(n, -0.0),
        np.where(np.arange(n) == n // 2, 0.0, -0.0),
        np.full(n, -np.inf),
        np.full(n, np.inf),
        np.where(np.arange(n) == n - 1, nan[0], 1.0),
        np.where(np.arange(n) == 0, nan[1], 1.0),
        np.where(np.arange(n) == n // 3, -np.inf, rng.standard_normal(n)),
        np.full(n, 5e-324 if d is F64 else 1e-45),
    ]
    x = np.array(rows).astype(d)
    s = Builder()
    v = s.arg(TYPES[d])
    program = s.program(s.rmin(v) if least else s.rmax(v))
    for shape, group, out in ((x.shape, (1, 2), (1, 0)), (x.T.shape, (0, 1), (0, 1))):
        data = np.ascontiguousarray(x if group == (1, 2) else x.T)
        got = np.zeros(len(rows), d)
        kernel = LoopKernel(
            shape, group, program, (Access(0, d, 0, (shape[1], 1)),), (Access(1, d, 0, out),)
        )
        assert run_kernel(kernel, [data, got]) == 0
        for r, g in zip(x, got):
            if np.isnan(r).any():
                assert np.isnan(g)
                continue
            want = r.min() if least else r.max()
            zero = r[r == 0]
            if want == 0:
                want = d.type(
                    -0.0 if (np.signbit(zero).any() if least else np.signbit(zero).all()) else 0.0
                )
            assert g == want and np.signbit(g) == np.signbit(want)
