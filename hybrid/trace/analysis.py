"""From one watched call to its facts and to the reasons against replaying it.

Invariant: every instruction of user code that ran is accounted for: what it may read is a fact,
what it may store is a fact, whom it calls is known, or there is a reason.
"""

from __future__ import annotations

import abc
import bisect
import builtins
import functools
import types
from typing import Any

import numpy as np

from ..ir.mode import ROOTS
from ..ir.tensor import TENSOR, Handle
from .bytecode import offsets, summarize
from .chains import Chains, Code
from .facts import Key
from .patches import Namespaces
from .policy import (
    BOXES,
    MISSING,
    PURE_CLASS_METHODS,
    PURE_TYPES,
    SCALARS,
    Wrapped,
    handed_is_impure,
    immutable_type,
    lookup,
    pure_function,
    pure_type_call,
    trusted,
)
from .raw import own_dict
from .seeing import Watch
from .signature import is_tuple
from .stack import nested

__all__ = ["Analysis"]

MAX_FACTS = 20_000
ROUNDS = 20
BY_HAND = ("__getattribute__", "__setattr__", "__delattr__", "__getattr__")
CALLABLE_KINDS = (
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    np.ufunc,
    type,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    classmethod,
    staticmethod,
    types.ClassMethodDescriptorType,
)


class Analysis(Chains):
    """`run(fn, args)` fills `found`, `held` and `watch.reasons`."""

    def __init__(self, watch: Watch, args: list[Any]) -> None:
        signed: set[int] = set()

        def cover(a: Any) -> None:  # the signature holds the content of argument containers
            if type(a) in (list, dict, np.ndarray) or is_tuple(a):
                signed.add(id(a))
                for v in a.values() if type(a) is dict else a if type(a) is not np.ndarray else ():
                    cover(v)

        for a in args:
            cover(a)
        super().__init__(watch, signed)
        self.args = args
        self._lines: dict[Code, dict[int, int | None]] = {}

    def run(self, fn: Any) -> dict[Key, Any]:
        """Facts of the call of fn; stops early when there is a reason already."""
        if self.watch.reasons:
            return self.found
        for code in self.watch.frames:
            s = summarize(code)
            if s.unknown:
                self.why(
                    f"uses Python that recording does not follow ({s.unknown.lower()})", code, 0
                )
        if self.watch.reasons:
            return self.found
        self._normalise_returns()
        for r in ROOTS:
            self.reach(r)
        self.reach(fn)
        self.namespaces = Namespaces(self.watch.ran)
        for f in self.namespaces.foreign():
            self.reach(f)
        for a in self.args:
            self.reach(a)
        self._fixpoint()
        self._own_names()
        if not self.watch.reasons:
            self._check_origins()
            for c in list(self.watch.ccalls.values()):
                self._c_call(*c)
        return self.found

    def _own_names(self) -> None:
        """Hybrid's own names are one fact: nobody has replaced what they stand for."""
        for t in TENSOR[0], *[type(h) for k, h in self.found.items() if k.kind == "version"]:
            self.namespaces.add_class(t)
        self.namespaces.add_functions([f for fs in self.functions.values() for f in fs])
        key = Key("patched", id(self.namespaces), None)
        self.found[key] = self.namespaces

    def _normalise_returns(self) -> None:
        for (code, at), vs in self.watch.returns.items():
            starts = offsets(code)
            key = code, starts[bisect.bisect_right(starts, at) - 1]
            self.returns.setdefault(key, []).extend(vs)

    def _size(self) -> tuple[int, ...]:
        return (
            len(self.found),
            len(self.rooted),
            len(self.unseen_names),
            self.unseen_items,
            sum(map(len, self.functions.values())),
        )

    def _fixpoint(self) -> None:
        for _ in range(ROUNDS):
            before = self._size()
            self.memo = {}
            for code in list(self.watch.frames):
                self._code(code)
            if len(self.found) > MAX_FACTS:
                self.why(f"reads more than {MAX_FACTS} Python places")
            if self.watch.reasons:
                return
            for code in [*self.watch.frames, *self._trusted_codes()]:
                for f in self.functions[code]:
                    if self.existing(f):
                        self.note("attr", f, "__code__")
                        self.note("attr", f, "__defaults__")
                        self.note("attr", f, "__kwdefaults__")
                        self.all(f.__defaults__)
                        if f.__kwdefaults__ is not None:
                            self.root(f.__kwdefaults__)
                            self.all(f.__kwdefaults__)
            self._origins()
            self._spread_unseen()
            if before == self._size():
                return
        self.why("reads Python state in a way that could not be followed")

    def _code(self, code: Code) -> None:
        s = summarize(code)
        for e in s.reads:
            at = e[-1] if e[0] in ("attr", "item", "elem", "deep", "super") else None
            if at is None or self.ran(code, at):
                self.ev(code, e)
        for at, (callee, cargs) in s.calls.items():
            if self.ran(code, at):
                self._call(code, at, callee, cargs)
        for kind, e, *rest in s.stores:
            if self.ran(code, rest[-1]):
                self._store(code, kind, e, rest)

    def ran(self, code: Code, at: int) -> bool:
        """Whether the line of this instruction ran (an instruction without a line may have)."""
        table = self._lines.get(code)
        if table is None:
            table = self._lines[code] = {
                o: n for a, b, n in code.co_lines() for o in range(a, b, 2)
            }
        n = table.get(at)
        return n is None or n in self.watch.lines[code]

    def _spread_unseen(self) -> None:
        """Guard names and items of something unseen on every object they could belong to."""
        if not self.unseen_names and not self.unseen_items:
            return
        spaces = {id(g) for gs in self.watch.globals.values() for g in gs} | {id(builtins.__dict__)}
        for o in list(self.rooted.values()):
            if isinstance(o, BOXES):
                module = isinstance(o, dict) and "__name__" in o and "__spec__" in o
                if self.unseen_items and id(o) not in spaces and not module:
                    self.all(o)
                continue
            if isinstance(o, (types.FunctionType, types.ModuleType)):
                continue
            for n in self.unseen_names:
                if isinstance(o, type):
                    if not immutable_type(o) and lookup(o, n) is not MISSING:
                        self._class_attr(o, n)
                    continue
                t = type(o)
                if (
                    n in (own_dict(o) or ())
                    or lookup(t, n) is not MISSING
                    and not immutable_type(t)
                ):
                    self.attr(o, n)

    # ---- calls
    def objects(self, code: Code, es: Any) -> list[Any]:
        return [o for e in es for o in self.ev(code, e)[0].values()]

    def _call(self, code: Code, at: int, callee: Any, cargs: list[Any]) -> None:
        fs = [f for f in self.objects(code, callee) if callable(f)]
        for f in fs:
            self._callee(code, at, f, cargs)
        if fs and all(self._watched(f) for f in fs):
            return
        for s in cargs:  # code that is not watched may read its arguments, and call them
            for o in self.objects(code, s):
                if not isinstance(o, Handle):
                    self.deep(o)
                    self._handed(o, code, at)

    @staticmethod
    def _watched(f: Any) -> bool:
        """Whether the code of f is user code in Python, whose reads are seen by themselves."""
        if isinstance(f, types.MethodType):
            f = f.__func__
        if not isinstance(f, (types.FunctionType, type)) and not isinstance(f, Wrapped):
            f = lookup(type(f), "__call__")
        if isinstance(f, types.FunctionType):
            return not trusted(f.__code__.co_filename)
        return isinstance(f, Wrapped)

    def _callee(self, code: Code, at: int, f: Any, cargs: list[Any]) -> None:
        if f is getattr or f is hasattr:
            self._getattr(code, cargs)
        elif f is isinstance or f is type or f is issubclass:
            for o in self.objects(code, cargs[0]) if cargs else ():
                if not isinstance(o, SCALARS + BOXES + (Handle,)):
                    self.note("type", o)
        if f is MISSING or isinstance(f, Handle) or not callable(f):
            # not what was called (`__len__` may return at the same instruction as `__iter__`)
            return
        if isinstance(f, functools.partial):
            self.all(self.reach(f.args, f))
            self.all(self.reach(f.keywords, f))
            f = f.func
            self._handed(f, code, at)
        if type(f).__module__ == "numpy":
            return
        if (
            isinstance(f, (types.WrapperDescriptorType, types.MethodWrapperType))
            and f.__name__ in BY_HAND
        ):
            self.why(f"calls {f.__name__} by hand", code, at)
        opaque = not isinstance(f, CALLABLE_KINDS) and not isinstance(f, Wrapped)
        if opaque and not isinstance(lookup(type(f), "__call__"), types.FunctionType):
            self.why(
                f"calls a {type(f).__name__}, a C object whose work cannot be watched", code, at
            )
        if isinstance(f, type) and not pure_type_call(f):
            self.why(f"makes a {f.__name__}, a C object whose work cannot be watched", code, at)

    def _getattr(self, code: Code, cargs: list[Any]) -> None:
        if len(cargs) < 2:
            return
        names = {e[1] if e[0] == "const" else None for e in cargs[1]}
        known = [o for o in self.objects(code, cargs[1]) if isinstance(o, str)]
        for o in self.objects(code, cargs[0]):
            for n in names:
                for m in [n] if n is not None else [*known, *(own_dict(o) or ())]:
                    self.attr(o, m)

    def _handed(self, o: Any, code: Code, at: int) -> None:
        if handed_is_impure(o) and not isinstance(o, Wrapped):
            self.why(
                f"hands {getattr(o, '__name__', type(o).__name__)} to C code, which may call it",
                code,
                at,
            )

    # ---- stores
    def _store(self, code: Code, kind: str, e: Any, rest: list[Any]) -> None:
        at = rest[-1]
        if kind == "glob":
            for g in self.watch.globals[code]:
                self.root(g)
                self.note("item", g, e)
            return
        if kind == "cell":
            self.ev(code, ("cell", e))
            return
        objs, unseen = self.ev(code, e)
        if kind == "attr" and rest[0] == "__dict__":
            self.why("replaces the dictionary of an object", code, at)
        for o in list(objs.values()):
            if at in summarize(code).deletes:
                self._deleted(o, kind)
            if kind == "attr":
                self.attr(o, rest[0])
            elif kind == "item":
                self.item(o, rest[0])
            elif not isinstance(o, SCALARS):
                self.all(o)
        if kind == "inplace":
            if unseen and e[0] not in ("call", "fresh", "top", "many"):
                self.unseen_items = True
            return
        if e[0] == "call" and e[1] in summarize(code).calls:
            fs = self.objects(code, summarize(code).calls[e[1]][0])
            unseen = unseen and not (fs and all(isinstance(f, type) for f in fs))
        if unseen and e[0] != "fresh" and not self._only_tensors(code, e):
            self.why("stores into an object that could not be followed", code, at)

    def _deleted(self, o: Any, kind: str) -> None:
        """What is taken out and put in again changes its place in the order."""
        if kind != "attr":
            if isinstance(o, BOXES):
                self.all(o)
        elif not isinstance(o, (type, types.ModuleType)) and own_dict(o) is not None:
            d = self.dictionary(o)
            self.note("keys", d)

    def _only_tensors(self, code: Code, e: Any) -> bool:
        """Whether an expression gave tensors only (their stores are reported by themselves)."""
        got = self.returns.get((code, e[-1])) if isinstance(e[-1], int) else None
        return got is not None and bool(got) and all(isinstance(o, Handle) for o in got)

    # ---- where entered code came from
    def _origins(self) -> dict[Code, bool]:
        """Find the functions of code entered implicitly (dunders, properties, hooks) on the classes
        seen; for each such code whether one was found."""
        kinds: dict[type, None] = {}
        for o in list(self.rooted.values()) + [
            v for fs in self.watch.frames.values() for f in fs for v in f.values()
        ]:
            for t in type(o), o:
                if isinstance(t, type):
                    kinds.update(dict.fromkeys(t.__mro__))
        return {
            code: self._origin(code, kinds)
            for code in list(self.watch.frames)
            if not self.functions[code] or code.co_freevars
        }

    def _check_origins(self) -> None:
        """Code entered implicitly must belong to a class seen, or be made by code that ran."""
        inner = {c for code in self.watch.frames for c in nested(code)}
        inner |= {c for code in self._trusted_codes() for c in nested(code)}
        for code, found in self._origins().items():
            if not found and not self.functions[code] and code not in inner:
                self.why(f"enters {code.co_name}, whose origin was not seen", code, 0)

    def _trusted_codes(self) -> list[Code]:
        return [
            f.__code__
            for fs in list(self.functions.values())
            for f in fs
            if trusted(f.__code__.co_filename)
        ]

    def _origin(self, code: Code, kinds: dict[type, None]) -> bool:
        def owned(t: type, name: str) -> bool:
            f = t.__dict__.get(name)
            parts = (
                (f.fget, f.fset, f.fdel)
                if isinstance(f, property)
                else (f.__func__,)
                if isinstance(f, (classmethod, staticmethod))
                else (f,)
            )
            mine = [g for g in parts if isinstance(g, types.FunctionType) and g.__code__ is code]
            if mine:
                self.root(t)
                self.note("tattr", t, name)
            for g in mine:
                self.reach(g)
            return bool(mine)

        return any([owned(t, code.co_name) for t in kinds]) or any(
            [owned(t, n) for t in kinds for n in list(t.__dict__)]
        )

    # ---- C calls that were seen
    def _c_call(self, code: Code, at: int, fn: Any, line: int) -> None:
        owner, name = fn.__self__, fn.__name__
        if getattr(fn, "__module__", None) == "_abc":
            self.root(abc)
            self.note("abc", abc)
        if owner is None or isinstance(owner, types.ModuleType):
            if not pure_function(fn):
                self.why(f"calls {getattr(fn, '__module__', '?')}.{name}", code, at)
        elif isinstance(owner, BOXES + (np.ndarray,)):
            self.all(owner)
        elif isinstance(owner, str):
            if name in ("format", "format_map") and any(c in owner for c in ".["):
                self.why("calls str.format with a field that reads attributes", code, at)
        elif isinstance(owner, type):
            if owner not in PURE_CLASS_METHODS:
                self.why(f"calls {owner.__name__}.{name}", code, at)
        elif isinstance(owner, PURE_TYPES + (Handle,)) or name in (
            "__reduce__",
            "__init_subclass__",
        ):
            return
        elif not (hasattr(type(owner), "__next__") and not self.existing(owner)):
            self.why(f"calls {type(owner).__name__}.{name}", code, at)
