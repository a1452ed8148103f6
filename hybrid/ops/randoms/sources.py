"""What a sampler is written over: scalars of the algebra for the records, arrays for their oracles.

Invariant: both have the same methods and take the same Philox words for an element and an attempt,
so a sampler is written once; the oracle rounds in float64 whatever the record does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...ir.op import Op
from ...ir.scalar.program import TYPE, Builder, ScalarType, Val
from .. import formulas as F
from ..formulas.logarithm import log_of_sum
from ..indexing.draws import oracle_words, random_op, states, words_of

__all__ = [
    "ArraySource",
    "Number",
    "ScalarSource",
    "Source",
    "first_accepted",
    "one_of",
    "pairs_of_words",
    "sampler",
]

Number = Any  # a Val, or an array of the oracle
Source = Any  # a ScalarSource or an ArraySource
Ints = tuple[int, ...]
_ALONE = 4  # tries that are made one by one


class ScalarSource:
    """Numbers of an element in the algebra, of one floating type."""

    def __init__(self, algebra: Builder, seed: Val, offset: Val, kind: ScalarType) -> None:
        self.algebra, self.seed, self.offset, self.kind = algebra, seed, offset, kind
        self.select, self.sqrt, self.floor = algebra.select, algebra.sqrt, algebra.floor
        self.minimum, self.maximum = algebra.min_, algebra.max_
        self.abs, self.copysign = algebra.abs, algebra.copysign
        self.seldom = algebra.unlikely

    def __getattr__(self, name: str) -> Callable[..., Val]:
        formula = getattr(F, name)
        return lambda *operands: formula(self.algebra, *operands)

    def const(self, value: float) -> Val:
        return self.algebra.const(self.kind, value)

    def words(self, attempt: int) -> tuple[Number, ...]:
        """The four words of an attempt."""
        return words_of(self.algebra, self.seed, self.offset, attempt)

    def unit(self, word: Val) -> Val:
        """The word as a number in (0, 1]: the middle of its interval, rounded."""
        return self.algebra.convert(word, self.kind) * 2.0**-32 + 2.0**-33

    def narrow(self, value: Val) -> Val:
        """A number as f32, in which decisions are made."""
        return self.algebra.convert(value, "f32")

    def widen(self, value: Val) -> Val:
        """Such a number in the source's own type."""
        return self.algebra.convert(value, self.kind)

    def narrow_unit(self, word: Val) -> Val:
        """`unit` as f32."""
        return self.algebra.convert(word, "f32") * 2.0**-32 + 2.0**-33

    def wide(self, low: Val, high: Val) -> Val:
        """Two words as a number in (0, 1), for f64."""
        word = self._long(low, high)
        return (self.algebra.convert(word >> 12, "f64") + 0.5) * 2.0**-52

    def _long(self, low: Val, high: Val) -> Val:
        convert = self.algebra.convert
        return (convert(high, "u64") << 32) | convert(low, "u64")

    def exponential(self, words: tuple[Val, ...]) -> Val:
        """-log(u), u a number with its whole precision near 0 and near 1, of the first two
        words."""
        algebra = self.algebra
        wide = self.kind == "f64"
        word = self._long(words[1], words[0]) if wide else words[0]
        nearer = algebra.min_(word, ~word)
        if wide:
            part = (algebra.convert(nearer >> 11, "f64") + 0.5) * 2.0**-53
        else:
            part = self.unit(nearer)
        above = word > ~word
        total = algebra.select(above, 1.0 - part, part)
        error = algebra.select(above, (1.0 - total) - part, self.const(0.0))
        return -log_of_sum(algebra, total, error)


class ArraySource:
    """The same with NumPy, in float64."""

    def __init__(self, seed: np.ndarray, offset: np.ndarray, shape: Ints, kind: ScalarType) -> None:
        self.seed, self.offset, self.shape, self.kind = seed, offset, shape, kind
        self.select, self.sqrt, self.floor = np.where, np.sqrt, np.floor
        self.minimum, self.maximum = np.minimum, np.maximum
        self.abs, self.copysign = np.abs, np.copysign
        self.log, self.log1p, self.exp, self.atan = np.log, np.log1p, np.exp, np.arctan
        self.expm1 = np.expm1

    def seldom(self, condition: Number) -> Number:
        return condition

    def const(self, value: float) -> Number:
        return np.float64(value)

    def words(self, attempt: int) -> tuple[Number, ...]:
        return tuple(oracle_words(self.seed, self.offset, self.shape, attempt))

    def unit(self, word: Number) -> Number:
        middle = (word.astype(np.float64) + 0.5) * 2.0**-32
        return middle.astype(np.float32).astype(np.float64) if self.kind == "f32" else middle

    def narrow(self, value: Number) -> Number:
        return value

    widen = narrow

    def narrow_unit(self, word: Number) -> Number:
        return (word.astype(np.float64) + 0.5) * 2.0**-32

    def wide(self, low: Number, high: Number) -> Number:
        word = (high << np.uint64(32)) | low
        return ((word >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52

    def sin_turns(self, turns: Number) -> Number:
        return np.sin(2 * np.pi * turns)

    def cos_turns(self, turns: Number) -> Number:
        return np.cos(2 * np.pi * turns)

    def exponential(self, words: tuple[Number, ...]) -> Number:
        word = (words[0] << np.uint64(32)) | words[1] if self.kind == "f64" else words[0]
        flipped = word ^ np.uint64(2**64 - 1 if self.kind == "f64" else 2**32 - 1)
        nearer = np.minimum(word, flipped)
        if self.kind == "f64":
            part = ((nearer >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        else:
            part = self.unit(nearer)
        return -np.where(word > flipped, np.log1p(-part), np.log(part))


def pairs_of_words(source: Source, attempts: range) -> Iterator[tuple[Number, Number]]:
    """The words of attempts, two by two."""
    for attempt in attempts:
        words = source.words(attempt)
        yield words[0], words[1]
        yield words[2], words[3]


def first_accepted(
    source: Source,
    otherwise: Number,
    tries: Iterable[tuple[Number, Number]],
    open_: Number | None = None,
) -> Number:
    """The first number of (number, whether it is accepted); `otherwise` if none is, and where
    `open_` is false from the start.  Tries are made where those before them failed in a lane: one
    by one at first, then twice as many each time, as branches in branches take long to compile."""
    made, left = [], open_
    for found, good in tries:
        left = ~good if left is None else left & ~good
        made.append((found, left))
    kept = otherwise
    for number, (found, left) in reversed([*enumerate(made, 1)]):
        alone = number <= _ALONE or number.bit_count() == 1
        kept = source.select(source.seldom(left) if alone else left, kept, found)
    return kept if open_ is None else source.select(open_, kept, otherwise)


def one_of(source: Source, condition: Number, one: Number, other: Number) -> Number:
    """`one` where the condition holds, else `other`: what no lane asks for is not computed."""
    rest = source.select(source.seldom(~condition), other, source.const(0.0))
    return source.select(source.seldom(condition), one, rest)


def _inside(dtype: np.dtype) -> ScalarType:
    return TYPE[dtype] if dt.is_float(dtype) else "f64"


def _spread(given: np.ndarray, shape: Ints) -> np.ndarray:
    return np.broadcast_to(given, shape).astype(np.float64)


def _rounded(result: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Whole numbers as their dtype, the nearest that it has."""
    if dt.is_float(dtype):
        return result
    limits = np.iinfo(dtype)
    inside: np.ndarray = np.clip(result, float(limits.min), float(limits.max // 2 * 2))
    return inside.astype(dtype)


def sampler(
    name: str,
    formula: Callable[..., Number],
    *rows: tuple[Any, ...],
    takes: int = 0,
    inner: ScalarType | None = None,
    params: tuple[str, ...] = (),
    ulp: float = 64.0,
    doc: str,
) -> Op:
    """A record whose elements are formula(source, *operands, **params).

    inner: the floating type inside, where it is not that of the result; rows: see `states`."""

    def body(
        algebra: Builder, seed: Val, offset: Val, *given: Val, shape: Ints, **more: Any
    ) -> Val:
        dtype = more.pop("dtype")
        source = ScalarSource(algebra, seed, offset, inner or _inside(dtype))
        result = formula(source, *[algebra.convert(x, source.kind) for x in given], **more)
        return algebra.convert(result, TYPE[dtype])

    def reference(
        seed: np.ndarray, offset: np.ndarray, *given: np.ndarray, shape: Ints, **more: Any
    ) -> np.ndarray:
        dtype = more.pop("dtype")
        source = ArraySource(seed, offset, shape, inner or _inside(dtype))
        with np.errstate(all="ignore"):
            result = formula(source, *[_spread(x, shape) for x in given], **more)
        return _rounded(np.asarray(result), dtype)

    more: dict[str, Any] = {"params": ("shape", "dtype", *params), "ulp": ulp, "doc": doc}
    return random_op(name, body, reference, states(*rows), nin=2 + takes, **more)
