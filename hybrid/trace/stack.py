"""The value stack of an abstract run: expressions, sets of them, and what moves them about.

Expressions are tuples:
  ('arg'|'glob'|'cell'|'const', name)   ('import', name, top)
  ('attr', e, name, at)   ('item', e, key, at)
  ('elem', e, at)   any item
  ('deep', e, at)   all that a C function can see   ('text', e, at)   and its names, for a text
  ('super', e, name, at)   `super().name` in a method of e
  ('call', at)      a result of this instruction
  ('iter', at)      what an `__iter__` in Python gave
  ('box', e)        a fresh container that holds e
  FRESH, TOP
Invariant: a set that grows too large becomes FULL and stays so, hence every fixpoint ends.
"""

from __future__ import annotations

import dis
from collections import defaultdict
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Any

__all__ = [
    "Summary",
    "Args",
    "Stack",
    "Expr",
    "Slot",
    "join",
    "depth",
    "nested",
    "TOP",
    "FRESH",
    "TOPS",
    "NEW",
    "NULLS",
    "EMPTY",
    "MANY",
    "FULL",
]

Expr = tuple[Any, ...]
Slot = frozenset[Expr]

TOP: Expr = ("top",)
FRESH: Expr = ("fresh",)
TOPS: Slot = frozenset([TOP])
NEW: Slot = frozenset([FRESH])
NULLS: Slot = frozenset([("null",)])
EMPTY: Slot = frozenset()
MANY: Expr = ("many",)
FULL: Slot = frozenset([TOP, MANY])  # a set that grew too large: stays this for ever
MAX_DEPTH, MAX_SET = 8, 24


class Args(list[Slot]):
    """Arguments of a call.  `method`: the first is what the callee was looked up in; `spread`:
    which argument is which is not known (`f(*args)`)."""

    def __init__(self, slots: Iterable[Slot], method: bool = False, spread: bool = False) -> None:
        super().__init__(slots)
        self.method, self.spread = method, spread


class Summary:
    """reads: expressions looked at; stores: (kind, ..., at), also of what is deleted; deletes:
    where that is; calls: at -> (callees, arguments)."""

    __slots__ = ("reads", "stores", "deletes", "calls", "unknown")

    def __init__(self) -> None:
        self.reads: set[Expr] = set()
        self.stores: set[tuple[Any, ...]] = set()
        self.deletes: set[int] = set()
        self.calls: dict[int, tuple[Slot, Args]] = {}
        self.unknown: str | None = None


def join(a: Slot, b: Slot) -> Slot:
    """The union, widened to FULL when it gets large (so that fixpoints end soon)."""
    if MANY in a or MANY in b:
        return FULL
    out = a | b
    return out if len(out) <= MAX_SET else FULL


def depth(e: Expr) -> int:
    n = 1
    while len(e) > 1 and isinstance(e[1], tuple) and e[0] != "const":
        e, n = e[1], n + 1
    return n


def nested(code: CodeType) -> Iterator[CodeType]:
    """Code objects defined inside `code`."""
    for c in code.co_consts:
        if isinstance(c, CodeType):
            yield c
            yield from nested(c)


class Stack:
    """The state of one abstract run: `st` is the stack, `goes` lists the instructions that may
    follow, `states` keeps the stack before each instruction, `work` those to look at again."""

    def __init__(self, code: CodeType) -> None:
        self.code, self.S = code, Summary()
        self.ins = list(dis.get_instructions(code))
        self.index = {i.offset: n for n, i in enumerate(self.ins)}
        self.table = dis._parse_exception_table(code)  # type: ignore[attr-defined]
        n = (
            code.co_argcount
            + code.co_kwonlyargcount
            + bool(code.co_flags & 4)
            + bool(code.co_flags & 8)
        )
        self.inner_writes = {
            i.argval
            for c in nested(code)
            for i in dis.get_instructions(c)
            if i.opname in ("STORE_DEREF", "DELETE_DEREF")
        }
        self.env: defaultdict[str, Slot] = defaultdict(
            frozenset, {v: frozenset([("arg", v)]) for v in code.co_varnames[:n]}
        )
        self.st: list[Slot] = []
        self.goes: list[int] = []
        self.states: dict[int, tuple[Slot, ...]] = {}
        self.work: list[int] = []

    def flow(self, m: int, st: list[Slot]) -> None:
        old = self.states.get(m)
        if old is None:
            new = tuple(st)
        elif len(old) != len(st):
            self.S.unknown = f"{self.ins[m].opname} (stack depth)"
            return
        else:
            new = tuple(map(join, old, st))
        if new != old:
            self.states[m] = new
            self.work.append(m)

    def mk(self, kind: str, es: Iterable[Expr], *rest: Any) -> Slot:
        """Expressions derived from es, all of them read."""
        out: set[Expr] = set()
        for e in es:
            while e[0] == "box" and kind in ("deep", "text"):
                e = e[1]
            if e[0] == "box" and kind in ("elem", "item"):
                out.add(e[1])
            elif kind not in ("deep", "text") or e[0] not in ("const", "fresh", "null"):
                out.add((kind, e if depth(e) < MAX_DEPTH else TOP, *rest))
        self.S.reads |= {e for e in out if e[0] == kind}
        return frozenset(out) if len(out) <= MAX_SET else FULL

    def boxed(self, es: Iterable[Expr]) -> Slot:
        return frozenset(
            ("box", e) if depth(e) < MAX_DEPTH else FRESH for e in es if e[0] != "const"
        )

    def drop(self, n: int) -> None:
        if n:
            if n > len(self.st):
                raise IndexError
            del self.st[len(self.st) - n :]

    def result(self, i: Any) -> None:
        self.st.append(frozenset([("call", i.offset)]))

    def local(self, name: str) -> Slot:
        """A local that lives in a cell."""
        if name in self.code.co_freevars:
            self.S.reads.add(("cell", name))
            return frozenset([("cell", name)])
        return self.env[name] | (TOPS if name in self.inner_writes else EMPTY)

    def store(self, name: str, value: Slot) -> None:
        self.env[name] = join(self.env[name], value)

    def target(self, i: Any) -> int:
        return self.index[i.argval]

    @staticmethod
    def constants(es: Slot) -> list[Any] | None:
        """The keys, when all of them are constants."""
        return [e[1] for e in es] if all(e[0] == "const" for e in es) else None
