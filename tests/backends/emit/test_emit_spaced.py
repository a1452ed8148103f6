"""Loads at places that grow evenly from lane to lane, rows of a few vectors, and runs through row
buffers: the interpreter's bits, and no touch of memory beside the operands."""

import numpy as np
import pytest
from emit_harness import contiguous_access, dtype_of, run_kernel, same_bits, sample
from fenced import fenced
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.backends.emit.form import FormKind, Walk
from hybrid.backends.emit.loops import lay_out, text_of
from hybrid.backends.emit.memory import LaneSteps
from hybrid.backends.emit.programs.spacing import spaced_loads
from hybrid.backends.interpret import run_kernel as interpreted
from hybrid.backends.interpret import run_program
from hybrid.backends.plan import Access, LoopKernel
from hybrid.ir.scalar.program import Builder

TYPES = ["f32", "f64", "i8", "b1", "u16", "i64"]


def kernel_of(program, ty, shape):
    read = Access(0, dtype_of(ty), 0, (), True)
    writes = [contiguous_access(1 + k, ty, shape) for k in range(len(program.outs))]
    return LoopKernel(shape, None, program, (read,), tuple(writes))


def loads_of(program, ty, shape):
    form = lay_out(kernel_of(program, ty, shape)).form
    return list(spaced_loads(form).values())


def check(program, ty, shape, table, pieces=1):
    """Against the interpreter, with the table at the end and at the start of its memory."""
    want = run_program(program, [table], (), shape)
    for end in (True, False):
        outs = [np.zeros(shape, table.dtype) for _ in program.outs]
        run_kernel(kernel_of(program, ty, shape), [fenced(table, end), *outs], pieces)
        for got, wanted in zip(outs, want):
            assert same_bits(got, np.broadcast_to(wanted, shape).copy()), program


def spaced(ty, width, step, shift, phase, arithmetic):
    """x[row, step * (column + phase >> shift)] of a table with just enough columns."""
    b = Builder()
    columns = step * ((width - 1 + phase) >> shift) + 1
    t = b.operand(ty)
    row, column = (b.convert(b.coord(a), arithmetic) for a in range(2))
    place = column + phase
    if shift:
        place = place >> shift
    first = step * (phase >> shift)
    place = row * (columns - first) + place * step - first
    return b.program(b.load(t, b.convert(place, "i64"))), columns - first


@pytest.mark.parametrize("ty", TYPES)
@pytest.mark.parametrize("width", [1, 2, 7, 15, 16, 17, 28, 31, 32, 47, 64, 65, 130])
def test_every_spacing(ty, width):
    rng = np.random.default_rng(width)
    for step, shift, phase in [(1, 0, 0), (2, 0, 0), (3, 0, 1), (4, 0, 5), (5, 0, 0)] + [
        (1, shift, phase) for shift in (1, 2, 3) for phase in (0, 1, 3)
    ]:
        program, columns = spaced(ty, width, step, shift, phase, "i32" if phase % 2 else "i64")
        check(program, ty, (3, width), sample(rng, ty, (3 * columns,)), pieces=2)
        assert width == 1 or bool(loads_of(program, ty, (3, width))) == (step < 5)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 10**9))
def test_guarded_loads(seed):
    """Random windows over rows, some of whose columns lie outside: as in padded pooling."""
    rng = np.random.default_rng(seed)
    ty, arithmetic = TYPES[rng.integers(6)], ["i32", "i64"][rng.integers(2)]
    size, rows = int(rng.integers(1, 90)), int(rng.integers(1, 5))
    shape = (rows, int(rng.integers(1, 90)))
    b = Builder()
    t = b.operand(ty)
    row, column = (b.convert(b.coord(a), arithmetic) for a in range(2))
    outs = []
    for _ in range(int(rng.integers(1, 4))):
        place = column + int(rng.integers(-9, 9))
        place = place >> int(rng.integers(1, 4)) if rng.random() < 0.4 else place
        place = place * int(rng.integers(1, 5)) + int(rng.integers(-9, 9))
        inside = (place >= 0) & (place < size)
        if rng.random() < 0.3:
            inside = inside & (row > 0)
        if rng.random() < 0.3:
            inside = inside & ((column & 3) != int(rng.integers(4)))
        number = row * size + place
        if rng.random() < 0.5:
            index = b.convert(b.select(inside, number, 0), "i64")
        else:
            index = b.select(inside, b.convert(number, "i64"), 0)
        outs.append(b.load(t, index))
    program = b.program(*outs)
    check(program, ty, shape, sample(rng, ty, (rows * size,)), pieces=int(rng.integers(1, 4)))


def test_what_is_spaced():
    """Chains that might wrap, or whose lanes are not known, stay gathers."""
    b = Builder()
    t = b.operand("f32")
    c, r = b.coord(1), b.coord(0)
    narrow = b.convert(c, "i32")
    places = [
        (c * 2 + 1, LaneSteps(2, 0, 1)),
        (7 - (3 - c), LaneSteps(1, 0, 4)),
        (c * 4 - c, LaneSteps(3)),
        ((c + 17) >> 1, LaneSteps(1, 1, 1)),
        ((c + r) >> 1, None),  # the phase differs from row to row
        ((c * 2) >> 1, None),
        (c * r, None),
        (c - c * 2 + 40, None),  # falls
        (b.convert(narrow * 2, "i64"), LaneSteps(2, 0, 0)),
        (b.convert(narrow * 2, "i64") + 1, None),  # of 32 bits, and no place itself
        (b.convert(b.select(r > 0, narrow + 1, 0), "i64"), LaneSteps(1, 0, 1)),
        (b.select(r > 0, c, 1), None),  # elsewhere another element than the first
    ]
    program = b.program(*(b.load(t, place) for place, _ in places))
    form = lay_out(kernel_of(program, "f32", (4, 20))).form
    found = spaced_loads(form)
    assert [found[o].spacing if o in found else None for o in program.outs] == [
        spacing for _, spacing in places
    ]
    # where rows are merged, the number of a column is not that of a lane
    flat = Builder()
    t, i = flat.operand("f32"), flat.index()
    program = flat.program(flat.load(t, i >> 1))
    assert loads_of(program, "f32", (64,)) and form.affine[0][1] is Walk.COUNTED


def test_text_without_gathers():
    program, _ = spaced("f32", 40, 2, 0, 0, "i32")
    text, _ = text_of(lay_out(kernel_of(program, "f32", (3, 40))).form)
    assert "gather" not in text and "masked.load" in text
    program, _ = spaced("f32", 40, 5, 0, 0, "i32")
    assert "gather" in text_of(lay_out(kernel_of(program, "f32", (3, 40))).form)[0]


@pytest.mark.parametrize("shape", [(5, 3), (4, 17), (3, 5, 28), (2, 3, 4, 33), (7, 64), (2, 48)])
@pytest.mark.parametrize("ty", ["f32", "i8"])
def test_rows_of_a_few_vectors(shape, ty):
    """Every row of operands of which only a part is read, in pieces that begin anywhere."""
    rng = np.random.default_rng(3)
    b = Builder()
    x, y, *coords = b.arg(ty), b.arg(ty), *(b.coord(a) for a in range(len(shape)))
    total = x - y
    for number, coord in enumerate(coords, 1):
        total = total + b.convert(coord * number, ty)
    program = b.program(total)
    wide = (*shape[:-1], shape[-1] + 3)
    bufs = [sample(rng, ty, wide), sample(rng, ty, wide)]
    strides = contiguous_access(0, ty, wide).strides
    reads = tuple(Access(k, dtype_of(ty), 2 * k, strides) for k in range(2))
    want = run_program(program, [v[..., 2 * k :][..., : shape[-1]] for k, v in enumerate(bufs)])
    for pieces in (1, 2, 5):
        out = np.zeros(wide, dtype_of(ty))
        kernel = LoopKernel(shape, None, program, reads, (Access(2, out.dtype, 1, strides),))
        assert lay_out(kernel).form.short == -(-shape[-1] // 16)
        run_kernel(kernel, [*bufs, out], pieces)
        assert same_bits(out[..., 1:][..., : shape[-1]], want[0])
        assert not out[..., 0].any() and not out[..., shape[-1] + 1 :].any()


@pytest.mark.parametrize("inner", [(3, 14), (5, 16), (2, 3, 7), (4, 70), (9, 2)])
@pytest.mark.parametrize("ty", ["f32", "f64", "i8", "b1"])
def test_runs_through_row_buffers(inner, ty):
    """Reductions of the inside of larger arrays, with a result of every element inside another."""
    rng = np.random.default_rng(4)
    b = Builder()
    x = b.arg(ty)
    every = ~x if ty == "b1" else x + x
    program = b.program(every, b.rany(x) if ty == "b1" else b.rsum(every), every)
    shape, wide = (3, *inner), (3, *inner[:-1], inner[-1] + 5)
    table, out, other = (sample(rng, ty, wide) for _ in range(3))
    before, strides, d = out.copy(), contiguous_access(0, ty, wide).strides, dtype_of(ty)
    once = (1, *[0] * len(inner))
    writes = (Access(1, d, 3, strides), Access(2, d, 0, once), Access(3, d, 0, strides))
    kernel = LoopKernel(shape, (1, len(shape)), program, (Access(0, d, 2, strides),), writes)
    form = lay_out(kernel).form
    walks = {o.walk for o in (*form.reads, *form.writes)}
    assert form.kind is FormKind.ROW and (Walk.COPIED in walks) == (np.prod(inner) > 16)
    want = [table.copy(), out.copy(), np.zeros(3, d), other.copy()]
    got = [table, out, np.zeros(3, d), other]
    interpreted(kernel, lambda slot: want[slot].reshape(-1))
    run_kernel(kernel, got, pieces=2)
    assert all(same_bits(a, b) for a, b in zip(got, want))
    assert same_bits(got[1][..., :3], before[..., :3])
