"""Attention on tensor cores, in the interpreter: near the strict kernels, the same every time."""

import itertools

import numpy as np
import pytest
from gpu import run_all, to_ptx
from test_attend import Case, run_on_cpu

import hybrid
from hybrid.backends.cuda.attend import generate
from hybrid.backends.cuda.attend.fast_forward import FastForward
from hybrid.backends.cuda.function import Card
from hybrid.core import dtypes as dt
from hybrid.ops.products.attend import ATTENTION

SHAPES = [(64, 64, 8, 8), (100, 200, 64, 64), (70, 130, 17, 33), (5, 3, 1, 2), (3, 0, 5, 7)]


def run_fast(case, order=0, fast="tf32"):
    """The results of a case on tensor cores and on the CPU."""
    got = [b.copy() for b in case.buffers]
    functions = generate(case.kernel._replace(fast=fast), Card(), len(got))
    run_all(functions, got, order)
    want = [b.copy() for b in case.buffers]
    run_on_cpu(case.kernel, want)
    return got[-3:], want[-3:]


def near(got, want, error=3e-3):
    for one, other in zip(got, want, strict=True):
        some = np.isfinite(other)
        np.testing.assert_array_equal(np.isfinite(one), some)
        scale = np.abs(other[some]).max(initial=1e-30)
        np.testing.assert_array_less(np.abs(one[some] - other[some]), error * scale)


def with_statistics(inputs):
    """Gradients' inputs with the maximum, sum and delta that go with them."""
    gradient, query, key, value, _, _, _, *rest = inputs
    params = {"scale": 0.25, "causal": True, "masked": bool(rest)}
    out, peak, total = (
        x.astype("f4") for x in ATTENTION.reference(query, key, value, *rest, **params)
    )
    return [gradient, query, key, value, peak, total, (gradient * out).sum(-1), *rest]


KINDS = pytest.mark.parametrize("fast,error", [("tf32", 3e-3), ("bf16", 3e-2)])


@KINDS
@pytest.mark.parametrize("sizes", SHAPES)
def test_forward(sizes, fast, error):
    near(*run_fast(Case((2,), *sizes, causal=True), fast=fast), error)
    near(*run_fast(Case((), *sizes, mask=dt.float32, factor=True), fast=fast), error)


@KINDS
@pytest.mark.parametrize("sizes", SHAPES)
def test_gradients(sizes, fast, error):
    case = Case((), *sizes, True, causal=True, mask=dt.float32, change=with_statistics)
    near(*run_fast(case, fast=fast), error)


def test_any_order_of_threads_gives_the_same_bits():
    for backward in (False, True):
        case = Case((2,), 70, 90, 24, 16, backward, causal=True)
        first, second = (run_fast(case, order, "bf16")[0] for order in (0, 1))
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, other)


def test_who_runs_on_tensor_cores(monkeypatch):
    made = []
    monkeypatch.setattr(FastForward, "write", lambda self: made.append(self))
    for dtype, sizes in ((dt.float64, (8, 8)), (dt.float32, (65, 8)), (dt.float32, (0, 8))):
        case = Case((), 16, 16, *sizes, dtype=dtype)
        generate(case.kernel._replace(fast="tf32" if dtype is dt.float32 else ""), Card(), 9)
    assert not made


def test_half_types_and_the_fast_mode_ask_for_them(monkeypatch):
    from hybrid.backends import op_kernels

    made, attend_kernel = [], op_kernels.attend_kernel
    monkeypatch.setattr(
        op_kernels, "attend_kernel", lambda *given: made.append(attend_kernel(*given)) or made[-1]
    )
    for dtype, setting, want in (
        ("bfloat16", "strict", "bf16"),
        ("float16", "strict", "tf32"),
        ("float32", "strict", ""),
        ("float32", "fast", "tf32"),
    ):
        q = hybrid.ones(3, 7, 5).astype(dtype)
        made.clear()
        hybrid.set_matmul_precision(setting)
        try:
            hybrid.scaled_dot_product_attention(q, q, q)
        finally:
            hybrid.set_matmul_precision("strict")
        assert {kernel.fast for kernel in made} == {want}


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_nothing_is_approximated(arch):
    for backward, fast in itertools.product((False, True), ("tf32", "bf16")):
        kernel = Case((), 64, 64, 64, 64, backward).kernel._replace(fast=fast)
        for function in generate(kernel, Card(), 99):
            ptx = to_ptx(function.text, arch)
            assert "mma.sync" in ptx
            assert not any(word in ptx for word in (".approx", ".ftz", ".extern .func"))
