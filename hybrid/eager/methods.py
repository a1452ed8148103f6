"""Operators and methods of Tensor that are ops: the public function itself becomes the method.

Invariant: a method and the function of the same name are one object wherever their signatures
agree, so `x.exp()` and `hybrid.exp(x)` cannot differ.
"""

from __future__ import annotations

import inspect
import operator
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..core import dtypes as dt
from ..core.errors import DTypeError, HybridError
from ..core.floating import in_plain_floats
from ..core.spelling import METHODS, Missing
from ..ir.door import bind as door
from ..ir.door.guard import OF_LOOPS, guard_methods
from ..ir.tensor import Handle
from ..ops.base.surface import SURFACE, Public, public
from ..ops.indexing.getitem import getitem as _getitem
from . import shaping, transfer  # noqa: F401  (their methods are installed here)
from .making import move
from .tensor import Tensor
from .writing.overwrite import overwrite_item

__all__: list[str] = []

_SLOT: Any = type(object.__eq__)  # what a class has whose comparison is C code
_SEQUENCES = (Sequence, deque, memoryview, array)  # that numbers may be read from
# Python's operators that compare, and those that have a reflected and an in-place form
COMPARISONS = frozenset(("lt", "le", "gt", "ge", "eq", "ne"))
ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul")
IN_PLACE = frozenset((*ARITHMETIC, "and", "or", "xor", "lshift", "rshift"))


@public(hybrid=False, operator="invert")
def _invert(self: Any) -> Any:
    return (ops.logical_not if self._a.dtype is dt.bool_ else ops.bitwise_invert)(self)


@public(hybrid=False, operator="round")
def _round(self: Any, decimals: Any = None) -> Any:
    return round_to(self, 0 if decimals is None else decimals)


@public(hybrid=False, operator="trunc")
def _trunc(self: Any) -> int:
    return int(self)


@public(hybrid=False, operator="divmod")
def _divmod(self: Any, other: Any) -> Any:
    return ops.floor_divide(self, other), ops.remainder(self, other)


@public(hybrid=False, operator="rdivmod")
def _rdivmod(self: Any, other: Any) -> Any:
    return ops.floor_divide(other, self), ops.remainder(other, self)


def _operand(value: Any) -> bool:
    return isinstance(value, (Handle, bool, int, float, complex, list, tuple)) or hasattr(
        value, "__array__"
    )


def _reflected(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    op = getattr(function, "op", None)
    commutes = op is not None and op.has("commutative")

    def method(self: Tensor, other: Any) -> Any:
        if commutes and type(other) is float:
            return function(self, other)  # the quick side
        return function(other, self) if _operand(other) else NotImplemented

    return method


def _inplace(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def method(self: Tensor, other: Any) -> Any:
        return self._inplace(function(self, _of_kind(other)))

    return method


def _of_kind(other: Any) -> Any:
    """An operand of an in-place operation, which keeps the tensor's dtype: a NumPy scalar counts
    as the Python number it holds."""
    return float(other) if isinstance(other, np.floating) else other


def _comparison(
    function: Callable[..., Any], plain: Callable[[Any, Any], bool]
) -> Callable[[Any, Any], Any]:
    """A comparison operator; a Python integer outside the dtype's range
    compares as the number it is."""

    def method(self: Tensor, other: Any) -> Any:
        if not _operand(other):
            return _foreign(function, plain, self, other)
        if type(other) is int and not dt.can_hold(self._a.dtype, other):
            return ops.full(self._a.shape, plain(0, other), device=self._a.device)
        return function(self, other)

    return method


def _foreign(function: Any, plain: Any, tensor: Tensor, other: Any) -> Any:
    """Elements beside an object that is no number equal it nowhere, as NumPy says; a class that
    says itself what equals it is asked."""
    if plain not in (operator.eq, operator.ne) or type(type(other).__eq__) is not _SLOT:
        return NotImplemented
    if not isinstance(other, (str, bytes)) and isinstance(other, _SEQUENCES):
        return function(tensor, other)
    return ops.full(tensor._a.shape, plain is operator.ne, device=tensor._a.device)


@public(hybrid=False, method=("clone", "copy"))
def clone(self: Tensor) -> Tensor:
    """A tensor of its own with the same value; gradients flow through it.

    >>> import hybrid
    >>> x = hybrid.ones(2); y = x.clone(); y += 1
    >>> x.tolist(), y.tolist()
    ([1.0, 1.0], [2.0, 2.0])
    """
    return ops.clone(self)


@public(hybrid=False, method="round")
@in_plain_floats
def round_to(self: Any, decimals: int = 0) -> Tensor:
    """Rounded to a number of decimals,
    halves to even (NumPy's formula: scaled, rounded, scaled back).

    >>> import hybrid
    >>> x = hybrid.tensor([0.125, 2.5], dtype="float64")
    >>> x.round(2).tolist(), x.round().tolist()
    ([0.12, 2.5], [0.0, 2.0])
    """
    return ops.round(self, decimals)


@public(hybrid=False, method=True)
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """Elements converted to the dtype of another tensor.

    >>> import hybrid
    >>> hybrid.tensor([1.5, 2.5]).type_as(hybrid.arange(2)).tolist()
    [1, 2]
    """
    return door.convert(self, other._a.dtype)


@public(hybrid=False, method=True)
def index_select(self: Tensor, dim: int, index: Any) -> Tensor:
    """Slices at integer positions along an axis (PyTorch's order of `take`).

    Raises IndexOutOfRange for a position outside the axis.

    >>> import hybrid
    >>> hybrid.tensor([[1, 2, 3], [4, 5, 6]]).index_select(1, hybrid.tensor([2, 0])).tolist()
    [[3, 1], [6, 4]]
    """
    return ops.take(self, index, dim)


@public(hybrid=False, method=True)
def gather(self: Tensor, dim: int, index: Any) -> Tensor:
    """One element per position of `index` along an axis (PyTorch's order of `take_along_axis`).

    The result has the shape of `index`.  Raises IndexOutOfRange for a position outside the axis.

    >>> import hybrid
    >>> hybrid.tensor([[1, 2, 3], [4, 5, 6]]).gather(1, hybrid.tensor([[2], [0]])).tolist()
    [[3], [4]]
    """
    return ops.take_along_axis(self, index, dim)


@public(hybrid=False, method=True)
def masked_fill(self: Tensor, mask: Any, value: Any) -> Tensor:
    """`value` (a number, or a tensor that broadcasts) where mask is true, else this tensor.

    The result has this tensor's dtype, as in PyTorch.  Raises OverflowError for a number that the
    dtype cannot hold, ShapeError when shapes do not fit.

    >>> import hybrid
    >>> x = hybrid.tensor([1.0, 2.0], dtype="float16")
    >>> x.masked_fill(x > 1, float("-inf")).dtype.name
    'float16'
    """
    return ops.where(mask, door.store(value, self._a.dtype, self._a.device), self)


@public(hybrid=False, operator=True)
def getitem(self: Tensor, key: Any) -> Tensor:
    """NumPy indexing: integers, slices, None, ..., integer and boolean arrays.

    >>> import hybrid
    >>> x = hybrid.tensor([[1, 2, 3], [4, 5, 6]])
    >>> x[:, ::2].tolist(), x[x > 4].tolist(), x[..., None].shape
    ([[1, 3], [4, 6]], [5, 6], (2, 3, 1))
    """
    return _getitem(self, key)


@public(hybrid=False, operator=True)
def setitem(self: Tensor, key: Any, value: Any) -> None:
    """Give the handle a value in which the elements at `key` are replaced.

    >>> import hybrid
    >>> x = hybrid.zeros(4); x[1:3] = hybrid.tensor([1.0, 2.0]); x
    tensor([0., 1., 2., 0.])
    """
    if not overwrite_item(self, key, value):
        self._inplace(ops.setitem(self, key, value))


@public(hybrid=False, operator="delitem")
def _delitem(self: Tensor, key: Any) -> None:
    raise HybridError("elements of a tensor cannot be deleted; select the ones to keep")


@public(hybrid=False, method="zero_")
def _zero(self: Tensor) -> Tensor:
    """Take zeros as the new value; returns self.

    >>> import hybrid
    >>> hybrid.ones(2).zero_()
    tensor([0., 0.])
    """
    return _fill(self, 0)


@public(hybrid=False, method="fill_")
def _fill(self: Tensor, value: Any) -> Tensor:
    """Take one number everywhere as the new value; returns self.

    >>> import hybrid
    >>> hybrid.ones(2).fill_(3)
    tensor([3., 3.])
    """
    return self._inplace(ops.full_like(self, value))


@public(hybrid=False, method="copy_")
def _copy(self: Tensor, other: Any) -> Tensor:
    """Take another tensor's elements (broadcast, cast, moved to this device); gradients follow.

    Returns self.  Raises ShapeError where the shapes do not fit.

    >>> import hybrid
    >>> hybrid.zeros(3).copy_(hybrid.tensor([7]))
    tensor([7., 7., 7.])
    """
    stored = door.store(other, self._a.dtype, self._a.device)
    if stored._a.device is not self._a.device:
        stored = move(stored, self._a.device)
    return self._inplace(
        ops.broadcast_to(stored, self._a.shape)
        if stored._a.shape != self._a.shape
        else ops.clone(stored)
    )


# methods named after a dtype
CONVERSIONS = {
    "float": dt.float32,
    "double": dt.float64,
    "half": dt.float16,
    "bfloat16": dt.bfloat16,
    "long": dt.int64,
    "int": dt.int32,
    "bool": dt.bool_,
}


def _install(row: Public) -> None:
    """Give Tensor what one row of the surface says."""
    function = vars(ops)[row.name] if row.hybrid else row.function
    for name in row.method:
        setattr(Tensor, name, function)
    for name in row.inplace:
        setattr(Tensor, name, _inplace_method(name, function))
    for name in row.operator:
        if name in COMPARISONS:
            function = _comparison(function, getattr(operator, name))
        setattr(Tensor, f"__{name}__", function)
        if name in IN_PLACE:
            setattr(Tensor, f"__r{name}__", _reflected(function))
            setattr(Tensor, f"__i{name}__", _inplace(function))


def _install_rest() -> None:
    """What no row says: names of dtypes, and properties."""
    for name, dtype in CONVERSIONS.items():
        setattr(Tensor, name, _conversion(name, dtype))
    for name, get, doc in (
        (
            "T",
            lambda tensor: ops.permute_dims(tensor, tuple(range(tensor._a.ndim))[::-1]),
            "Axes reversed.\n\n>>> import hybrid\n>>> hybrid.zeros((2, 3, 4)).T.shape\n(4, 3, 2)\n",
        ),
        (
            "mT",
            ops.matrix_transpose,
            "The last two axes swapped.\n\n"
            ">>> import hybrid\n>>> hybrid.zeros((2, 3, 4)).mT.shape\n(2, 4, 3)\n",
        ),
    ):
        setattr(Tensor, name, property(get, doc=doc))
    setattr(Tensor, "real", property(ops.real, _set_real, doc=_part_doc("real", 1.0)))  # noqa: B010
    setattr(Tensor, "imag", property(ops.imag, _set_imag, doc=_part_doc("imag", 2.0)))  # noqa: B010


def _part_doc(name: str, shown: float) -> str:
    return (
        f"The {name} part, as `hybrid.{name}`; assigning writes it.\n\n"
        f">>> import hybrid\n>>> hybrid.tensor(1 + 2j).{name}\ntensor({shown:g}.)\n"
    )


def _set_real(self: Tensor, value: Any) -> None:
    ops.real(self).assign(value)


def _set_imag(self: Tensor, value: Any) -> None:
    if not dt.is_complex(self._a.dtype):
        raise DTypeError("a real tensor has no imaginary part to write")
    ops.imag(self).assign(value)


def _install_hints() -> None:
    """Names that other libraries' arrays have and a Tensor has not."""
    for name, instead in METHODS.items():
        if not hasattr(Tensor, name):
            setattr(Tensor, name, Missing("Tensor", name, instead))
    known = [n for n in dir(Tensor) if hasattr(Tensor, n)]
    setattr(Tensor, "__dir__", lambda self: list(known))  # noqa: B010  (a type's own slot)


def _named(method: Callable[..., Any], name: str, doc: str) -> Callable[..., Any]:
    method.__name__, method.__qualname__, method.__doc__ = name, f"Tensor.{name}", doc
    return method


def _inplace_method(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self._inplace(
            function(self, *map(_of_kind, args), **{k: _of_kind(v) for k, v in kwargs.items()})
        )

    return _named(method, name, _inplace_doc(name, function))


_INPLACE_DOC = """`{own}` whose result this tensor takes; returns self.

Raises HybridError for a leaf that requires a gradient, ShapeError or DTypeError where the result
is of another shape or of a dtype that does not fit this one.

>>> import hybrid
>>> x = hybrid.tensor([1.0, 4.0])
>>> new = hybrid.{own}({call})
>>> x.{name}({rest}) is x, x.tolist() == new.tolist()
(True, True)
"""


def _inplace_doc(name: str, function: Callable[..., Any]) -> str:
    """The docstring of an in-place method: its example has a number for each other operand."""
    operands = [
        p
        for p in inspect.signature(function).parameters.values()
        if p.kind < p.VAR_POSITIONAL and p.name not in OF_LOOPS
    ]
    given = ["2.0", "3.0"][: max(len(operands) - 1, 0)]
    own = function.__name__
    return _INPLACE_DOC.format(
        own=own, name=name, call=", ".join(["x", *given]), rest=", ".join(given)
    )


_CONVERSION_DOC = """Elements as {dtype}; this tensor where it has that dtype.

>>> import hybrid
>>> hybrid.tensor([0, 2], dtype="uint8").{name}().dtype.name
'{dtype}'
"""


def _conversion(name: str, dtype: np.dtype) -> Callable[..., Any]:
    doc = _CONVERSION_DOC.format(dtype=dtype.name, name=name)
    return _named(lambda self: door.convert(self, dtype), name, doc)


for _row in SURFACE:
    _install(_row)
_install_rest()
_install_hints()
guard_methods(Tensor, "x")
