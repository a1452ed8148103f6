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

from ...core.signals import foreign
from ...ir.mode import ROOTS
from ...ir.tensor import RUNTIME, Handle
from ..bytecode.stack import FRESH, Args, nested
from ..bytecode.summary import BUILD_CLASS, offsets, summarize, uncertain
from ..heap.facts import Key
from ..heap.patches import Namespaces
from ..heap.policy import (
    BOXES,
    MISSING,
    PURE_CLASS_METHODS,
    VIEWS,
    Wrapped,
    class_names,
    immutable_type,
    instance_dict,
    is_a,
    is_tuple,
    lookup,
    plain,
    pure_function,
    pure_type_call,
    stdlib,
    trusted,
)
from .chains import Code
from .events import Watch
from .expressions import Expressions
from .handed import MAKERS_OF_READERS, QUIET, TEXTS
from .members import in_python

__all__ = ["Analysis"]

MAX_FACTS = 20_000
ROUNDS = 20
TIMED = ("attr", "item", "elem", "deep", "text", "super", "same")  # reads that say where they are
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


class Analysis(Expressions):
    """`run(fn, args)` fills `found`, `held` and `watch.reasons`."""

    def __init__(self, watch: Watch, args: list[Any]) -> None:
        signed: set[int] = set()

        def cover(a: Any) -> None:  # the signature holds the content of argument containers
            if type(a) is np.ndarray or type(a) is np.void:
                signed.add(id(a))
            elif type(a) is list or type(a) is dict or is_tuple(a):
                signed.add(id(a))
                for v in a.values() if type(a) is dict else a:
                    cover(v)

        for a in args:
            cover(a)
        super().__init__(watch, signed)
        self.args = args
        self.answered: set[tuple[Code, int]] = set()  # calls that an event tells of
        self._lines: dict[Code, dict[int, int | None]] = {}
        # functions of classes whose code was entered: class, name, function
        self.owners: dict[Code, list[tuple[type, str, Any]]] = {}
        self.scanned: set[int] = set()

    def run(self, fn: Any) -> dict[Key, Any]:
        """Facts of the call of fn; stops early when there is a reason already."""
        try:
            return self._run(fn)
        except Exception as e:  # the call has run: what cannot be looked at is not replayed
            if foreign(e):
                raise
            self.why(f"could not be followed ({type(e).__name__}: {e})")
            return self.found

    def _run(self, fn: Any) -> dict[Key, Any]:
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
        used = [type(h) for k, h in self.found.items() if k.kind == "version"]
        used += [o for o in self.rooted.values() if is_a(o, type)]
        for t in RUNTIME.tensor, *used:
            self.namespaces.add_class(t)
        self.namespaces.settle()
        key = Key("patched", id(self.namespaces), None)
        self.found[key] = self.namespaces

    def _normalise_returns(self) -> None:
        for (code, at), vs in self.watch.returns.items():
            starts = offsets(code)
            key = code, starts[bisect.bisect_right(starts, at) - 1]
            self.returns.setdefault(key, []).extend(vs)
        self.answered = set(self.returns)
        for code, at, *_ in self.watch.ccalls.values():
            starts = offsets(code)
            self.answered.add((code, starts[bisect.bisect_right(starts, at) - 1]))

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
                        self._parts(f)
            self._origins()
            self._spread_unseen()
            if before == self._size():
                return
        self.why("reads Python state in a way that could not be followed")

    def _parts(self, f: Any) -> None:
        """What a function is made of.  One without defaults got all its arguments, and defaults
        that it may have later change nothing of such a call."""
        self.note("attr", f, "__code__")
        if f.__defaults__ is not None:
            self.note("attr", f, "__defaults__")
            self.all(f.__defaults__)
        if f.__kwdefaults__ is not None:
            self.note("attr", f, "__kwdefaults__")
            self.root(f.__kwdefaults__)
            self.all(f.__kwdefaults__)

    def _code(self, code: Code) -> None:
        s = summarize(code)
        for e in s.later:
            if self.ran(code, e[-1]):
                self.ev(code, e[1])
                self.storing = True  # what was there before is not looked at
                self.ev(code, e)
                self.storing = False
        for e in s.reads:
            at = e[-1] if e[0] in TIMED else None
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
            if is_a(o, (*BOXES, *VIEWS)):
                module = type(o) is dict and "__name__" in o and "__spec__" in o
                if self.unseen_items and id(o) not in spaces and not module:
                    self.all(o)
                if immutable_type(type(o)):
                    continue
            if type(o) is types.ModuleType and self._known_module(o):
                continue
            t, d = type(o), instance_dict(o) or {}
            for n in self.unseen_names:
                if is_a(o, type):
                    if not immutable_type(o) and (lookup(o, n), lookup(t, n)) != (MISSING, MISSING):
                        self.class_attr(o, n)
                elif n in d or lookup(t, n) is not MISSING and self._own(o, t, n):
                    self.attr(o, n)

    @staticmethod
    def _known_module(m: types.ModuleType) -> bool:
        """A module whose content is no state of a user's program."""
        name = getattr(m, "__file__", None)
        return type(name) is not str or trusted(name) or stdlib(name) or "site-packages" in name

    @staticmethod
    def _own(o: Any, t: type, name: str) -> bool:
        """Whether what the classes of o say about a name may change."""
        return not immutable_type(t) or t is types.FunctionType or is_a(o, BaseException)

    # ---- calls
    def objects(self, code: Code, es: Any) -> list[Any]:
        return [o for e in es for o in self.ev(code, e)[0].values()]

    def _call(self, code: Code, at: int, callee: Any, cargs: Args) -> None:
        fs = [f for f in self.objects(code, callee) if callable(f)]
        self.unnamed = any(e != FRESH and self.ev(code, e)[1] for s in cargs for e in s)
        for f in fs:
            self._callee(code, at, f, cargs)
        if fs and all(self._watched(f) for f in fs):
            return
        silent = not fs and (code, at) not in self.answered and not self._fresh(code, callee)
        if silent and (at not in uncertain(code) or at in self.watch.executed[code]):
            self.why("calls an object that could not be followed", code, at)
        text = any(f is t for f in fs for t in TEXTS)
        objs = [o for s in cargs for o in self.objects(code, s)]
        for o in objs:  # code that is not watched may read its arguments, and call them
            self.deep(o, text)
        if not fs or not all(any(f is q for q in QUIET) for f in fs):
            for o in objs:
                self._handed(o, objs, code, at)

    @staticmethod
    def _fresh(code: Code, callee: Any) -> bool:
        """Whether the callee is a function or class that this code makes."""
        calls = summarize(code).calls
        return all(
            e == FRESH or e[0] == "call" and e[1] in calls and calls[e[1]][0] == BUILD_CLASS
            for e in callee
        )

    @staticmethod
    def _watched(f: Any) -> bool:
        """Whether the code of f is user code in Python, whose reads are seen by themselves."""
        if type(f) is types.MethodType:
            f = f.__func__
        if not is_a(f, (types.FunctionType, type, Wrapped)):
            f = lookup(type(f), "__call__")
        if is_a(f, types.FunctionType):
            return not trusted(f.__code__.co_filename)
        return is_a(f, Wrapped)

    def _callee(self, code: Code, at: int, f: Any, cargs: Args) -> None:
        if f is isinstance or f is type or f is issubclass:
            for o in self.objects(code, cargs[0]) if cargs else ():
                if not plain(o) and not is_a(o, (*BOXES, Handle)):
                    self.note("type", o)
        if f is MISSING or is_a(f, Handle) or not callable(f):
            # not what was called (`__len__` may return at the same instruction as `__iter__`)
            return
        modelled = (functools.partial, *MAKERS_OF_READERS, types.MethodType)
        if f is getattr or f is hasattr or is_a(f, modelled):
            if self.applied(f, self.slots(code, f, cargs), cargs.spread) is None:
                self.why(f"calls {self._name(f)}, whose work in C cannot be watched", code, at)
            return
        if type(f).__module__ == "numpy":
            return
        if (
            is_a(f, (types.WrapperDescriptorType, types.MethodWrapperType))
            and f.__name__ in BY_HAND
        ):
            self.why(f"calls {f.__name__} by hand", code, at)
        opaque = not is_a(f, CALLABLE_KINDS) and not is_a(f, Wrapped)
        if opaque and type(lookup(type(f), "__call__")) is not types.FunctionType:
            self.why(
                f"calls a {type(f).__name__}, a C object whose work cannot be watched", code, at
            )
        if is_a(f, type) and not pure_type_call(f):
            self.why(f"makes a {f.__name__}, a C object whose work cannot be watched", code, at)

    @staticmethod
    def _name(f: Any) -> str:
        inner = f.func if is_a(f, functools.partial) else f
        return str(getattr(inner, "__name__", type(inner).__name__))

    def _handed(self, o: Any, objs: list[Any], code: Code, at: int) -> None:
        if callable(o) and self.applied(o, [objs], True) is None:
            self.why(f"hands {self._name(o)} to C code, which may call it", code, at)

    # ---- stores
    def _store(self, code: Code, kind: str, e: Any, rest: list[Any]) -> None:
        at = rest[-1]
        if kind in ("glob", "cell"):
            self.storing = True
            if kind == "cell":
                self._cell(code, e)
            else:
                for g in self.watch.globals[code]:
                    self.root(g)
                    self.note("item", g, e)
            self.storing = False
            return
        objs, unseen = self.ev(code, e)
        if kind == "attr" and rest[0] == "__dict__":
            self.why("replaces the dictionary of an object", code, at)
        for o in list(objs.values()):
            if at in summarize(code).deletes:
                self._deleted(o, kind)
            self.storing = kind != "inplace"
            if kind == "attr":
                self.attr(o, rest[0])
                self._setter(o, rest[0])
            elif kind == "item":
                self.item(o, rest[0])
            elif not plain(o):
                self.all(o)
            self.storing = False
        if kind == "inplace":
            if unseen and e[0] not in ("call", "fresh", "top", "many"):
                self.unseen_items = True
            return
        if e[0] == "call" and e[1] in summarize(code).calls:
            fs = self.objects(code, summarize(code).calls[e[1]][0])
            unseen = unseen and not (fs and all(is_a(f, type) for f in fs))
        if unseen and e[0] != "fresh" and not self._only_tensors(code, e):
            self.why("stores into an object that could not be followed", code, at)

    def _deleted(self, o: Any, kind: str) -> None:
        """What is taken out and put in again changes its place in the order."""
        if kind != "attr":
            if is_a(o, BOXES):
                self.all(o)
        elif not is_a(o, (type, types.ModuleType)) and instance_dict(o) is not None:
            d = self.dictionary(o)
            if self.existing(o):
                self.note("keys", d)

    def _setter(self, o: Any, name: str) -> None:
        """A store through a property runs its setter, which must be Python code to be watched."""
        p = lookup(type(o), name)
        for f in (p.fset, p.fdel) if is_a(p, property) else ():
            if f is not None and not in_python(f):
                self.why(f"stores through a property whose setter is a C object ({self._name(f)})")

    def _only_tensors(self, code: Code, e: Any) -> bool:
        """Whether an expression gave tensors only (their stores are reported by themselves)."""
        got = self.returns.get((code, e[-1])) if isinstance(e[-1], int) else None
        return got is not None and bool(got) and all(is_a(o, Handle) for o in got)

    # ---- where entered code came from
    def _origins(self) -> None:
        """Find the functions of code entered implicitly (dunders, properties, hooks) on the classes
        seen."""
        for o in list(self.rooted.values()) + [
            v for fs in self.watch.frames.values() for f in fs for v in f.values()
        ]:
            for t in type(o), o:
                if is_a(t, type) and id(t) not in self.scanned:
                    for c in t.__mro__:
                        self._scan(c)
        for code, owners in self.owners.items():
            if not self.functions[code] or code.co_freevars:
                for t, name, f in owners:
                    self.root_class(t)
                    self.note("tattr", t, name)
                    self.reach(f, t)

    def _scan(self, t: type) -> None:
        """Note the functions of a class whose code was entered."""
        if id(t) in self.scanned:
            return
        self.scanned.add(id(t))
        for name, v in list(class_names(t).items()):
            if is_a(v, types.FunctionType):
                parts: tuple[Any, ...] = (v,)
            elif is_a(v, property):
                parts = v.fget, v.fset, v.fdel
            elif is_a(v, (classmethod, staticmethod)):
                parts = (v.__func__,)
            else:
                continue
            for f in parts:
                if is_a(f, types.FunctionType) and f.__code__ in self.watch.frames:
                    self.owners.setdefault(f.__code__, []).append((t, name, f))

    def _check_origins(self) -> None:
        """Code entered implicitly must belong to a class seen, or be made by code that ran."""
        inner = {c for code in self.watch.frames for c in nested(code)}
        inner |= {c for code in self._trusted_codes() for c in nested(code)}
        for code in list(self.watch.frames):
            if code not in self.owners and not self.functions[code] and code not in inner:
                self.why(f"enters {code.co_name}, whose origin was not seen", code, 0)

    def _trusted_codes(self) -> list[Code]:
        return [
            f.__code__
            for fs in list(self.functions.values())
            for f in fs
            if trusted(f.__code__.co_filename)
        ]

    # ---- C calls that were seen
    @staticmethod
    def _plain_base(o: Any) -> bool:
        """Whether C methods of o read no more than an immutable value."""
        return plain(o) or is_a(
            o, (int, float, complex, bytes, np.generic, slice, property, Handle)
        )

    def _c_call(self, code: Code, at: int, fn: Any, line: int) -> None:
        owner, name = fn.__self__, fn.__name__
        if getattr(fn, "__module__", None) == "_abc":
            self.root(abc)
            self.note("abc", abc)
        if owner is None or is_a(owner, types.ModuleType):
            if not pure_function(fn):
                self.why(f"calls {getattr(fn, '__module__', '?')}.{name}", code, at)
        elif is_a(owner, (*BOXES, *VIEWS, np.ndarray)):
            self.all(owner)
        elif is_a(owner, str):
            if name in ("format", "format_map") and any(c in owner for c in ".["):
                self.why("calls str.format with a field that reads attributes", code, at)
        elif is_a(owner, type):
            if owner not in PURE_CLASS_METHODS:
                self.why(f"calls {owner.__name__}.{name}", code, at)
        elif self._plain_base(owner) or name in ("__reduce__", "__init_subclass__"):
            return
        elif not (hasattr(type(owner), "__next__") and not self.existing(owner)):
            self.why(f"calls {type(owner).__name__}.{name}", code, at)
