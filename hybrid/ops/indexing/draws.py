"""The records of random draws, over the counter-based Philox4x32-10 in the algebra.

Invariant: element i of a draw is a function of (seed, offset, i) only, whatever the vector width or
the number of threads; the oracle computes the same words by NumPy in uint64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...ir.op import NO_GRAD, MapOp, Op, register
from ...ir.scalar.program import TYPE, Builder, Val
from ..formulas import cos_turns
from ..formulas import log as log_

__all__ = [
    "philox",
    "BITS",
    "UNIFORM",
    "NORMAL",
    "INTEGER",
    "BERNOULLI",
]

Ints = tuple[int, ...]
_TWO_PI = np.longdouble("6.28318530717958647692528676655900577")
_M0, _M1, _W0, _W1 = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85


# ---- Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
def philox(s: Builder, counter: tuple[Val, ...], key: tuple[Val, Val]) -> tuple[Val, Val, Val, Val]:
    """Ten rounds of Philox4x32: four u32 words from a counter of four and a key of two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    m0, m1 = s.const("u32", _M0), s.const("u32", _M1)
    for r in range(10):
        c0, c1, c2, c3 = s.mulhi(m1, c2) ^ c1 ^ k0, m1 * c2, s.mulhi(m0, c0) ^ c3 ^ k1, m0 * c0
        if r < 9:
            k0, k1 = k0 + _W0, k1 + _W1
    return c0, c1, c2, c3


def _words(s: Builder, seed: Val, offset: Val) -> tuple[Val, Val, Val, Val]:
    i = s.convert(s.index(), "u64")

    def halves(v: Val) -> tuple[Val, Val]:
        return s.convert(v, "u32"), s.convert(v >> 32, "u32")

    return philox(s, (*halves(i), *halves(offset)), halves(seed))


def _long(s: Builder, low: Val, high: Val) -> Val:
    return (s.convert(high, "u64") << 32) | s.convert(low, "u64")


def _oracle(seed: np.ndarray, offset: np.ndarray, shape: Ints) -> list[np.ndarray]:
    """The same words by NumPy in uint64."""
    i = np.arange(math.prod(shape), dtype=np.uint64)
    low = np.uint64(0xFFFFFFFF)
    c = [
        i & low,
        i >> np.uint64(32),
        np.full_like(i, int(offset) & 0xFFFFFFFF),
        np.full_like(i, int(offset) >> 32),
    ]
    k = [int(seed) & 0xFFFFFFFF, int(seed) >> 32]
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(_M0), c[2] * np.uint64(_M1)
        c = [
            (p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]),
            p1 & low,
            (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]),
            p0 & low,
        ]
        k = [(k[0] + _W0) & 0xFFFFFFFF, (k[1] + _W1) & 0xFFFFFFFF]
    return [w.reshape(shape) for w in c]


# ---- records
_FRACTION = {
    dt.float16: 11,
    dt.bfloat16: 8,
    dt.float32: 24,
}  # bits of a uniform number, so that 1.0 never comes


def _drawn(
    seed: Aval, offset: Aval, *rest: Aval, shape: Ints, dtype: np.dtype | None = None
) -> tuple[Aval, ...]:
    return (seed.with_(shape, dtype or dt.bool_),)


def _bits_body(s: Builder, seed: Val, offset: Val, *, shape: Ints, dtype: np.dtype) -> Val:
    w = _words(s, seed, offset)
    return _long(s, w[0], w[1]) if dtype.itemsize == 8 else s.convert(w[0], TYPE[dtype])


def _unit(s: Builder, w: tuple[Val, ...], d: np.dtype) -> Val:
    """A number in [0, 1) with as many bits as d holds."""
    if d is dt.float64:
        return (
            s.convert((s.convert(w[0], "u64") << 21) | s.convert(w[1] >> 11, "u64"), "f64")
            * 2.0**-53
        )
    n = _FRACTION[d]
    return s.convert(w[0] >> (32 - n), "f32") * 2.0**-n


def _unit_oracle(w: list[np.ndarray], d: np.dtype) -> np.ndarray:
    if d is dt.float64:
        return ((w[0] << np.uint64(21)) | (w[1] >> np.uint64(11))).astype(np.float64) * 2.0**-53
    n = _FRACTION[d]
    return (w[0] >> np.uint64(32 - n)).astype(np.float64) * 2.0**-n


def _uniform_body(s: Builder, seed: Val, offset: Val, *, shape: Ints, dtype: np.dtype) -> Val:
    return _unit(s, _words(s, seed, offset), dtype)


def _normal_body(s: Builder, seed: Val, offset: Val, *, shape: Ints, dtype: np.dtype) -> Val:
    """Box and Muller: sqrt(-2 log u) cos(2 pi v), u in (0, 1]."""
    w = _words(s, seed, offset)
    if dtype is dt.float64:
        u = (s.convert(_long(s, w[1], w[0]) >> 11, "f64") + 1.0) * 2.0**-53
        v = s.convert(_long(s, w[3], w[2]) >> 11, "f64") * 2.0**-53
    else:
        u = s.convert(w[0], "f32") * 2.0**-32 + 2.0**-33
        v = s.convert(w[1] >> 8, "f32") * 2.0**-24
    return s.sqrt(log_(s, u) * -2.0) * cos_turns(s, v)


def _normal_oracle(
    seed: np.ndarray, offset: np.ndarray, shape: Ints, dtype: np.dtype
) -> np.ndarray:
    w = _oracle(seed, offset, shape)
    if dtype is dt.float64:
        u = ((((w[0] << np.uint64(32)) | w[1]) >> np.uint64(11)).astype(np.float64) + 1) * 2.0**-53
        v = (((w[2] << np.uint64(32)) | w[3]) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return np.sqrt(-2 * np.log(u)) * np.cos(_TWO_PI * v)
    u = w[0].astype(np.float32) * np.float32(2.0**-32) + np.float32(2.0**-33)
    v = (w[1] >> np.uint64(8)).astype(np.float64) * 2.0**-24
    return np.sqrt(-2 * np.log(u.astype(np.float64))) * np.cos(_TWO_PI * v)


def _integer_body(
    s: Builder, seed: Val, offset: Val, low: Val, count: Val, *, shape: Ints, dtype: np.dtype
) -> Val:
    w = _words(s, seed, offset)
    word = _long(s, w[0], w[1])
    return s.convert(s.select(count == 0, word, s.mulhi(word, count)) + low, TYPE[dtype])


def _integer_oracle(
    seed: np.ndarray,
    offset: np.ndarray,
    low: np.ndarray,
    count: np.ndarray,
    shape: Ints,
    dtype: np.dtype,
) -> np.ndarray:
    w = _oracle(seed, offset, shape)
    both = zip((w[0] | (w[1] << np.uint64(32))).ravel().tolist(), range(math.prod(shape)))
    n = int(count) or 2**64
    got = [(((v * n) >> 64) + int(low)) & (2**64 - 1) for v, _ in both]
    return np.array(got, np.uint64).reshape(shape).astype(dtype)


def _bernoulli_body(s: Builder, seed: Val, offset: Val, p: Val, *, shape: Ints) -> Val:
    return _unit(s, _words(s, seed, offset), dt.float32) < p


def _state(*rows: tuple[Any, ...]) -> Any:
    def samples(rng: np.random.Generator) -> Any:
        for shape, *extra, params in rows:
            yield (
                [np.array(0x123456789ABCDEF0, np.uint64), np.array(7, np.uint64), *extra],
                {"shape": shape, **params},
            )

    return samples


def _random_op(
    name: str,
    body: Any,
    reference: Any,
    samples: Any,
    *,
    params: tuple[str, ...] = ("shape", "dtype"),
    nin: int = 2,
    ulp: float = 0.0,
    doc: str,
) -> Op:
    return register(
        MapOp(
            name,
            nin,
            _drawn,
            body=body,
            params=params,
            reference=reference,
            samples=samples,
            ulp=ulp,
            vjp=NO_GRAD,
            fixed=tuple(range(nin)),
            accepts="uf",
            doc=doc,
        )
    )


BITS = _random_op(
    "random_bits",
    _bits_body,
    lambda seed, offset, shape, dtype: (
        lambda w: (w[0] | (w[1] << np.uint64(32))) if dtype.itemsize == 8 else w[0]
    )(_oracle(seed, offset, shape)),
    _state(
        ((3, 5), {"dtype": dt.uint32}), ((70,), {"dtype": dt.uint64}), ((), {"dtype": dt.uint32})
    ),
    doc="Random words.",
)
UNIFORM = _random_op(
    "random_uniform",
    _uniform_body,
    lambda seed, offset, shape, dtype: _unit_oracle(_oracle(seed, offset, shape), dtype),
    _state(
        ((70,), {"dtype": dt.float32}),
        ((3, 5), {"dtype": dt.float64}),
        ((9,), {"dtype": dt.bfloat16}),
        ((0,), {"dtype": dt.float32}),
    ),
    doc="Uniform numbers in [0, 1).",
)
NORMAL = _random_op(
    "random_normal",
    _normal_body,
    _normal_oracle,
    _state(((70,), {"dtype": dt.float32}), ((3, 5), {"dtype": dt.float64})),
    ulp=64.0,
    doc="Standard normal numbers.",
)
INTEGER = _random_op(
    "random_integer",
    _integer_body,
    _integer_oracle,
    _state(
        ((70,), np.array(2**64 - 5, np.uint64), np.array(10, np.uint64), {"dtype": dt.int64}),
        ((9,), np.array(2**63, np.uint64), np.array(0, np.uint64), {"dtype": dt.int64}),
    ),
    nin=4,
    doc="low + a uniform integer below count (0: below 2**64), modulo 2**64.",
)
BERNOULLI = _random_op(
    "random_bernoulli",
    _bernoulli_body,
    lambda seed, offset, p, shape: _unit_oracle(_oracle(seed, offset, shape), dt.float32) < p,
    _state(
        ((70,), np.array(0.3, np.float32), {}), ((2, 3), np.array([0.0, 0.5, 1.0], np.float32), {})
    ),
    params=("shape",),
    nin=3,
    doc="True with probability p.",
)
