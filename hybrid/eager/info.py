"""Questions about dtypes, shapes and the library: what the array API standard asks for beside ops.

Invariant: answers are those the operators use, weak Python scalars included.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from ..core import dtypes as dt
from ..core import shapes
from ..core.aval import HOST, Device
from ..core.aval import device as to_device
from ..core.errors import ArgumentError, DeviceError, DTypeError
from ..core.spelling import ACCELERATOR
from ..ir.door.bind import backend_of
from ..ir.door.foreign import is_number, number_dtype
from ..ir.tensor import Handle

__all__ = [
    "NamespaceInfo",
    "broadcast_shapes",
    "can_cast",
    "finfo",
    "iinfo",
    "isdtype",
    "namespace_info",
    "promote_types",
    "result_type",
]


def _dtype(value: Any) -> np.dtype:
    if isinstance(value, Handle):
        return value._a.dtype
    return dt.canonical(value if isinstance(value, type) else getattr(value, "dtype", value))


class Limits:
    """Limits of a floating dtype as Python numbers, which are weak beside tensors; `bits`, `eps`,
    `max`, `min`, `smallest_normal`, `dtype`, and NumPy's others."""

    __slots__ = ("_limits",)

    def __init__(self, dtype: np.dtype) -> None:
        self._limits = ml_dtypes.finfo(dtype)

    def __getattr__(self, name: str) -> Any:
        value = getattr(object.__getattribute__(self, "_limits"), name)
        return float(value) if isinstance(value, np.generic) else value

    @property
    def dtype(self) -> np.dtype:
        """The dtype whose limits these are."""
        return dt.canonical(self._limits.dtype)

    def __repr__(self) -> str:
        names = ("bits", "eps", "max", "min", "smallest_normal")
        shown = ", ".join(f"{name}={getattr(self, name)}" for name in names)
        return f"finfo({shown}, dtype={self.dtype.name})"


def finfo(type: Any, /) -> Limits:
    """Limits (`.max`, `.min`, `.eps`, `.smallest_normal`, `.bits`, `.dtype`, ...) of a floating
    dtype (IEEE 754; bfloat16: float32 with 7 bits of fraction), or of a tensor's; Python floats.
    Those of a complex dtype are its parts'.

    Raises DTypeError for other dtypes.

    >>> import hybrid
    >>> hybrid.finfo("bfloat16").eps, hybrid.finfo(hybrid.float32).bits
    (0.0078125, 32)
    """
    target = dt.real_of(_dtype(type))
    if not dt.is_float(target):
        raise DTypeError(f"finfo takes a floating dtype, not {target.name}; use iinfo")
    return Limits(target)


def iinfo(type: Any, /) -> Any:
    """Limits (`.max`, `.min`, `.bits`, `.dtype`) of an integer dtype, or of a tensor's.

    Raises DTypeError for other dtypes.

    >>> import hybrid
    >>> hybrid.iinfo("int8").max
    127
    """
    target = _dtype(type)
    if not dt.is_int(target):
        raise DTypeError(f"iinfo takes an integer dtype, not {target.name}; use finfo")
    return np.iinfo(target)


def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    """The dtype an operator would compute tensors, dtypes and Python numbers in (array API's
    promotion, with weak Python numbers).

    Raises DTypeError without an argument, and for integers that have no common dtype (uint64 with a
    signed one).

    >>> import hybrid
    >>> hybrid.result_type("float16", 2.5).name, hybrid.result_type("int32", 2.5).name
    ('float16', 'float32')
    """
    numbers = [x for x in arrays_and_dtypes if is_number(x)]
    others = [_dtype(x) for x in arrays_and_dtypes if not is_number(x)]
    if not others:
        others = [number_dtype(number) for number in numbers[:1]]
    if not others:
        raise DTypeError("result_type takes at least one tensor, dtype or number")
    promoted = others[0]
    for other in others[1:]:
        promoted = dt.promote(promoted, other)
    for number in numbers:
        promoted = dt.weak(promoted, number)
    return promoted


# the letters of NumPy's kinds that the standard's names stand for; bfloat16's letter is V
_KINDS = {
    "bool": "b",
    "signed integer": "i",
    "unsigned integer": "u",
    "integral": "iu",
    "real floating": "fV",
    "complex floating": "c",
    "numeric": "iufVc",
}


def _of_kind(dtype: np.dtype, kind: str) -> bool:
    if kind not in _KINDS:
        raise ArgumentError(f"{kind!r} is no kind of dtype; kinds are {', '.join(_KINDS)}")
    return dtype.kind in _KINDS[kind]


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind: a name of the standard ("bool", "signed integer", "unsigned
    integer", "integral", "real floating", "complex floating", "numeric"), a dtype, or a tuple of
    these, of which one has to hold.

    Raises ArgumentError for another name.

    >>> import hybrid
    >>> hybrid.isdtype(hybrid.int8, "integral"), hybrid.isdtype(hybrid.int8, hybrid.int16)
    (True, False)
    >>> hybrid.isdtype(hybrid.bfloat16, ("bool", "real floating"))
    True
    """
    own = dt.canonical(dtype)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return any([_of_kind(own, k) if isinstance(k, str) else own is dt.canonical(k) for k in kinds])


def can_cast(from_: Any, to: Any, /, casting: str = "safe") -> bool:
    """Whether a dtype, or a tensor's, can be converted to another by NumPy's rule of that name:
    'no', 'equiv', 'safe' (no value is lost), 'same_kind' or 'unsafe'.

    Raises DTypeError for a Python number, whose dtype is that of its partner.

    >>> import hybrid
    >>> hybrid.can_cast("int8", "int16"), hybrid.can_cast(hybrid.zeros(2), "int64")
    (True, False)
    """
    if is_number(from_):
        raise DTypeError("can_cast takes a dtype or a tensor: the dtype of a number is its use's")
    return dt.casts(_dtype(from_), dt.canonical(to), casting)


def broadcast_shapes(*shapes_: Any) -> tuple[int, ...]:
    """The shape that shapes (tuples of int, or ints) broadcast to; () for none.

    Raises ShapeError, a ValueError, where they do not broadcast.

    >>> import hybrid
    >>> hybrid.broadcast_shapes((3, 1), (4,), 1)
    (3, 4)
    """
    return shapes.broadcast_shapes("broadcast_shapes", *map(shapes.as_shape, shapes_))


# ---- the namespace
_STANDARD = frozenset(d.name for d in dt.ALL if d.kind in "biuc" or d in (dt.float32, dt.float64))


class NamespaceInfo:
    """What the library can do, as the array API standard asks for it.

    >>> import hybrid
    >>> hybrid.__array_namespace_info__().default_dtypes()["real floating"].name
    'float32'
    """

    __module__ = "hybrid"

    def capabilities(self) -> dict[str, Any]:
        """Masks as indices, results whose shapes depend on the data, and most axes.

        >>> import hybrid
        >>> hybrid.__array_namespace_info__().capabilities()["max dimensions"]
        64
        """
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        """Where tensors are made when no device is named.

        >>> import hybrid
        >>> hybrid.__array_namespace_info__().default_device()
        cpu
        """
        return HOST

    def devices(self) -> tuple[Device, ...]:
        """All devices of this machine.

        >>> import hybrid
        >>> hybrid.__array_namespace_info__().devices()[0]
        cpu
        """
        try:
            cards = backend_of(to_device(ACCELERATOR)).count()
        except DeviceError:
            cards = 0
        return (HOST, *[to_device(f"{ACCELERATOR}:{number}") for number in range(cards)])

    def default_dtypes(self, *, device: Any = None) -> dict[str, np.dtype]:
        """The dtypes of Python numbers without a partner, and of positions.

        >>> import hybrid
        >>> hybrid.__array_namespace_info__().default_dtypes()["indexing"].name
        'int64'
        """
        to_device(device)
        pairs = {"complex64": "complex floating"}
        found = {pairs[d.name]: d for d in dt.ALL if d.name in pairs}
        floats, whole = {"real floating": dt.default_float}, dt.default_int
        return {**floats, **found, "integral": whole, "indexing": whole}

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, np.dtype]:
        """The standard's dtypes of a kind (see `isdtype`), or of all kinds, by name.

        >>> import hybrid
        >>> list(hybrid.__array_namespace_info__().dtypes(kind="real floating"))
        ['float32', 'float64']
        """
        to_device(device)
        every = {d.name: d for d in dt.ALL if d.name in _STANDARD}
        return {n: d for n, d in every.items() if kind is None or isdtype(d, kind)}


def namespace_info() -> NamespaceInfo:
    """What the library can do: `hybrid.__array_namespace_info__()`.

    >>> import hybrid
    >>> hybrid.__array_namespace_info__().default_device()
    cpu
    """
    return NamespaceInfo()


def promote_types(type1: Any, type2: Any) -> np.dtype:
    """The dtype that tensors of two dtypes are computed in: `result_type` of two dtypes.

    Raises DTypeError for integers that have no common dtype (uint64 with a signed one).

    >>> import hybrid
    >>> hybrid.promote_types("int8", "uint8").name, hybrid.promote_types("int64", "float32").name
    ('int16', 'float32')
    """
    return dt.promote(dt.canonical(type1), dt.canonical(type2))
