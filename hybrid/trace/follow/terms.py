"""Numbers that a recorded call computes from others: what was read, and the arithmetic on it.

Invariant: a term only uses Python's own operators on exact ints, floats and bools, so evaluating it
again with other numbers gives what the program would have computed, or raises what it would have
raised.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

__all__ = [
    "Load",
    "argument",
    "Length",
    "HostRead",
    "HostCall",
    "Made",
    "NumberTable",
    "WrittenArray",
    "Constant",
    "Operation",
    "Collection",
    "Live",
    "frozen",
    "Term",
    "Symbol",
    "BUILTINS",
    "MATH",
    "CLASSES",
    "OPERATORS",
    "NUMBERS",
    "is_number",
    "operation",
    "apply",
    "parts",
    "kind_of",
    "size",
    "MAX_TERM",
    "AT",
    "NO_START",
    "NO_STOP",
    "NEVER_RAISE",
    "may_differ",
    "may_raise",
    "plain_form",
    "positive",
    "small",
]

NUMBERS = (int, float, bool)
MAX_TERM = 40  # operations in one term
Symbol: TypeAlias = Literal[
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "&",
    "|",
    "^",
    "<<",
    ">>",
    "<",
    "<=",
    "==",
    "!=",
    ">",
    ">=",
    "neg",
    "not",
    "abs",
    "min",
    "max",
    "int",
    "float",
    "bool",
    "round",
    "sqrt",
    "exp",
    "expm1",
    "log",
    "log1p",
    "log2",
    "log10",
    "pow",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "atan2",
    "sinh",
    "cosh",
    "tanh",
    "hypot",
    "floor",
    "ceil",
    "trunc",
    "fabs",
    "copysign",
    "fmod",
    "radians",
    "degrees",
    "isfinite",
    "isinf",
    "isnan",
    "is_integer",
    "erf",
    "start",
    "int_entry",
    "float_entry",
]
# builtins that compute with numbers
BUILTINS: dict[Symbol, Callable[..., Any]] = {
    "abs": abs,
    "min": min,
    "max": max,
    "int": int,
    "float": float,
    "bool": bool,
    "round": round,
}
# functions of the standard library that compute with numbers
_MATH = """sqrt exp expm1 log log1p log2 log10 pow sin cos tan asin acos atan atan2 sinh cosh tanh
    hypot floor ceil trunc fabs copysign fmod radians degrees isfinite isinf isnan erf"""
MATH: dict[Symbol, Callable[..., Any]] = {
    name: getattr(math, name)  # type: ignore[misc]
    for name in _MATH.split()
}
MATH["is_integer"] = float.is_integer
CLASSES: tuple[Symbol, ...] = ("isfinite", "isinf", "isnan", "is_integer")  # truths of one float
NO_START, NO_STOP, AT = 1, 2, 4  # forms of an index: bounds that a slice lacks; an int


def start(extent: int, size: int, form: int, first: int, last: int, stride: int) -> int:
    """Where the box of an int or slice begins on an axis; IndexError unless it has this size."""
    if form == AT:
        if -extent <= first < extent:
            return first % extent
        raise IndexError(first)
    bounds = None if form & NO_START else first, None if form & NO_STOP else last, stride
    chosen = range(extent)[slice(*bounds)]
    if len(chosen) != size:
        raise IndexError(size)
    return chosen.start


def int_entry(table: Any, index: int) -> int:
    """An int in a table."""
    value: int = table[index]
    if type(value) is not int:
        raise TypeError(index)
    return value


def float_entry(table: Any, index: int) -> float:
    """A float in a table."""
    value: float = table[index]
    if type(value) is not float:
        raise TypeError(index)
    return value


# symbol -> what computes it; the symbol is also its Python text
OPERATORS: dict[Symbol, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "neg": operator.neg,
    "not": operator.not_,
    **BUILTINS,
    **MATH,
    "start": start,
    "int_entry": int_entry,
    "float_entry": float_entry,
}
_TRUTHS = ("<", "<=", "==", "!=", ">", ">=", "not", "bool", *CLASSES)
_ROUNDS = ("floor", "ceil", "trunc")
_ENTRIES = ("int_entry", "float_entry")
# operators that raise for no numbers
NEVER_RAISE = ("<", "<=", "==", "!=", ">", ">=", "not", "bool", "neg", "abs", "min", "max")
_LARGEST_EXACT = 1 << 53
_GROWING = ("**", "<<")  # whose results may be too large to compute
_LARGE = 1 << 10  # exponents and shifts that are followed


_ARGUMENT = object()  # the start of the place of an argument


class Load(NamedTuple):
    """What a place held when the call began, by the physical place, and the exact type of it."""

    place: tuple[Any, ...]
    type: type

    @property
    def of_call(self) -> bool:
        """Whether the place is an argument of the call, by the number of what stands for it."""
        return self.place[0] is _ARGUMENT


def argument(number: int, kind: type) -> Load:
    """What an argument of the call is, by the number of what stands for it."""
    return Load((_ARGUMENT, number), kind)


class Length(NamedTuple):
    """How many items a list had when the call began, by its id."""

    owner: int


class HostRead(NamedTuple):
    """A number read from a tensor: the value number of its data and how it was read; `serial`
    tells reads of one call apart."""

    number: int
    how: str
    serial: int


class HostCall(NamedTuple):
    """What a call of Python's own world gave, by its number in the call, and the exact type of
    that (None: nothing that is of use)."""

    serial: int
    type: type | None


class Made(NamedTuple):
    """A text, array or number that a pure function makes of terms, and its exact type."""

    function: Callable[..., Any]
    operands: tuple[Any, ...]
    type: type


class NumberTable:
    """A list or tuple of numbers, by identity, of which one is read in each call."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is NumberTable and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)

    def place(self) -> Any:
        """What is equal for the same table."""
        return "table", id(self.value)


class WrittenArray:
    """An array outside that the call writes to, by identity: as it is behind so many stores to it,
    or (None) the array itself."""

    __slots__ = ("stores", "value")
    type = np.ndarray

    def __init__(self, value: Any, stores: int | None = None) -> None:
        self.value, self.stores = value, stores

    def __eq__(self, other: object) -> bool:
        return type(other) is WrittenArray and other.place() == self.place()

    def __hash__(self) -> int:
        return hash(self.place())

    def place(self) -> Any:
        """What is equal for the same state of the same array."""
        return "array", id(self.value), self.stores


class Constant(NamedTuple):
    """A Python number, a part of a key of a subscript, or a value in a text or a call of Python's
    own world."""

    value: Any

    def __hash__(self) -> int:
        try:
            return hash(self.value)
        except TypeError:  # a slice
            return hash(repr(self.value))


class Operation(NamedTuple):
    """An operator on terms."""

    symbol: Symbol
    operands: tuple[Any, ...]


class Collection(NamedTuple):
    """A fresh list, tuple or dict, with the terms of its items (None: no number of concern); keys
    for dicts, where they are known."""

    type: type
    items: tuple[Any, ...]
    keys: tuple[Any, ...] = ()


class Live:
    """A container or iterator that the call made and may change yet; `lost`: code that is not
    followed may have it."""

    __slots__ = ("lost",)
    lost: bool

    def leaves(self) -> Iterator[Any]:
        """The leaves of the terms that are in it."""
        raise NotImplementedError

    def frozen(self) -> Any:
        """What it is now, as a term; None where nothing in it may differ, or it is no value."""
        raise NotImplementedError

    def lose(self) -> None:
        """Code that is not followed gets it."""
        self.lost = True


Leaf: TypeAlias = Load | Length | HostRead | HostCall | NumberTable | WrittenArray | Constant
Term: TypeAlias = Leaf | Operation | Collection | Made | Live


def frozen(term: Any) -> Any:
    """A term without what may change yet."""
    return term.frozen() if isinstance(term, Live) else term


def is_number(value: Any) -> bool:
    """An exact int, float or bool; asking runs no comparison of a metaclass."""
    cls = type(value)
    return cls is int or cls is float or cls is bool


def apply(symbol: Symbol, values: tuple[Any, ...]) -> Any:
    """The operator on exact numbers; ValueError for what is not followed."""
    if not all(map(is_number, values[1:] if symbol in _ENTRIES else values)):
        raise ValueError(symbol)
    if symbol in _GROWING and not (type(values[1]) is not int or abs(values[1]) < _LARGE):
        raise ValueError(symbol)
    return OPERATORS[symbol](*values)


def operation(symbol: Symbol, operands: tuple[Any, ...], values: tuple[Any, ...]) -> Any:
    """The term of an operator on terms that stand for these values; sums of ints stay short."""
    if symbol in ("+", "-") and all(type(value) is int for value in values):
        inner, added = operands
        if type(inner) is Constant and symbol == "+":
            inner, added = added, inner
        whole = type(inner) is Operation and inner.symbol == "+" and type(added) is Constant
        if whole and type(inner.operands[1]) is Constant and _whole(inner):
            change = added.value if symbol == "+" else -added.value
            return Operation("+", (inner.operands[0], Constant(inner.operands[1].value + change)))
    return Operation(symbol, operands)


def _whole(term: Any) -> bool:
    """Whether a term is an int whatever its places hold, as long as they hold what they held."""
    if type(term) is Load:
        return term.type is int
    if type(term) is Constant:
        return type(term.value) is int
    if type(term) is Operation and term.symbol in ("+", "-", "*"):
        return all(map(_whole, term.operands))
    return type(term) is Length


def parts(term: Any) -> Iterator[Any]:
    """The leaves of a term."""
    if type(term) is Operation or type(term) is Made:
        for operand in term.operands:
            yield from parts(operand)
    elif type(term) is Collection:
        for item in term.items:
            if item is not None:
                yield from parts(item)
    elif isinstance(term, Live):
        yield from term.leaves()
    elif term is not None:
        yield term


def size(term: Any) -> int:
    """How many operations a term has."""
    if type(term) is Operation or type(term) is Made:
        return 1 + sum(map(size, term.operands))
    return sum(map(size, term.items)) if type(term) is Collection else 0


def plain_form(term: Any) -> Any:
    """A term in which values are told apart by type and bits, and leaves by their places."""
    if type(term) is Operation:
        return term.symbol, tuple(map(plain_form, term.operands))
    if type(term) is Made:
        return id(term.function), tuple(map(plain_form, term.operands))
    if type(term) is Constant:
        return type(term.value).__name__, repr(term.value)
    place = getattr(term, "place", None)
    return place() if callable(place) else term


def kind_of(term: Any) -> type | None:
    """The type of a number, whatever its places hold; None where that is not known."""
    if type(term) is Operation:
        symbol, kinds = term.symbol, {kind_of(operand) for operand in term.operands}
        if symbol in _TRUTHS:
            return bool
        if symbol in ("/", "float", "float_entry") or (symbol in MATH and symbol not in _ROUNDS):
            return float
        if symbol in ("int", "start", "int_entry") or symbol in _ROUNDS:
            return int
        if symbol in ("**", "round", "min", "max"):
            return kinds.pop() if len(kinds) == 1 and symbol in ("min", "max") else None
        if kinds <= {int, bool}:
            return int
        return float if float in kinds and None not in kinds else None
    if type(term) is Constant:
        return type(term.value)
    kind: type | None = getattr(term, "type", None)
    return int if hasattr(term, "owner") else kind


def may_raise(operation: Operation) -> bool:
    """Whether the operator at the top of a term may raise for some numbers of the types it had."""
    if operation.symbol in NEVER_RAISE:
        return False
    if operation.symbol not in ("+", "-", "*"):
        return True
    kinds = {kind_of(operand) for operand in operation.operands}
    if None in kinds:
        return True
    # a float beside an integer that is too large for one
    wide = [o for o in operation.operands if kind_of(o) is int and not _narrow(o)]
    return float in kinds and bool(wide)


def _narrow(term: Any) -> bool:
    return type(term) is Constant and abs(term.value) < _LARGEST_EXACT


def may_differ(term: Term) -> bool:
    """Whether a term depends on what places and written arrays hold, how long lists are, or what
    calls of Python's own world give."""
    return any(type(part) in (Load, Length, HostCall, WrittenArray) for part in parts(term))


def positive(term: Any) -> bool:
    """Whether a number is larger than zero whatever its leaves are."""
    if type(term) is Operation:
        return term.symbol == "max" and any(map(positive, term.operands))
    return type(term) is Constant and term.value > 0


def small(term: Any, divides: bool) -> Any:
    """A term that raises or is not finite where a float cannot be computed with this one."""
    kept = Operation("*", (term, Constant(1.0)))
    return Operation("/", (Constant(1.0), kept)) if divides else kept
