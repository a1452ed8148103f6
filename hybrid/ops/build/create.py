"""Creation: constants and ranges.

Invariant: numbers among the static parameters are kept as bit patterns or ints, so that equal
parameters mean equal bits (-0.0 and 0.0, NaN).  Ranges of floats are computed in float64 and
rounded once.
"""

from __future__ import annotations

import math
import operator
import struct
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST, Aval, Device, aval
from ...core.aval import device as to_device
from ...core.cache import keep
from ...core.errors import ArgumentError, DTypeError, HybridError, ShapeError
from ...core.floating import in_plain_floats
from ...core.shapes import as_shape
from ...ir.door.bind import (
    FAST,
    TABLE_LIMIT,
    Resolved,
    as_tensor,
    bind,
    literal,
    resolve,
    run,
    store,
)
from ...ir.door.foreign import is_number, number_dtype, rounded
from ...ir.op import MapOp, Op, register
from ...ir.scalar.program import TYPE, Builder, Val
from ...ir.tensor import Leaf
from ..axes.views import BROADCAST, apart
from ..base.surface import public

Ints = tuple[int, ...]
Tensor = Any


def _number_bits(value: Any, dtype: np.dtype) -> int:
    """The bit pattern of a number rounded to a dtype, in the type a program carries it in."""
    if type(value) is int and value == 0:
        return 0
    literal_ = literal(value, dtype)._v if is_number(value) else rounded(np.asarray(value), dtype)
    literal_ = literal_.astype(np.float32) if dt.is_half(dtype) else literal_
    return int(literal_.reshape(1).view(f"u{literal_.dtype.itemsize}")[0])


def _bits_number(bits: int, dtype: np.dtype) -> np.ndarray:
    carried = dt.compute_type(dtype)
    result: np.ndarray = np.array([bits], f"u{carried.itemsize}").view(carried).astype(dtype)[0]
    return result


def _f64(bits: int) -> float:
    result: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return result


def _f64_bits(value: Any) -> int:
    result: int = struct.unpack("<Q", struct.pack("<d", float(value)))[0]
    return result


def fresh(*, shape: Ints, dtype: np.dtype, device: Device, **_: Any) -> tuple[Aval, ...]:
    """The infer rule of a record without inputs."""
    return (aval(shape, dtype, device),)


def no_inputs(*rows: dict[str, Any]) -> Any:
    """Samples of a record without inputs: one per row of parameters."""
    return lambda rng: iter([([], {"device": HOST, **r}) for r in rows])


def finish(out: Tensor, requires_grad: bool) -> Tensor:
    """`out`, as a leaf when it shall have a gradient; DTypeError when it cannot."""
    if requires_grad:
        if not dt.is_inexact(out.dtype):
            raise DTypeError(f"only floating tensors can require a gradient, not {out.dtype.name}")
        out._node = Leaf(out)
    return out


# ---- constants
FULL = register(
    MapOp(
        "full",
        0,
        fresh,
        body=lambda algebra, *, shape, dtype, bits, device: algebra.bits(TYPE[dtype], bits),
        params=("shape", "dtype", "bits", "device"),
        ulp=0.0,
        facts=frozenset(["constant"]),
        reference=lambda shape, dtype, bits, device: np.full(
            shape, _bits_number(bits, dtype), dtype
        ),
        samples=no_inputs(
            {"shape": (3, 5), "dtype": dt.float32, "bits": 0x80000000},
            {"shape": (), "dtype": dt.bfloat16, "bits": 0x3F800000},
            {"shape": (2, 0), "dtype": dt.int8, "bits": 255},
        ),
        doc="One number everywhere.",
    )
)


_FILLED: dict[Any, Resolved] = {}  # by record, type of number, number
FAST.append(_FILLED)
_NUMBERS = bool, int, float, complex


def _filled(op: Op, record: Aval, value: Any) -> Tensor:
    """A tensor of that record that holds a number everywhere; `op` is FULL."""
    if dt.is_complex(record.dtype):
        assert op.on_complex is not None
        return op.on_complex(record, complex(value))
    key = record, type(value), value
    found = _FILLED.get(key)
    if found is None:
        params = {"shape": record.shape, "dtype": record.dtype, "device": record.device}
        found = resolve(op, (), {**params, "bits": _number_bits(value, record.dtype)})[0]
        if value or type(value) is int:  # 0.0 and -0.0 are one key
            keep(_FILLED, key, found, TABLE_LIMIT)
    return run(found, ())


def _filled_like(record: Aval, value: Any) -> Tensor:
    return _filled(FULL, record, value)


@public
def full(
    shape: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of that shape holding `fill_value` (a number, or a tensor or sequence that
    broadcasts).

    dtype: default that of the value (float32, int64 or bool for Python numbers); a Python number is
    rounded to it once.  Raises OverflowError for an integer that the dtype cannot hold.

    >>> hybrid.full((2, 2), 7)
    tensor([[7, 7],
            [7, 7]])
    """
    shape, value = as_shape(shape), fill_value
    if type(value) not in _NUMBERS and not isinstance(value, (*_NUMBERS, np.generic)):
        target = to_device(device)
        tensor = (
            as_tensor(value, target) if dtype is None else store(value, dt.canonical(dtype), target)
        )
        return finish(apart(BROADCAST, tensor, shape=shape), requires_grad)
    own = value.dtype if isinstance(value, np.generic) else number_dtype(value)
    wanted = dt.canonical(own if dtype is None else dtype)
    return finish(_filled(FULL, aval(shape, wanted, to_device(device)), value), requires_grad)


def _sized(shape: Any, sizes: tuple[Any, ...], dtype: Any) -> tuple[Any, Any]:
    """(shape, dtype) of several sizes, or of NumPy's places (shape, dtype, order)."""
    if not sizes:
        return shape, dtype
    named = sizes[0] is None or isinstance(sizes[0], (str, type, np.dtype))
    if not named:
        return (shape, *sizes), dtype
    if dtype is not None or len(sizes) > 2 or sizes[1:] not in ((), ("C",), ("F",)):
        raise ArgumentError(
            f"a shape, a dtype and an order ('C' or 'F') are what it takes, not {sizes} more"
        )
    return shape, sizes[0]


@public(hybrid=("zeros", "empty"))
def zeros(
    shape: Any,
    *sizes: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Zeros of a shape given as a tuple, which a dtype may follow, or as several ints; float32 by
    default.

    ShapeError for a negative size.

    >>> hybrid.zeros(2, 3)
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
    >>> hybrid.zeros((2,), dtype="int8")
    tensor([0, 0], dtype=int8)
    """
    shape, dtype = _sized(shape, sizes, dtype)
    return full(
        shape, 0, dtype=dtype or dt.default_float, device=device, requires_grad=requires_grad
    )


@public
def ones(
    shape: Any,
    *sizes: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones of a shape given as a tuple, which a dtype may follow, or as several ints; float32 by
    default.

    >>> hybrid.ones(2, 3, dtype="int64")
    tensor([[1, 1, 1],
            [1, 1, 1]])
    """
    shape, dtype = _sized(shape, sizes, dtype)
    return full(
        shape, 1, dtype=dtype or dt.default_float, device=device, requires_grad=requires_grad
    )


@public
def full_like(
    x: Tensor,
    fill_value: Any,
    *,
    dtype: Any = None,
    shape: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`full` with the shape, dtype and device of x, as far as others are not given.

    >>> hybrid.full_like(hybrid.tensor([[1, 2]]), 5)
    tensor([[5, 5]])
    """
    x = as_tensor(x)
    if dtype is None and device is None and shape is None and type(fill_value) in _NUMBERS:
        return finish(_filled_like(x._a, fill_value), requires_grad)
    return full(
        x.shape if shape is None else shape,
        fill_value,
        dtype=dtype or x.dtype,
        device=device or x.device,
        requires_grad=requires_grad,
    )


@public(hybrid=("zeros_like", "empty_like"))
def zeros_like(
    x: Tensor,
    *,
    dtype: Any = None,
    shape: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Zeros with the shape, dtype and device of x, as far as others are not given.

    >>> hybrid.zeros_like(hybrid.tensor([[1, 2]]))
    tensor([[0, 0]])
    """
    more = {"dtype": dtype, "shape": shape, "device": device}
    return full_like(x, 0, requires_grad=requires_grad, **more)


@public
def ones_like(
    x: Tensor,
    *,
    dtype: Any = None,
    shape: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones with the shape, dtype and device of x, as far as others are not given.

    >>> hybrid.ones_like(hybrid.tensor([[1, 2]]), dtype="float64")
    tensor([[1., 1.]], dtype=float64)
    """
    more = {"dtype": dtype, "shape": shape, "device": device}
    return full_like(x, 1, requires_grad=requires_grad, **more)


# ---- ranges
def _range_body(
    algebra: Builder, *, shape: Ints, dtype: np.dtype, start: int, step: int, device: Device
) -> Val:
    place = algebra.index()
    if dt.is_int(dtype):
        return algebra.convert(place * step + start, TYPE[dtype])
    operand = algebra.convert(place, "f64") * algebra.bits("f64", step) + algebra.bits("f64", start)
    return algebra.convert(operand, TYPE[dtype])


def _range_reference(
    *, shape: Ints, dtype: np.dtype, start: int, step: int, device: Device
) -> np.ndarray:
    places = np.arange(shape[0], dtype=np.int64)
    if dt.is_int(dtype):
        return (places * step + start).astype(dtype)
    return places.astype(np.float64) * _f64(step) + _f64(start)


RANGE = register(
    MapOp(
        "arange",
        0,
        fresh,
        body=_range_body,
        params=("shape", "dtype", "start", "step", "device"),
        reference=_range_reference,
        ulp=1.0,
        samples=no_inputs(
            {"shape": (7,), "dtype": dt.int32, "start": -3, "step": 2},
            {"shape": (0,), "dtype": dt.int64, "start": 0, "step": 1},
            {"shape": (70,), "dtype": dt.float32, "start": _f64_bits(0.5), "step": _f64_bits(-0.1)},
        ),
        doc="start + i * step.",
    )
)


def _check_range(start: Any, stop: Any, step: Any) -> None:
    """Raise HybridError unless the range has an end."""
    if not step:
        raise HybridError("arange: step is zero")
    if any(isinstance(v, float) and not math.isfinite(v) for v in (start, stop, step)):
        raise HybridError(f"arange({start}, {stop}, {step}): start, stop and step must be finite")


@public
@in_plain_floats
def arange(
    start: Any,
    stop: Any = None,
    step: Any = 1,
    dtype: Any = None,
    *,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... below stop; int64 for ints, float32 when one is a float.

    HybridError where the step is zero or an end infinite, OverflowError where an integer dtype
    cannot hold the ends.

    >>> hybrid.arange(3), hybrid.arange(1, 2, 0.25)
    (tensor([0, 1, 2]), tensor([1.  , 1.25, 1.5 , 1.75]))
    """
    if stop is None:
        start, stop = 0, start
    _check_range(start, stop, step)
    whole = all(hasattr(v, "__index__") for v in (start, stop, step))
    default = dt.default_int if whole else dt.default_float
    wanted = default if dtype is None else dt.canonical(dtype)
    if whole:
        start, stop, step = map(operator.index, (start, stop, step))
        count = max(0, -((start - stop) // step))
    else:
        count = max(0, math.ceil((stop - start) / step))
    as_shape(count)
    if dt.is_int(wanted):
        first, stride = int(start), int(step) if whole else int(start + step) - int(start)
        ends = (first, first + (count - 1) * stride)
        if count and not all(dt.can_hold(wanted, end) for end in ends):
            raise OverflowError(f"arange({start}, {stop}, {step}) does not fit {wanted.name}")
    else:
        first, stride = _f64_bits(start), _f64_bits(step)
    if wanted is dt.bool_:
        raise DTypeError("arange does not make bools; compare a range instead")
    params = {"dtype": wanted, "start": first, "step": stride, "device": to_device(device)}
    return finish(bind(RANGE, shape=(count,), **params), requires_grad)


def _linspace_body(
    algebra: Builder,
    *,
    shape: Ints,
    dtype: np.dtype,
    start: int,
    step: int,
    last: int,
    device: Device,
) -> Val:
    place = algebra.index()
    operand = algebra.convert(place, "f64") * algebra.bits("f64", step) + algebra.bits("f64", start)
    operand = algebra.select(place == shape[0] - 1, algebra.bits("f64", last), operand)
    return algebra.convert(algebra.floor(operand) if dt.is_int(dtype) else operand, TYPE[dtype])


def _linspace_reference(
    *, shape: Ints, dtype: np.dtype, start: int, step: int, last: int, device: Device
) -> np.ndarray:
    operand = np.arange(shape[0], dtype=np.float64) * _f64(step) + _f64(start)
    operand[shape[0] - 1 :] = _f64(last)
    return np.floor(operand) if dt.is_int(dtype) else operand


LINSPACE = register(
    MapOp(
        "linspace",
        0,
        fresh,
        body=_linspace_body,
        params=("shape", "dtype", "start", "step", "last", "device"),
        reference=_linspace_reference,
        ulp=1.0,
        samples=no_inputs(
            {
                "shape": (9,),
                "dtype": dt.float32,
                "start": _f64_bits(-1),
                "step": _f64_bits(0.3),
                "last": _f64_bits(1.4),
            },
            {
                "shape": (1,),
                "dtype": dt.float64,
                "start": _f64_bits(2),
                "step": _f64_bits(1),
                "last": _f64_bits(2),
            },
            {
                "shape": (6,),
                "dtype": dt.int32,
                "start": _f64_bits(-3),
                "step": _f64_bits(1.25),
                "last": _f64_bits(3.5),
            },
        ),
        doc="start + i * step with a given last element.",
    )
)


@in_plain_floats
def real_linspace(
    start: float,
    stop: float,
    num: int,
    endpoint: bool,
    *,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """`num` evenly spaced numbers between two numbers."""
    count = operator.index(num)
    if count < 0:
        raise ShapeError(f"linspace: {count} samples")
    wanted = dt.canonical(dtype) if dtype is not None else dt.default_float
    parts = count - 1 if endpoint else count
    step, last = 0.0 if endpoint else float("nan"), float(start)
    if parts > 0:
        step = (float(stop) - float(start)) / parts
    if count > 1:
        last = float(stop) if endpoint else float(start) + step * (count - 1)
    return bind(
        LINSPACE,
        shape=(count,),
        dtype=wanted,
        start=_f64_bits(start),
        step=_f64_bits(step if count > 1 else 0.0),
        last=_f64_bits(last),
        device=to_device(device),
    )
