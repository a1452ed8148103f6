"""Whole numbers that a computation is followed with, to do it again for others.

An `Extent` is one number of a computation as a polynomial of its inputs, with the value that it has
this time.  Invariant: whatever the computation learns of it other than by arithmetic (a comparison,
an index, a text) is noted as a condition, so where the conditions hold for other inputs, the same
steps give the results that the polynomials then have.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import numpy as np

__all__ = ["Atom", "Extent", "Following", "Unsized", "apart", "is_extent", "plain_int", "taken"]

Call = TypeVar("Call", bound=Callable[..., Any])
Monomial = tuple[int, ...]  # numbers of atoms, sorted
Terms = tuple[tuple[Monomial, int], ...]  # sorted

# an input, a result of a call that is made again, or an operation
Bits = Literal["&", "|", "^"]
How = Literal["input", "result", "//", "%", "&", "|", "^"]
MOST_ATOMS, MOST_TERMS = 20_000, 64
_SERIALS = itertools.count()


class Unsized(Exception):
    """A computation cannot be followed with extents."""


class Atom:
    """What no polynomial says: an input, or what an operation gives of polynomials.

    `low`: its least value, where one is known."""

    __slots__ = ("how", "operands", "value", "low")

    def __init__(self, how: How, operands: tuple[Any, ...], value: int, low: int | None) -> None:
        self.how: How = how
        self.operands, self.value, self.low = operands, value, low


class Following:
    """One computation: `conditions` that it depends on, in the order in which they were met."""

    current: Following | None = None  # of the thread that follows, one at a time

    def __init__(self) -> None:
        self.atoms: list[Atom] = []
        self.known: dict[Terms, Extent] = {}
        self.operations: dict[Any, Extent] = {}
        self.conditions: dict[tuple[str, Terms], bool] = {}
        self.calls: list[tuple[Callable[..., Any], Any, Any]] = []
        self.serial = next(_SERIALS)

    def input(self, value: int, low: int | None = None) -> Any:
        """A number that may be another one next time, which is at least `low`."""
        return self.atom("input", (), value, low)

    def atom(self, how: How, operands: tuple[Any, ...], value: int, low: int | None) -> Any:
        """A number that no polynomial of others is."""
        if len(self.atoms) >= MOST_ATOMS:
            raise Unsized("too many operations on sizes")
        self.atoms.append(Atom(how, operands, value, low))
        return self.made({(len(self.atoms) - 1,): 1})

    def made(self, terms: dict[Monomial, int]) -> Any:
        """The extent of a polynomial, or the number that it is."""
        key = tuple(sorted([(m, c) for m, c in terms.items() if c]))
        if not key:
            return 0
        if len(key) == 1 and key[0][0] == ():
            return key[0][1]
        found = self.known.get(key)
        if found is None:
            if len(key) > MOST_TERMS:
                raise Unsized("too long a sum of sizes")
            found = self.known[key] = Extent(self, key, self._value(key))
        return found

    def _value(self, terms: Terms) -> int:
        total = 0
        for monomial, factor in terms:
            for atom in monomial:
                factor *= self.atoms[atom].value
            total += factor
        return total

    def operation(self, how: How, first: Any, second: Any, value: int, low: int | None) -> Any:
        """What an operation gives that is no polynomial."""
        key = how, _terms(first), _terms(second)
        found = self.operations.get(key)
        if found is None:
            found = self.operations[key] = self.atom(how, (first, second), value, low)
        return found

    def low(self, terms: Terms) -> int | None:
        """The least value that a polynomial can have, where that is known."""
        total = 0
        for monomial, factor in terms:
            if monomial and factor < 0:
                return None
            for atom in monomial:
                low = self.atoms[atom].low
                if low is None or low < 0:
                    return None
                factor *= low
            total += factor
        return total

    def positive(self, terms: Terms) -> bool:
        """Whether a polynomial is greater than 0."""
        low, negated = self.low(terms), tuple([(m, -c) for m, c in terms])
        if low is not None and low > 0:
            return True
        high = self.low(negated)
        if high is not None and high >= 0:
            return False
        return self.conditions.setdefault((">", terms), self._value(terms) > 0)

    def zero(self, terms: Terms) -> bool:
        """Whether a polynomial is 0."""
        low, high = self.low(terms), self.low(tuple([(m, -c) for m, c in terms]))
        if (low is not None and low > 0) or (high is not None and high > 0):
            return False
        if terms[-1][1] < 0:
            terms = tuple([(m, -c) for m, c in terms])
        return self.conditions.setdefault(("==", terms), self._value(terms) == 0)

    def __enter__(self) -> Following:
        if Following.current is not None:
            raise Unsized("another computation is followed")
        Following.current = self
        return self

    def __exit__(self, *error: Any) -> None:
        Following.current = None


def _terms(number: Any) -> Any:
    return number.terms if type(number) is Extent else number


def _polynomial(number: Any) -> dict[Monomial, int]:
    return dict(number.terms) if type(number) is Extent else {(): int(number)}


def _whole(value: Any) -> bool:
    kind = type(value)
    return kind is Extent or kind is int or kind is bool or issubclass(kind, (int, np.integer))


def _sum(left: Any, right: Any, sign: int) -> Any:
    following = left.following if type(left) is Extent else right.following
    terms = _polynomial(left)
    for monomial, factor in _polynomial(right).items():
        terms[monomial] = terms.get(monomial, 0) + sign * factor
    return following.made(terms)


def _product(left: Any, right: Any) -> Any:
    following = left.following if type(left) is Extent else right.following
    terms: dict[Monomial, int] = {}
    for one, first in _polynomial(left).items():
        for other, second in _polynomial(right).items():
            monomial = tuple(sorted(one + other))
            terms[monomial] = terms.get(monomial, 0) + first * second
    return following.made(terms)


def _exact(left: Any, right: Any) -> dict[Monomial, int] | None:
    """left / right where each term of the one is a multiple of the one term of the other."""
    divisor = _polynomial(right)
    if len(divisor) != 1:
        return None
    ((below, by),) = divisor.items()
    if by == 0:
        raise ZeroDivisionError
    terms = {}
    for monomial, factor in _polynomial(left).items():
        rest = list(monomial)
        for atom in below:
            if atom not in rest:
                return None
            rest.remove(atom)
        if factor % by:
            return None
        terms[tuple(rest)] = factor // by
    return terms


def _divided(left: Any, right: Any) -> Any:
    following = left.following if type(left) is Extent else right.following
    if type(right) is Extent and following.zero(right.terms):
        raise ZeroDivisionError
    exact = _exact(left, right)
    if exact is not None:
        return following.made(exact)
    low = 0 if _least(following, left, 0) and _least(following, right, 1) else None
    return following.operation("//", left, right, _value(left) // _value(right), low)


def _rest(left: Any, right: Any) -> Any:
    following = left.following if type(left) is Extent else right.following
    if type(right) is Extent and following.zero(right.terms):
        raise ZeroDivisionError
    if _exact(left, right) is not None:
        return 0
    low = 0 if _least(following, right, 1) else None
    return following.operation("%", left, right, _value(left) % _value(right), low)


def _least(following: Following, number: Any, least: int) -> bool:
    if type(number) is not Extent:
        return bool(number >= least)
    low = following.low(number.terms)
    return low is not None and low >= least


def _value(number: Any) -> int:
    return number.value if type(number) is Extent else int(number)


def _bits(symbol: Bits, left: Any, right: Any) -> Any:
    following = left.following if type(left) is Extent else right.following
    value = {"&": int.__and__, "|": int.__or__, "^": int.__xor__}[symbol](
        _value(left), _value(right)
    )
    low = 0 if symbol == "&" and type(right) is int and right >= 0 else None
    return following.operation(symbol, left, right, value, low)


def _arithmetic(compute: Callable[[Any, Any], Any], plain: Callable[[Any, Any], Any]) -> Any:
    """The method and its reflection; beside a float an extent is the number that it is."""

    def forward(self: Extent, other: Any) -> Any:
        if _whole(other):
            return compute(self._open(), other)
        return plain(int(self), other) if isinstance(other, float) else NotImplemented

    def backward(self: Extent, other: Any) -> Any:
        if _whole(other):
            return compute(other, self._open())
        return plain(other, int(self)) if isinstance(other, float) else NotImplemented

    return forward, backward


class Extent:
    """A number of the computation that is followed; everything that takes it for an int asks it,
    and what it says then is a condition."""

    __slots__ = ("following", "terms", "value")

    def __init__(self, following: Following, terms: Terms, value: int) -> None:
        self.following, self.terms, self.value = following, terms, value

    __class__ = property(lambda self: int)

    def _open(self) -> Extent:
        if Following.current is not self.following:
            raise Unsized("an extent outside of its computation")
        return self

    # ---- arithmetic
    __add__, __radd__ = _arithmetic(lambda a, b: _sum(a, b, 1), operator.add)
    __sub__, __rsub__ = _arithmetic(lambda a, b: _sum(a, b, -1), operator.sub)
    __mul__, __rmul__ = _arithmetic(_product, operator.mul)
    __floordiv__, __rfloordiv__ = _arithmetic(_divided, operator.floordiv)
    __mod__, __rmod__ = _arithmetic(_rest, operator.mod)
    __and__, __rand__ = _arithmetic(lambda a, b: _bits("&", a, b), operator.and_)
    __or__, __ror__ = _arithmetic(lambda a, b: _bits("|", a, b), operator.or_)
    __xor__, __rxor__ = _arithmetic(lambda a, b: _bits("^", a, b), operator.xor)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __lshift__(self, other: int) -> Any:
        return self * (1 << int(other))

    def __rshift__(self, other: int) -> Any:
        return self // (1 << int(other))

    def __neg__(self) -> Any:
        return _product(self._open(), -1)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return -self if self < 0 else self

    # ---- what is learnt of it
    def __int__(self) -> int:
        following = self._open().following
        difference = following.made(
            {**dict(self.terms), (): dict(self.terms).get((), 0) - self.value}
        )
        if type(difference) is Extent and not following.zero(difference.terms):
            raise Unsized("a number that is not itself")
        return self.value

    __index__ = __trunc__ = __floor__ = __ceil__ = __int__

    def __float__(self) -> float:
        return float(int(self))

    def __round__(self, digits: int | None = None) -> int:
        return int(self)

    def __truediv__(self, other: Any) -> Any:
        return int(self) / other

    def __rtruediv__(self, other: Any) -> Any:
        return other / int(self)

    def __pow__(self, other: Any) -> Any:
        return int(self) ** other

    def __rpow__(self, other: Any) -> Any:
        return other ** int(self)

    def __bool__(self) -> bool:
        return not self._open().following.zero(self.terms)

    def bit_length(self) -> int:
        """As of an int."""
        return int(self).bit_length()

    def _less(self, other: Any, sign: int) -> Any:
        """Whether sign * (other - self) is positive."""
        following = self._open().following
        difference = _sum(other, self, -1) if sign > 0 else _sum(self, other, -1)
        if type(difference) is not Extent:
            return difference > 0
        return following.positive(difference.terms)

    def __lt__(self, other: Any) -> Any:
        return self._less(other, 1) if _whole(other) else _compared(self, "__lt__", other)

    def __gt__(self, other: Any) -> Any:
        return self._less(other, -1) if _whole(other) else _compared(self, "__gt__", other)

    def __le__(self, other: Any) -> Any:
        return not self._less(other, -1) if _whole(other) else _compared(self, "__le__", other)

    def __ge__(self, other: Any) -> Any:
        return not self._less(other, 1) if _whole(other) else _compared(self, "__ge__", other)

    def __eq__(self, other: Any) -> Any:
        if self is other:
            return True
        if not _whole(other):
            return _compared(self, "__eq__", other) if isinstance(other, float) else NotImplemented
        if Following.current is not self.following:
            return False  # what a cache kept of it
        difference = _sum(self, other, -1)
        return difference == 0 if type(difference) is int else self.following.zero(difference.terms)

    def __ne__(self, other: Any) -> Any:
        same = self.__eq__(other)
        return same if same is NotImplemented else not same

    def __hash__(self) -> int:
        return hash((Extent, self.following.serial, self.terms))

    def __str__(self) -> str:
        return str(int(self))

    def __repr__(self) -> str:
        return f"Extent({self.terms}, {self.value})"

    def __format__(self, form: str) -> str:
        return format(int(self), form)


def _compared(extent: Extent, name: str, other: Any) -> Any:
    if not isinstance(other, float):
        return NotImplemented
    return getattr(float(extent), name)(other)


def is_extent(value: Any) -> bool:
    """Whether a number is one of a computation that is followed."""
    return type(value) is Extent


def plain_int(value: Any) -> Any:
    """A whole number as an int, or the extent that it is."""
    return value if type(value) is Extent else int(value)


# ---- steps that are done again as they are
def numbers_in(value: Any) -> bool:
    """Whether there are extents in a value or a tuple."""
    if type(value) is Extent:
        return True
    return isinstance(value, (tuple, list)) and any(map(numbers_in, value))


def apart(function: Call) -> Call:
    """A function of values and tuples that is called again for other extents: what it gives may be
    any function of them, so nothing that happens inside is a condition."""

    @functools.wraps(function)
    def called(*args: Any) -> Any:
        following = Following.current
        if following is None or not numbers_in(args):
            return function(*args)
        Following.current = None
        try:
            result = function(*with_values(args))
        finally:
            Following.current = following
        following.calls.append((function, args, None))
        number = len(following.calls) - 1
        template = _opened(following, result, number, itertools.count())
        following.calls[number] = (function, args, template)
        return template

    return called  # type: ignore[return-value]


def with_values(value: Any) -> Any:
    """A value with the numbers that extents in it are."""
    if type(value) is Extent:
        return value.value
    return rebuilt(value, with_values) if isinstance(value, (tuple, list)) else value


def rebuilt(value: Any, each: Callable[[Any], Any]) -> Any:
    """A tuple or list with each item made anew; of named ones their kind."""
    items = [each(item) for item in value]
    if type(value) is tuple or type(value) is list:
        return type(value)(items)
    return tuple.__new__(type(value), items) if isinstance(value, tuple) else value


def _opened(following: Following, value: Any, call: int, places: Any) -> Any:
    """A result with each whole number a new atom."""
    if type(value) is int:
        return following.atom("result", (call, next(places)), value, None)
    if isinstance(value, (tuple, list)):
        return rebuilt(value, lambda item: _opened(following, item, call, places))
    return value


def taken(template: Any, value: Any, found: list[int]) -> None:
    """Append the numbers of another result in the places of extents; Unsized where it differs in
    anything else."""
    if type(template) is Extent:
        if type(value) is not int:
            raise Unsized("another kind of result")
        found.append(value)
    elif isinstance(template, (tuple, list)):
        if type(template) is not type(value) or len(template) != len(value):
            raise Unsized("another kind of result")
        for one, other in zip(template, value):
            taken(one, other, found)
    elif template is not value and (type(template) is not type(value) or template != value):
        raise Unsized("another result")
