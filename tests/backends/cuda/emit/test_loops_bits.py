"""Every schedule of loop and scatter kernels has the CPU's bits, in the interpreter of PTX."""

import re

import numpy as np
import pytest
from emit_harness import (
    contiguous_access,
    random_layout,
    random_map,
    run_generated,
    sample,
)
from gpu import check, run_all
from ptx_harness import checked_ptx
from record_kernels import NAMES, kernels

from hybrid.backends.cpu import scatter as cpu_scatter
from hybrid.backends.cuda import scatter
from hybrid.backends.cuda.emit import columns, generate, lanes, split
from hybrid.backends.cuda.function import Card
from hybrid.backends.op_kernels import LoopKernels
from hybrid.backends.plan import Access, LoopKernel, ScatterKernel
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.core.shapes import contiguous_strides
from hybrid.ir.op import OPS
from hybrid.ir.scalar.program import Builder

F32 = dt.float32
BIG = Card()
TINY = Card(multiprocessors=1, warps=1)  # one warp: what large sizes get is chosen for small ones
CARDS = {"big": BIG, "tiny": TINY}


def kernel_of(name, *operands, **params):
    op, ins = OPS[name], tuple(aval(shape, dtype) for shape, dtype in operands)
    made = LoopKernels(op, params, ins, tuple(op.infer(*ins, **params)))
    return made.kernels([contiguous_strides(a.shape) for a in ins])[-1]


def buffers_of(kernel, seed=0):
    """Random values, special ones among them, for every slot of a kernel without gathers."""
    rng, found = np.random.default_rng(seed), {}
    types = [*kernel.program.args, *(kernel.program.instrs[o].type for o in kernel.program.outs)]
    for access, kind in zip((*kernel.reads, *kernel.writes), types):
        strides = (0,) * len(kernel.shape) if access.gather else access.strides
        last = sum(max(s, 0) * max(n - 1, 0) for s, n in zip(strides, kernel.shape))
        count = 8192 if access.gather else 1 + access.offset + last
        values = sample(rng, kind, (count,))
        found[access.slot] = values.view(access.dtype)
    return [found[slot] for slot in sorted(found)]


def same(kernel, card=BIG, orders=(0, 1), buffers=None):
    """The symbols of the functions that were compared."""
    buffers = buffers_of(kernel) if buffers is None else buffers
    check(kernel, buffers, generate=generate, card=card, orders=orders)
    made = generate(kernel, card, len(buffers))
    return [re.sub(r"_[0-9a-f]{8,}$", "", f.symbol) for f in made], made


def product(kind, shape, second=None):
    """x * y + 1, with strides of y."""
    b = Builder()
    program = b.program(b.arg(kind) * b.arg(kind) + 1)
    x, y, out = (contiguous_access(k, kind, shape) for k in range(3))
    y = y if second is None else y._replace(strides=second)
    return LoopKernel(shape, None, program, (x, y), (out,))


# ---- maps
@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("kind", ["f32", "f64", "i8", "u16", "i64"])
@pytest.mark.parametrize("count", [1, 1029, 9000])
def test_flat_maps(kind, count, card):
    same(product(kind, (count,)), CARDS[card])


@pytest.mark.parametrize("offset", [1, 2, 4])
def test_operands_that_are_not_aligned(offset):
    kernel = product("f32", (5000,))
    kernel = kernel._replace(reads=(kernel.reads[0]._replace(offset=offset), kernel.reads[1]))
    same(kernel, TINY)


@pytest.mark.parametrize("columns", [1, 3, 4, 30, 64])
def test_maps_over_rows(columns):
    for strides in ((0, 1), (1, 0), (columns + 3, 1)):
        same(product("f32", (70, columns), strides), TINY)


@pytest.mark.parametrize("kind", ["f32", "u8", "f64"])
def test_transposed_maps(kind):
    for shape, strides in (((33, 70), (1, 33)), ((3, 20, 40), (800, 1, 20)), ((70, 20), (1, 99))):
        names, made = same(product(kind, shape, strides))
        assert names == ["tiled"] and made[0].shared


@pytest.mark.parametrize("seed", range(4))
def test_random_maps_in_any_layout(seed):
    rng = np.random.default_rng(seed)
    program = random_map(rng, ["f32", "i16", "b1", "f64"], 20)
    shape = tuple(int(n) for n in rng.integers(1, 12, int(rng.integers(1, 4))))
    outs = [program.instrs[o].type for o in program.outs]
    buffers, accesses = [], []
    for slot, kind in enumerate([*program.args, *outs]):
        write = slot >= len(program.args)
        values = sample(rng, kind, shape)
        base, offset, strides = random_layout(rng, values, write=write)
        buffers.append(base)
        accesses.append(Access(slot, base.dtype, offset, strides))
    reads = tuple(accesses[: len(program.args)])
    kernel = LoopKernel(shape, None, program, reads, tuple(accesses[len(program.args) :]))
    for card in CARDS.values():
        same(kernel, card, buffers=buffers)


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("bad", [None, 0, 2777, 4999])
def test_checks(bad, card):
    b = Builder()
    x = b.arg("i64")
    reads = (contiguous_access(0, "i64", (5000,)),)
    kernel = LoopKernel((5000,), None, b.program((x < 0) | (x >= 10)), reads, (), check=True)
    index = np.arange(5000) % 10
    if bad is not None:
        index[bad] = -1
    made = generate(kernel, CARDS[card], 1)
    assert made[0].check >= 0
    for order in (0, 1):
        assert run_all(made, [index], order) == (0 if bad is None else bad + 1)


@pytest.mark.parametrize("width", [5, 8, 64])
def test_rows_of_a_table(width):
    table, index = ((40, width), F32), ((90, 1), dt.int64)
    kernel = kernel_of("gather", table, index, axis=0, batch=1)
    rng = np.random.default_rng(0)
    values = [sample(rng, "f32", (40 * width,)), rng.integers(0, 40, 90)]
    for card in CARDS.values():
        made = same(kernel, card, buffers=[*values, np.zeros(90 * width, np.float32)])[1]
    wide = width % 4 == 0
    assert ("ld.global.v4" in checked_text(made)) == wide


def checked_text(made):
    from ptx_harness import ptx_of

    return "\n".join(ptx_of(function.text) for function in made)


# ---- rows
ROWS = ["softmax", "layer_norm", "argmax", "sum", "max", "var"]


def row_kernel(name, rows, length, dtype=F32):
    full = ((rows, length), dtype)
    if name == "layer_norm":
        line = ((length,), dtype)
        return kernel_of(name, full, line, line, axes=(1, 2), eps=1e-5)
    more = {"sum": {"dtype": dtype}, "var": {"correction": 1}}.get(name, {})
    return kernel_of(name, full, axes=(1, 2), **more)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("length", [2, 10, 33, 64, 130, 300])
def test_short_rows(name, length):
    names, made = same(row_kernel(name, 5, length))
    assert names == ["row"] and not made[0].shared


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("length", [1000, 5001])
def test_long_rows(name, length):
    made = same(row_kernel(name, 2, length), orders=(1,))[1]
    assert len(made) == 1 and made[0].shared


def test_rows_that_do_not_fit_shared_memory():
    card = BIG._replace(shared_bytes=80000, multiprocessors=1)
    made = same(row_kernel("softmax", 2, 20000), card, (0,))[1]
    assert len(made) == 1 and made[0].shared < 80000


def test_rows_of_which_a_chunk_does_not_fit_either():
    card = BIG._replace(shared_bytes=99 << 10, multiprocessors=1)
    made = same(row_kernel("layer_norm", 2, 20000, dt.float64), card, (0,))[1]
    assert len(made) == 1 and 48 << 10 < made[0].shared <= 99 << 10


@pytest.mark.parametrize("name", ["softmax", "sum", "argmax"])
def test_few_very_long_rows(name):
    names, made = same(row_kernel(name, 1, 37001), orders=(1,))
    assert set(names) == {"row"} and len(made) > 1 and made[0].temp


@pytest.mark.parametrize("dtype", [dt.bfloat16, dt.float64])
def test_rows_of_other_types(dtype):
    for length in (20, 600):
        same(row_kernel("softmax", 3, length, dtype))


def test_rows_in_place_of_their_operand():
    kernel = row_kernel("softmax", 3, 700)
    kernel = kernel._replace(writes=(kernel.writes[0]._replace(slot=0),))
    same(kernel)
    same(kernel._replace(shape=(3, 100)))


def picking(kind, length, turned, index):
    """max(x) and the sum of exp(x - max(x)), beside an element of x - max(x): the one at `index`,
    which `turned` compares the other way round."""
    b = Builder()
    x, at = b.arg(kind), b.arg("i64")
    far = x - b.reduce("rmax", x)
    place = b.coord(1)
    same_place = b.op("eq", at, place) if turned else b.op("eq", place, at)
    one = b.reduce("rsum", b.select(same_place, far, b.const(kind, -0.0)))
    program = b.program(b.reduce("rsum", far * far), one)
    shape = (len(index), length)
    column = contiguous_access(1, "i64", shape)._replace(strides=(1, 0))
    writes = [contiguous_access(k, kind, shape)._replace(strides=(1, 0)) for k in (2, 3)]
    kernel = LoopKernel(shape, (1, 2), program, (contiguous_access(0, kind, shape), column), writes)
    values = sample(np.random.default_rng(0), kind, (len(index) * length,))
    results = [np.zeros(len(index), values.dtype) for _ in writes]
    return kernel._replace(writes=tuple(writes)), [values, np.array(index), *results]


@pytest.mark.parametrize("kind,turned", [("f32", False), ("f64", True)])
@pytest.mark.parametrize("length", [700, 5001])
def test_sums_of_one_element_look_for_it_nowhere_else(kind, turned, length):
    kernel, buffers = picking(kind, length, turned, [0, length - 1, 17, -1, length, -(1 << 62)])
    made = same(kernel, orders=(0,), buffers=buffers)[1]
    row = (length + 64) * buffers[0].itemsize
    assert len(made) == 1 and made[0].shared < 3 * row // 2  # one value of an element, not two


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("length", [5000, 8192, 9003, 12290])
def test_rows_of_which_a_part_is_kept(kind, length):
    kernel, buffers = picking(kind, length, False, [3, length - 1, 4096, 4095, 7])
    size = buffers[0].itemsize
    card = BIG._replace(shared_bytes=5000 * size * 2, multiprocessors=2)
    made = same(kernel, card, orders=(0, 1), buffers=buffers)[1]
    assert len(made) == 1 and 4096 * size < made[0].shared < 5000 * size
    assert made[0].threads == 512 and '"nvvm.minctasm"="2"' in made[0].text


def test_rows_whose_sums_are_kept_stay_whole():
    card = BIG._replace(shared_bytes=80000, multiprocessors=1)
    made = same(row_kernel("softmax", 3, 12000), card, (0,))[1]
    assert 48000 < made[0].shared < 80000


# ---- columns
@pytest.mark.parametrize("name", ["sum", "max", "argmin", "any"])
@pytest.mark.parametrize("shape", [(1, 5), (300, 8), (1030, 6), (2, 600, 3)])
def test_columns(name, shape, monkeypatch):
    dtype = dt.bool_ if name == "any" else F32
    more = {"dtype": dtype} if name == "sum" else {}
    axis = len(shape) - 2
    kernel = kernel_of(name, (shape, dtype), axes=(axis, axis + 1), **more)
    blocks = -(-shape[axis] // 256)
    made = same(kernel, BIG)[1]
    assert made[0].shared and len(made) == (1 if blocks <= 4 else 2)
    monkeypatch.setattr(columns, "_SMALL", 0)
    monkeypatch.setattr(columns, "_FLIGHT", 0)
    assert len(same(kernel, BIG)[1]) == (1 if blocks == 1 else 2)
    assert len(same(kernel, TINY._replace(multiprocessors=0))[1]) == 1  # columns for all threads


@pytest.mark.parametrize("kilobytes,shared", [(99, 2), (30, 0)])
def test_columns_on_cards_of_little_shared_memory(kilobytes, shared):
    """Blocks of rows that lie in shared memory side by side: as many as fit, or none at all."""
    kernel = kernel_of("sum", ((1030, 6), F32), axes=(0, 1), dtype=F32)
    made = same(kernel, BIG._replace(shared_bytes=kilobytes << 10), (0,))[1]
    assert max(f.shared for f in made) <= kilobytes << 10 and bool(made[0].shared) is bool(shared)


def test_deep_columns_are_joined_by_warps():
    names, made = same(kernel_of("sum", ((17000, 3), F32), axes=(0, 1), dtype=F32), orders=(1,))
    assert names == ["column", "column"] and made[1].blocks * made[1].threads >= 3 * 32


def test_columns_over_two_axes():
    same(kernel_of("sum", ((3, 20, 15, 8), F32), axes=(1, 3), dtype=F32))


# ---- scatters
def scattered(kernel, buffers):
    for generated in cpu_scatter.generate(kernel):
        run_generated(generated, buffers)
    return 0


SCATTERS = [(1, 1, 1), (40, 8, 3), (300, 33, 50), (1030, 4, 7), (2500, 2, 1), (1500, 5, 900)]


def scatter_case(count, inner, rows, dtype):
    rng = np.random.default_rng(0)
    kind = "f32" if dtype is F32 else "i32"
    update = Access(2, dtype, 0, (inner, 1))
    out, index = Access(0, dtype, 1, (inner + 3, 1)), Access(1, dt.int64, 0, (1,))
    kernel = ScatterKernel(count, inner, out, index, update)
    buffers = [
        sample(rng, kind, (rows * (inner + 3) + 1,)),
        rng.integers(0, rows, count),
        sample(rng, kind, (count * inner,)),
    ]
    return kernel, buffers


@pytest.mark.parametrize("count,inner,rows", SCATTERS)
@pytest.mark.parametrize("dtype", [F32, dt.int32])
def test_scatters(count, inner, rows, dtype):
    kernel, buffers = scatter_case(count, inner, rows, dtype)
    check(kernel, buffers, generate=scatter.generate, on_cpu=scattered)
    steps = len(scatter.generate(kernel, BIG, 3))
    assert steps == (1 if count <= 1024 else 3)


@pytest.mark.parametrize("count,inner,rows", [(1030, 4, 7), (1030, 4, 1), (1100, 300, 900)])
def test_scatters_of_many_updates_list_them(count, inner, rows, monkeypatch):
    monkeypatch.setattr(scatter, "_SOME", 0)
    kernel, buffers = scatter_case(count, inner, rows, F32)
    check(kernel, buffers, generate=scatter.generate, on_cpu=scattered)
    assert len(scatter.generate(kernel, BIG, 3)) == 5


def test_threads_of_a_scatter_are_those_of_its_row():
    kernel = scatter_case(1100, 768, 50, F32)[0]
    aligned = kernel._replace(out=kernel.out._replace(offset=0, strides=(768, 1)))
    assert [f.threads for f in scatter.generate(aligned, BIG, 3)] == [256, 256, 192]


def test_no_updates():
    access = Access(0, F32, 0, (4, 1))
    kernel = ScatterKernel(0, 4, access, Access(1, dt.int64, 0, (1,)), access._replace(slot=2))
    assert scatter.generate(kernel, BIG, 3) == []


def test_guarded_kernels_return_after_a_failed_check():
    made = generate(product("f32", (100,)), BIG, 3, guarded=True)
    assert "ret void" in made[0].text and made[0].words.count(-1) == 1
    plain = generate(product("f32", (100,)), BIG, 3)
    assert made[0].symbol != plain[0].symbol


# ---- what the text is like
CASES = {
    "add": lambda: kernel_of("add", ((1 << 22,), F32), ((1 << 22,), F32)),
    "bias": lambda: kernel_of("add", ((8192, 1024), F32), ((1024,), F32)),
    "half": lambda: kernel_of("multiply", ((1 << 22,), dt.float16), ((1 << 22,), dt.float16)),
    "softmax": lambda: row_kernel("softmax", 8192, 1024),
    "long softmax": lambda: row_kernel("softmax", 8192, 8192),
    "layer norm": lambda: row_kernel("layer_norm", 8192, 768),
    "columns": lambda: kernel_of("sum", ((8192, 8192), F32), axes=(0, 1), dtype=F32),
    "all": lambda: kernel_of("sum", ((1 << 24,), F32), axes=(0, 1), dtype=F32),
}


@pytest.mark.parametrize("name", CASES)
def test_large_kernels_have_wide_accesses_and_no_divisions(name, tmp_path):
    made = generate(CASES[name](), BIG, 9)
    texts = checked_ptx(made, tmp_path)
    assert re.search(r"ld\.global\.v[248]", texts[0])
    for text in texts:
        assert not re.search(r"(div|rem)\.[us](64|32)|\.local", text)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_records(name):
    rng = np.random.default_rng(len(name))
    for kernel in kernels(name):
        buffers = buffers_of(kernel)
        for access in kernel.reads:
            if access.dtype == dt.int64 and any(a.gather for a in kernel.reads):
                buffers[access.slot][:] = rng.integers(0, 2, buffers[access.slot].shape)
        for card in CARDS.values():
            same(kernel, card, buffers=buffers)


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("blocks", [63.2, 150.5])
def test_joins_of_many_blocks_go_beside_the_next_part(kind, blocks, monkeypatch):
    """Parts of a long row, with the constants of rows of millions made small."""
    for module, name, value in (
        (split, "_MANY", 32),
        (split, "_LAST", 4),
        (lanes, "_MANY_CHUNKS", 1),
    ):
        monkeypatch.setattr(module, name, value)
    shape, made = (1, int(4096 * blocks)), Builder()
    program = made.program(made.rsum(made.arg(kind) * (1.0 + blocks / 1024)))
    read, out = contiguous_access(0, kind, shape), Access(1, dt.float64, 0, (1, 0))
    out = out._replace(dtype=read.dtype)
    symbols, functions = same(LoopKernel(shape, (1, 2), program, (read,), (out,)))
    assert len(functions) > 3, symbols
