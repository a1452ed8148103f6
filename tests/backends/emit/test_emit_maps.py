"""Map kernels on random programs, shapes and layouts, in place and split into pieces."""

import numpy as np
import pytest
from emit_harness import (
    ALL_TYPES,
    contiguous_access,
    dtype_of,
    random_layout,
    random_map,
    run_kernel,
    same_bits,
    sample,
    view_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.backends.emit.form import Walk
from hybrid.backends.emit.loops import generate, lay_out
from hybrid.backends.interpret import run_program
from hybrid.backends.plan import Access, LoopKernel
from hybrid.core import dtypes as dt
from hybrid.core.errors import BackendError
from hybrid.ir.scalar.program import Builder

F32 = dt.float32
SHAPES = [
    (),
    (1,),
    (0,),
    (5,),
    (16,),
    (67,),
    (300,),
    (3, 0),
    (4, 5),
    (2, 3, 4),
    (33, 17),
    (3, 1, 70),
    (40, 3),
    (2, 2, 2, 9),
    (5, 64),
    (2, 1100),
]


def place(rng, types, shape, contiguous=False, write=False):
    """Buffers and accesses (slots from 0) of random values."""
    bufs, accs = [], []
    for k, ty in enumerate(types):
        base, offset, strides = random_layout(rng, sample(rng, ty, shape), contiguous, write)
        bufs.append(base)
        accs.append(Access(k, dtype_of(ty), offset, strides))
    return bufs, accs


def compare(program, kernel, bufs, pieces=1):
    args = [view_of(bufs[a.slot], a.offset, a.strides, kernel.shape).copy() for a in kernel.reads]
    wanted = run_program(program, args, kernel.params, kernel.shape)
    assert run_kernel(kernel, bufs, pieces) == 0
    for w, a in zip(wanted, kernel.writes):
        got = view_of(bufs[a.slot], a.offset, a.strides, kernel.shape)
        assert same_bits(np.broadcast_to(w, kernel.shape).copy(), got.copy()), (
            f"{program}\n{kernel.shape} {kernel.reads} {a}"
        )


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_random_programs_and_layouts(seed):
    rng = np.random.default_rng(seed)
    shape = SHAPES[rng.integers(0, len(SHAPES))]
    types = [str(t) for t in rng.choice(ALL_TYPES, rng.integers(1, 4))]
    program = random_map(rng, types, int(rng.integers(1, 12)))
    bufs, reads = place(rng, types, shape, contiguous=bool(rng.integers(0, 2)))
    outs, writes = place(
        rng,
        [program.instrs[o].type for o in program.outs],
        shape,
        bool(rng.integers(0, 2)),
        write=True,
    )
    writes = [w._replace(slot=w.slot + len(bufs)) for w in writes]
    kernel = LoopKernel(shape, None, program, tuple(reads), tuple(writes))
    compare(program, kernel, [*bufs, *outs], pieces=int(rng.integers(1, 4)))


def affine(t):
    b = Builder()
    x = b.arg(t)
    return b.program(x * b.const(t, 3) + b.const(t, 1))


@pytest.mark.parametrize("n", [1, 15, 16, 17, 31, 64, 65, 127, 128, 129, 1000, 2049, 5000])
@pytest.mark.parametrize("ty", ["i8", "f32", "f64"])
def test_tails_touch_nothing_outside(n, ty):
    d, rng = dtype_of(ty), np.random.default_rng(n)
    buf = sample(rng, ty, (n + 64,))
    out = np.zeros(n + 64, d)
    kernel = LoopKernel(
        (n,), None, affine(ty), (Access(0, d, 32, (1,)),), (Access(1, d, 32, (1,)),)
    )
    compare(kernel.program, kernel, [buf, out], pieces=3)
    assert not out[:32].any() and not out[n + 32 :].any()


@pytest.mark.parametrize("shape", [(7,), (40, 3), (100, 20), (6, 5, 4), (33, 40)])
def test_in_place(shape):
    rng = np.random.default_rng(1)
    a, c = sample(rng, "f32", shape), sample(rng, "f32", shape)
    b = Builder()
    x, y = b.arg("f32"), b.arg("f32")
    program = b.program(x + y, x - y)
    wanted = run_program(program, [a, c])
    reads = (contiguous_access(0, "f32", shape), contiguous_access(1, "f32", shape))
    run_kernel(LoopKernel(shape, None, program, reads, reads), [a, c])
    assert same_bits(a, wanted[0]) and same_bits(c, wanted[1])


@pytest.mark.parametrize("ty", ["b1", "u16", "f32", "f64"])
@pytest.mark.parametrize(
    "shape",
    [
        (8, 8),
        (16, 16),
        (17, 33),
        (70, 300),
        (9, 1000),
        (3, 40, 50),
        (2, 65, 3, 9),
        (4, 3, 70),
        (3, 100),
    ],
)
def test_transposed_operands(ty, shape):
    rng = np.random.default_rng(2)
    x, y = sample(rng, ty, shape), sample(rng, ty, (*shape[:-2], shape[-1], shape[-2]))
    b = Builder()
    p, q = b.arg(ty), b.arg(ty)
    program = b.program(b.op("xor" if ty != "f32" and ty != "f64" else "sub", p, q), b.index())
    strides = contiguous_access(0, ty, shape).strides
    turned = Access(0, dtype_of(ty), 0, (*strides[:-2], strides[-1], strides[-2]))
    outs = [np.zeros(y.shape, y.dtype), np.zeros(y.shape, "i8")]
    kernel = LoopKernel(
        y.shape,
        None,
        program,
        (turned, contiguous_access(1, ty, y.shape)),
        (contiguous_access(2, ty, y.shape), contiguous_access(3, "i64", y.shape)),
    )
    compare(program, kernel, [x, y, *outs], pieces=2)


def test_equal_forms_share_code():
    def make(shape, slot, offset):
        a = contiguous_access(slot, "f32", shape)._replace(offset=offset)
        return generate(LoopKernel(shape, None, affine("f32"), (a,), (a,)))

    one, two = make((100,), 0, 0), make((7, 5, 300), 3, 12)
    assert one.text == two.text and one.symbol == two.symbol and one.words != two.words
    assert make((), 0, 0).symbol == one.symbol


def test_items_split_long_rows():
    g = generate(
        LoopKernel(
            (1 << 20,), None, affine("f32"), (Access(0, F32, 0, (1,)),), (Access(0, F32, 0, (1,)),)
        )
    )
    assert g.items >= 64 and 1 <= g.grain < g.items


@pytest.mark.parametrize(
    "shape,bad",
    [((100,), [37]), ((5, 33), [160, 80]), ((5, 33), []), ((3, 3), [8]), ((5000,), [4999])],
)
def test_checks_report_a_position(shape, bad):
    b = Builder()
    x = b.arg("i32")
    program = b.program(b.or_(x < 0, x >= 10))
    a = np.zeros(shape, np.int32)
    a.reshape(-1)[bad] = 99
    kernel = LoopKernel(shape, None, program, (contiguous_access(0, "i32", shape),), (), check=True)
    result = run_kernel(kernel, [a], pieces=2)
    assert (result - 1 in bad) if bad else result == 0
    turned = Access(0, dt.int32, 0, tuple(reversed(contiguous_access(0, "i32", shape).strides)))
    result = run_kernel(kernel._replace(shape=tuple(reversed(shape)), reads=(turned,)), [a])
    hits = np.nonzero(a.T.reshape(-1))[0]
    assert (result - 1 in hits) if bad else result == 0


@pytest.mark.parametrize("ty", ["b1", "u16", "f32"])
@pytest.mark.parametrize("width", [1, 5, 16, 17, 70, 130])
def test_rows_of_a_table(ty, width):
    """Loads whose position runs with the lanes are adjacent; others are not."""
    rng = np.random.default_rng(width)
    table, index = sample(rng, ty, (9, width)), rng.integers(0, 9, 40)
    b = Builder()
    t, i, c = b.operand(ty), b.arg("i64"), b.coord(1)
    program = b.program(
        b.load(t, i * width + c), b.load(t, c + (i * width)), b.load(t, i * width + (width - 1) - c)
    )
    outs = [np.zeros((40, width), table.dtype) for _ in range(3)]
    reads = (Access(0, dtype_of(ty), 0, (), True), Access(1, dt.int64, 0, (1, 0)))
    writes = tuple(contiguous_access(2 + k, ty, (40, width)) for k in range(3))
    run_kernel(
        LoopKernel((40, width), None, program, reads, writes), [table, index, *outs], pieces=2
    )
    want = table[index]
    assert (
        same_bits(outs[0], want) and same_bits(outs[1], want) and same_bits(outs[2], want[:, ::-1])
    )


def test_wrong_operands_are_errors():
    a = contiguous_access(0, "f64", (4,))
    with pytest.raises(BackendError, match="float64"):
        generate(LoopKernel((4,), None, affine("f32"), (a,), (a,)))
    with pytest.raises(BackendError, match="operands"):
        generate(LoopKernel((4,), None, affine("f64"), (a, a), (a,)))


@pytest.mark.parametrize("n", [1, 7, 16, 17, 64, 129, 1000])
@pytest.mark.parametrize("ty", ["f32", "f64", "i8", "b1"])
@pytest.mark.parametrize("in_place", [False, True])
def test_results_that_fill_each_others_gaps(n, ty, in_place):
    """Parts of pairs in, parts of pairs out, stored together: nothing beyond them is touched."""
    b = Builder()
    x, y = b.arg(ty), b.arg(ty)
    program = b.program(*((b.xor(x, y), b.and_(x, y)) if ty == "b1" else (x - y, x + y)))
    d, rng = dtype_of(ty), np.random.default_rng(n)
    source, target = sample(rng, ty, (2 * n + 8,)), sample(rng, ty, (2 * n + 8,))
    bufs = [source] if in_place else [source, target]
    last = len(bufs) - 1
    reads = tuple(Access(0, d, 4 + part, (2,)) for part in range(2))
    writes = tuple(Access(last, d, 4 + part, (2,)) for part in range(2))
    before = bufs[last].copy()
    kernel = LoopKernel((n,), None, program, reads, writes)
    compare(program, kernel, bufs, pieces=1 if in_place else 2)
    assert same_bits(bufs[last][:4], before[:4]) and same_bits(bufs[last][-4:], before[-4:])
    walks = [operand.walk for operand in lay_out(kernel).form.writes]
    assert n == 1 or walks == [Walk.EVEN, Walk.ODD]
