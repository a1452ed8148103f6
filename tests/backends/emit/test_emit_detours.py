"""Branches around what an unlikely case needs: what they skip, and that they change no bit."""

from __future__ import annotations

import numpy as np
import pytest
from emit_harness import contiguous_access, run_kernel, same_bits

from hybrid.backends.emit.programs.detours import Detour, skipped, steps
from hybrid.backends.interpret import run_program
from hybrid.backends.plan import LoopKernel
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.ir.op import OPS
from hybrid.ir.scalar.compose import op_program
from hybrid.ir.scalar.program import Builder, Program


def order(program: Program) -> list[int | Detour]:
    return steps(program, range(len(program.instrs)), program.outs)


def detours(program: Program) -> list[Detour]:
    return [step for step in order(program) if isinstance(step, Detour)]


def once() -> Program:
    """sqrt only where x is large; its result also decides another select."""
    b = Builder()
    x, y = b.arg("f32"), b.arg("f32")
    large = b.unlikely(x > 10.0)
    root = b.sqrt(x) * 3.0
    return b.program(b.select(large, root, x), b.select(large, root + y, y))


def nested() -> Program:
    b = Builder()
    x, y = b.arg("f32"), b.arg("f32")
    huge = b.select(b.unlikely(x > 1000.0), b.sqrt(x) / y, x * 2.0)
    return b.program(b.select(b.unlikely(x > 10.0), huge - y, x), y)


def dependent() -> Program:
    """The second select under a condition needs the first."""
    b = Builder()
    x, y = b.arg("f32"), b.arg("f32")
    large = b.unlikely(x > 10.0)
    first = b.select(large, b.sqrt(x), x)
    return b.program(b.select(large, b.sqrt(first + y), first * y), first)


def shared() -> Program:
    """What the usual side needs, too, is computed once, for both."""
    b = Builder()
    x, y = b.arg("f32"), b.arg("f32")
    root = b.sqrt(b.abs(x))
    return b.program(b.select(b.unlikely(x > 10.0), root + y, root - y), root)


def late() -> Program:
    """What a detour reads is made after its first select."""
    b = Builder()
    x, y = b.arg("f32"), b.arg("f32")
    large = b.unlikely(x > 10.0)
    one = b.select(large, b.sqrt(x), x)
    product = y * 7.0
    return b.program(one, b.select(large, b.sqrt(product), y))


def third() -> Program:
    """The third select under a condition needs the second, and not the first."""
    b = Builder()
    x, y = b.arg("f32"), b.arg("f32")
    large = b.unlikely(x > 10.0)
    first = b.select(large, b.sqrt(x), x)
    second = b.select(large, b.sqrt(y * y), y)
    return b.program(first, b.select(large, b.sqrt(second + 2.0), x * y))


CASES = [once, nested, dependent, shared, late, third]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [1, 16, 67, 1000])
@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
def test_no_bit_changes(case, size, share):
    program, rng = case(), np.random.default_rng(size)
    x = rng.uniform(-9, 9, size).astype(np.float32)
    far = rng.uniform(size=size) < share
    x[far] = np.exp(rng.uniform(3, 12, size)).astype(np.float32)[far]
    x[rng.uniform(size=size) < 0.05] = np.nan
    y = rng.standard_normal(size).astype(np.float32)
    outs = [np.zeros(size, np.float32) for _ in range(2)]
    access = [contiguous_access(k, "f32", (size,)) for k in range(4)]
    kernel = LoopKernel((size,), None, program, tuple(access[:2]), tuple(access[2:]))
    with np.errstate(all="ignore"):
        wanted = run_program(program, [x, y], (), (size,))
    assert run_kernel(kernel, [x, y, *outs]) == 0
    assert all(same_bits(out, want) for out, want in zip(outs, wanted))


def test_what_is_skipped():
    (found,) = detours(once())
    assert len(found.selects) == 2
    prims = {once().instrs[n].prim for n in skipped(once(), range(len(once().instrs)))}
    assert "sqrt" in prims and "arg" not in prims
    (outer,) = detours(nested())
    assert any(isinstance(step, Detour) for step in outer.inside)
    assert len(detours(dependent())[0].selects) == 1
    program = shared()
    there = skipped(program, range(len(program.instrs)))
    assert [program.instrs[n].prim for n in sorted(there)] == ["add"]
    assert len(detours(late())) == 1 and len(detours(late())[0].selects) == 2


def test_every_step_follows_what_it_needs():
    for case in CASES:
        program, done = case(), set[int]()
        for step in order(program):
            needs = [step.condition] if isinstance(step, Detour) else program.instrs[step].args
            assert set(needs) <= done, case.__name__
            done |= set(step.selects) if isinstance(step, Detour) else {step}


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64])
def test_large_arguments_are_reduced_on_a_detour(name, dtype):
    """Products of whole words are for large arguments only."""
    operand = aval((4,), dtype)
    program = op_program(OPS[name], [operand], {}, [operand])
    whole = {n for n, instr in enumerate(program.instrs) if instr.prim == "mulhi"}
    assert whole and whole <= skipped(program, range(len(program.instrs)))


@pytest.mark.parametrize("name", ["gamma", "von_mises", "poisson", "binomial", "zipf"])
def test_words_of_further_tries_are_drawn_on_a_detour(name):
    record = OPS[f"random_{name}"]
    inputs, params = next(iter(record.samples(np.random.default_rng(0))))
    operands = [aval(x.shape, dt.canonical(x.dtype)) for x in inputs]
    result = aval(params["shape"], dt.canonical(params["dtype"]))
    program = op_program(record, operands, params, [result])
    rounds = {n for n, instr in enumerate(program.instrs) if instr.prim == "mulhi"}
    seldom = skipped(program, range(len(program.instrs)))
    assert len(rounds - seldom) <= 20 < len(rounds)  # those of one draw of four words
