"""The value stack of an abstract run: expressions, sets of them, and what moves them about.

Expressions are tuples:
  ('arg'|'glob'|'cell'|'const', name)   ('import', name, top)
  ('attr', e, name, at)   ('item', e, key, at)
  ('elem', e, at)   any item
  ('deep', e, at)   all that a C function can see   ('text', e, at)   and its names, for a text
  ('same', e, at)   asked whether it is some object
  ('super', e, name, at)   `super().name` in a method of e
  ('call', at)      a result of this instruction
  ('iter', at)      what an `__iter__` in Python gave
  ('box', e)        a fresh container that holds e
  FRESH, TOP
Invariant: a set that grows too large becomes FULL and stays so, hence every fixpoint ends.
"""

from __future__ import annotations

import dis
from collections import Counter, defaultdict
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
    """reads: expressions looked at; stores: (kind, ..., at), also of what is deleted, which is at
    `deletes`; later: reads that follow a store to their place; calls: at -> (callees, arguments).
    """

    __slots__ = ("reads", "stores", "deletes", "later", "calls", "unknown")

    def __init__(self) -> None:
        self.reads: set[Expr] = set()
        self.stores: set[tuple[Any, ...]] = set()
        self.deletes: set[int] = set()
        self.later: set[Expr] = set()
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
        self.now = 0  # the instruction that is looked at, and where each may go
        self.ways: defaultdict[int, set[int]] = defaultdict(set)

    def flow(self, m: int, st: list[Slot]) -> None:
        self.ways[self.now].add(m)
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

    def boxed(self, es: Iterable[Expr], at: int) -> Slot:
        """What a fresh container holds; of constants only texts, which may be names."""
        every = list(es)
        texts = {e[1] for e in every if e[0] == "const" and type(e[1]) is str}
        held = [e for e in every if e[0] != "const"]
        held += [("elem", ("const", tuple(sorted(texts))), at)] if texts else []
        return frozenset(("box", e) if depth(e) < MAX_DEPTH else FRESH for e in held)

    def reads_after_stores(self) -> set[Expr]:
        """Reads of a place that this code has always stored to by then."""
        written: defaultdict[Expr, set[int]] = defaultdict(set)
        places = [e for e in (*self.S.stores, *self.S.reads) if e[0] in ("attr", "item")]
        objects = Counter(e[-1] for e in places)  # one where it is known which
        for *place, at in self.S.stores:
            if objects[at] == 1 and at not in self.S.deletes:
                written[tuple(place)].add(self.index[at])
        found = {e for e in self.S.reads if e[:-1] in written and objects[e[-1]] == 1}
        return {e for e in found if not self.reached(self.index[e[-1]], written[e[:-1]])}

    def reached(self, goal: int, blocked: set[int]) -> bool:
        """Whether an instruction can be reached past others (a store that fails goes on in a
        handler)."""
        handlers = {self.index[h.target] for h in self.table}
        seen, work = {0}, [0]
        while work:
            n = work.pop()
            if n == goal:
                return True
            ways = self.ways[n] & handlers if n in blocked else self.ways[n]
            work += ways - seen
            seen |= ways
        return False

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
