"""What the parameters of public functions take, and who is to blame when a call fails.

Invariant: nothing here runs unless a call has failed already; a value that a function takes is
never blamed, so a wrong table makes a message vaguer and nothing else.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST
from ...core.aval import device as to_device
from ...core.errors import value_text
from ..tensor import Handle
from .bind import as_tensor

__all__ = ["blame", "described", "takes"]


_MANY = 1 << 16  # items that a list of arguments can have


class Kind(NamedTuple):
    """A kind of argument: whether a value is of it, and how a message names it."""

    fits: Callable[[Any], Any]
    text: str


def _fits(test: Callable[[Any], Any]) -> Callable[[Any], bool]:
    def safe(value: Any) -> bool:
        try:
            return bool(test(value))
        except Exception:  # a value that cannot even be asked does not fit
            return False

    return safe


def _whole(value: Any) -> bool:
    operator.index(value)
    return -(2**63) <= operator.index(value) < 2**63


def _number(value: Any) -> bool:
    single = isinstance(value, (int, float, np.floating, np.integer, np.bool_))
    return single or (
        hasattr(value, "__float__") and np.size(value) == 1 and not isinstance(value, (str, bytes))
    )


def _several(test_one: Callable[[Any], Any]) -> Callable[[Any], bool]:
    def test(value: Any) -> bool:
        ordered = not isinstance(value, (str, bytes, Iterator, Mapping, set, frozenset, type))
        return ordered and len(value) < _MANY and all(test_one(v) for v in value)

    return test


def _wholes(value: Any) -> bool:
    return _whole(value) if hasattr(value, "__index__") else _several(_wholes)(value)


def _array(value: Any) -> bool:
    if isinstance(value, (Mapping, Iterator, set, type)) or (
        isinstance(value, range) and len(value) >= _MANY
    ):
        return False
    return as_tensor(value) is not None


def _truth(value: Any) -> bool:
    return bool(value) in (True, False)


TENSOR = Kind(_fits(_array), "a tensor, or an array, list or number that makes one")
WHOLE = Kind(_fits(_whole), "an int (of 64 bits)")
NUMBER = Kind(_fits(_number), "a number")
WHOLES = Kind(_fits(_wholes), "an int or a tuple of ints")
TEXT = Kind(_fits(lambda value: isinstance(value, str)), "a string")
CALLABLE = Kind(callable, "a function")
FLAG = Kind(_fits(_truth), "True or False")
DTYPE = Kind(_fits(dt.canonical), "a dtype such as hybrid.float32")
DEVICE = Kind(_fits(to_device), f"a device such as {HOST.name!r}")
GENERATOR = Kind(_fits(lambda value: callable(getattr(value, "draw", None))), "a hybrid.Generator")
TENSORS = Kind(_fits(_several(_array)), "a list or tuple of tensors")
PAIR = Kind(_fits(lambda value: _several(_number)(value) and len(value) == 2), "a pair of numbers")
MAPPING = Kind(_fits(lambda value: isinstance(value, Mapping)), "a dict")
PADDING = Kind(
    _fits(lambda value: isinstance(value, str) or _wholes(value)), "an int, ints, or a name"
)
REDUCTION = Kind(_fits(lambda value: value in ("mean", "sum", "none")), "'mean', 'sum' or 'none'")
KEY = Kind(lambda value: True, "an index")

# by annotation
_ANNOTATED = {
    "Tensor": TENSOR,
    "int": WHOLE,
    "float": NUMBER,
    "str": TEXT,
    "bool": FLAG,
    "Axis": WHOLES,
    "Generator": GENERATOR,
    "Sequence[Tensor]": TENSORS,
    "Sequence[int]": WHOLES,
    "Callable[..., Any]": CALLABLE,
    "tuple[float, float]": PAIR,
    "int | Sequence[int]": WHOLES,
    "dict[str, Any]": MAPPING,
}
# by name, where the annotation says nothing
_ARRAYS = """x y a b q v target weight index indices values mask source attn_mask pos_weight prepend
append test p mean std low high min max other value fill_value data state gradient"""
_SIZES = """axis axes shape size sizes kernel_size stride dilation output_padding output_size shift
normalized_shape destination pad_width reps repeats indices_or_sections kernel"""
_NUMBERS = "start stop step beta alpha eps lr"
_NAMED = {
    **dict.fromkeys(_ARRAYS.split(), TENSOR),
    **dict.fromkeys(_SIZES.split(), WHOLES),
    **dict.fromkeys(_NUMBERS.split(), NUMBER),
    "padding": PADDING,
    "dtype": DTYPE,
    "device": DEVICE,
    "generator": GENERATOR,
    "fn": CALLABLE,
    "xs": TENSORS,
    "reduction": REDUCTION,
}
_EITHER = {"key": KEY, "reduction": REDUCTION}


def takes(name: str, annotation: Any) -> Kind | None:
    """What a parameter takes, as far as is known."""
    if name in _EITHER:
        return _EITHER[name]
    message = annotation if isinstance(annotation, str) else ""
    return _ANNOTATED.get(message.removesuffix(" | None")) or _NAMED.get(name)


def described(value: Any) -> str:
    """A short text for a value in a message."""
    if isinstance(value, Handle):
        aval = value._a
        return (
            f"a tensor {aval}"
            if aval.ndim <= 8
            else f"a {aval.dtype.name} tensor of {aval.ndim} axes"
        )
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return value_text(value)
    if isinstance(value, np.ndarray):
        return f"an array of {_dtype_text(value.dtype)} with shape {value.shape}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if type(value) in (tuple, list) and len(value) <= 4:
        inner = ", ".join(v.__class__.__name__ if _deep(v) else described(v) for v in value)
        return f"({inner})" if type(value) is tuple else f"[{inner}]"
    return f"an object of type {type(value).__name__}"


def _deep(value: Any) -> bool:
    return isinstance(value, (tuple, list, dict, set))


def _dtype_text(dtype: np.dtype) -> str:
    return (
        "named fields"
        if dtype.names
        else {"O": "Python objects", "U": "text"}.get(dtype.kind, dtype.name)
    )


def _loops(value: Any, above: tuple[int, ...] = ()) -> bool:
    """Whether a list contains itself (or nests deeper than any array)."""
    if not isinstance(value, (list, tuple)):
        return False
    if id(value) in above or len(above) > 64:
        return True
    return any(_loops(v, (*above, id(value))) for v in value[:64])


def blame(
    given: Mapping[str, Any], annotations: Mapping[str, Any], defaults: Mapping[str, Any]
) -> str | None:
    """`axis is 'a': it takes an int` for the first argument that is not what its parameter takes,
    or None when each is by itself."""
    for name, value in given.items():
        starred = name.startswith("*")
        if _loops(value):
            return f"{name.lstrip('*')} is a list that contains itself or nests too deeply"
        bare = name.lstrip("*")
        if (
            name.startswith("**")
            or name == "self"
            or (bare in defaults and value is defaults[bare])
        ):
            continue
        kind = takes(bare, annotations.get(bare))
        if kind is None:
            continue
        for item in value if starred else (value,):
            if not (kind.fits(item) or (value is None and _optional(annotations.get(bare)))):
                return f"{bare} is {described(item)}: it takes {kind.text}"
    return None


def _optional(annotation: Any) -> bool:
    return isinstance(annotation, str) and (
        annotation.endswith("| None") or annotation in ("Any", "Axis")
    )
