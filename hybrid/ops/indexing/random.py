"""The functions that draw random numbers, from the generator that is given or the default one.

Invariant: each call makes its draws in program order, through `Generator.draw` alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Device
from ...core.aval import device as to_device
from ...core.errors import ArgumentError, DeviceError, DTypeError, HybridError
from ...core.shapes import as_shape
from ...ir.door.bind import as_tensor, literal
from ...ir.door.bind import convert as astype
from ...ir.op import OPS
from ..axes.positions import argmax
from ..axes.views import broadcast_to
from ..base.operands import NUMBER, MadeOperands
from ..base.surface import public
from ..elementwise.arithmetic import multiply, negative, subtract
from ..elementwise.functions import log
from ..elementwise.selection import maximum, where
from .draws import BERNOULLI, BITS, INTEGER, NORMAL, UNIFORM
from .generators import Generator, default_generator

Ints = tuple[int, ...]
Tensor = Any


# ---- functions
def place_of(generator: Generator | None, device: Any) -> Device:
    """Where a call draws."""
    return generator.device if generator is not None else to_device(device)


def source_of(generator: Generator | None, device: Any) -> Generator:
    """The generator of a call: the one given, or the default one of the device."""
    if generator is None:
        return default_generator(device)
    if device is not None and to_device(device) is not generator.device:
        raise DeviceError(
            f"a generator on {generator.device} draws there, not on {to_device(device)}; make one "
            f"with hybrid.Generator(device={str(to_device(device))!r})"
        )
    return generator


def float_dtype(dtype: Any) -> np.dtype:
    """The dtype of floating numbers, float32 where None is said."""
    wanted = dt.canonical(dtype) if dtype is not None else dt.default_float
    if not dt.is_float(wanted):
        raise DTypeError(
            f"random numbers of {wanted.name} need randint; this function makes floating ones"
        )
    return wanted


def _shape(shape: tuple[Any, ...]) -> Ints:
    return as_shape(shape[0] if len(shape) == 1 and not hasattr(shape[0], "__index__") else shape)


def _leaf(out: Tensor, requires_grad: bool) -> Tensor:
    return out.requires_grad_() if requires_grad else out


@public(random=True)
def random_bits(
    *shape: Any, dtype: Any = dt.uint32, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """Random words of an unsigned dtype.

    The words are those of Philox4x32-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2,
    3, SC 2011).

    >>> hybrid.random_bits(3, dtype="uint8", generator=hybrid.Generator(0))
    tensor([213, 164,  41], dtype=uint8)
    """
    wanted = dt.canonical(dtype)
    if dt.kind(wanted) != "u":
        raise DTypeError(f"random_bits makes unsigned integers, not {wanted.name}")
    return source_of(generator, device).draw(BITS, shape=_shape(shape), dtype=wanted)


@public(random=True)
def rand(
    *shape: Any,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers in [0, 1), of a shape given as a tuple or as several ints; float32 by
    default.

    DTypeError for a dtype that is not floating.

    >>> hybrid.rand(2, 2, generator=hybrid.Generator(0))
    tensor([[0.399 , 0.9722],
            [0.0194, 0.7874]])
    """
    result = source_of(generator, device).draw(
        UNIFORM, shape=_shape(shape), dtype=float_dtype(dtype)
    )
    return _leaf(result, requires_grad)


@public(random=True)
def randn(
    *shape: Any,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal numbers, of a shape given as a tuple or as several ints; float32 by
    default.

    By Box and Muller's method (1958).  DTypeError for a dtype that is not floating.

    >>> hybrid.randn(2, 2, generator=hybrid.Generator(0))
    tensor([[ 0.9911, -0.1536],
            [-1.1864, -0.5954]])
    """
    result = source_of(generator, device).draw(
        NORMAL, shape=_shape(shape), dtype=float_dtype(dtype)
    )
    return _leaf(result, requires_grad)


@public(random=True)
def rand_like(x: Tensor, *, dtype: Any = None, generator: Generator | None = None) -> Tensor:
    """`rand` with the shape, dtype and device of x.

    >>> hybrid.rand_like(hybrid.zeros(2, 3, dtype="float64")).dtype.name
    'float64'
    """
    return rand(x.shape, dtype=dtype or x.dtype, generator=generator, device=x.device)


@public(random=True)
def randn_like(x: Tensor, *, dtype: Any = None, generator: Generator | None = None) -> Tensor:
    """`randn` with the shape, dtype and device of x.

    >>> hybrid.randn_like(hybrid.zeros(2, 3)).shape
    (2, 3)
    """
    return randn(x.shape, dtype=dtype or x.dtype, generator=generator, device=x.device)


@public(random=True)
def randint(
    low: int,
    high: int | None = None,
    size: Any = (),
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Integers low..high-1 (or 0..low-1), int64 by default.

    ArgumentError where there is no such integer or the dtype cannot hold it.

    >>> hybrid.randint(1, 7, 5, generator=hybrid.Generator(0))
    tensor([6, 3, 2, 3, 5])
    """
    if high is None:
        low, high = 0, low
    wanted = dt.canonical(dtype) if dtype is not None else dt.default_int
    if (
        not dt.is_int(wanted)
        or high <= low
        or not (dt.can_hold(wanted, int(low)) and dt.can_hold(wanted, int(high) - 1))
    ):
        raise ArgumentError(f"randint: {low}..{high - 1} is empty or does not fit {wanted.name}")
    source = source_of(generator, device)
    first, count = (
        literal(v % 2**64, dt.uint64, source.device) for v in (int(low), int(high) - int(low))
    )
    return source.draw(INTEGER, first, count, shape=as_shape(size), dtype=wanted)


@public(random=True)
def bernoulli(
    p: Any, size: Any = None, *, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """True with probability p (a number, or a tensor that broadcasts to the size).

    HybridError for a number outside of [0, 1].

    >>> hybrid.bernoulli(0.5, 4, generator=hybrid.Generator(0))
    tensor([ True, False,  True, False])
    >>> hybrid.bernoulli(hybrid.tensor([0.0, 1.0]))
    tensor([False,  True])
    """
    if isinstance(p, (int, float)):
        if not 0.0 <= p <= 1.0:
            raise HybridError(f"bernoulli: p = {p} is no probability")
        source = source_of(generator, device)
        return source.draw(
            BERNOULLI,
            literal(float(p), dt.float32, source.device),
            shape=as_shape(() if size is None else size),
        )
    tensor = as_tensor(p, place_of(generator, device))
    shape = tensor.shape if size is None else as_shape(size)
    return source_of(generator, tensor.device).draw(
        BERNOULLI, broadcast_to(astype(tensor, dt.float32), shape), shape=shape
    )


@public(random=True)
def categorical(logits: Tensor, axis: int = -1, *, generator: Generator | None = None) -> Tensor:
    """One class per row, drawn with the probabilities softmax(logits).

    int64, without the axis of the classes.  By the Gumbel maximum: argmax(logits + noise).

    >>> logits = hybrid.tensor([[0.0, 50.0], [50.0, 0.0]])
    >>> hybrid.categorical(logits)
    tensor([1, 0])
    """
    uniform_ = rand(
        logits.shape, dtype=dt.compute_type(logits.dtype), generator=generator, device=logits.device
    )
    uniform_ = maximum(uniform_, 2.0**-25)  # inside (0, 1), so that the noise is finite
    return argmax(subtract(logits, log(negative(log(uniform_)))), axis)


@public(random=True, functional=True)
def dropout(
    x: Tensor, p: float = 0.5, training: bool = True, *, generator: Generator | None = None
) -> Tensor:
    """x with elements zeroed with probability p, the others scaled by 1 / (1 - p);
    x itself when not training.

    Srivastava et al., JMLR 15 (2014).

    HybridError where p is no probability.

    >>> hybrid.dropout(hybrid.ones(6), 0.5, generator=hybrid.Generator(0))
    tensor([2., 0., 2., 0., 0., 2.])
    >>> hybrid.dropout(hybrid.ones(2), 0.5, training=False)
    tensor([1., 1.])
    """
    x = as_tensor(x)
    if not 0.0 <= p <= 1.0:
        raise HybridError(f"dropout: p = {p} is no probability")
    if not training or p == 0.0:
        return x
    p = float(p)
    if p == 1.0:
        return where(bernoulli(0.0, x.shape, generator=generator, device=x.device), x, 0)
    keep = bernoulli(1.0 - p, x.shape, generator=generator, device=x.device)
    return where(keep, multiply(x, 1.0 / (1.0 - p)), 0)


_KEPT = ("-", 1.0, NUMBER)
dropout.made_operands = MadeOperands(  # type: ignore[attr-defined]
    "p", 1, (0.0, 1.0), ((BERNOULLI, _KEPT), (OPS["multiply"], ("/", 1.0, _KEPT)))
)
