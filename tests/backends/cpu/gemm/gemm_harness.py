"""Running contractions, their oracle in the order of the contract, and layouts to try them with."""

from __future__ import annotations

import ctypes

import numpy as np

from hybrid.backends.cpu.gemm import Generated, Target, generate
from hybrid.backends.cpu.machine.jit import compile_many
from hybrid.backends.interpret import fma32, fma64
from hybrid.backends.plan import Dims
from hybrid.backends.product import kernel_of
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.ir import contract as C

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
def execute(gens: list[Generated], arrays: list[np.ndarray], pieces: int = 1) -> None:
    """Run kernels over `arrays` (slot i: arrays[i]), items cut into `pieces`, last piece first."""
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
    """One op call on maybe strided arrays: the oracle's bits, and nothing else is written."""
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
    """Matrices with rows adjacent ('c'), columns adjacent ('t'), gaps ('g') or reversed ('r')."""
    if how == "t":
        return np.swapaxes(noise(rng, shape[:-2] + (shape[-1], shape[-2]), dtype), -1, -2)
    if how == "g":
        return noise(rng, shape[:-2] + (2 * shape[-2], 3 * shape[-1] + 1), dtype)[..., ::2, 1::3]
    x = noise(rng, shape, dtype)
    return x[..., ::-1, :] if how == "r" else x
