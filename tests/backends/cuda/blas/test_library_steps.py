"""Eager calls and plans that give products to a library, on a simulated card: the same bits, and
graphs that hold what the library starts."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from card_programs import executable_of, forget_generators, on
from gpu import SimulatedDriver

import hybrid
from hybrid.backends.cuda import gemm
from hybrid.backends.cuda.blas.library import Algorithm, OperandAddresses, use_library
from hybrid.backends.cuda.blas.problem import MatrixLayout, Problem
from hybrid.backends.cuda.function import Card
from hybrid.backends.cuda.machine import driver as door
from hybrid.backends.cuda.machine.devices import device_state
from hybrid.backends.plan import Access, Dims, GemmKernel, Operand
from hybrid.backends.product import bias_program
from hybrid.core import dtypes as dt
from hybrid.nn import functional as F


class Generated:
    """A library whose products are hybrid's own kernels."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.runs = 0

    def algorithm(self, problem: Problem) -> Algorithm:
        return Algorithm(bytes(64), 1 << 16)

    def call(
        self, problem: Problem, algorithm: Algorithm, layouts: tuple[MatrixLayout, ...]
    ) -> Any:
        dtype, batch, m, n, k, left_turned, right_turned, biased = problem
        self.problems.append(problem)

        def operand(
            slot: int, rows: int, columns: int, turned: bool, layout: MatrixLayout
        ) -> Operand:
            steps = (1, layout.line) if turned else (layout.line, 1)
            along = Dims((rows,), steps[:1]), Dims((columns,), steps[1:])
            return Operand(slot, dtype, 0, Dims((batch,), (layout.batch,)), *along)

        factors = (
            operand(0, m, k, left_turned, layouts[0]),
            operand(1, k, n, right_turned, layouts[1]),
        )
        out, acc = operand(3, m, n, False, layouts[2]), np.dtype(np.float32)
        kernel = GemmKernel(batch, m, n, k, *factors, (out,), acc)
        if biased:
            bias = Access(2, dtype, 0, (0, 0, 1))
            kernel = kernel._replace(epilogue=bias_program(acc, dtype, dtype), reads=(bias,))
        functions = gemm.generate(kernel, Card(), 4)
        state = device_state(0)
        loaded = state.modules.load([(f.symbol, f.text, f.shared) for f in functions])

        def run(addresses: OperandAddresses, stream: int) -> None:
            self.runs += 1
            assert not any(address % 16 for address in addresses)
            for function, code in zip(functions, loaded):
                words = [w & (1 << 64) - 1 for w in function.addressed([*addresses, 0])]
                packed = (ctypes.c_uint64 * len(words))(*words)
                sizes = function.blocks, function.threads, function.shared
                state.driver.launch(code.handle, *sizes, stream, packed)

        return run


@pytest.fixture(scope="module")
def card() -> Iterator[SimulatedDriver]:
    made = SimulatedDriver()
    before = door.use(made)
    yield made
    gc.collect()
    forget_generators()
    door.use(before)


@pytest.fixture
def library(card: SimulatedDriver) -> Iterator[Generated]:
    made = Generated()
    use_library(made)
    yield made
    use_library(None)
    hybrid.set_matmul_precision("strict")


def forward(x: Any, w: Any, b: Any, v: Any) -> Any:
    hidden = F.gelu(F.linear(x, w, b))
    return (hidden @ v) * 2.0 - hidden.mean()


def values(dtype: np.dtype) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = (32, 48), (64, 48), (64,), (64, 16)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", [dt.bfloat16, dt.float32])
def test_eager_and_traced_give_the_same_bits(dtype: np.dtype, library: Generated) -> None:
    if dtype is dt.float32:
        hybrid.set_matmul_precision("fast")
    given = on("cuda", *values(dtype))
    want = forward(*given).numpy()
    assert len(library.problems) == 2 and library.runs == 2
    traced = hybrid.function(forward)
    for _ in range(5):
        np.testing.assert_array_equal(traced(*given).numpy(), want)
    assert traced.cache_info().replays == 3, traced.explain()
    plan = executable_of(traced)
    assert plan.calls and plan.graphs.instances
    assert len(set(library.problems)) == 2
    profile = hybrid.profile(traced, *given)
    assert profile is not None


def test_gradients_and_turned_factors(library: Generated) -> None:
    def step(x: Any, w: Any, b: Any, v: Any) -> Any:
        return hybrid.grad(lambda w: forward(x, w, b, v).sum())(w)

    given = on("cuda", *values(dt.bfloat16))
    want = step(*given).numpy()
    traced = hybrid.function(step)
    for _ in range(5):
        np.testing.assert_array_equal(traced(*given).numpy(), want)
    assert traced.cache_info().replays == 3, traced.explain()
    assert executable_of(traced).calls
    assert any(problem.left_turned or problem.right_turned for problem in library.problems)


def test_operands_at_odd_places(library: Generated) -> None:
    """Addresses that are no multiples of 16, with and without gaps."""
    wide, flat, right = on(
        "cuda",
        *[
            x.astype(dt.bfloat16)
            for x in (np.arange(33 * 50).reshape(33, 50), np.arange(32 * 48 + 1), np.eye(48, 16))
        ],
    )
    for left in (wide[1:, 1:49], wide[:32, 2:50], flat[1:].reshape(32, 48)):
        got = (left @ right).numpy()
        np.testing.assert_array_equal(got, left.numpy()[:, :16])
    assert library.runs == 3 and len(set(library.problems)) == 1
