"""Loop kernels of a card: they assemble, and nothing is contracted, approximated or flushed."""

import re

import numpy as np
import pytest
from emit_harness import contiguous_access, dtype_of, random_map
from ptx_harness import checked_ptx

from hybrid.backends.cuda.emit import generate
from hybrid.backends.cuda.function import Card
from hybrid.backends.plan import Access, LoopKernel
from hybrid.core import dtypes as dt
from hybrid.ir.scalar.program import Builder

F32 = dt.float32


def generate_ptx(kernel, tmp_path):
    functions = generate(kernel, Card(), temp_slot=9)
    return "\n".join(checked_ptx(functions, tmp_path)), functions[0]


def elementwise(program, shape=(100, 7)):
    reads = tuple(contiguous_access(k, t, shape) for k, t in enumerate(program.args))
    outs = [program.instrs[o].type for o in program.outs]
    writes = tuple(contiguous_access(len(reads) + k, t, shape) for k, t in enumerate(outs))
    return LoopKernel(shape, None, program, reads, writes)


@pytest.mark.parametrize("ty,suffix", [("f32", "f32"), ("f64", "f64")])
def test_arithmetic_is_exact(ty, suffix, tmp_path):
    b = Builder()
    x, y, z = b.arg(ty), b.arg(ty), b.arg(ty)
    program = b.program(x * y + z, x * y - z, x / y, b.sqrt(x), b.fma(x, y, z))
    ptx, launch = generate_ptx(elementwise(program), tmp_path)
    for op in ("mul.rn", "add.rn", "sub.rn", "div.rn", "sqrt.rn", "fma.rn"):
        assert f"{op}.{suffix}" in ptx
    assert len(re.findall(rf"fma\.rn\.{suffix}", ptx)) == 1
    assert launch.symbol in ptx and launch.threads * launch.blocks >= 700


@pytest.mark.parametrize("ty", ["b1", "i8", "u16", "i32", "u64", "f32", "f64"])
def test_every_primitive_assembles(ty, tmp_path):
    b = Builder()
    x, y, z, c = (b.arg(t) for t in (ty, ty, ty, "b1"))
    two = {"b1": ["and", "or", "xor"], "f": ["min", "max", "copysign", "lt"]}.get(
        ty if ty == "b1" else ty[0], ["div", "rem", "min", "max", "and", "shl", "shr", "lt"]
    )
    one = {"b1": ["not"], "f": ["neg", "abs", "floor", "ceil", "trunc", "rint", "sqrt"]}.get(
        ty if ty == "b1" else ty[0], ["neg", "abs", "not", "popcount", "clz"]
    )
    outs = [b.op(p, x, y) for p in two] + [b.op(p, x) for p in one] + [b.select(c, y, z)]
    outs += [
        b.convert(x, t)
        for t in ("b1", "i8", "u8", "i16", "i32", "u32", "i64", "u64", "f32", "f64")
        if t != ty
    ]
    if ty in ("i32", "u64"):
        outs.append(b.mulhi(x, y))
    ptx, _ = generate_ptx(elementwise(b.program(*outs)), tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_random_programs_assemble(seed, tmp_path):
    rng = np.random.default_rng(seed)
    ptx, _ = generate_ptx(elementwise(random_map(rng, ["f32", "i16", "b1", "f64"], 25)), tmp_path)


def test_rows_columns_gathers_and_checks_assemble(tmp_path):
    b = Builder()
    x = b.arg("f32")
    e = x - b.rmax(x)
    s = b.rsum(e * e)
    soft = b.program(e / s, s, b.rargmax(x))
    once = [Access(k, d, 0, (1, 0)) for k, d in ((2, F32), (3, dt.int64))]
    full = contiguous_access(0, "f32", (50, 300))
    ptx, launch = generate_ptx(
        LoopKernel((50, 300), (1, 2), soft, (full,), (full._replace(slot=1), *once)),
        tmp_path,
    )
    assert launch.blocks * launch.threads >= 50 * 32 and "shfl.sync" in ptx
    b = Builder()
    column = b.program(b.rsum(b.arg("f32")))
    ptx, launch = generate_ptx(
        LoopKernel((50, 300), (0, 1), column, (full,), (Access(1, F32, 0, (0, 1)),)),
        tmp_path,
    )
    b = Builder()
    table, i = b.operand("u16"), b.arg("i64")
    take = b.program(b.load(table, i), b.coord(1), b.index())
    reads = (Access(0, dt.uint16, 0, (), True), Access(1, dt.int64, 3, (1, 40)))
    writes = tuple(
        contiguous_access(2 + k, t, (40, 30)) for k, t in enumerate(("u16", "i64", "i64"))
    )
    ptx, _ = generate_ptx(LoopKernel((40, 30), None, take, reads, writes), tmp_path)
    b = Builder()
    bad = b.program(b.arg("i32") < 0)
    ptx, _ = generate_ptx(
        LoopKernel((40,), None, bad, (contiguous_access(0, "i32", (40,)),), (), check=True),
        tmp_path,
    )


def test_rows_over_several_axes_assemble(tmp_path):
    b = Builder()
    x = b.arg("f32")
    kernel = LoopKernel(
        (5, 6, 7),
        (1, 3),
        b.program(x - b.rsum(x)),
        (Access(0, dtype_of("f32"), 0, (6, 1, 30)),),
        (contiguous_access(1, "f32", (5, 6, 7)),),
    )
    ptx, _ = generate_ptx(kernel, tmp_path)
