"""Row and column kernels: order of sums, stages, in place, strided, empty and short rows."""

import numpy as np
import pytest
from emit_harness import (
    ALL_TYPES,
    contiguous_access,
    dtype_of,
    grow,
    random_layout,
    run_kernel,
    same_bits,
    sample,
    view_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.backends.emit.loops import generate
from hybrid.backends.interpret import run_program
from hybrid.backends.plan import Access, LoopKernel
from hybrid.core import dtypes as dt
from hybrid.core.errors import BackendError
from hybrid.ir.scalar.program import Builder

F32 = dt.float32
LENGTHS = [0, 1, 3, 10, 16, 17, 63, 64, 65, 128, 1000, 4096, 4097, 8300]


def soft(heavy=True):
    """max, a costly function of the difference, its sum: two stages before the last pass."""
    b = Builder()
    x = b.arg("f32")
    y = x - b.rmax(x)
    for _ in range(3 if heavy else 0):
        y = b.fma(y, y, b.const("f32", 0.25)) * 0.5
    y = b.abs(y)
    total = b.rsum(y)
    return b.program(y / total, total)


def norm():
    b = Builder()
    x, w, n = b.arg("f32"), b.arg("f32"), b.rlen("f32")
    m = b.rsum(x) / n
    d = x - m
    r = 1.0 / b.sqrt(b.rsum(d * d) / n + 1e-5)
    return b.program(d * r * w, m, r)


def run_rows(program, arrays, accesses, shape, group, outs, pieces=2):
    writes = tuple(a._replace(slot=len(arrays) + k) for k, a in enumerate(outs))
    bufs = [np.full(int(np.prod(np.maximum(shape, 1))) + 8, 7).astype(a.dtype) for a in writes]
    assert (
        run_kernel(
            LoopKernel(shape, group, program, tuple(accesses), writes), [*arrays, *bufs], pieces
        )
        == 0
    )
    return bufs


def per_row(ty, shape, start, slot=0):
    strides = contiguous_access(0, ty, shape[:start]).strides
    return Access(slot, dtype_of(ty), 0, (*strides, *(0,) * (len(shape) - start)))


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("rows", [1, 5])
def test_stages(n, rows):
    rng, shape = np.random.default_rng(n), (rows, n)
    x, w = rng.standard_normal(shape).astype("f4"), rng.standard_normal(n).astype("f4")
    full, once = contiguous_access(0, "f32", shape), per_row("f32", shape, 1)
    for program in (soft(), soft(False)):
        want = run_program(program, [x], shape=shape)
        got = run_rows(program, [x], [full], shape, (1, 2), [full, once])
        assert same_bits(got[0][: x.size].reshape(shape), want[0]) and same_bits(
            got[1][:rows], want[1].reshape(-1)
        )
        y, total = x.copy(), np.zeros(rows, "f4")
        run_kernel(
            LoopKernel(shape, (1, 2), program, (full,), (full, once._replace(slot=1))), [y, total]
        )
        assert same_bits(y, want[0]) and same_bits(total, want[1].reshape(-1))
    want = run_program(norm(), [x, w], shape=shape)
    got = run_rows(
        norm(), [x, w], [full, Access(1, F32, 0, (0, 1))], shape, (1, 2), [full, once, once]
    )
    assert same_bits(got[0][: x.size].reshape(shape), want[0])
    assert all(same_bits(g[:rows], v.reshape(-1)) for g, v in zip(got[1:], want[1:]))


@pytest.mark.parametrize("n", LENGTHS[1:])
def test_every_reduction(n):
    rng, shape = np.random.default_rng(n), (4, n)
    for ty in ("f32", "i64", "u8", "f64"):
        b = Builder()
        x = b.arg(ty)
        program = b.program(
            b.rsum(x),
            b.rprod(x),
            b.rmax(x),
            b.rmin(x),
            b.rargmax(x),
            b.rargmin(x),
            b.rall(x > 0),
            b.rany(x > 90),
        )
        plain = sample(rng, ty, shape)
        few = np.asarray(rng.integers(0, 3, shape)).astype(plain.dtype)
        cases = [plain, few, np.zeros(shape, plain.dtype)]
        if ty[0] == "f":
            cases += [
                np.where(rng.integers(0, 2, shape) == 0, 0.0, -0.0).astype(plain.dtype),
                np.full(shape, -np.inf, plain.dtype),
                np.where(rng.integers(0, n, shape) == 0, np.nan, few).astype(plain.dtype),
            ]
        for a in cases:
            outs = [per_row(program.instrs[o].type, shape, 1) for o in program.outs]
            got = run_rows(program, [a], [contiguous_access(0, ty, shape)], shape, (1, 2), outs)
            for w, g, o in zip(run_program(program, [a], shape=shape), got, program.outs):
                assert same_bits(w.reshape(-1), g[:4]), (program.instrs[o], a)


def test_empty_rows():
    b = Builder()
    x = b.arg("f32")
    program = b.program(b.rsum(x), b.rprod(x), b.rall(x > 0), b.rany(x > 0), b.rlen("i64"))
    outs = [per_row(program.instrs[o].type, (3, 0), 1) for o in program.outs]
    got = run_rows(program, [np.zeros(1, "f4")], [Access(0, F32, 0, (0, 1))], (3, 0), (1, 2), outs)
    assert [g[:3].tolist() for g in got] == [[0.0] * 3, [1.0] * 3, [True] * 3, [False] * 3, [0] * 3]
    assert not np.signbit(got[0][:3]).any()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_rows_over_several_axes_in_any_layout(seed):
    rng = np.random.default_rng(seed)
    shape = [
        (3, 70),
        (2, 5, 40),
        (4, 3, 2, 9),
        (3, 1, 20),
        (130,),
        (5, 6),
        (3, 7, 50),
        (2, 90, 17),
    ][rng.integers(0, 8)]
    start = int(rng.integers(0, len(shape)))
    value = rng.standard_normal(shape).astype("f4")
    base, offset, strides = random_layout(rng, value)
    x = view_of(base, offset, strides, shape).copy()
    rows, n = int(np.prod(shape[:start], dtype=int)), int(np.prod(shape[start:], dtype=int))
    program = soft()
    want = run_program(program, [x.reshape(rows, n)], shape=(rows, n))
    out, where, steps = random_layout(rng, np.zeros(shape, "f4"), write=True)
    sums = np.zeros(rows, "f4")
    kernel = LoopKernel(
        shape,
        (start, len(shape)),
        program,
        (Access(0, F32, offset, strides),),
        (Access(1, F32, where, steps), per_row("f32", shape, start, 2)),
    )
    run_kernel(kernel, [base, out, sums], pieces=2)
    assert same_bits(
        view_of(out, where, steps, shape).copy(), want[0].reshape(shape)
    ) and same_bits(sums, want[1].reshape(-1))


def random_rows(rng, types):
    """Random instructions between up to three rounds of reductions; results of both domains."""
    b = Builder()
    args = [b.arg(t) for t in types]
    values = grow(rng, b, args, 3)
    for _ in range(int(rng.integers(1, 4))):
        for _ in range(int(rng.integers(1, 3))):
            x = values[-1 - int(rng.integers(0, min(4, len(values))))]
            prim = rng.choice(
                ["rall", "rany"]
                if x.type == "b1"
                else ["rsum", "rprod", "rmax", "rmin", "rargmax", "rargmin"]
            )
            values.append(b.reduce(str(prim), x))
        values = grow(rng, b, values, int(rng.integers(2, 12)))
    picks = [values[int(k)] for k in rng.choice(len(values), 3)]
    return b.program(values[-1], *picks)


def random_writes(rng, program, want, reads, bufs, shape):
    """Where each result goes: over an input of its kind, or to a buffer of its own."""
    n, writes = shape[1], []
    spread = [rng.integers(0, 3) == 0 for _ in want]
    for k, (w, o) in enumerate(zip(want, program.outs)):
        once = w.ndim == 0 or w.shape[-1] != n or (n == 1 and rng.integers(0, 2))
        home = next(
            (
                r
                for r in reads
                if r.dtype == w.dtype
                and r.strides == ((1, 0) if once else (n, 1))
                and rng.integers(0, 2)
                and r.slot not in [x.slot for x in writes]
            ),
            None,
        )
        if home is not None and not (once and n > 1 and spread[k]):
            writes.append(home)
            continue
        d = dtype_of(program.instrs[o].type)
        bufs.append(np.zeros(shape, d))
        strides = (1, 0) if once and not (n > 1 and spread[k]) else (n, 1)
        writes.append(Access(len(bufs) - 1, d, 0, strides))
    return writes


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_random_row_programs(seed):
    rng = np.random.default_rng(seed)
    rows, n = (
        int(rng.integers(1, 5)),
        int(rng.choice([1, 2, 9, 16, 17, 40, 64, 100, 130, 500, 4100, 40000])),
    )
    types = [str(t) for t in rng.choice(ALL_TYPES, rng.integers(1, 3))]
    program, shape = random_rows(rng, types), (rows, n)
    arrays = [sample(rng, t, shape if rng.integers(0, 4) else (rows, 1)) for t in types]
    reads = [
        Access(k, dtype_of(t), 0, (n, 1) if a.shape == shape else (1, 0))
        for k, (t, a) in enumerate(zip(types, arrays))
    ]
    want = [w.copy() for w in run_program(program, arrays, shape=shape)]
    bufs = list(arrays)
    writes = random_writes(rng, program, want, reads, bufs, shape)
    run_kernel(
        LoopKernel(shape, (1, 2), program, tuple(reads), tuple(writes)),
        bufs,
        pieces=int(rng.integers(1, 3)),
    )
    for w, a, o in zip(want, writes, program.outs):
        got = view_of(bufs[a.slot].reshape(-1), 0, a.strides, shape)
        assert same_bits(np.broadcast_to(w, shape).copy(), got.copy()), (
            f"{program}\n{shape} {reads} {a}"
        )


def fold_columns(x, f, neutral):
    """The contract's order over axis 0."""
    total = np.full(x.shape[1:], neutral, x.dtype)
    for k in range(0, len(x), 256):
        block = np.full(x.shape[1:], neutral, x.dtype)
        for row in x[k : k + 256]:
            block = f(block, row)
        total = f(total, block)
    return total


@pytest.mark.parametrize("ty", ["f32", "f64", "i32"])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1),
        (1, 3, 5),
        (2, 257, 16),
        (1, 600, 70),
        (3, 40, 200),
        (2, 0, 5),
        (2, 256, 64),
        (1, 2100, 70),
        (2, 2304, 5),
    ],
)
def test_columns(ty, shape):
    rng = np.random.default_rng(4)
    x = sample(rng, ty, shape) if ty == "i32" else rng.standard_normal(shape).astype(dtype_of(ty))
    o, g, c = shape
    b = Builder()
    v = b.arg(ty)
    s, p, m = b.rsum(v * v), b.rprod(v), b.rargmax(v)
    program = b.program(s + p, m, b.rlen("i64"))
    outs = [Access(0, dtype_of(program.instrs[k].type), 0, (c, 0, 1)) for k in program.outs]
    with np.errstate(all="ignore"):
        neutral = -0.0 if ty != "i32" else 0
        one = x.dtype.type(1)
        sums = [
            fold_columns(x[i] * x[i], np.add, neutral) + fold_columns(x[i], np.multiply, one)
            for i in range(o)
        ]
        if g == 0:
            sums = [np.full(c, one) for _ in range(o)]
    for layout in ("plain", "turned"):
        if layout == "plain":
            got = run_rows(program, [x], [contiguous_access(0, ty, shape)], shape, (1, 2), outs)
        else:
            turned = np.ascontiguousarray(x.transpose(2, 0, 1))
            got = run_rows(
                program, [turned], [Access(0, dtype_of(ty), 0, (g, 1, o * g))], shape, (1, 2), outs
            )
        assert same_bits(got[0][: o * c].reshape(o, c), np.array(sums))
        if g:
            assert (got[1][: o * c].reshape(o, c) == x.argmax(1)).all()
        assert (got[2][: o * c] == g).all()


def test_columns_over_two_axes_that_do_not_merge():
    rng = np.random.default_rng(6)
    x = rng.standard_normal((40, 30, 20)).astype("f4")
    b = Builder()
    program = b.program(b.rsum(b.arg("f32")))
    out = np.zeros(20, "f4")
    kernel = LoopKernel(
        (30, 40, 20),
        (0, 2),
        program,
        (Access(0, F32, 0, (20, 600, 1)),),
        (Access(1, F32, 0, (0, 0, 1)),),
    )
    run_kernel(kernel, [x, out])
    assert same_bits(out, fold_columns(x.transpose(1, 0, 2).reshape(1200, 20), np.add, -0.0))


def test_row_results_in_place_of_row_operands():
    """Statistics updated in place: every read of the old value comes before the store."""
    b = Builder()
    x, old = b.arg("f32"), b.arg("f32")
    new = old * 0.5 + b.rsum(x)
    program = b.program(x - old, new)
    rng, shape = np.random.default_rng(8), (6, 50)
    a, stat = rng.standard_normal(shape).astype("f4"), rng.standard_normal(6).astype("f4")
    want = run_program(program, [a, stat[:, None]], shape=shape)
    full, once = contiguous_access(0, "f32", shape), per_row("f32", shape, 1, 1)
    run_kernel(LoopKernel(shape, (1, 2), program, (full, once), (full, once)), [a, stat])
    assert same_bits(a, want[0]) and same_bits(stat, want[1].reshape(-1))


@pytest.mark.parametrize("ty", [t for t in ALL_TYPES if t != "b1"])
def test_sums_of_every_type(ty):
    b = Builder()
    program = b.program(b.rsum(b.arg(ty)))
    rng = np.random.default_rng(9)
    a = rng.integers(0, 50, (3, 77)).astype(dtype_of(ty))
    got = run_rows(
        program,
        [a],
        [contiguous_access(0, ty, (3, 77))],
        (3, 77),
        (1, 2),
        [per_row(ty, (3, 77), 1)],
    )
    assert same_bits(got[0][:3], run_program(program, [a])[0].reshape(-1))


@pytest.mark.parametrize("rows,n", [(1, 100000), (3, 70001)])
@pytest.mark.parametrize("program", [soft, norm], ids=["soft", "norm"])
def test_long_rows(rows, n, program):
    rng, shape, program = np.random.default_rng(3), (rows, n), program()
    arrays = [rng.standard_normal(shape).astype("f4"), rng.standard_normal(n).astype("f4")][
        : len(program.args)
    ]
    accesses = [contiguous_access(0, "f32", shape), Access(1, F32, 0, (0, 1))][: len(program.args)]
    outs = [contiguous_access(0, "f32", shape)] + [per_row("f32", shape, 1)] * (
        len(program.outs) - 1
    )
    got = run_rows(program, arrays, accesses, shape, (1, 2), outs)
    want = run_program(program, arrays, shape=shape)
    assert same_bits(got[0][: rows * n].reshape(shape), want[0])
    assert all(same_bits(g[:rows], w.reshape(-1)) for g, w in zip(got[1:], want[1:]))


def test_element_value_needs_element_strides():
    b = Builder()
    x = b.arg("f32")
    kernel = LoopKernel(
        (2, 40),
        (1, 2),
        b.program(x + b.rsum(x)),
        (Access(0, F32, 0, (40, 1)),),
        (Access(1, F32, 0, (1, 0)),),
    )
    with pytest.raises(BackendError, match="per row"):
        generate(kernel)


COLUMN_SHAPES = [(3, 70), (5, 6, 33), (2, 300, 9), (4, 3, 20, 5), (1, 7, 130), (600, 2, 3)]
COLUMN_SHAPES += [(2, 3, 4, 70)]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_random_column_programs(seed):
    """Reductions that do not depend on the order, over any group of axes in any layout."""
    rng = np.random.default_rng(seed)
    shape = COLUMN_SHAPES[rng.integers(0, len(COLUMN_SHAPES))]
    start = int(rng.integers(0, len(shape) - 1))
    stop = int(rng.integers(start + 1, len(shape)))
    b, types = Builder(), [str(t) for t in rng.choice(ALL_TYPES, rng.integers(1, 3))]
    values, outs = grow(rng, b, [b.arg(t) for t in types], 4), []
    for _ in range(int(rng.integers(1, 4))):
        x = values[int(rng.integers(0, len(values)))]
        prims = ["rall", "rany"] if x.type == "b1" else ["rmax", "rmin", "rargmax", "rargmin"]
        outs.append(
            b.reduce(str(rng.choice(prims + (["rsum", "rprod"] if x.type[0] in "iu" else []))), x)
        )
    program = b.program(*grow(rng, b, outs, 4)[-3:])
    bufs, reads, arrays = [], [], []
    for k, t in enumerate(types):
        base, offset, strides = random_layout(rng, sample(rng, t, shape), bool(rng.integers(0, 2)))
        bufs.append(base)
        reads.append(Access(k, dtype_of(t), offset, strides))
        arrays.append(view_of(base, offset, strides, shape).copy())
    others, group = shape[:start] + shape[stop:], shape[start:stop]
    order = [*range(start), *range(stop, len(shape)), *range(start, stop)]
    flat = [a.transpose(order).reshape(int(np.prod(others)), int(np.prod(group))) for a in arrays]
    want = run_program(program, flat, shape=flat[0].shape)
    kept = contiguous_access(0, "u8", others).strides
    kept = (*kept[:start], *(0,) * len(group), *kept[start:])
    for k, o in enumerate(program.outs):
        bufs.append(np.zeros(others, dtype_of(program.instrs[o].type)))
    writes = tuple(
        Access(len(types) + k, b.dtype, 0, kept) for k, b in enumerate(bufs[len(types) :])
    )
    run_kernel(LoopKernel(shape, (start, stop), program, tuple(reads), writes), bufs, pieces=2)
    for w, got in zip(want, bufs[len(types) :]):
        assert same_bits(np.broadcast_to(w[:, :1], (got.size, 1)).reshape(others), got), (
            f"{program}\n{shape} {start} {stop}"
        )
