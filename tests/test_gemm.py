"""Matrix products and convolutions: bit for bit against the contract's order, for every layout and
tiling."""

from __future__ import annotations

import ctypes
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program_numpy import fma32, fma64, run_program

from hybrid.backends.cpu.gemm import (
    Generated,
    Target,
    dots,
    element_of,
    generate,
    geometry,
    product,
)
from hybrid.backends.cpu.gemm.contract import bias_program, kernel_of
from hybrid.backends.cpu.gemm.geometry import option
from hybrid.backends.cpu.jit import compile_many
from hybrid.backends.plan import Access, Dims, GemmKernel, Operand
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.ir import contract as C
from hybrid.ir.scalar import Builder

PROTO = ctypes.CFUNCTYPE(
    ctypes.c_int64,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_void_p,
)
AVX2 = Target(32, 16, 2)
WIDE = Target(64, 32, 2)


# ---- running
# ----------------------------------------------------------------------------------------
def execute(gens: list[Generated], arrays: list[np.ndarray], pieces: int = 1) -> None:
    """Run kernels over `arrays` (slot i: arrays[i]), every item range cut into `pieces`, last piece
    first."""
    codes = compile_many([(g.symbol, g.text) for g in gens])
    temp = np.full(max(g.temp for g in gens) // 4 + 32, np.nan, np.float32)
    bufs = np.array([a.ctypes.data for a in arrays] + [temp.ctypes.data], np.uint64)
    for g, code in zip(gens, codes):
        words = np.array(g.words, np.uint64)
        scratch = np.full(g.scratch + 128, 0xFF, np.uint8)  # NaN wherever it is read too early
        start = -scratch.ctypes.data % 64
        cuts = [g.items * i // pieces for i in range(pieces + 1)]
        for lo, hi in reversed(list(zip(cuts, cuts[1:]))):
            f = PROTO(code.address)
            assert f(bufs.ctypes.data, words.ctypes.data, lo, hi, scratch.ctypes.data + start) == 0
        assert (scratch[start + g.scratch :] == 0xFF).all()


def indices(d: Dims) -> np.ndarray:
    out = np.zeros(1, np.int64)
    for n, s in zip(d.sizes, d.strides):
        out = (out[:, None] + np.arange(n) * s).ravel()
    return out


def positions(v) -> np.ndarray:  # type: ignore[no-untyped-def]
    return (
        v.offset
        + indices(v.batch)[:, None, None]
        + indices(v.rows)[None, :, None]
        + indices(v.cols)[None, None, :]
    )


# ---- the oracle
# -------------------------------------------------------------------------------------
def fma(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        if z.dtype.kind == "i":
            return x * y + z
        return fma32(x, y, z) if z.dtype == np.float32 else fma64(x, y, z)


def chain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    total = None
    for k0 in range(0, max(a.shape[2], 1), 256):
        acc = np.zeros((a.shape[0], a.shape[1], b.shape[2]), a.dtype)
        for k in range(k0, min(k0 + 256, a.shape[2])):
            acc = fma(*np.broadcast_arrays(a[:, :, k, None], b[:, k, None, :]), acc)
        with np.errstate(all="ignore"):
            total = acc if total is None else total + acc
    return total


def lanes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    total, k = None, a.shape[2]
    for k0 in range(0, max(k, 1), 256):
        acc = np.zeros((64, a.shape[0], a.shape[1], b.shape[2]), a.dtype)
        for j in range(k0, min(k0 + 256, k)):
            acc[j % 64] = fma(*np.broadcast_arrays(a[:, :, j, None], b[:, j, None, :]), acc[j % 64])
        with np.errstate(all="ignore"):
            v = acc.reshape(4, 16, *acc.shape[1:])
            x = (v[0] + v[1]) + (v[2] + v[3])
            for w in (8, 4, 2, 1):
                x = x[:w] + x[w : 2 * w]
            total = x[0] if total is None else total + x[0]
    return total


def expected(c: C.Contraction, arrays: list[np.ndarray], out_dtype: np.dtype) -> np.ndarray:
    """The result (flat) of a contraction of arrays given by their whole memory."""
    acc = (
        {2: np.float32, 4: np.float32, 8: np.float64}[arrays[0].dtype.itemsize]
        if dt.is_float(arrays[0].dtype)
        else np.int64
        if arrays[0].dtype.itemsize == 8
        else np.int32
    )
    a = arrays[c.a.operand].ravel()[positions(c.a)].astype(acc)
    b = arrays[c.b.operand].ravel()[positions(c.b)].astype(acc)
    r = (lanes if c.order == "lanes" else chain)(a, b)
    with np.errstate(all="ignore"):
        if c.bias is not None:
            r = r + arrays[2].ravel()[positions(c.bias)].astype(acc)
        flat = np.zeros(r.size, out_dtype)
        flat[positions(c.out)] = r.astype(out_dtype)
    return flat


def same(x: np.ndarray, y: np.ndarray) -> None:
    x, y = x.ravel(), y.ravel()
    if x.dtype.kind in "fV":
        nan = np.isnan(x)
        assert (nan == np.isnan(y)).all()
        x, y = x[~nan], y[~nan]
    bits = np.dtype(f"u{x.dtype.itemsize}")
    wrong = np.nonzero(x.view(bits) != y.view(bits))[0]
    assert not wrong.size, (wrong[:5], x[wrong[:5]], y[wrong[:5]])


def steps(x: np.ndarray) -> tuple[int, ...]:
    return tuple(s // x.itemsize for s in x.strides)


def owner(x: np.ndarray) -> tuple[np.ndarray, int]:
    """(1-D array of the whole memory x is a view of, offset of x in it)."""
    base = x
    while isinstance(base.base, np.ndarray):
        base = base.base
    return base.reshape(-1), (x.ctypes.data - base.ctypes.data) // x.itemsize


def check(
    layout, arrays: list[np.ndarray], target: Target = WIDE, pieces: int = 1, **params
) -> None:  # type: ignore[no-untyped-def]
    """One op call on possibly strided arrays: native bits equal the oracle's; nothing else is
    written."""
    flats, offsets = zip(*map(owner, arrays))
    dtypes = [dt.canonical(x.dtype) for x in arrays]
    c = layout(
        [aval(x.shape, d) for x, d in zip(arrays, dtypes)],
        [steps(x) for x in arrays],
        offsets,
        **params,
    )
    want = expected(c, list(flats), dtypes[0])
    out = np.full(want.size + 64, 77, dtypes[0])
    kernel = kernel_of(c, dtypes, dtypes[0])
    execute(generate(kernel, len(arrays) + 1, target), [*flats, out], pieces)
    same(out[: want.size], want)
    assert (out[want.size :] == 77).all()


def noise(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype = dt.float32
) -> np.ndarray:
    if not dt.is_float(dtype):
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    return rng.standard_normal(shape).astype(dtype)


def layouts(
    rng: np.random.Generator, shape: tuple[int, ...], how: str, dtype: np.dtype = dt.float32
) -> np.ndarray:
    """A matrix stack with rows adjacent ('c'), columns adjacent ('t'), gaps ('g') or reversed
    ('r')."""
    if how == "t":
        return np.swapaxes(noise(rng, shape[:-2] + (shape[-1], shape[-2]), dtype), -1, -2)
    if how == "g":
        return noise(rng, shape[:-2] + (2 * shape[-2], 3 * shape[-1] + 1), dtype)[..., ::2, 1::3]
    x = noise(rng, shape, dtype)
    return x[..., ::-1, :] if how == "r" else x


# ---- matmul
# -----------------------------------------------------------------------------------------
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
            {"split": 1},
            {"split": 2, "panels_n": 2},
            {"a_mode": "direct", "panels_m": 2},
        ):
            out = np.full(m * n, 7, np.float32)
            execute(product(kernel, g._replace(**change), elem, 3), [x, w, out], pieces=3)
            same(out, want)
            seen += 1
    assert seen == 14


# ---- linear, dot products
# ------------------------------------------------------------------------------
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


def test_long_sums_are_split_and_added_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in (dots, geometry):  # as if threads cost nothing, so that short sums are split too
        monkeypatch.setattr(part, "DISPATCH", 0)
    rng = np.random.default_rng(9)
    for m, n, k in [(1, 1, 20000), (5, 9, 5000), (3, 16, 4000), (2, 1, 9000)]:
        a, b = noise(rng, (m, k)), noise(rng, (k, n))
        c = C.matmul_layout(
            [aval(a.shape, dt.float32), aval(b.shape, dt.float32)], [steps(a), steps(b)]
        )
        assert len(generate(kernel_of(c, [dt.float32] * 2, dt.float32), 3, WIDE)) == 2, (m, n, k)
        check(C.matmul_layout, [a, b], pieces=3)
        check(C.matmul_layout, [a, b], Target(64, 32, 1))


# ---- convolution
# ---------------------------------------------------------------------------------------
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
]


@pytest.mark.parametrize("case", CONVS, ids=str)
@pytest.mark.parametrize(
    "dtype", [dt.float32, dt.bfloat16, dt.float64, dt.int32], ids=lambda d: d.name
)
def test_convolution(case, dtype: np.dtype) -> None:  # type: ignore[no-untyped-def]
    xs, o, size, stride, dilation, groups = case
    rng = np.random.default_rng(10)
    how = {"stride": (stride, stride), "dilation": (dilation, dilation), "groups": groups}
    x, w, b = (
        noise(rng, xs, dtype),
        noise(rng, (o, xs[1] // groups, size, size), dtype),
        noise(rng, (o,), dtype),
    )
    check(C.conv2d_layout, [x, w, b], pieces=2, **how)
    check(C.conv2d_layout, [x, w[:, :, ::-1, ::-1]], **how)
    g = noise(rng, C.conv2d_shape(x.shape, w.shape, **how), dtype)
    check(C.conv2d_weight_layout, [g, x], pieces=2, kernel=(size, size), **how)


# ---- epilogues
# -----------------------------------------------------------------------------------------
def test_epilogue_with_several_results_in_place() -> None:
    """An update of p and m by the product g = x.T @ y, as an optimizer does, reads and writes in
    place."""
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
# -------------------------------------------------------------------------------------------
def test_equal_structures_share_their_text() -> None:
    def text(m: int, n: int, k: int) -> str:
        a = aval((m, k), dt.float32), aval((k, n), dt.float32)
        c = C.matmul_layout(a, [(k, 1), (n, 1)])
        return generate(kernel_of(c, [dt.float32] * 2, dt.float32), 3, WIDE)[0].symbol

    assert text(64, 64, 64) == text(64, 64, 100)
    assert prod((len(text(3, 5, 7)),)) > 0
