"""Running generated loop kernels on NumPy arrays; random programs, values and layouts."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from hybrid.backends.cpu.machine.jit import compile_many
from hybrid.backends.emit.loops import Generated, generate_all
from hybrid.backends.interpret import DTYPE
from hybrid.backends.plan import Access, LoopKernel
from hybrid.core import dtypes as dt
from hybrid.ir.scalar.program import BITS, FLOAT_TYPES, INT_TYPES, Builder, Program, Val

KERNEL = ctypes.CFUNCTYPE(
    ctypes.c_int64,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_void_p,
)
GATHERED = 4096  # elements of an operand that is read by index
ALL_TYPES = (*INT_TYPES, *FLOAT_TYPES, "b1")


def run_kernel(kernel: LoopKernel, bufs: Sequence[np.ndarray], pieces: int = 1) -> int:
    """Run all items in `pieces` calls, the last piece first; returns the first non-zero result."""
    result = 0
    made = generate_all(kernel, len(bufs))
    temp = np.zeros(max(g.temp for g in made) + 64, np.uint8)
    for g in made:
        result = result or run_generated(g, [*bufs, temp], pieces)
    return result


def run_generated(g: Generated, bufs: Sequence[np.ndarray], pieces: int = 1) -> int:
    (code,) = compile_many([(g.symbol, g.text)])
    f = KERNEL(code.address)
    addresses = np.array([b.__array_interface__["data"][0] for b in bufs] + [0], np.uint64)
    words = np.array([*g.words, 0], np.uint64)
    scratch = np.full(g.scratch // 8 + 16, 0x7FF8DEADBEEF0BAD, np.uint64)
    aligned = scratch.ctypes.data + 63 & ~63
    cuts = [g.items * k // pieces for k in range(pieces + 1)]
    results = [
        f(addresses.ctypes.data, words.ctypes.data, a, b, aligned) for a, b in zip(cuts, cuts[1:])
    ][::-1]
    return next((r for r in results if r), 0)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal bits, except that any NaN equals any other."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool((a == b).all())
    u = f"u{a.itemsize}"
    return bool(((np.isnan(a) & np.isnan(b)) | (a.view(u) == b.view(u))).all())


def _special_floats(d: np.dtype) -> list[float]:
    """Zeros, infinities, NaN, ties, the ends of the range, and the ends of the integers'."""
    f = np.finfo(d)
    plain = [0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5, 1.5, 2.5, -0.5]
    ends = [f.smallest_subnormal, -f.tiny / 4, f.tiny, f.max, f.min, 127.5, 128, 255.5, 32768]
    return plain + ends + [65535.5, 2147483648.0, -2147483648.0, 3e9, 9.3e18, -1e19, 2e19]


def sample(rng: np.random.Generator, ty: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a program type: special ones, small ones and random bits."""
    d = DTYPE[ty]
    if ty == "b1":
        return rng.integers(0, 2, shape).astype(bool)
    n = int(np.prod(shape))
    random = rng.integers(0, 256, (n, d.itemsize), dtype=np.uint8).copy().view(d).reshape(shape)
    if d.kind == "f":
        special = _special_floats(d)
        plain = np.asarray(rng.standard_normal(shape) * 10).astype(d)
    else:
        i = np.iinfo(d)
        special = [0, 1, 2, 3, i.min, i.max, i.max // 2, BITS[ty], BITS[ty] - 1, BITS[ty] + 1] + (
            [-1, -2] if i.min else []
        )
        plain = np.asarray(rng.integers(0, 100, shape)).astype(d)
    which = rng.integers(0, 3, shape)
    with np.errstate(over="ignore"):
        chosen = rng.choice(np.array(special, d), shape)
    return np.asarray(np.where(which == 0, random, np.where(which == 1, plain, chosen))).astype(d)


def random_layout(
    rng: np.random.Generator, value: np.ndarray, contiguous: bool = False, write: bool = False
) -> tuple[np.ndarray, int, tuple[int, ...]]:
    """(buffer, offset, strides) that hold `value` somewhere: permuted, reversed, sliced axes; reads
    may also have broadcast axes (the value is changed to agree: read it back with `view_of`)."""
    nd = value.ndim
    order = list(range(nd)) if contiguous else list(rng.permutation(nd))
    steps = [1 if contiguous else int(rng.choice([1, 1, 1, 2, -1, -3])) for _ in range(nd)]
    spread = [bool(not write and not contiguous and rng.integers(0, 5) == 0) for _ in range(nd)]
    sizes = [1 if spread[a] else max(value.shape[a] * abs(steps[a]), 1) for a in order]
    pad = int(rng.integers(0, 4))
    base = np.zeros(int(np.prod(sizes)) + pad, value.dtype)
    full = base[pad:].reshape(sizes)
    view = full.transpose([order.index(a) for a in range(nd)])
    cut = tuple(
        slice(None)
        if spread[a]
        else slice(0, value.shape[a])
        if steps[a] == 1
        else slice(None, None, steps[a])
        for a in range(nd)
    )
    view = view[(*cut, ...)]
    if value.size:
        view[...] = value[tuple(slice(0, 1) if s else slice(None) for s in spread)]
        view = np.broadcast_to(view, value.shape)
        strides = tuple(0 if spread[a] else s // value.itemsize for a, s in enumerate(view.strides))
        offset = (
            view.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        ) // value.itemsize
    else:
        strides, offset = (1,) * nd, 0
    return base, offset, strides


def view_of(
    base: np.ndarray, offset: int, strides: tuple[int, ...], shape: tuple[int, ...]
) -> np.ndarray:
    if 0 in shape:
        return np.zeros(shape, base.dtype)
    bytes_ = tuple(s * base.itemsize for s in strides)
    return np.ndarray(shape, base.dtype, base, offset * base.itemsize, bytes_)


def dtype_of(ty: str) -> np.dtype:
    return dt.canonical(DTYPE[ty])


def contiguous_access(slot: int, ty: str, shape: tuple[int, ...]) -> Access:
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return Access(slot, dtype_of(ty), 0, tuple(reversed(strides)))


# ---- random programs
_FLOAT_2 = ("add", "sub", "mul", "div", "min", "max", "copysign")
_FLOAT_1 = ("neg", "abs", "sqrt", "floor", "ceil", "trunc", "rint")
_INT_2 = ("add", "sub", "mul", "div", "rem", "min", "max", "and", "or", "xor", "shl", "shr")
_INT_1 = ("neg", "abs", "not", "popcount", "clz")


def grow(rng: np.random.Generator, b: Builder, values: list[Val], steps: int) -> list[Val]:
    """Append random instructions over `values`; returns all values."""
    values = list(values)
    for _ in range(steps):
        x = values[rng.integers(0, len(values))]
        same = [v for v in values if v.type == x.type]
        y, z = same[rng.integers(0, len(same))], same[rng.integers(0, len(same))]
        pick = rng.integers(0, 6)
        flags = [v for v in values if v.type == "b1"]
        if x.type == "b1":
            values.append(
                b.op(rng.choice(["and", "or", "xor"]), x, y) if pick < 3 else b.convert(x, "f32")
            )
        elif pick == 0:
            values.append(b.op(rng.choice(["eq", "ne", "lt", "le", "gt", "ge"]), x, y))
        elif pick == 1:
            values.append(b.convert(x, str(rng.choice([t for t in ALL_TYPES if t != x.type]))))
        elif pick == 2 and flags:
            flag = flags[rng.integers(0, len(flags))]
            if rng.integers(0, 2):  # y's successors are needed under the flag only
                flag, x = b.unlikely(flag), grow(rng, b, [x, y], 3)[-1]
                x = b.convert(x, y.type)
            values.append(b.select(flag, x, y))
        elif x.type in FLOAT_TYPES:
            values.append(
                b.op("fma", x, y, z)
                if pick == 3 and x.type == "f32"
                else b.op(rng.choice(_FLOAT_1), x)
                if pick == 4
                else b.op(rng.choice(_FLOAT_2), x, y)
            )
        else:
            values.append(
                b.op(rng.choice(_INT_1), x) if pick == 4 else b.op(rng.choice(_INT_2), x, y)
            )
    return values


def random_map(rng: np.random.Generator, types: Sequence[str], steps: int) -> Program:
    b = Builder()
    args = [b.arg(t) for t in types]
    values = grow(rng, b, [*args, b.const("f32", 1.5), b.const("i64", 3)], steps)
    fresh = [v for v in values if v.id >= len(args)] or values
    return b.program(values[-1], fresh[rng.integers(0, len(fresh))])


def special(rng: np.random.Generator, dtype: np.dtype, count: int) -> np.ndarray:
    """Special values and random bits; of integers small ones, which are indices too."""
    if dt.is_half(dtype):
        with np.errstate(all="ignore"):
            return sample(rng, "f32", (count,)).astype(dtype)
    if dtype.kind == "f":
        return sample(rng, f"f{8 * dtype.itemsize}", (count,))
    return rng.integers(0, 2 if dtype.kind == "b" else 4, count).astype(dtype)


def buffers(kernel: LoopKernel) -> list[np.ndarray]:
    """An array for every slot, as large as the kernel reads and writes."""
    sizes: dict[int, tuple[np.dtype, int]] = {}
    for access in (*kernel.reads, *kernel.writes):
        far = [(n - 1) * s for n, s in zip(kernel.shape, access.strides)]
        count = GATHERED if access.gather else access.offset + 1 + sum(x for x in far if x > 0)
        before = sizes.get(access.slot, (access.dtype, 0))[1]
        sizes[access.slot] = np.dtype(access.dtype), max(before, count)
    rng = np.random.default_rng(len(sizes))
    missing = (np.dtype(np.uint8), 1)
    return [special(rng, *sizes.get(slot, missing)) for slot in range(max(sizes) + 1)]
