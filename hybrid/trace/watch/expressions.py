"""Evaluating the expressions of a code summary on the real objects.

Invariant: an expression that cannot be evaluated is reported as unseen (the second result of `ev`),
and what it may read is guarded wherever it could be.
"""

from __future__ import annotations

import builtins
import inspect
import sys
import types
from collections.abc import Iterable
from typing import Any

from ...ir.tensor import Handle
from ..bytecode.stack import EMPTY, FRESH, MANY, TOP, Args
from ..bytecode.summary import summarize
from ..heap.facts import fetch
from ..heap.policy import BOXES, MISSING, VIEWS, is_a, plain, site_of
from .chains import Chains, Code
from .events import Watch
from .members import in_python

__all__ = ["Expressions"]

Found = tuple[dict[int, Any], bool]


class Expressions(Chains):
    """What the expressions of entered code may be."""

    def __init__(self, watch: Watch, in_signature: set[int]) -> None:
        super().__init__(watch, in_signature)
        self.returns: dict[tuple[Code, int], list[Any]] = {}
        self.memo: dict[tuple[Code, Any], Found] = {}
        self.unseen_items = False

    def ev(self, code: Code, e: Any) -> Found:
        """Objects an expression may be (by id), and whether it may also be something unseen."""
        got = self.memo.get((code, e))
        if got is not None:
            return got
        self.memo[code, e] = ({}, False)  # cuts cycles
        if (
            isinstance(e[-1], int)
            and not isinstance(e[-1], bool)
            and e[0] in ("attr", "item", "elem", "call", "super", "deep", "text", "same")
        ):
            self._at = site_of(code, e[-1])
        objs, unseen = self._eval(code, e)
        seen: dict[int, Any] = {}
        for o in objs:
            if is_a(o, Handle):
                self.loaded.setdefault(id(o), o)
            elif o is not MISSING:
                seen[id(o)] = o
        out = seen, unseen
        self.memo[code, e] = out
        return out

    def _eval(self, code: Code, e: Any) -> tuple[Iterable[Any], bool]:
        kind = e[0]
        if kind == "arg":
            return [f[e[1]] for f in self.watch.frames[code] if e[1] in f], False
        if kind == "const":
            return [e[1]], False
        if kind == "glob":
            return self._global(code, e[1]), False
        if kind == "cell":
            return self._cell(code, e[1]), False
        if kind == "import":
            self.root(sys.modules)
            return self.item(sys.modules, e[1].split(".")[0] if e[2] else e[1]), False
        if kind == "call":
            return self._result(code, e[1])
        if kind == "iter":  # an iterator made by C code gives the items of what it was made from
            return self.returns.get((code, e[1]), ()), False
        if kind in ("deep", "text"):
            for o in list(self.ev(code, e[1])[0].values()):
                self.deep(o, kind == "text")
            return (), False
        if kind == "same":
            for o in list(self.ev(code, e[1])[0].values()):
                if id(o) in self.in_signature:  # which knows its content only
                    self.why("asks whether a container among the arguments is some object")
            return (), False
        if kind == "box":
            held, unseen = self.ev(code, e[1])
            return list(held.values()), unseen and e[1] != FRESH
        if kind in ("attr", "item", "elem", "super"):
            return self._derived(code, kind, e)
        return (), e in (TOP, FRESH, MANY)

    def _result(self, code: Code, at: int) -> tuple[list[Any], bool]:
        """What a call gave: returned by Python code, or made by C code of what is known."""
        objs = [*self.returns.get((code, at), ()), *self._types_asked(code, at)]
        callee, args = summarize(code).calls.get(at, (EMPTY, Args(())))
        fs = [f for e in callee for f in self.ev(code, e)[0].values() if callable(f)]
        seen = bool(objs)
        for f in fs:
            if in_python(f) or f is type:
                continue
            slots = self.slots(code, f, args)
            made = self.made(f, slots, (code, at))
            objs += [*made, *self.read_by(f, slots, args.spread)]
            # what `__init__` returned is not the new object
            seen = bool(made) and (seen or len(fs) == 1)
        return objs, not seen and not self._makes_generator(code, at)

    def slots(self, code: Code, f: Any, args: Any) -> list[list[Any]]:
        """Objects that each argument of a call of f may be; a C function has no `self`."""
        if args and getattr(args, "method", False) and self._unbound(f):
            args = args[1:]
        return [[o for e in s for o in self.ev(code, e)[0].values()] for s in args]

    @staticmethod
    def _unbound(f: Any) -> bool:
        """Whether a call that looked f up in an object does not hand it that object."""
        return not is_a(f, types.FunctionType)

    def _types_asked(self, code: Code, at: int) -> list[Any]:
        """Results of `type(o)`."""
        callee, args = summarize(code).calls.get(at, ((), []))
        if len(args) != 1 or not any(
            f is type for e in callee for f in self.ev(code, e)[0].values()
        ):
            return []
        return [self.reach(type(o), o) for e in args[0] for o in list(self.ev(code, e)[0].values())]

    def _makes_generator(self, code: Code, at: int) -> bool:
        """Whether the call gives a new generator (only what it yields is reported)."""
        call = summarize(code).calls.get(at)
        fs = [f for e in call[0] for f in self.ev(code, e)[0].values()] if call is not None else []
        codes = [getattr(getattr(f, "__func__", f), "__code__", None) for f in fs]
        return bool(codes) and all(
            c is not None and c.co_flags & inspect.CO_GENERATOR for c in codes
        )

    def _derived(self, code: Code, kind: str, e: Any) -> tuple[list[Any], bool]:
        base, unseen = self.ev(code, e[1])
        # property, __getattr__, __getitem__, __next__
        objs = list(self.returns.get((code, e[-1]), ()))
        # what `__iter__` returned is no item; a generator's work is seen by itself
        if kind == "elem":
            objs = [o for o in objs if not is_a(o, types.GeneratorType)]
        if kind == "attr" and e[2] == "__self__" and e[1][0] == "attr":
            objs += self.ev(code, e[1][1])[0].values()
        for o in list(base.values()):
            if kind == "attr":
                objs += self.attr(o, e[2])
            elif kind == "super":
                objs += self.super_attr(o if is_a(o, type) else type(o), e[2], o)
            elif kind == "item":
                objs += self.item(o, e[2])
            else:
                objs += self.all(o)
                # what a generator gave is in `returns`
                known = is_a(o, (*BOXES, *VIEWS, Handle, types.GeneratorType)) or plain(o)
                unseen = unseen or not known
        if unseen or e[1] == FRESH or e[1] == TOP:
            if kind in ("attr", "super"):
                self.unseen_names.add(e[2])
            else:
                self.unseen_items = True
            return objs, True
        return objs, False

    def _global(self, code: Code, name: str) -> list[Any]:
        out = []
        for g in self.watch.globals[code]:
            self.root(g)
            self.note("item", g, name)
            if name in g:
                out.append(self.reach(g[name]))
            else:
                b = builtins.__dict__
                self.root(b)
                self.note("item", b, name)
                out.append(b.get(name, MISSING))
        return out

    def _cell(self, code: Code, name: str) -> list[Any]:
        out = [f[name] for f in self.watch.frames[code] if name in f]
        for f in self.functions[code]:
            c = dict(zip(f.__code__.co_freevars, f.__closure__ or ())).get(name)
            if c is not None and self.existing(c):
                self.note("cell", c, name)
                out.append(self.reach(fetch("cell", c, None), c))
        return out
