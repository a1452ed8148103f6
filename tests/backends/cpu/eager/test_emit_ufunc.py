"""NumPy inner loops: every step pattern, in place, several outputs, floating-point state."""

import warnings

import numpy as np
import pytest
from emit_harness import same_bits

from hybrid.backends.cpu.eager.ufunc import make_ufunc
from hybrid.backends.cpu.eager.ufunc_loop import ufunc_loop_text
from hybrid.backends.cpu.machine.jit import compile_many
from hybrid.core import dtypes as dt
from hybrid.core.errors import BackendError
from hybrid.ir.scalar.program import Builder

F32, F64, BOOL, I8 = dt.float32, dt.float64, dt.bool_, dt.int8


def make(symbol, program, ins, outs):
    (code,) = compile_many([(symbol, ufunc_loop_text(program, ins, outs, symbol))])
    return make_ufunc(symbol, code, ins, outs)


def multiply_add():
    b = Builder()
    return make("t_multiply_add", b.program(b.arg("f32") * b.arg("f32") + 1.0), (F32, F32), (F32,))


@pytest.mark.parametrize("n", [0, 1, 2, 7, 16, 17, 63, 64, 65, 127, 128, 129, 1000, 3001])
def test_steps_of_two_operands(n):
    u, rng = multiply_add(), np.random.default_rng(n)
    x, y, wide = (rng.standard_normal(s).astype("f4") for s in ((n,), (n,), (n, 3)))
    two = np.float32(2)
    for a, c in (
        (x, y),
        (x, two),
        (two, y),
        (wide[:, 1], y),
        (x[::-1], wide[:, 0]),
        (x, x),
        (wide[:, 2], two),
    ):
        want = a * c + np.float32(1)
        assert same_bits(u(a, c), want)
        out = np.zeros((n, 2), "f4")
        u(a, c, out=out[:, 1])
        assert same_bits(out[:, 1], want) and not out[:, 0].any()
    z = x.copy()
    u(z, y, out=z)
    assert same_bits(z, x * y + np.float32(1))
    z = x.copy()
    u(z, z[::-1], out=z)
    assert same_bits(z, x * x[::-1] + np.float32(1))


def test_scalars_and_broadcasting():
    u = multiply_add()
    assert (
        u(np.float32(3), np.float32(4)) == 13
        and type(u(np.float32(3), np.float32(4))) is np.float32
    )
    a, c = np.arange(12, dtype="f4").reshape(3, 4), np.arange(4, dtype="f4")
    assert same_bits(u(a, c), a * c + np.float32(1)) and same_bits(
        u(a.T, c[:3]), a.T * c[:3] + np.float32(1)
    )


def test_several_outputs_and_small_types():
    b = Builder()
    c, x, y, k = b.arg("b1"), b.arg("f64"), b.arg("f64"), b.arg("i8")
    u = make(
        "t_several",
        b.program(b.select(c, x, y), b.not_(c), k + k),
        (BOOL, F64, F64, I8),
        (F64, BOOL, I8),
    )
    rng = np.random.default_rng(0)
    m, p, q = (
        rng.integers(0, 2, 301).astype(bool),
        rng.standard_normal(301),
        rng.standard_normal(301),
    )
    i = rng.integers(-128, 128, 301).astype(np.int8)
    for cut in (slice(None), slice(None, None, 2), slice(None, None, -3)):
        r, s, t = u(m[cut], p[cut], q[cut], i[cut])
        assert (
            (r == np.where(m[cut], p[cut], q[cut])).all()
            and (s == ~m[cut]).all()
            and (t == i[cut] + i[cut]).all()
        )


def test_no_floating_point_warnings():
    b = Builder()
    u = make("t_divide", b.program(b.arg("f32") / b.arg("f32")), (F32, F32), (F32,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = u(np.array([1, 0, -1], "f4"), np.zeros(3, "f4"))
    assert np.isinf(out[0]) and np.isnan(out[1]) and out[2] == -np.inf


def test_only_elementwise_programs():
    b = Builder()
    with pytest.raises(BackendError, match="elementwise"):
        ufunc_loop_text(b.program(b.arg("f32"), b.index()), (F32,), (F32, dt.int64), "t_index")
    b = Builder()
    with pytest.raises(BackendError, match="float64"):
        ufunc_loop_text(b.program(b.arg("f32")), (F64,), (F32,), "t_wrong")
