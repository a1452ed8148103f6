"""Matrix products and convolutions: the contract's order, bit for bit, in every layout."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from gemm_harness import (
    AVX2,
    WIDE,
    chain,
    check,
    execute,
    expected,
    indices,
    layouts,
    noise,
    same,
    steps,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.backends.cpu import gemm
from hybrid.backends.cpu.gemm import Target, element_of, generate, geometry, product
from hybrid.backends.cpu.gemm.geometry import option
from hybrid.backends.cpu.machine.core import Core, Measured
from hybrid.backends.interpret import run_program
from hybrid.backends.plan import Access, Dims, GemmKernel, Operand
from hybrid.backends.product import bias_program, kernel_of
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.ir import contract as C
from hybrid.ir.scalar.program import Builder

# ---- matmul
SHAPES = [
    (1, 1, 1),
    (3, 5, 7),
    (14, 32, 8),
    (16, 16, 257),
    (33, 47, 65),
    (13, 100, 3),
    (5, 4, 0),
    (1, 70, 20),
    (29, 17, 513),
    (0, 4, 3),
    (4, 0, 3),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("how", ["cc", "ct", "tc", "tt", "gg", "rc"])
def test_matmul_layouts(shape: tuple[int, int, int], how: str) -> None:
    m, n, k = shape
    rng = np.random.default_rng(1)
    check(C.matmul_layout, [layouts(rng, (m, k), how[0]), layouts(rng, (k, n), how[1])], pieces=2)


@pytest.mark.parametrize("target", [AVX2, Target(64, 32, 1), Target(64, 32, 8)], ids=str)
@pytest.mark.parametrize("shape", [(33, 47, 65), (70, 90, 300)], ids=str)
def test_matmul_targets(target: Target, shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    rng = np.random.default_rng(2)
    for how in ("cc", "ct"):
        check(
            C.matmul_layout,
            [layouts(rng, (m, k), how[0]), layouts(rng, (k, n), how[1])],
            target,
            pieces=3,
        )


@pytest.mark.parametrize(
    "dtype",
    [
        dt.float64,
        dt.float16,
        dt.bfloat16,
        dt.int8,
        dt.int16,
        dt.int32,
        dt.int64,
        dt.uint8,
        dt.uint32,
    ],
    ids=lambda d: d.name,
)
def test_matmul_dtypes(dtype: np.dtype) -> None:
    rng = np.random.default_rng(3)
    for m, n, k, how in [
        (7, 20, 9, "cc"),
        (19, 33, 270, "ct"),
        (17, 5, 20, "tg"),
        (5, 1, 70, "cc"),
    ]:
        check(
            C.matmul_layout,
            [layouts(rng, (m, k), how[0], dtype), layouts(rng, (k, n), how[1], dtype)],
        )


def test_matmul_ranks() -> None:
    rng = np.random.default_rng(4)
    for sa, sb in [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 4)),
        ((5, 2, 3), (3, 4)),
        ((6, 1, 2, 3), (4, 3, 7)),
        ((6, 5, 2, 3), (1, 1, 3, 7)),
        ((3,), (5, 3, 2)),
        ((6, 1, 2, 3), (6, 5, 3, 1)),
        ((0, 2, 3), (3, 4)),
        ((0, 2, 3), (0, 3, 4)),
        ((2, 40, 64), (2, 64, 33)),
    ]:
        check(C.matmul_layout, [noise(rng, sa), noise(rng, sb)])
        assert C.matmul_shape(sa, sb) == np.matmul(np.zeros(sa), np.zeros(sb)).shape


SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, -1e-40, 3e38, -3e38, 1e-30, 2e-23],
    np.float32,
)


def test_special_values_stay_in_their_chain() -> None:
    rng = np.random.default_rng(5)
    for m, n, k, how in [
        (17, 19, 5, "cc"),
        (9, 33, 12, "ct"),
        (20, 17, 3, "tt"),
        (20, 1, 70, "cc"),
        (20, 1, 70, "tc"),
    ]:
        a, b = rng.choice(SPECIAL, (m, k)), rng.choice(SPECIAL, (k, n))
        a = np.asfortranarray(a) if how[0] == "t" else a
        b = np.asfortranarray(b) if how[1] == "t" else b
        check(C.matmul_layout, [np.swapaxes(np.swapaxes(a, 0, 1), 0, 1), b])
    # a chain starts from +0.0, and an underflowing product keeps its sign
    a = np.array([[-1e-30, 0.0]], np.float32)
    check(C.matmul_layout, [a, np.array([[1e-30, 1.0], [-0.0, -1.0]], np.float32)])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(0, 40),
    st.integers(0, 70),
    st.integers(0, 40),
    st.sampled_from(["cc", "ct", "tc", "tt", "gc", "cg", "rr"]),
    st.integers(1, 4),
    st.sampled_from([WIDE, AVX2, Target(64, 32, 16)]),
)
def test_matmul_any(m: int, n: int, k: int, how: str, pieces: int, target: Target) -> None:
    rng = np.random.default_rng(m * 7919 + n * 31 + k)
    check(
        C.matmul_layout,
        [layouts(rng, (m, k), how[0]), layouts(rng, (k, n), how[1])],
        target,
        pieces,
    )


def test_every_decision_gives_the_same_bits() -> None:
    rng = np.random.default_rng(6)
    m, n, k = 45, 77, 530
    x, w = noise(rng, (m, k)), noise(rng, (n, k))
    c = C.linear_layout(
        [aval(x.shape, dt.float32), aval(w.shape, dt.float32)], [steps(x), steps(w)]
    )
    kernel = kernel_of(c, [dt.float32] * 2, dt.float32)
    want = expected(c, [x, w], dt.float32)
    elem = element_of(dt.float32)
    seen = 0
    for swap in (False, True):
        g = option(kernel, elem, WIDE, swap)
        for change in (
            {},
            {"a_mode": "rows"},
            {"b_mode": "any"},
            {"panels_m": 1, "panels_n": 1},
            {"ahead": True},
            {"ahead": True, "b_mode": "trans", "panels_m": 1, "panels_n": 2},
            {"split": 1},
            {"split": 2, "panels_n": 2},
            {"a_mode": "direct", "panels_m": 2},
        ):
            out = np.full(m * n, 7, np.float32)
            made = g._replace(**{"ahead": False, **change})
            if made.ahead and made.b_mode == "direct":
                made = made._replace(b_mode="any")
            execute(product(kernel, made, elem, 3), [x, w, out], pieces=3)
            same(out, want)
            seen += 1
    assert seen == 18


# ---- linear, dot products
@pytest.mark.parametrize(
    "dtype", [dt.float32, dt.float16, dt.bfloat16, dt.float64], ids=lambda d: d.name
)
def test_linear(dtype: np.dtype) -> None:
    rng = np.random.default_rng(7)
    for xs, out in [
        ((5, 7, 40), 50),
        ((1, 300), 21),
        ((3, 300), 1),
        ((40,), 50),
        ((4, 64), 10),
        ((2, 0), 3),
    ]:
        arrays = [
            noise(rng, xs, dtype),
            noise(rng, (out, xs[-1]), dtype),
            noise(rng, (out,), dtype),
        ]
        check(C.linear_layout, arrays, pieces=2)
        check(C.linear_layout, arrays[:2])


@pytest.mark.parametrize("k", [0, 1, 15, 63, 64, 65, 255, 256, 257, 1000])
def test_lanes_order(k: int) -> None:
    rng = np.random.default_rng(8)
    for m, how in [(1, "c"), (3, "c"), (21, "c"), (21, "t"), (7, "g"), (4, "r")]:
        check(C.matmul_layout, [layouts(rng, (m, k), how), noise(rng, (k,))])
    check(C.matmul_layout, [noise(rng, (2 * k,))[::2], noise(rng, (k,))[::-1]])


def test_long_sums_are_split_and_added_in_order() -> None:
    # as if threads cost nothing, so that short sums are split too
    target = WIDE._replace(core=Core(measured=Measured(waited=0.0, streamed=0.0, barrier=0.0)))
    rng = np.random.default_rng(9)
    for m, n, k in [(1, 1, 20000), (5, 9, 5000), (3, 16, 4000), (2, 1, 9000)]:
        a, b = noise(rng, (m, k)), noise(rng, (k, n))
        c = C.matmul_layout(
            [aval(a.shape, dt.float32), aval(b.shape, dt.float32)], [steps(a), steps(b)]
        )
        assert len(generate(kernel_of(c, [dt.float32] * 2, dt.float32), 3, target)) == 2, (m, n, k)
        check(C.matmul_layout, [a, b], target, pieces=3)
        check(C.matmul_layout, [a, b], Target(64, 32, 1))


# ---- convolution
CONVS = [
    ((2, 1, 12, 30), 16, 3, 1, 1, 1),
    ((2, 5, 16, 16), 20, 3, 1, 1, 1),
    ((2, 4, 9, 9), 8, 3, 2, 1, 2),
    ((1, 4, 9, 9), 8, 3, 1, 2, 2),
    ((2, 3, 5, 5), 8, 1, 1, 1, 1),
    ((1, 40, 5, 5), 8, 3, 1, 1, 1),
    ((3, 4, 3, 3), 6, 3, 1, 1, 2),
    ((1, 2, 6, 40), 3, 2, 1, 1, 1),
    ((2, 3, 9, 20), 40, 3, 1, 1, 1),
    ((2, 12, 11, 11), 12, 3, 1, 1, 12),
    ((2, 3, 40), 5, 3, 2, 1, 1),
    ((2, 3, 4, 5, 18), 9, 2, 1, 1, 1),
    ((1, 4, 5, 5, 6), 6, 2, 2, 2, 2),
    ((2, 6, 4, 5, 5), 6, 3, 1, 1, 6),
]


def settings_of(case):  # type: ignore[no-untyped-def]
    """The kernel of a case, and its parameters."""
    xs, _, size, stride, dilation, groups = case
    axes = len(xs) - 2
    how = {"stride": (stride,) * axes, "dilation": (dilation,) * axes, "groups": groups}
    return (size,) * axes, how


@pytest.mark.parametrize("case", CONVS, ids=str)
@pytest.mark.parametrize(
    "dtype", [dt.float32, dt.bfloat16, dt.float64, dt.int32], ids=lambda d: d.name
)
def test_convolution(case, dtype: np.dtype) -> None:  # type: ignore[no-untyped-def]
    xs, o, *_, groups = case
    rng = np.random.default_rng(10)
    kernel, how = settings_of(case)
    x, w, b = (
        noise(rng, xs, dtype),
        noise(rng, (o, xs[1] // groups, *kernel), dtype),
        noise(rng, (o,), dtype),
    )
    check(C.conv_layout, [x, w, b], pieces=2, **how)
    check(C.conv_layout, [x, np.flip(w, range(2, w.ndim))], **how)
    g = noise(rng, C.conv_shape(x.shape, w.shape, **how), dtype)
    check(C.conv_weight_layout, [g, x], pieces=2, kernel=kernel, **how)


@pytest.mark.parametrize("case", [*CONVS, ((16, 8, 6, 6), 32, 3, 1, 1, 1)], ids=str)
def test_batch_in_columns(case, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Columns of the whole batch at once: the same sums, a bias and its reads included."""
    joined = []

    def eager_to_join(kernel, element, target):  # type: ignore[no-untyped-def]
        made = geometry.choose(kernel, element, target)
        joined.append(kernel.batch)
        return made._replace(cost=made.cost if kernel.batch > 1 else 0.5)

    monkeypatch.setattr(gemm, "choose", eager_to_join)
    xs, o, *_, groups = case
    rng = np.random.default_rng(11)
    kernel, how = settings_of(case)
    x, w = noise(rng, xs), noise(rng, (o, xs[1] // groups, *kernel))
    for pieces in (1, 3):
        check(C.conv_layout, [x, w, noise(rng, (o,))], pieces=pieces, **how)
    assert joined == ([xs[0], 1] * 2 if groups == 1 and xs[0] > 1 else [joined[0]] * 2)


def test_few_columns_of_many_images_are_joined() -> None:
    def columns(batch: int, width: int) -> int:
        shapes = (batch, 256, width, width), (128, 256, 2, 2)
        x, w = (np.zeros(shape, np.float32) for shape in shapes)
        how = {"stride": (1, 1), "dilation": (1, 1), "groups": 1}
        avals = [aval(a.shape, dt.float32) for a in (x, w)]
        c = C.conv_layout(avals, [steps(x), steps(w)], (0, 0), **how)
        kernel = kernel_of(c, [dt.float32] * 2, dt.float32)
        joined = geometry.with_batch_in_columns(kernel)
        assert joined is not None
        element = element_of(kernel.acc)
        costs = [geometry.choose(k, element, WIDE).cost for k in (kernel, joined)]
        return joined.n if costs[1] < costs[0] else kernel.n

    assert columns(16, 5) == 16 * 16 and columns(2, 33) == 32 * 32


# ---- epilogues
def test_epilogue_with_several_results_in_place() -> None:
    """An update of p and m by the product g = x.T @ y, as an optimizer does, in place."""
    rng = np.random.default_rng(11)
    for m, n, k in [(37, 50, 20), (20, 33, 300), (5, 40, 6000)]:
        x, y = noise(rng, (k, m)), noise(rng, (k, n))
        p, v = noise(rng, (m, n)), noise(rng, (m, n))
        s = Builder()
        g, p0, v0, lr = s.arg("f32"), s.arg("f32"), s.arg("f32"), s.param("f32")
        v1 = v0 * 0.9 + g
        program = s.program(p0 - lr * v1, v1, g > 0.0)
        flags = np.zeros((m, n), np.uint8)
        plain = Dims((), ())
        out = Operand(2, dt.float32, 0, plain, Dims((m,), (n,)), Dims((n,), (1,)))
        kernel = GemmKernel(
            1,
            m,
            n,
            k,
            Operand(0, dt.float32, 0, plain, Dims((m,), (1,)), Dims((k,), (m,))),
            Operand(1, dt.float32, 0, plain, Dims((k,), (n,)), Dims((n,), (1,))),
            (out, out._replace(slot=3), out._replace(slot=4, dtype=dt.bool_)),
            dt.float32,
            "chain",
            program,
            (Access(2, dt.float32, 0, (n, 1)), Access(3, dt.float32, 0, (n, 1))),
            (int(np.float32(0.1).view(np.uint32)),),
        )
        grad = chain(np.ascontiguousarray(x.T)[None], y[None])[0]
        want = run_program(
            program, [grad.ravel(), p.ravel().copy(), v.ravel().copy()], kernel.params
        )
        execute(generate(kernel, 5, WIDE), [x, y, p, v, flags], pieces=2)
        same(p, np.asarray(want[0]))
        same(v, np.asarray(want[1]))
        assert (flags.ravel() == np.asarray(want[2])).all()


def test_epilogue_reads_and_results_of_any_layout() -> None:
    rng = np.random.default_rng(12)
    m, n, k = 19, 37, 8
    a, b = noise(rng, (m, k)), noise(rng, (k, n))
    bias, res = noise(rng, (m,)), noise(rng, (n, 2 * m))
    s = Builder()
    program = s.program((s.arg("f32") + s.arg("f32")) * s.arg("f32"))
    plain = Dims((), ())
    grad = chain(a[None], b[None])[0]
    want = (grad + bias[:, None]) * res[:, ::2].T
    for rows, cols, size in [((n,), (1,), m * n), ((1,), (m,), m * n), ((3 * n,), (3,), 3 * m * n)]:
        out = np.zeros(size, np.float32)
        kernel = GemmKernel(
            1,
            m,
            n,
            k,
            Operand(0, dt.float32, 0, plain, Dims((m,), (k,)), Dims((k,), (1,))),
            Operand(1, dt.float32, 0, plain, Dims((k,), (n,)), Dims((n,), (1,))),
            (Operand(4, dt.float32, 0, plain, Dims((m,), rows), Dims((n,), cols)),),
            dt.float32,
            "chain",
            program,
            (Access(2, dt.float32, 0, (1, 0)), Access(3, dt.float32, 0, (2, 2 * m))),
        )
        execute(generate(kernel, 5, WIDE), [a, b, bias, res, out])
        same(out[indices(Dims((m, n), rows + cols))], want.ravel())


def test_bias_is_added_before_the_one_rounding() -> None:
    program = bias_program(dt.float32, dt.bfloat16, dt.bfloat16)
    assert program.args == ("f32", "u16")


# ---- texts
def test_equal_structures_share_their_text() -> None:
    def text(m: int, n: int, k: int) -> str:
        a = aval((m, k), dt.float32), aval((k, n), dt.float32)
        c = C.matmul_layout(a, [(k, 1), (n, 1)])
        return generate(kernel_of(c, [dt.float32] * 2, dt.float32), 3, WIDE)[0].symbol

    assert text(64, 64, 64) == text(64, 64, 100)
    assert prod((len(text(3, 5, 7)),)) > 0
