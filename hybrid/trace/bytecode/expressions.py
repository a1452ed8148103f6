"""What an abstract run knows of values: expressions, sets of them, and the summary they make.

  arg, cell, glob    a name: an argument, a variable of an outer function, a global
  const              a constant     import  a module (`key`: name, whether of the top package)
  attr, item         `base.key`, `base[key]`          elem  any item of base
  deep, text         all that a C function can see of base; `text`: and its names, for a text
  same               base, asked whether it is some object
  truth              base, asked whether it is true
  super              `super().key` in a method of base
  call, iter         a result of the instruction `at`, and what an `__iter__` in Python gave
  box                a fresh container that holds base
  fresh, null        a new object, no object          top, many  anything, of a set too large
Invariant: a set that grows too large becomes FULL and stays so, hence every fixpoint ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Any, Literal, NamedTuple, TypeAlias

__all__ = [
    "Expr",
    "ExprKind",
    "Derived",
    "Slot",
    "Store",
    "Call",
    "Args",
    "Summary",
    "one",
    "called_at",
    "constant",
    "named",
    "join",
    "bounded",
    "depth",
    "nested",
    "constants",
    "TOP",
    "FRESH",
    "TOPS",
    "NEW",
    "NULLS",
    "EMPTY",
    "MANY",
    "FULL",
    "NOWHERE",
    "MAX_DEPTH",
]

Derived: TypeAlias = Literal[
    "attr", "item", "elem", "deep", "text", "same", "sought", "truth", "super"
]
Named: TypeAlias = Literal["arg", "cell", "glob"]
Leaf: TypeAlias = Literal["const", "import", "call", "iter", "fresh", "null", "top", "many"]
ExprKind: TypeAlias = Derived | Named | Leaf | Literal["box"]
StoreKind: TypeAlias = Literal["attr", "item", "glob", "cell", "all", "inplace"]

NOWHERE = -1  # offset of what belongs to no instruction
MAX_DEPTH, MAX_SET = 8, 24


class Expr(NamedTuple):
    """One expression.  A tuple, so that hashing and comparing (most of the work) stay in C."""

    kind: ExprKind
    base: Expr | None = None
    key: Any = None
    at: int = NOWHERE


Slot: TypeAlias = frozenset[Expr]

TOP = Expr("top")
FRESH = Expr("fresh")
MANY = Expr("many")
TOPS: Slot = frozenset([TOP])
NEW: Slot = frozenset([FRESH])
NULLS: Slot = frozenset([Expr("null")])
EMPTY: Slot = frozenset()
# What a set becomes that grew too large.  `join` gives it back whatever is added, so each slot can
# change a bounded number of times and the run over loops and recursive data comes to an end.
FULL: Slot = frozenset([TOP, MANY])


class Store(NamedTuple):
    """A store or deletion: of `base.key`, `base[key]`, a name, any item, or in place."""

    kind: StoreKind
    base: Expr | None
    key: Any
    at: int


class Args(list[Slot]):
    """Arguments of a call.  `method`: the first is what the callee was looked up in; `spread`:
    which argument is which is not known (`f(*args)`)."""

    def __init__(
        self, slots: Iterable[Slot] = (), method: bool = False, spread: bool = False
    ) -> None:
        super().__init__(slots)
        self.method, self.spread = method, spread


class Call(NamedTuple):
    """What an instruction calls, and with what."""

    callee: Slot
    args: Args


class Summary:
    """reads: expressions looked at; stores: also of what is deleted, which is at `deletes`;
    later: reads that follow a store to their place; names: where a name is first read."""

    __slots__ = ("reads", "stores", "deletes", "later", "calls", "names", "unknown")

    def __init__(self) -> None:
        self.reads: set[Expr] = set()
        self.stores: set[Store] = set()
        self.deletes: set[int] = set()
        self.later: set[Expr] = set()
        self.calls: dict[int, Call] = {}
        self.names: dict[Expr, int] = {}
        self.unknown: str | None = None

    def call(self, offset: int) -> Call:
        """The call of an instruction; of nothing where it calls nothing."""
        return self.calls.get(offset, _NO_CALL)


_NO_CALL = Call(EMPTY, Args())


def one(expression: Expr) -> Slot:
    """The set of this expression alone."""
    return frozenset((expression,))


def named(kind: Named, name: str) -> Expr:
    """An argument, a variable of an outer function, or a global."""
    return Expr(kind, None, name)


def constant(value: Any) -> Expr:
    """A constant of the code."""
    return Expr("const", None, value)


def called_at(offset: int) -> Slot:
    """What the instruction at this offset gives."""
    return frozenset((Expr("call", None, None, offset),))


def bounded(found: Iterable[Expr]) -> Slot:
    """A set of expressions, FULL when it is too large."""
    out = frozenset(found)
    return out if len(out) <= MAX_SET else FULL


def join(first: Slot, second: Slot) -> Slot:
    """The union; FULL once one of them is."""
    if MANY in first or MANY in second:
        return FULL
    return bounded(first | second)


def depth(expression: Expr) -> int:
    """How many expressions are inside each other."""
    count = 1
    while expression.base is not None:
        expression, count = expression.base, count + 1
    return count


def constants(slot: Slot) -> list[Any] | None:
    """The keys, when all of them are constants."""
    return [e.key for e in slot] if all(e.kind == "const" for e in slot) else None


def nested(code: CodeType) -> Iterator[CodeType]:
    """Code objects defined inside `code`."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from nested(inner)
