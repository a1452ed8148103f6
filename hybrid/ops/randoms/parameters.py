"""What the functions of distributions do with their arguments: parameters, size, dtype, generator.

Invariant: a number that the distribution does not take is an error; an element of a tensor that it
does not take is NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import ArgumentError, DTypeError, ShapeError
from ...core.shapes import as_shape, broadcast_shapes
from ...ir.door.bind import as_tensor, bind, foreign, literal, tensor_of
from ...ir.door.bind import convert as astype
from ...ir.door.foreign import Data, dtype_of, is_number
from ...ir.op import NO_GRAD, MapOp, Op, register
from ...ir.scalar.program import Builder, Val
from ...ir.tensor import Handle
from ..axes.views import broadcast_to
from ..indexing.generators import Generator
from ..indexing.random import place_of, source_of

__all__ = [
    "ANY",
    "AT_LEAST_ZERO",
    "CHANCE",
    "POSITIVE",
    "RATE",
    "SOME_CHANCE",
    "Sampling",
    "Allowed",
]

Ints = tuple[int, ...]
Tensor = Any


class Allowed(NamedTuple):
    """Which numbers a parameter takes: least..most, without `least` itself if `open`."""

    said: str
    least: float
    most: float = float("inf")
    open: bool = False

    def broken(self, number: float) -> bool:
        """Whether a number is none of them; NaN is taken where `least` is, as NumPy has it."""
        if number != number:
            return self.open or self.most != float("inf")
        return not self.least <= number <= self.most or (self.open and number == self.least)


ANY = Allowed("a number", float("-inf"))
AT_LEAST_ZERO = Allowed("0 or more", 0.0)
POSITIVE = Allowed("more than 0", 0.0, open=True)
RATE = Allowed("0 or more, and below 2^63", 0.0, 9.223372006484771e18)
CHANCE = Allowed("in [0, 1]", 0.0, 1.0)
SOME_CHANCE = Allowed("in (0, 1]", 0.0, 1.0, open=True)


def _kept(algebra: Builder, value: Val, *, least: float, most: float, open: bool) -> Val:
    above = value > least if open else value >= least
    good = above & (value <= most)
    return algebra.select(good, value, algebra.const(value.type, float("nan")))


def _kept_oracle(value: np.ndarray, least: float, most: float, open: bool) -> Any:
    above = value > least if open else value >= least
    return np.where(above & (value <= most), value, np.nan)


def _same(aval: Aval, **params: Any) -> tuple[Aval, ...]:
    return (aval,)


def _record(name: str, vjp: Any, doc: str) -> Op:
    return register(
        MapOp(
            name,
            1,
            _same,
            body=_kept,
            vjp=vjp,
            reference=_kept_oracle,
            params=("least", "most", "open"),
            accepts="f",
            samples=lambda rng: [
                (
                    [np.array([-1.0, 0.0, 0.5, 2.0, np.nan], np.float32)],
                    {"least": 0.0, "most": 1.0, "open": False},
                ),
                ([np.array([2.0, 3.0])], {"least": 0.0, "most": 4.0, "open": True}),
            ],
            ulp=0.0,
            doc=doc,
        )
    )


KEPT = _record(
    "distribution_parameter",
    lambda gradient, out, operand, least, most, open: (gradient,),
    "A parameter, NaN where the distribution does not take it.",
)
CUT = _record("distribution_parameter_cut", NO_GRAD, "The same, cut from the tape.")


def _read(value: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    return plain if is_number(plain) or isinstance(plain, Handle) else foreign(plain)


def _dtype(read: list[Any], dtype: Any) -> np.dtype:
    """The dtype to draw in: that of the parameters, float32 at least."""
    if dtype is not None:
        wanted = dt.canonical(dtype)
        if not dt.is_float(wanted):
            raise DTypeError(f"this distribution has floating numbers, not {wanted.name}")
        return wanted
    wanted = dt.default_float
    for value in read:
        if isinstance(value, Handle):
            wanted = dt.promote(wanted, value._a.dtype)
        elif isinstance(value, Data):
            wanted = dt.promote(wanted, dtype_of(value, wanted))
    return wanted


class Sampling:
    """One call of a distribution's function: its parameters by name, each with its rule.

    dtype None: float32, float64 where a parameter is a float64 tensor or array; `counts`: computed
    in float64, int64 is drawn."""

    def __init__(
        self,
        name: str,
        size: Any,
        how: tuple[Any, Generator | None, Any],
        parameters: dict[str, tuple[Any, Allowed]],
        *,
        counts: bool = False,
    ) -> None:
        dtype, generator, device = how
        read = [_read(value) for value, _ in parameters.values()]
        if generator is None and device is None:
            device = next((v._a.device for v in read if isinstance(v, Handle)), None)
        place = place_of(generator, device)
        self.name, self.dtype = name, dt.float64 if counts else _dtype(read, dtype)
        self.result = dt.int64 if counts else self.dtype
        self.source = source_of(generator, device)
        self.values: list[Any] = []
        for (said, (_, rule)), value in zip(parameters.items(), read):
            self.values.append(self._one(said, rule, value, place))
        shapes = [getattr(v, "shape", ()) for v in self.values]
        shape = broadcast_shapes(name, *shapes)
        self.shape: Ints = shape if size is None else as_shape(size)
        if size is not None and broadcast_shapes(name, shape, self.shape) != self.shape:
            raise ShapeError(f"{name}: parameters of shape {shape} do not broadcast to {size}")

    def _one(self, said: str, rule: Allowed, value: Any, place: Any) -> Any:
        if isinstance(value, complex):
            raise DTypeError(f"{self.name}: {said} is complex")
        if is_number(value):
            if rule.broken(value):
                raise ArgumentError(f"{self.name}: {said} is {value}; it is {rule.said}")
            return float(value)
        made = (
            tensor_of(value, dtype_of(value, self.dtype), place)
            if (isinstance(value, Data))
            else value
        )
        made = astype(made, self.dtype)
        return made if rule is ANY else bind(KEPT, made, **_limits(rule))

    def cut(self, value: Any) -> Any:
        """A parameter that no gradient flows to."""
        return bind(CUT, value, **_limits(ANY)) if isinstance(value, Handle) else value

    def operand(self, value: Any) -> Tensor:
        """A parameter as a tensor."""
        if isinstance(value, Handle):
            return value
        return literal(value, self.dtype, self.source.device)

    def draw(self, op: Op, *operands: Any, dtype: Any = None, **params: Any) -> Tensor:
        """The numbers of a record that has these parameters."""
        given = [self.operand(v) for v in operands]
        spread = [v if v.shape == () else broadcast_to(v, self.shape) for v in given]
        wanted = dtype or self.dtype
        return self.source.draw(op, *spread, shape=self.shape, dtype=wanted, **params)


def _limits(rule: Allowed) -> dict[str, Any]:
    return {"least": rule.least, "most": rule.most, "open": rule.open}


def host_numbers(value: Any) -> np.ndarray | None:
    """The numbers of a sequence or array, to look at; None for a tensor."""
    return None if isinstance(value, Handle) else np.asarray(value)


def tensor_on(value: Any, source: Generator, dtype: Any = None) -> Tensor:
    """A tensor where the generator draws."""
    made = as_tensor(value, source.device)
    return made if dtype is None else astype(made, dtype)
