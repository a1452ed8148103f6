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
    "words_of",
    "oracle_words",
    "random_op",
    "states",
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
def philox(
    algebra: Builder, counter: tuple[Val, ...], key: tuple[Val, Val]
) -> tuple[Val, Val, Val, Val]:
    """Ten rounds of Philox4x32: four u32 words from a counter of four and a key of two."""
    first, second, third, fourth = counter
    key_low, key_high = key
    factor_low, factor_high = algebra.const("u32", _M0), algebra.const("u32", _M1)
    for round_ in range(10):
        first, second, third, fourth = (
            algebra.mulhi(factor_high, third) ^ second ^ key_low,
            factor_high * third,
            algebra.mulhi(factor_low, first) ^ fourth ^ key_high,
            factor_low * first,
        )
        if round_ < 9:
            key_low, key_high = key_low + _W0, key_high + _W1
    return first, second, third, fourth


def words_of(
    algebra: Builder, seed: Val, offset: Val, attempt: int = 0
) -> tuple[Val, Val, Val, Val]:
    """The four words of an element in a draw; `attempt` (below 256) counts the elements' further
    words, in the top byte of the counter's second word: there are fewer than 2^56 elements."""
    element = algebra.convert(algebra.index(), "u64")
    if attempt:
        element = element | algebra.const("u64", attempt << 56)

    def halves(word: Val) -> tuple[Val, Val]:
        return algebra.convert(word, "u32"), algebra.convert(word >> 32, "u32")

    return philox(algebra, (*halves(element), *halves(offset)), halves(seed))


def _long(algebra: Builder, low: Val, high: Val) -> Val:
    return (algebra.convert(high, "u64") << 32) | algebra.convert(low, "u64")


def oracle_words(
    seed: np.ndarray, offset: np.ndarray, shape: Ints, attempt: int = 0
) -> list[np.ndarray]:
    """The same words by NumPy in uint64."""
    elements = np.arange(math.prod(shape), dtype=np.uint64) | np.uint64(attempt << 56)
    low = np.uint64(0xFFFFFFFF)
    counter = [
        elements & low,
        elements >> np.uint64(32),
        np.full_like(elements, int(offset) & 0xFFFFFFFF),
        np.full_like(elements, int(offset) >> 32),
    ]
    key = [int(seed) & 0xFFFFFFFF, int(seed) >> 32]
    for _ in range(10):
        product, other_product = counter[0] * np.uint64(_M0), counter[2] * np.uint64(_M1)
        counter = [
            (other_product >> np.uint64(32)) ^ counter[1] ^ np.uint64(key[0]),
            other_product & low,
            (product >> np.uint64(32)) ^ counter[3] ^ np.uint64(key[1]),
            product & low,
        ]
        key = [(key[0] + _W0) & 0xFFFFFFFF, (key[1] + _W1) & 0xFFFFFFFF]
    return [w.reshape(shape) for w in counter]


# ---- records
_FRACTION = {
    dt.float16: 11,
    dt.bfloat16: 8,
    dt.float32: 24,
}  # bits of a uniform number, so that 1.0 never comes


def _drawn(
    seed: Aval,
    offset: Aval,
    *rest: Aval,
    shape: Ints,
    dtype: np.dtype | None = None,
    **more: Any,
) -> tuple[Aval, ...]:
    return (seed.with_(shape, dtype or dt.bool_),)


def _bits_body(algebra: Builder, seed: Val, offset: Val, *, shape: Ints, dtype: np.dtype) -> Val:
    words = words_of(algebra, seed, offset)
    return (
        _long(algebra, words[0], words[1])
        if dtype.itemsize == 8
        else algebra.convert(words[0], TYPE[dtype])
    )


def _unit(algebra: Builder, words: tuple[Val, ...], dtype: np.dtype) -> Val:
    """A number in [0, 1) with as many bits as the dtype holds."""
    if dtype is dt.float64:
        return (
            algebra.convert(
                (algebra.convert(words[0], "u64") << 21) | algebra.convert(words[1] >> 11, "u64"),
                "f64",
            )
            * 2.0**-53
        )
    count = _FRACTION[dtype]
    return algebra.convert(words[0] >> (32 - count), "f32") * 2.0**-count


def _unit_oracle(words: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    if dtype is dt.float64:
        return ((words[0] << np.uint64(21)) | (words[1] >> np.uint64(11))).astype(
            np.float64
        ) * 2.0**-53
    count = _FRACTION[dtype]
    return (words[0] >> np.uint64(32 - count)).astype(np.float64) * 2.0**-count


def _uniform_body(algebra: Builder, seed: Val, offset: Val, *, shape: Ints, dtype: np.dtype) -> Val:
    return _unit(algebra, words_of(algebra, seed, offset), dtype)


def _normal_body(algebra: Builder, seed: Val, offset: Val, *, shape: Ints, dtype: np.dtype) -> Val:
    """Box and Muller: sqrt(-2 log radius) cos(2 pi turns), radius in (0, 1]."""
    words = words_of(algebra, seed, offset)
    if dtype is dt.float64:
        radius = (algebra.convert(_long(algebra, words[1], words[0]) >> 11, "f64") + 1.0) * 2.0**-53
        turns = algebra.convert(_long(algebra, words[3], words[2]) >> 11, "f64") * 2.0**-53
    else:
        radius = algebra.convert(words[0], "f32") * 2.0**-32 + 2.0**-33
        turns = algebra.convert(words[1] >> 8, "f32") * 2.0**-24
    return algebra.sqrt(log_(algebra, radius) * -2.0) * cos_turns(algebra, turns)


def _normal_oracle(
    seed: np.ndarray, offset: np.ndarray, shape: Ints, dtype: np.dtype
) -> np.ndarray:
    words = oracle_words(seed, offset, shape)
    if dtype is dt.float64:
        radius = (
            (((words[0] << np.uint64(32)) | words[1]) >> np.uint64(11)).astype(np.float64) + 1
        ) * 2.0**-53
        turns = (((words[2] << np.uint64(32)) | words[3]) >> np.uint64(11)).astype(
            np.float64
        ) * 2.0**-53
        wide: np.ndarray = np.sqrt(-2 * np.log(radius)) * np.cos(_TWO_PI * turns)
        return wide
    radius = words[0].astype(np.float32) * np.float32(2.0**-32) + np.float32(2.0**-33)
    turns = (words[1] >> np.uint64(8)).astype(np.float64) * 2.0**-24
    result: np.ndarray = np.sqrt(-2 * np.log(radius.astype(np.float64))) * np.cos(_TWO_PI * turns)
    return result


def _integer_body(
    algebra: Builder, seed: Val, offset: Val, low: Val, count: Val, *, shape: Ints, dtype: np.dtype
) -> Val:
    words = words_of(algebra, seed, offset)
    word = _long(algebra, words[0], words[1])
    return algebra.convert(
        algebra.select(count == 0, word, algebra.mulhi(word, count)) + low, TYPE[dtype]
    )


def _integer_oracle(
    seed: np.ndarray,
    offset: np.ndarray,
    low: np.ndarray,
    count: np.ndarray,
    shape: Ints,
    dtype: np.dtype,
) -> np.ndarray:
    words = oracle_words(seed, offset, shape)
    both = zip((words[0] | (words[1] << np.uint64(32))).ravel().tolist(), range(math.prod(shape)))
    n = int(count) or 2**64
    got = [(((v * n) >> 64) + int(low)) & (2**64 - 1) for v, _ in both]
    return np.array(got, np.uint64).reshape(shape).astype(dtype)


def _bernoulli_body(algebra: Builder, seed: Val, offset: Val, chance: Val, *, shape: Ints) -> Val:
    return _unit(algebra, words_of(algebra, seed, offset), dt.float32) < chance


def states(*rows: tuple[Any, ...]) -> Any:
    """Samples for a record of draws: rows (shape, operands behind seed and offset, parameters)."""

    def samples(rng: np.random.Generator) -> Any:
        for shape, *extra, params in rows:
            yield (
                [np.array(0x123456789ABCDEF0, np.uint64), np.array(7, np.uint64), *extra],
                {"shape": shape, **params},
            )

    return samples


def random_op(
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
    """A record of draws: inputs seed, offset and more; its result has the shape and dtype said."""
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
            facts=frozenset(["draw"]),
            fixed=tuple(range(nin)),
            accepts="uf",
            doc=doc,
        )
    )


BITS = random_op(
    "random_bits",
    _bits_body,
    lambda seed, offset, shape, dtype: (
        lambda words: (words[0] | (words[1] << np.uint64(32))) if dtype.itemsize == 8 else words[0]
    )(oracle_words(seed, offset, shape)),
    states(
        ((3, 5), {"dtype": dt.uint32}), ((70,), {"dtype": dt.uint64}), ((), {"dtype": dt.uint32})
    ),
    doc="Random words.",
)
UNIFORM = random_op(
    "random_uniform",
    _uniform_body,
    lambda seed, offset, shape, dtype: _unit_oracle(oracle_words(seed, offset, shape), dtype),
    states(
        ((70,), {"dtype": dt.float32}),
        ((3, 5), {"dtype": dt.float64}),
        ((9,), {"dtype": dt.bfloat16}),
        ((0,), {"dtype": dt.float32}),
    ),
    doc="Uniform numbers in [0, 1).",
)
NORMAL = random_op(
    "random_normal",
    _normal_body,
    _normal_oracle,
    states(((70,), {"dtype": dt.float32}), ((3, 5), {"dtype": dt.float64})),
    ulp=64.0,
    doc="Standard normal numbers.",
)
INTEGER = random_op(
    "random_integer",
    _integer_body,
    _integer_oracle,
    states(
        ((70,), np.array(2**64 - 5, np.uint64), np.array(10, np.uint64), {"dtype": dt.int64}),
        ((9,), np.array(2**63, np.uint64), np.array(0, np.uint64), {"dtype": dt.int64}),
    ),
    nin=4,
    doc="low + a uniform integer below count (0: below 2**64), modulo 2**64.",
)
BERNOULLI = random_op(
    "random_bernoulli",
    _bernoulli_body,
    lambda seed, offset, chance, shape: (
        _unit_oracle(oracle_words(seed, offset, shape), dt.float32) < chance
    ),
    states(
        ((70,), np.array(0.3, np.float32), {}), ((2, 3), np.array([0.0, 0.5, 1.0], np.float32), {})
    ),
    params=("shape",),
    nin=3,
    doc="True with probability p.",
)
