"""Operators and methods of Tensor that are ops: the public function itself becomes the method.

Invariant: a method and the function of the same name are one object wherever their signatures
agree, so `x.exp()` and `hybrid.exp(x)` cannot differ.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import ops
from ..core import dtypes as dt
from ..core.errors import HybridError, ShapeError, UnsupportedError
from ..core.floating import in_plain_floats
from ..core.spelling import METHODS, Missing
from ..ir.door import bind as door
from ..ir.door.guard import guard_methods
from ..ir.tensor import Handle
from ..ops.indexing.getitem import getitem as _getitem
from .tensor import Tensor

__all__ = ["SAME_NAME"]

OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "matmul": "matmul",
    "and": "_and",
    "or": "_or",
    "xor": "_xor",
    "lshift": "bitwise_left_shift",
    "rshift": "bitwise_right_shift",
}
COMPARISONS = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
# functions whose first argument is the tensor
SAME_NAME = (
    "abs",
    "acos",
    "acosh",
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "argsort",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "broadcast_to",
    "ceil",
    "chunk",
    "clip",
    "cos",
    "cosh",
    "count_nonzero",
    "cumulative_sum",
    "diagonal",
    "exp",
    "exp2",
    "expand_dims",
    "expm1",
    "flatten",
    "flip",
    "floor",
    "isfinite",
    "isinf",
    "isnan",
    "log",
    "log10",
    "log1p",
    "log2",
    "log_softmax",
    "logical_not",
    "logsumexp",
    "max",
    "mean",
    "min",
    "moveaxis",
    "nonzero",
    "norm",
    "prod",
    "reciprocal",
    "relu",
    "repeat",
    "roll",
    "rsqrt",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "sinh",
    "softmax",
    "sort",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "std",
    "sum",
    "swapaxes",
    "take",
    "take_along_axis",
    "tan",
    "tanh",
    "tile",
    "topk",
    "tril",
    "triu",
    "trunc",
    "unstack",
    "var",
    "where",
    "erf",
    "gelu",
    "softplus",
    "outer",
)


def _logical_or_bitwise(name: str) -> Callable[[Any, Any], Any]:
    """`&`, `|`, `^`: logical on bool tensors, bitwise on integers."""

    def method(x: Any, y: Any) -> Any:
        t = x if isinstance(x, Handle) else y
        return getattr(ops, ("logical_" if t._a.dtype is dt.bool_ else "bitwise_") + name)(x, y)

    return method


_SPECIAL = {
    "_and": _logical_or_bitwise("and"),
    "_or": _logical_or_bitwise("or"),
    "_xor": _logical_or_bitwise("xor"),
}


def _operand(x: Any) -> bool:
    return isinstance(x, (Handle, bool, int, float, list, tuple)) or hasattr(x, "__array__")


def _reflected(f: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    op = getattr(f, "op", None)
    commutes = op is not None and op.has("commutative")

    def method(self: Tensor, other: Any) -> Any:
        if commutes and type(other) is float:
            return f(self, other)  # the quick side
        return f(other, self) if _operand(other) else NotImplemented

    return method


def _inplace(f: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def method(self: Tensor, other: Any) -> Any:
        return self._inplace(f(self, _of_kind(other)))

    return method


def _of_kind(other: Any) -> Any:
    """An operand of an in-place operation, which keeps the tensor's dtype: a NumPy scalar counts
    as the Python number it holds."""
    return float(other) if isinstance(other, np.floating) else other


def _comparison(
    f: Callable[..., Any], plain: Callable[[Any, Any], bool]
) -> Callable[[Any, Any], Any]:
    """A comparison operator; a Python integer outside the dtype's range
    compares as the number it is."""

    def method(self: Tensor, other: Any) -> Any:
        if not _operand(other):
            return NotImplemented
        if type(other) is int and not dt.can_hold(self._a.dtype, other):
            return ops.full(self._a.shape, plain(0, other), device=self._a.device)
        return f(self, other)

    return method


def _install_operators() -> None:
    for name, op in OPERATORS.items():
        f = _SPECIAL.get(op) or getattr(ops, op)
        setattr(Tensor, f"__{name}__", f)
        setattr(Tensor, f"__r{name}__", _reflected(f))
        setattr(Tensor, f"__i{name}__", _inplace(f))
    for name, op in COMPARISONS.items():
        setattr(Tensor, f"__{name}__", _comparison(getattr(ops, op), getattr(operator, name)))
    for name, method in {
        "neg": ops.negative,
        "pos": ops.positive,
        "abs": ops.abs,
        "invert": lambda self: (
            ops.logical_not if self._a.dtype is dt.bool_ else ops.bitwise_invert
        )(self),
        "round": lambda self, n=None: round_to(self, n or 0),
        "divmod": lambda self, other: (ops.floor_divide(self, other), ops.remainder(self, other)),
        "rdivmod": lambda self, other: (ops.floor_divide(other, self), ops.remainder(other, self)),
    }.items():
        setattr(Tensor, f"__{name}__", method)


def _shape_of(args: tuple[Any, ...]) -> Any:
    return args[0] if len(args) == 1 and not hasattr(args[0], "__index__") else args


def reshape(self: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape; one size may be -1."""
    return ops.reshape(self, _shape_of(shape))


def view(self: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape (`reshape`); one size may be -1."""
    if shape and isinstance(shape[0], (np.dtype, type)):
        raise UnsupportedError(
            "x.view(dtype) would read bits as another dtype: convert values with x.astype(dtype), "
            "or take the bits with hybrid.asarray(x.numpy().view(dtype))"
        )
    return ops.reshape(self, _shape_of(shape))


def permute(self: Tensor, *axes: Any) -> Tensor:
    """Axes in another order."""
    return ops.permute_dims(self, _shape_of(axes))


def transpose(self: Tensor, *axes: Any) -> Tensor:
    """Two axes swapped (PyTorch), all axes reversed (no argument), or any order (a sequence)."""
    if len(axes) == 1:
        return permute(self, axes[0])
    if len(axes) == 2:
        return ops.swapaxes(self, *axes)
    return permute(self, *(axes or range(self._a.ndim)[::-1]))


def astype(self: Tensor, dtype: Any, *, copy: bool = True) -> Tensor:
    """Elements converted to another dtype, in a tensor of its own; float to int truncates and
    saturates.  With copy=False (and `to`) a tensor that has the dtype is returned as it is."""
    out = door.convert(self, dt.canonical(dtype))
    return ops.clone(out) if copy and out is self else out


def clone(self: Tensor) -> Tensor:
    """A tensor of its own with the same value; gradients flow through it."""
    return ops.clone(self)


@in_plain_floats
def round_to(self: Any, decimals: int = 0) -> Tensor:
    """Rounded to a number of decimals,
    halves to even (NumPy's formula: scaled, rounded, scaled back)."""
    n = operator.index(decimals)
    if not n or (n > 0 and not dt.is_float(self._a.dtype)):
        return ops.round(self)
    scale = 10.0 ** abs(n)
    out = ops.round(self * scale) / scale if n > 0 else ops.round(self / scale) * scale
    return out if dt.is_float(self._a.dtype) else astype(out, self._a.dtype)


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """Elements converted to the dtype of another tensor."""
    return door.convert(self, other._a.dtype)


def index_select(self: Tensor, dim: int, index: Any) -> Tensor:
    """Slices at integer positions along an axis (PyTorch's order of `take`)."""
    return ops.take(self, index, dim)


def gather(self: Tensor, dim: int, index: Any) -> Tensor:
    """One element per position of `index` along an axis (PyTorch's order of `take_along_axis`)."""
    return ops.take_along_axis(self, index, dim)


def unsqueeze(self: Tensor, dim: int) -> Tensor:
    """A new axis of size 1 (PyTorch's name of expand_dims)."""
    return ops.expand_dims(self, dim)


def expand(self: Tensor, *sizes: Any) -> Tensor:
    """Broadcast to a shape; -1 keeps a size."""
    want = tuple(_shape_of(sizes))
    pad = len(want) - self._a.ndim
    if pad < 0:
        raise ShapeError(f"expand: {want} has fewer axes than {self._a.shape}")
    return ops.broadcast_to(
        self, tuple(self._a.shape[i - pad] if d == -1 else d for i, d in enumerate(want))
    )


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


def getitem(self: Tensor, key: Any) -> Tensor:
    """NumPy indexing: integers, slices, None, ..., integer and boolean arrays."""
    return _getitem(self, key)


def setitem(self: Tensor, key: Any, value: Any) -> None:
    """Give the handle a value in which the elements at `key` are replaced."""
    self._inplace(ops.setitem(self, key, value))


def _delitem(self: Tensor, key: Any) -> None:
    raise HybridError("elements of a tensor cannot be deleted; select the ones to keep")


def _ravel(self: Tensor) -> Tensor:
    """All elements as one axis."""
    return ops.flatten(self)


def _contiguous(self: Tensor) -> Tensor:
    """This tensor: how a value lies in memory is nothing that code can see."""
    return self


def _zero(self: Tensor) -> Tensor:
    """Take zeros as the new value; returns self."""
    return _fill(self, 0)


def _fill(self: Tensor, value: Any) -> Tensor:
    """Take one number everywhere as the new value; returns self."""
    return self._inplace(ops.full_like(self, value))


def _copy(self: Tensor, other: Any) -> Tensor:
    """Take another tensor's elements (broadcast, cast); gradients follow."""
    v = door.store(other, self._a.dtype, self._a.device)
    return self._inplace(
        ops.broadcast_to(v, self._a.shape) if v._a.shape != self._a.shape else ops.clone(v)
    )


# methods that differ from the function of their name, or have none
FUNCTIONS = {
    "reshape": reshape,
    "view": view,
    "permute": permute,
    "permute_dims": permute,
    "transpose": transpose,
    "astype": astype,
    "type": astype,
    "clone": clone,
    "copy": clone,
    "unsqueeze": unsqueeze,
    "expand": expand,
    "masked_fill": masked_fill,
    "__getitem__": getitem,
    "__setitem__": setitem,
    "__delitem__": _delitem,
    "round": round_to,
    "type_as": type_as,
    "index_select": index_select,
    "gather": gather,
    "fill_": _fill,
    "zero_": _zero,
    "ravel": _ravel,
    "contiguous": _contiguous,
    "copy_": _copy,
}
# other names of ops (PyTorch's, NumPy's)
OP_NAMES = {
    "add": "add",
    "sub": "subtract",
    "subtract": "subtract",
    "mul": "multiply",
    "multiply": "multiply",
    "div": "divide",
    "divide": "divide",
    "pow": "power",
    "matmul": "matmul",
    "mm": "matmul",
    "bmm": "matmul",
    "dot": "matmul",
    "maximum": "maximum",
    "minimum": "minimum",
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "neg": "negative",
}
# PyTorch's methods that write their tensor
INPLACE = {
    "add_": "add",
    "sub_": "subtract",
    "mul_": "multiply",
    "div_": "divide",
    "pow_": "power",
    "clamp_": "clip",
    "exp_": "exp",
    "neg_": "negative",
    "relu_": "relu",
}
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


def _install_methods() -> None:
    for name in SAME_NAME:
        setattr(Tensor, name, getattr(ops, name))
    for name, f in FUNCTIONS.items():
        setattr(Tensor, name, f)
    for name, op in OP_NAMES.items():
        setattr(Tensor, name, getattr(ops, op))
    for name, op in INPLACE.items():
        setattr(Tensor, name, _inplace_method(name, getattr(ops, op)))
    for name, d in CONVERSIONS.items():
        setattr(Tensor, name, _conversion(name, d))
    Tensor.clamp = ops.clip
    Tensor.cumsum = ops.cumulative_sum
    Tensor.unbind = ops.unstack
    Tensor.T = property(
        lambda self: ops.permute_dims(self, tuple(range(self._a.ndim))[::-1]), doc="Axes reversed."
    )
    Tensor.mT = property(ops.matrix_transpose, doc="The last two axes swapped.")


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


def _inplace_method(name: str, f: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self._inplace(
            f(self, *map(_of_kind, args), **{k: _of_kind(v) for k, v in kwargs.items()})
        )

    return _named(method, name, f"`{f.__name__}` whose result this tensor takes; returns self.")


def _conversion(name: str, d: np.dtype) -> Callable[..., Any]:
    return _named(lambda self: door.convert(self, d), name, f"Elements as {d.name}.")


_install_operators()
_install_methods()
_install_hints()
guard_methods(Tensor, "x")
