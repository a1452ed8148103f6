"""The functions that draw random numbers, from the generator that is given or the default one.

Invariant: each call makes its draws in program order, through `Generator.draw` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Device
from ...core.aval import device as to_device
from ...core.errors import DeviceError, DTypeError, HybridError, ShapeError
from ...core.shapes import as_shape, broadcast_shapes
from ...ir.door.bind import as_tensor, foreign, literal, tensor_of
from ...ir.door.bind import convert as astype
from ...ir.door.foreign import Data, dtype_of, is_number
from ...ir.op import OPS
from ...ir.tensor import Handle
from ..axes.positions import argmax
from ..axes.views import broadcast_to
from ..base.operands import NUMBER, MadeOperands
from ..base.surface import public
from ..elementwise.arithmetic import add, multiply, negative, subtract
from ..elementwise.functions import log
from ..elementwise.selection import maximum, where
from .draws import BERNOULLI, BITS, INTEGER, NORMAL, UNIFORM
from .generators import Generator, default_generator
from .index import take
from .sort import argsort

Ints = tuple[int, ...]
Tensor = Any


# ---- functions
def _where(generator: Generator | None, device: Any) -> Device:
    return generator.device if generator is not None else to_device(device)


def _source(generator: Generator | None, device: Any) -> Generator:
    if generator is None:
        return default_generator(device)
    if device is not None and to_device(device) is not generator.device:
        raise DeviceError(
            f"a generator on {generator.device} draws there, not on {to_device(device)}; make one "
            f"with hybrid.Generator(device={str(to_device(device))!r})"
        )
    return generator


def _float_dtype(dtype: Any) -> np.dtype:
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
    return _source(generator, device).draw(BITS, shape=_shape(shape), dtype=wanted)


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
    result = _source(generator, device).draw(
        UNIFORM, shape=_shape(shape), dtype=_float_dtype(dtype)
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
    result = _source(generator, device).draw(NORMAL, shape=_shape(shape), dtype=_float_dtype(dtype))
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


@public(hybrid=False, random=True)
def uniform(
    low: Any = 0.0,
    high: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Uniform numbers between low and high (numbers, sequences or tensors that broadcast), one for
    each element where no size is given.

    dtype: float32 by default, float64 where a bound is a float64 tensor or array.

    ShapeError where the bounds do not broadcast to the size.

    >>> hybrid.random.uniform([0.0, 10.0], [1.0, 20.0], generator=hybrid.Generator(0))
    tensor([ 0.399 , 19.7224])
    >>> hybrid.random.uniform(-1, 1, (2, 3)).shape
    (2, 3)
    """
    device = _beside(generator, device, low, high)
    (low, high), wanted = _parameters((low, high), dtype, _where(generator, device))
    width = high - low if is_number(low) and is_number(high) else subtract(high, low)
    return _scaled(rand, size, width, low, dtype=wanted, generator=generator, device=device)


def _beside(generator: Generator | None, device: Any, *values: Any) -> Any:
    """Where to draw: where a tensor among the parameters is, if nothing else is said."""
    if generator is None and device is None:
        return next((v._a.device for v in values if isinstance(v, Handle)), None)
    return device


def _scaled(source: Callable[..., Tensor], size: Any, scale: Any, shift: Any, **how: Any) -> Tensor:
    """Numbers of a source, times `scale`, plus `shift`; of their common shape if size is None."""
    if size is None:
        size = broadcast_shapes("random", getattr(scale, "shape", ()), getattr(shift, "shape", ()))
    return add(multiply(source(as_shape(size), **how), scale), shift)


def _parameters(values: tuple[Any, ...], dtype: Any, device: Device) -> tuple[list[Any], np.dtype]:
    """Parameters of a distribution as numbers and tensors, and the dtype to draw in; a NumPy scalar
    counts as the number it holds."""
    plain = [v.item() if isinstance(v, np.generic) else v for v in values]
    read = [v if is_number(v) or isinstance(v, Handle) else foreign(v) for v in plain]
    wanted = dt.default_float if dtype is None else dt.canonical(dtype)
    if dtype is None:
        for number in read:
            if isinstance(number, Handle):
                wanted = dt.promote(wanted, number._a.dtype)
            elif isinstance(number, Data):
                wanted = dt.promote(wanted, dtype_of(number, wanted))
    made = [tensor_of(v, dtype_of(v, wanted), device) if isinstance(v, Data) else v for v in read]
    return made, wanted


@public(hybrid=False, random=True)
def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Normal numbers of that mean and standard deviation; size and dtype as for `uniform`.

    >>> x = hybrid.random.normal(5.0, [1e-3, 1.0], (10000, 2), generator=hybrid.Generator(0))
    >>> hybrid.round(x.std(axis=0), 3)
    tensor([0.001, 0.999])
    """
    device = _beside(generator, device, mean, std)
    (mean, std), wanted = _parameters((mean, std), dtype, _where(generator, device))
    return _scaled(randn, size, std, mean, dtype=wanted, generator=generator, device=device)


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

    HybridError where there is no such integer or the dtype cannot hold it.

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
        raise HybridError(f"randint: {low}..{high - 1} is empty or does not fit {wanted.name}")
    source = _source(generator, device)
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
        source = _source(generator, device)
        return source.draw(
            BERNOULLI,
            literal(float(p), dt.float32, source.device),
            shape=as_shape(() if size is None else size),
        )
    tensor = as_tensor(p, _where(generator, device))
    shape = tensor.shape if size is None else as_shape(size)
    return _source(generator, tensor.device).draw(
        BERNOULLI, broadcast_to(astype(tensor, dt.float32), shape), shape=shape
    )


@public(hybrid=False, random=True)
def permutation(x: Any, *, generator: Generator | None = None, device: Any = None) -> Tensor:
    """0..x-1 in random order for an int, else x with its first axis in random order.

    ShapeError for a tensor without axes.

    >>> hybrid.random.permutation(5, generator=hybrid.Generator(0))
    tensor([2, 1, 3, 4, 0])
    >>> hybrid.random.permutation(hybrid.tensor([[1, 2], [3, 4]]), generator=hybrid.Generator(1))
    tensor([[3, 4],
            [1, 2]])
    """
    if hasattr(x, "__index__") and not isinstance(x, Handle):
        return argsort(random_bits(int(x), dtype=dt.uint64, generator=generator, device=device))
    x = as_tensor(x)
    if x.ndim == 0:
        raise ShapeError("permutation of a 0-d tensor; pass an int for a random order of 0..n-1")
    return take(x, permutation(x.shape[0], generator=generator, device=x.device), 0)


randperm = public(permutation, hybrid="randperm", random=True)


@public(hybrid=False, random=True)
def shuffle(x: Tensor, *, generator: Generator | None = None) -> None:
    """Give x its first axis in random order.

    >>> x = hybrid.arange(5)
    >>> hybrid.random.shuffle(x, generator=hybrid.Generator(0))
    >>> x
    tensor([2, 1, 3, 4, 0])
    """
    x.assign(permutation(x, generator=generator))


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


@public(hybrid=False, random=True)
def choice(
    x: Any, size: Any = (), *, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """Elements of x (or of 0..x-1) drawn with replacement.

    >>> hybrid.random.choice(hybrid.tensor([2, 3, 5]), 6, generator=hybrid.Generator(0))
    tensor([5, 3, 2, 3, 5, 2])
    """
    if hasattr(x, "__index__") and not isinstance(x, Handle):
        return randint(0, int(x), size, generator=generator, device=device)
    device = _beside(generator, device, x)
    x = as_tensor(x, _where(generator, device))
    if x.ndim == 0:
        raise ShapeError("choice of a 0-d tensor; pass an int to draw from 0..n-1")
    positions = randint(0, x.shape[0], size, generator=generator, device=device)
    return take(x, positions, 0)


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
