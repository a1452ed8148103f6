"""Products for NVIDIA's library: what it is asked, what runs before and after, with a stub that
computes on the simulated card's memory."""

import ctypes

import numpy as np
import pytest
from gpu import SimulatedDriver, to_ptx

from hybrid.backends.cuda import blas
from hybrid.backends.cuda.blas.library import Algorithm, use_library
from hybrid.backends.cuda.blas.problem import MatrixLayout, Problem, is_for_library, tight
from hybrid.backends.cuda.function import Card, GpuFunction, LibraryCall
from hybrid.backends.cuda.kernels import generate, steps
from hybrid.backends.plan import Dims, Operand
from hybrid.backends.product import kernel_of
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.core.shapes import contiguous_strides
from hybrid.ir.contract import linear_layout, matmul_layout
from hybrid.ir.scalar.compose import Composer

BF16, F16, F32 = dt.bfloat16, dt.float16, dt.float32


class Stub:
    """A library that multiplies on the host and keeps what it was asked."""

    def __init__(self, takes=lambda layouts: True):
        self.problems, self.layouts, self.takes, self.card = [], [], takes, None

    def algorithm(self, problem):
        self.problems.append(problem)
        return Algorithm(bytes(64), 1000)

    def call(self, problem, algorithm, layouts):
        if not self.takes(layouts):
            return None
        self.layouts.append(layouts)

        def matrix(address, rows, columns, turned, layout):
            assert address % 16 == 0
            size = problem.dtype.itemsize
            steps = (1, layout.line) if turned else (layout.line, 1)
            lines = columns if turned else rows
            reach = layout.batch * (problem.batch - 1) + layout.line * (lines - 1)
            reach += rows if turned else columns
            memory = self.card.arena.host(address, reach * size, "an operand").view(problem.dtype)
            shape, strides = (problem.batch, rows, columns), (layout.batch, *steps)
            return np.lib.stride_tricks.as_strided(memory, shape, [size * s for s in strides])

        def run(addresses, stream):
            _, _, m, n, k, left_turned, right_turned, biased = problem
            left = matrix(addresses.left, m, k, left_turned, layouts[0])
            right = matrix(addresses.right, k, n, right_turned, layouts[1])
            out = matrix(addresses.out, m, n, False, layouts[2])
            total = left.astype(np.float32) @ right.astype(np.float32)
            if biased:
                total = total + matrix(addresses.bias, 1, n, False, MatrixLayout(n, 0))[:1].astype(
                    "f4"
                )
            out[...] = total.astype(problem.dtype)

        return run


@pytest.fixture
def stub():
    made = Stub()
    use_library(made)
    yield made
    use_library(None)


def run(made, buffers, stub):
    """Run steps over copies of the buffers, which get what is left there."""
    card = stub.card = SimulatedDriver(1 << 22)
    temp = max((step.temp for step in made), default=0)
    arrays = [*buffers, np.zeros(temp + 1, np.uint8), np.zeros(2, np.int64)]
    addresses = []
    for array in arrays:
        addresses.append(card.allocate(max(array.nbytes, 1)))
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        card.arena.host(addresses[-1], array.nbytes, "an operand")[:] = content
    for step in made:
        if isinstance(step, LibraryCall):
            assert not any(addresses[slot] % 16 for slot in step.aligned)
            step.run(addresses, 0)
            continue
        handle = card.function(card.load(to_ptx(step.text).encode()), step.symbol, step.shared)
        words = step.addressed(addresses)
        packed = (ctypes.c_uint64 * len(words))(*[w & (1 << 64) - 1 for w in words])
        card.launch(handle, step.blocks, step.threads, step.shared, 0, packed)
    for buffer, address in zip(buffers, addresses):
        content = card.arena.host(address, buffer.nbytes, "a result")
        buffer.reshape(-1).view(np.uint8)[:] = content


def draw(shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def product(left, right, bias=None, layout=matmul_layout, fast=False):
    """The kernel of a product of NumPy arrays, which may be views of their first axes' memory."""
    given = [left, right] if bias is None else [left, right, bias]
    avals = [aval(x.shape, x.dtype) for x in given]
    strides = [tuple(s // x.itemsize for s in x.strides) for x in given]
    contraction = layout(avals, strides, [0] * len(given))
    return kernel_of(contraction, [x.dtype for x in given], left.dtype)._replace(fast=fast)


def spread(array):
    """The memory behind a view."""
    return array if array.base is None else array.base


def check(stub, left, right, bias=None, layout=matmul_layout, fast=False, kinds="L", guarded=False):
    kernel = product(left, right, bias, layout, fast)
    made = blas.generate(kernel, Card(), 3 + (bias is not None), guarded)
    assert "".join("L" if isinstance(s, LibraryCall) else "k" for s in made) == kinds
    given = [left, right] if bias is None else [left, right, bias]
    wide = [x.astype(np.float32) for x in given]
    turned = np.swapaxes(wide[1], -1, -2) if layout is linear_layout else wide[1]
    want = wide[0] @ turned + (0 if bias is None else wide[2])
    out = np.zeros(want.shape, left.dtype)
    run(made, [*map(spread, given), out], stub)
    np.testing.assert_array_equal(out, want.astype(left.dtype))
    return made


@pytest.mark.parametrize("dtype", [BF16, F16])
def test_plain_products(stub, dtype):
    check(stub, draw((32, 48), dtype), draw((48, 16), dtype))
    check(stub, draw((3, 32, 16), dtype), draw((3, 16, 24), dtype))
    check(stub, draw((5, 4, 16), dtype), draw((16, 24), dtype))
    assert stub.problems[0] == Problem(dtype, 1, 32, 16, 48, False, False, False)
    assert stub.problems[1][1:] == (3, 32, 24, 16, False, False, False)
    assert stub.problems[2][1:5] == (1, 20, 24, 16)
    assert stub.layouts[1] == (MatrixLayout(16, 512), MatrixLayout(24, 384), MatrixLayout(24, 768))


def test_turned_factors_are_not_copied(stub):
    left, right = draw((48, 32), BF16), draw((24, 48), BF16)
    check(stub, left.T, right.T)
    check(stub, draw((32, 48), BF16), draw((24, 48), BF16), layout=linear_layout)
    assert [p[5:7] for p in stub.problems] == [(True, True), (False, True)]


def test_a_bias_is_added_before_the_one_rounding(stub):
    left, right, bias = draw((32, 48), BF16), draw((24, 48), BF16), draw(24, BF16)
    check(stub, left, right, bias, linear_layout)
    assert stub.problems[0].biased
    check(stub, left, right, draw(48, BF16)[::2], linear_layout, kinds="kL")


def test_what_the_library_cannot_walk_is_copied(stub):
    wide = draw((32, 96), BF16)
    check(stub, wide[:, ::2], draw((48, 16), BF16), kinds="kL")
    many = draw((2, 32, 3, 48), BF16)
    check(stub, many.transpose(0, 2, 1, 3), draw((2, 3, 48, 16), BF16), kinds="kL")
    turned = draw((2, 48, 3, 32), BF16).transpose(0, 2, 3, 1)
    check(stub, turned, draw((2, 3, 48, 16), BF16), kinds="kL")
    row = draw((1, 48), BF16)
    check(stub, np.broadcast_to(row, (32, 48)), draw((48, 16), BF16), kinds="kL")
    assert stub.problems[2].left_turned and not stub.problems[1].left_turned


def test_the_algorithm_depends_on_no_distances(stub):
    right = draw((48, 16), BF16)
    check(stub, draw((32, 48), BF16), right)
    check(stub, draw((32, 64), BF16)[:, :48], right)
    check(stub, draw((32, 96), BF16)[:, ::2], right, kinds="kL")
    assert len(set(stub.problems)) == 1


def test_layouts_that_an_algorithm_refuses_are_copied(stub):
    stub.takes = lambda layouts: layouts == tight(stub.problems[-1])
    check(stub, draw((32, 64), BF16)[:, :48], draw((48, 16), BF16), kinds="kkLk")
    stub.takes = lambda layouts: False
    kernel = product(draw((32, 48), BF16), draw((48, 16), BF16))
    assert blas.generate(kernel, Card(), 3) is None
    assert all(isinstance(s, GpuFunction) for s in steps(kernel, Card(), 3))


def test_tf32_only_where_it_is_allowed(stub):
    left, right = draw((32, 48), F32), draw((48, 16), F32)
    assert blas.generate(product(left, right), Card(), 3) is None
    check(stub, left, right, fast=True)
    wide = draw((32, 48), dt.float64), draw((48, 16), dt.float64)
    assert blas.generate(product(*wide), Card(), 3) is None


def test_sizes_and_orders_that_stay_here():
    for left, right in [((32, 48), (48, 8)), ((8, 48), (48, 32)), ((32, 8), (8, 32))]:
        assert not is_for_library(product(draw(left, BF16), draw(right, BF16)))
    assert not is_for_library(product(draw((32, 48), BF16), draw((48, 1), BF16)))
    assert not is_for_library(product(draw((32, 48), np.dtype(np.int32)), draw((48, 32), "i4")))


def epilogue(biased, others=1):
    """round(round(sum [+ bias]) * x), and its double, in bfloat16."""
    composer = Composer()
    builder, total = composer.s, composer.s.arg("f32")
    if biased:
        total = total + composer.arg(BF16)
    rounded = composer._round(None, total, BF16)
    value = rounded * composer.arg(BF16)
    value = composer._round(None, value, BF16) * builder.param("f32")
    value = composer._round(None, value, BF16)
    return composer.finish([value, composer._round(None, rounded, BF16)], [BF16, BF16])


@pytest.mark.parametrize("biased", [False, True])
def test_an_epilogue_sees_the_rounded_sum(stub, biased):
    rng = np.random.default_rng(1)
    left, right = (rng.standard_normal(s).astype(BF16) for s in ((32, 48), (48, 16)))
    bias, factor = rng.standard_normal(16).astype(BF16), rng.standard_normal((32, 16)).astype(BF16)
    kernel = product(left, right)
    zero = Dims((), ())
    outs = tuple(
        Operand(slot, BF16, 0, zero, Dims((32,), (16,)), Dims((16,), (1,))) for slot in (4, 5)
    )
    access = kernel_access(2, (0, 1)), kernel_access(3, (16, 1))
    kernel = kernel._replace(
        outs=outs,
        epilogue=epilogue(biased),
        reads=access if biased else access[1:],
        params=(int(np.float32(1.5).view(np.uint32)),),
        biased=biased,
    )
    made = blas.generate(kernel, Card(), 6)
    assert [isinstance(s, LibraryCall) for s in made] == [True, False]
    results = [np.zeros((32, 16), BF16) for _ in range(2)]
    run(made, [left, right, bias, factor, *results], stub)
    total = left.astype("f4") @ right.astype("f4")
    total = (total + bias.astype("f4") if biased else total).astype(BF16)
    np.testing.assert_array_equal(results[1], total)
    want = ((total * factor).astype("f4") * np.float32(1.5)).astype(BF16)
    np.testing.assert_array_equal(results[0], want)


def kernel_access(slot, strides):
    from hybrid.backends.plan import Access

    return Access(slot, BF16, 0, strides)


def test_guarded_products_write_through_a_guarded_kernel(stub):
    made = check(stub, draw((32, 48), BF16), draw((48, 16), BF16), kinds="Lk", guarded=True)
    assert -1 in [made[1].words[p] for p in made[1].slots]


def test_without_the_library_everything_is_generated():
    use_library(None)
    kernel = product(draw((32, 48), BF16), draw((48, 16), BF16))
    made = steps(kernel, Card(), 3)
    assert made and all(isinstance(s, GpuFunction) for s in made)
    assert [s.symbol for s in made] == [s.symbol for s in generate(kernel, Card(), 3)]


def test_contiguous_layouts():
    assert tight(Problem(BF16, 2, 3, 4, 5, True, False, False)) == (
        MatrixLayout(3, 15),
        MatrixLayout(4, 20),
        MatrixLayout(4, 12),
    )
    assert contiguous_strides((2, 3, 4)) == (12, 4, 1)
