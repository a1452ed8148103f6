"""Every primitive, vectorised, against the NumPy reader of programs, bit for bit."""

import numpy as np
import pytest
from emit_harness import ALL_TYPES, contiguous_access, dtype_of, run_kernel, same_bits, sample

from hybrid.backends.emit.code import Code, check_externals
from hybrid.backends.emit.lanes import Lanes
from hybrid.backends.emit.programs.whole import emit_program
from hybrid.backends.interpret import run_program
from hybrid.backends.plan import Access, LoopKernel
from hybrid.core.errors import BackendError
from hybrid.ir.scalar.program import BITS, COMPARE, Builder, Program

N = 515


def check(program: Program, args: list[np.ndarray]) -> None:
    wanted = run_program(program, args, shape=(N,))
    types = [program.instrs[o].type for o in program.outs]
    outs = [np.zeros(N, dtype_of(t)) for t in types]
    reads = tuple(contiguous_access(k, t, (N,)) for k, t in enumerate(program.args))
    writes = tuple(contiguous_access(len(args) + k, t, (N,)) for k, t in enumerate(types))
    assert run_kernel(LoopKernel((N,), None, program, reads, writes), [*args, *outs]) == 0
    for w, got, o in zip(wanted, outs, program.outs):
        w = np.broadcast_to(w, (N,))
        assert same_bits(w, got), f"{program.instrs[o]} on {[a[:5] for a in args]}"


def prims_of(ty: str) -> tuple[list[str], list[str]]:
    if ty == "b1":
        return ["and", "or", "xor", "eq", "ne"], ["not"]
    if ty[0] == "f":
        return ["add", "sub", "mul", "div", "min", "max", "copysign", *COMPARE], [
            "neg",
            "abs",
            "sqrt",
            "floor",
            "ceil",
            "trunc",
            "rint",
        ]
    two = [
        "add",
        "sub",
        "mul",
        "div",
        "rem",
        "min",
        "max",
        "and",
        "or",
        "xor",
        "shl",
        "shr",
        *COMPARE,
    ]
    return two + (["mulhi"] if BITS[ty] >= 32 else []), ["neg", "abs", "not", "popcount", "clz"]


@pytest.mark.parametrize("ty", ALL_TYPES)
def test_arithmetic(ty):
    rng = np.random.default_rng(ALL_TYPES.index(ty))
    args = [sample(rng, ty, (N,)) for _ in range(3)] + [sample(rng, "b1", (N,))]
    two, one = prims_of(ty)

    def build(b, chosen):
        x, y, z, c = (b.arg(t) for t in (ty, ty, ty, "b1"))
        made = {"select": lambda: b.select(c, x, y), "fma": lambda: b.op("fma", x, y, z)}
        made |= {p: (lambda p=p: b.op(p, x, y)) for p in two} | {
            p: (lambda p=p: b.op(p, x)) for p in one
        }
        return b.program(*[made[p]() for p in chosen])

    names = [*two, *one, "select"] + (["fma"] if ty[0] == "f" else [])
    for k in range(0, len(names), 7):
        check(build(Builder(), names[k : k + 7]), args)


@pytest.mark.parametrize("ty", ALL_TYPES)
def test_conversions(ty):
    rng = np.random.default_rng(100 + ALL_TYPES.index(ty))
    b = Builder()
    x = b.arg(ty)
    check(b.program(*[b.convert(x, t) for t in ALL_TYPES if t != ty]), [sample(rng, ty, (N,))])


@pytest.mark.parametrize("pair", [("f32", "u32"), ("f64", "i64"), ("i16", "u16"), ("u8", "i8")])
def test_bitcasts(pair):
    b = Builder()
    x, y = b.arg(pair[0]), b.arg(pair[1])
    rng = np.random.default_rng(7)
    check(
        b.program(b.bitcast(x, pair[1]), b.bitcast(y, pair[0])),
        [sample(rng, t, (N,)) for t in pair],
    )


@pytest.mark.parametrize("ty", ["i8", "u16", "i32", "u64", "i64"])
def test_shifts_and_divisions_by_constants(ty):
    b, rng, w = Builder(), np.random.default_rng(3), BITS[ty]
    x = b.arg(ty)
    outs = [
        x << 0,
        x << (w - 1),
        x << w,
        x >> 1,
        x >> (w - 1),
        x >> w,
        x // 0,
        x % 0,
        x // 3,
        x % 3,
    ]
    if ty[0] == "i":
        outs += [x // -1, x % -1, b.shr(x, b.const(ty, -1)), b.shl(x, b.const(ty, -1))]
    check(b.program(*outs), [sample(rng, ty, (N,))])


def test_constants_keep_their_bits():
    b = Builder()
    x = b.arg("f32")
    patterns = [0, 1 << 31, 1, 0x7F800000, 0xFF800000, 0x00800000, 0x3F800001, 0x7F7FFFFF]
    outs = [b.op("add", b.bits("f32", p), x) for p in patterns]
    outs += [b.bitcast(b.copysign(b.bits("f32", p), x), "u32") for p in patterns]
    check(b.program(*outs), [np.zeros(N, np.float32)])


def test_params_and_positions():
    b = Builder()
    x, p, q, f = b.arg("f32"), b.param("f32"), b.param("i64"), b.param("b1")
    program = b.program(x * p, b.index() * q, b.select(f, b.coord(0), b.coord(1)))
    shape, rng = (7, 37), np.random.default_rng(0)
    a = sample(rng, "f32", shape)
    outs = [np.zeros(shape, "f4"), np.zeros(shape, "i8"), np.zeros(shape, "i8")]
    bits = (int(np.float32(1.25).view(np.uint32)), (-3) & (1 << 64) - 1, 1)
    writes = tuple(contiguous_access(1 + k, t, shape) for k, t in enumerate(("f32", "i64", "i64")))
    run_kernel(
        LoopKernel(shape, None, program, (contiguous_access(0, "f32", shape),), writes, bits),
        [a, *outs],
    )
    for w, got in zip(run_program(program, [a], bits, shape), outs):
        assert same_bits(np.broadcast_to(w, shape).copy(), got)


@pytest.mark.parametrize("ty", ["b1", "u8", "i16", "f32", "f64"])
def test_gathers(ty):
    rng = np.random.default_rng(5)
    table = sample(rng, ty, (19,))
    index = rng.integers(0, 19, N).astype(np.int64)
    b = Builder()
    t, i = b.operand(ty), b.arg("i64")
    program = b.program(b.load(t, i))
    out = np.zeros(N, dtype_of(ty))
    reads = (Access(0, dtype_of(ty), 0, (), True), contiguous_access(1, "i64", (N,)))
    run_kernel(
        LoopKernel((N,), None, program, reads, (contiguous_access(2, ty, (N,)),)),
        [table, index, out],
    )
    assert same_bits(table[index], out)


def test_width_one_and_no_foreign_symbols():
    b = Builder()
    x = b.arg("f32")
    program = b.program(b.max_(b.fma(x, x, x), b.const("f32", 2.0)), b.convert(x, "i32"))
    lanes = Lanes(1)
    names = emit_program(lanes, program, ["%x"], [])
    assert len(names) == 2 and all("<" not in line for line in lanes.code.lines)
    check_externals("\n".join(lanes.code.declared.values()))
    with pytest.raises(BackendError, match="expf"):
        check_externals("declare float @expf(float)")


def test_missing_positions_are_an_error():
    b = Builder()
    with pytest.raises(BackendError, match="index"):
        emit_program(Lanes(16, Code()), b.program(b.index()), [], [])
