"""Ops to programs: half types round after every op, fused or not; gathered operands; checks."""

import ml_dtypes
import numpy as np
import pytest
from emit_harness import contiguous_access, run_kernel, same_bits

from hybrid.backends.interpret import run_program
from hybrid.backends.plan import Access, LoopKernel
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.core.errors import BackendError
from hybrid.ir.op import MapOp, RowOp
from hybrid.ir.scalar.compose import Composer, check_program, op_program, operand_type

N = 3000
HALVES = [dt.float16, dt.bfloat16]


def op(name, body, nin=1, **more):
    return MapOp(name, nin, lambda *a, **k: a, body=body, **more)


ADD = op("add", lambda s, x, y: x + y, 2)
MUL = op("mul", lambda s, x, y: x * y, 2)
LESS = op("less", lambda s, x, y: x < y, 2)
SCALE = op("scale", lambda s, x, by: x * by, params=("by",))


def values(d, rng, n=N):
    bits = rng.integers(0, 1 << 16, n).astype(np.uint16)
    plain = (rng.standard_normal(n) * 4).astype(d)
    return np.where(rng.integers(0, 2, n) == 0, bits.view(d), plain).astype(d)


def run(program, arrays, out_dtype):
    out = np.zeros(N, out_dtype)
    reads = tuple(Access(k, a.dtype, 0, (1,)) for k, a in enumerate(arrays))
    write = Access(len(arrays), out.dtype, 0, (1,))
    run_kernel(LoopKernel((N,), None, program, reads, (write,)), [*arrays, out])
    return out


def same_half(a, b):
    return same_bits(a.astype(np.float32), b.astype(np.float32))


@pytest.mark.parametrize("d", HALVES, ids=["float16", "bfloat16"])
def test_half_ops_round_once_each(d):
    rng = np.random.default_rng(0)
    x, y, z = (values(d, rng) for _ in range(3))
    v = aval((N,), d)
    with np.errstate(all="ignore"):
        added = (x.astype("f4") + y.astype("f4")).astype(d)
        both = (added.astype("f4") * z.astype("f4")).astype(d)
    single = run(op_program(ADD, (v, v), {}, (v,)), [x, y], d)
    assert same_half(single, added)
    c = Composer()
    p, q, r = (c.arg(d) for _ in range(3))
    (s,) = c.apply(ADD, {}, [p, q], [v, v], [v])
    (t,) = c.apply(MUL, {}, [s, r], [v, v], [v])
    fused = c.finish([t], [d])
    assert same_half(run(fused, [x, y, z], d), both)
    assert same_half(run(op_program(MUL, (v, v), {}, (v,)), [single, z], d), both)


@pytest.mark.parametrize("d", HALVES, ids=["float16", "bfloat16"])
def test_every_half_value_survives(d):
    x = np.arange(1 << 16, dtype=np.uint16).view(d)
    c = Composer()
    v, wide = aval(x.shape, d), aval(x.shape, dt.float32)
    a = c.arg(d)
    same = op("same", lambda s, x: x)
    (y,) = c.apply(same, {}, [a], [v], [v])
    (z,) = c.apply(same, {}, [a], [v], [wide])
    out, f = np.zeros_like(x), np.zeros(x.shape, "f4")
    writes = (Access(1, d, 0, (1,)), Access(2, dt.float32, 0, (1,)))
    run_kernel(
        LoopKernel(
            x.shape, None, c.finish([y, z], [d, dt.float32]), (Access(0, d, 0, (1,)),), writes
        ),
        [x, out, f],
    )
    assert same_half(out, x) and same_bits(f, x.astype("f4"))


@pytest.mark.parametrize("d", HALVES, ids=["float16", "bfloat16"])
def test_rounding_to_half_agrees_with_numpy(d):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 1 << 32, N, dtype=np.uint64).astype(np.uint32).view("f4").copy()
    x[:1000] = (rng.standard_normal(1000) * 1e-5).astype("f4")
    x[1000:1004] = [65519.99, 65520, 6.1e-5, 2.9e-8]
    cast = op("cast", lambda s, x: x)
    out = run(op_program(cast, (aval((N,), dt.float32),), {}, (aval((N,), d),)), [x], d)
    with np.errstate(all="ignore"):
        assert same_half(out, x.astype(d))


def test_static_params_bools_and_scalars():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal(N).astype("f4"), rng.standard_normal(N).astype("f4")
    v, b = aval((N,), dt.float32), aval((N,), dt.bool_)
    assert (
        run(op_program(SCALE, (v,), {"by": 2.5}, (v,)), [x], np.float32) == x * np.float32(2.5)
    ).all()
    assert (run(op_program(LESS, (v, v), {}, (b,)), [x, y], np.bool_) == (x < y)).all()
    c = Composer()
    a, s = c.arg(dt.float32), c.param(dt.bfloat16)
    program = c.finish(c.apply(MUL, {}, [a, s], [v, v], [v]), [dt.float32])
    out = np.zeros(N, "f4")
    bits = int(np.array(1.5, ml_dtypes.bfloat16).view(np.uint16))
    kernel = LoopKernel(
        (N,),
        None,
        program,
        (contiguous_access(0, "f32", (N,)),),
        (contiguous_access(1, "f32", (N,)),),
        (bits,),
    )
    run_kernel(kernel, [x, out])
    assert (out == x * np.float32(1.5)).all()


@pytest.mark.parametrize("d", [dt.float32, dt.bfloat16, dt.bool_], ids=str)
def test_gathered_operands(d):
    take = MapOp(
        "take",
        2,
        lambda *a: a,
        gathers=(0,),
        body=lambda s, x, i: x.at_coords(i, s.const("i64", 2)),
        check=lambda s, x, i: s.or_(i < 0, i >= x.shape[0]),
    )
    rng = np.random.default_rng(3)
    table = (rng.standard_normal((7, 4)) * 2).astype(d)
    index = rng.integers(0, 7, N)
    avals = (aval((7, 4), d), aval((N,), dt.int64))
    program = op_program(take, avals, {}, (aval((N,), d),))
    reads = (Access(0, d, 0, (), True), contiguous_access(1, "i64", (N,)))
    out = np.zeros(N, d)
    run_kernel(
        LoopKernel((N,), None, program, reads, (Access(2, d, 0, (1,)),)), [table, index, out]
    )
    assert (out == table[index, 2]).all()
    check = LoopKernel((N,), None, check_program(take, avals, {}), reads, (), check=True)
    assert run_kernel(check, [table, index]) == 0
    index[1234] = 7
    assert run_kernel(check, [table, index]) == 1235


def test_row_op_with_half_values():
    d = dt.bfloat16
    mean = RowOp("mean", 1, lambda *a: a, body=lambda s, x: s.rsum(x) / s.rlen("f32"))
    x = np.random.default_rng(4).standard_normal((5, 100)).astype(d)
    program = op_program(mean, (aval(x.shape, d),), {}, (aval((5, 1), d),))
    out = np.zeros(5, d)
    run_kernel(
        LoopKernel(
            x.shape, (1, 2), program, (Access(0, d, 0, (100, 1)),), (Access(1, d, 0, (1, 0)),)
        ),
        [x, out],
    )
    want = run_program(program, [x.view(np.uint16)])[0].reshape(-1)
    assert (out.view(np.uint16) == want).all() and operand_type(d) == "u16"


def test_wrong_results_are_errors():
    v, i = aval((4,), dt.float32), aval((4,), dt.int32)
    with pytest.raises(BackendError, match="scale.*int32"):
        op_program(SCALE, (v,), {"by": 2.0}, (i,))
    with pytest.raises(BackendError, match="no body"):
        op_program(MapOp("none", 1, lambda a: (a,), body=None), (v,), {}, (v,))
    with pytest.raises(BackendError, match="nothing to check"):
        check_program(SCALE, (v,), {"by": 1.0})
