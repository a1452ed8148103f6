"""Calls of the code that ran: what each may read in C, and those that no recording can follow.

Invariant: a call is to Python code that is watched, to C code whose reads are facts, or there is a
reason.
"""

from __future__ import annotations

import abc
import functools
import sys
import types
import weakref
from collections.abc import Iterable
from types import CodeType
from typing import Any

import numpy as np

from ....ir.tensor import Handle
from ...bytecode.effects import BUILD_CLASS
from ...bytecode.expressions import FRESH, Args, Call, Expr
from ...bytecode.summary import summarize, uncertain
from ...heap.allowlist import (
    BOXES,
    MISSING,
    PURE_CLASS_METHODS,
    VIEWS,
    Wrapped,
    finalized,
    instance_dict,
    is_a,
    lookup,
    plain,
    pure_function,
    pure_type_call,
    trusted,
)
from ...heap.library import FIXED, SCANNERS, TRANSIENT, on_fresh, reads_identity
from ...heap.walks import CACHED
from ..c_calls import MAKERS_OF_READERS, QUIET, TEXTS
from ..evaluator import Evaluator
from ..fact_table import Access
from ..pinned.changes import Changes
from .host_rules import HostCalls

__all__ = ["CallRules", "name_of"]

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
OF_UFUNCS = ("reduce", "accumulate", "outer")  # methods that change nothing
MADE_OF_TEXT = ("fromisoformat", "fromordinal", "combine")  # class methods that ask for no clock
MODELLED = (functools.partial, *MAKERS_OF_READERS, types.MethodType)


def name_of(function: Any) -> str:
    """What a callable is called."""
    inner = function.func if is_a(function, functools.partial) else function
    return str(getattr(inner, "__name__", type(inner).__name__))


def _watched(function: Any) -> bool:
    """Whether a callable is user code in Python, whose reads are seen by themselves."""
    if type(function) is types.MethodType:
        function = function.__func__
    if not is_a(function, (types.FunctionType, type, Wrapped)):
        function = lookup(type(function), "__call__")
    if is_a(function, types.FunctionType):
        return not trusted(function.__code__.co_filename)
    return is_a(function, Wrapped)


def _silent(function: Any) -> bool:
    """Whether a callable does not care which of equal objects it gets: hybrid's own, and questions
    for the class."""
    if any(function is quiet for quiet in QUIET):
        return function is not hash and function is not id
    inner = function.__func__ if type(function) is types.MethodType else function
    if not is_a(inner, types.FunctionType):
        inner = lookup(type(inner), "__call__")
    return is_a(inner, types.FunctionType)


def _makes_callee(code: CodeType, callee: Iterable[Expr]) -> bool:
    """Whether the callee is a function or class that this code makes."""
    calls = summarize(code)
    return all(
        e == FRESH or (e.kind == "call" and calls.call(e.at).callee == BUILD_CLASS) for e in callee
    )


def _plain_base(owner: Any, name: str) -> bool:
    """Whether C methods of an object read no more than an immutable value, or what a call of the
    object itself reads."""
    kinds = (int, float, complex, bytes, np.generic, slice, property, Handle, *FIXED)
    return plain(owner) or is_a(owner, kinds) or (is_a(owner, np.ufunc) and name in OF_UFUNCS)


# methods that look for an equal value
SEEKING = frozenset(("__contains__", "count", "index", "remove"))


class CallRules:
    """What a call depends on, and whether it can be replayed."""

    def __init__(self, evaluator: Evaluator, changes: Changes, hosts: HostCalls) -> None:
        self.hosts = hosts
        self.evaluator, self.objects = evaluator, evaluator.objects
        self.facts, self.watch, self.changes = evaluator.facts, evaluator.watch, changes

    # ---- calls in the bytecode
    def call(self, code: CodeType, offset: int, call: Call) -> None:
        """One call instruction that ran."""
        evaluator = self.evaluator
        functions = [f for f in evaluator.values(code, call.callee) if callable(f)]
        if self._followed(code, offset):
            return
        access = Access(code, offset, unnamed=evaluator.unnamed(code, call.args))
        for function in functions:
            self._callee(function, call.args, access)
        if functions and all(_watched(f) for f in functions):
            return
        told = functions or (code, offset) in evaluator.answered or _makes_callee(code, call.callee)
        if not told and (offset not in uncertain(code) or offset in self.watch.executed[code]):
            self.facts.why("calls an object that could not be followed", access)
        textual = any(f is t for f in functions for t in TEXTS)
        receiver, others = call.args[: call.args.method], call.args[call.args.method :]
        objects = [o for slot in others for o in evaluator.values(code, slot)]
        silent = functions and all(map(_silent, functions))
        measured = bool(functions) and all(f is len for f in functions)
        self.hosts.expose(objects)
        for value in objects:  # code that is not watched may read its arguments, and call them
            if not silent:
                evaluator.told_apart(value, access, textual)
            if not measured or not self.changes.put_off(value, access):
                self.objects.deep(value, access, textual)
        for value in [o for slot in receiver for o in evaluator.values(code, slot)]:
            objects.append(value)
            self.hosts.expose([value])
            if not silent:
                evaluator.told_apart(value, access, textual)
            if not self.changes.put_off(value, access):
                self.objects.deep(value, access, textual)
        if not functions or not all(any(f is q for q in QUIET) for f in functions):
            for value in objects:
                self._handed(value, objects, access)

    def _followed(self, code: CodeType, offset: int) -> bool:
        """Whether the follower knows what a call does; then what it looks at are its facts."""
        if self.hosts.put_off(code, offset):
            for box in self.hosts.boxes(code, offset):
                self.objects.deep(box, Access(code, offset))
            return True
        looked_up = self.changes.looked_up(code, offset)
        for owner, key in looked_up:
            self.evaluator.looked_up_in(owner, key, Access(code, offset))
        return bool(looked_up)

    def _callee(self, function: Any, arguments: Args, access: Access) -> None:
        evaluator, code, why = self.evaluator, access.code, self.facts.why
        assert code is not None
        if function is isinstance or function is type or function is issubclass:
            for value in evaluator.values(code, arguments[0]) if arguments else ():
                if not plain(value) and not is_a(value, (*BOXES, Handle)):
                    self.facts.note("type", value, None, access)
        if function is MISSING or is_a(function, Handle) or not callable(function):
            # not what was called (`__len__` may return at the same instruction as `__iter__`)
            return
        if function is getattr or function is hasattr or is_a(function, MODELLED):
            slots = evaluator.slots(code, function, arguments)
            if self.objects.applied(function, slots, access, arguments.spread) is None:
                reason = f"calls {name_of(function)}, whose work in C cannot be watched"
                why(reason, access)
            return
        if type(function).__module__ == "numpy":
            return
        wrapper = is_a(function, (types.WrapperDescriptorType, types.MethodWrapperType))
        if wrapper and function.__name__ in BY_HAND and not self._fills(function, arguments, code):
            why(f"calls {function.__name__} by hand", access)
        kind, unwatched = type(function), "a C object whose work cannot be watched"
        if type(function) is weakref.ReferenceType:
            self.facts.note("referent", function, None, access)
            self.objects.reach(function(), access, function)
            return
        if type(function) in SCANNERS:
            return  # its hooks are watched
        if function is weakref.ReferenceType and len(arguments) == 1 and not arguments.spread:
            return  # without a callback it is one with every other reference to the object
        self.watch.cached = self.watch.cached or kind is CACHED
        opaque = not is_a(function, CALLABLE_KINDS) and not is_a(function, Wrapped)
        if opaque and type(lookup(kind, "__call__")) is not types.FunctionType:
            why(f"calls a {kind.__name__}, {unwatched}", access)
        if is_a(function, type) and not pure_type_call(function):
            why(f"makes a {function.__name__}, {unwatched}", access)
        self._made(function, arguments, access)

    def _made(self, function: Any, arguments: Args, access: Access) -> None:
        """What makes objects whose end is seen is an effect: a replay makes none."""
        code, made = access.code, [function]
        assert code is not None
        if is_a(function, types.BuiltinFunctionType) and function.__name__ == "__new__":
            made = self.evaluator.values(code, arguments[0]) if arguments else []
        for cls in made:
            if is_a(cls, type) and finalized(cls):
                self.facts.why(f"makes a {cls.__name__}, whose __del__ runs when it goes", access)

    def _harmless(self, function: Any, code: CodeType, offset: int) -> bool:
        """Whether a C function that does more than read its arguments does it to none that is older
        than the call, or asks what is a fact."""
        if function is sys.exc_info:
            self.facts.root(sys)
            self.facts.note("handled", sys, None, Access(code, offset))
            return True
        if function is id and reads_identity(code):
            return True
        if offset not in summarize(code).calls:
            return False
        given = summarize(code).call(offset).args
        if given.spread or not given:
            return False
        slots = given[1:] if given.method else list(given)
        if function is vars:
            return len(slots) == 1 and self._opened(code, slots[0], Access(code, offset))
        if function is setattr:
            return self._set(code, slots, Access(code, offset, stores=True))
        return on_fresh(function) and self._made_here(code, slots[0])

    def _seen(self, code: CodeType, slot: Iterable[Expr]) -> bool:
        """Whether all that an argument may be is known, or made here."""
        return not any(self.evaluator.evaluate(code, e).unseen for e in slot if e != FRESH)

    def _opened(self, code: CodeType, slot: Iterable[Expr], access: Access) -> bool:
        """`vars(o)`: the dictionary of an object."""
        found = self.evaluator.values(code, slot)
        known = bool(found) and all(type(instance_dict(value)) is dict for value in found)
        return known and self._seen(code, slot)

    def _set(self, code: CodeType, slots: Any, writes: Access) -> bool:
        """`setattr(o, name, value)`: a store, where object and name are known."""
        if len(slots) != 3 or not (self._seen(code, slots[0]) and self._seen(code, slots[1])):
            return False
        names = self.evaluator.values(code, slots[1])
        for value in self.evaluator.values(code, slots[0]):
            for name in names:
                if type(name) is not str or name[:2] == "__":
                    return False
                accessor = lookup(type(value), name)
                if is_a(accessor, property) and not is_a(accessor.fset, types.FunctionType):
                    return False
                self.objects.attr(value, name, writes)
        return bool(names)

    def _made_here(self, code: CodeType, slot: Iterable[Expr]) -> bool:
        """Whether an argument is an object that the recorded call has made (a box is what is in
        one)."""
        others = [e for e in slot if e != FRESH and e.kind != "box"]
        found = [self.evaluator.evaluate(code, e) for e in others]
        objects = [o for one in found for o in one.objects.values()]
        if any(one.unseen for one in found):
            return False
        return all(id(o) in self.watch.young for o in objects)

    def _fills(self, function: Any, arguments: Args, code: CodeType) -> bool:
        """Whether a call sets an attribute of an object that the recorded call has made, as the
        `__init__` of a frozen dataclass does."""
        slots = arguments[1:] if arguments.method else arguments  # looked up in `object`
        if function is not object.__setattr__ or arguments.spread or not slots:
            return False
        seen = len(self.evaluator.values(code, slots[0])) > 0
        return seen and self._made_here(code, slots[0])

    def _handed(self, value: Any, objects: list[Any], access: Access) -> None:
        """C code may call what it is handed."""
        if callable(value) and self.objects.applied(value, [objects], access, True) is None:
            reason = f"hands {name_of(value)} to C code, which may call it"
            self.facts.why(reason, access)

    # ---- C calls that were seen
    def c_call(self, code: CodeType, offset: int, function: Any) -> None:
        """One call of a C function by user code, as the profiler reported it."""
        if self.changes.looked_up(code, offset):
            return
        owner, name, access = function.__self__, function.__name__, Access(code, offset)
        module, why = getattr(function, "__module__", None), self.facts.why
        if module == "_abc":
            self.facts.root(abc)
            self.facts.note("abc", abc, None, access)
        if owner is None or is_a(owner, types.ModuleType):
            if not pure_function(function) and not self._harmless(function, code, offset):
                why(f"calls {getattr(function, '__module__', '?')}.{name}", access)
        elif is_a(owner, (*BOXES, *VIEWS, np.ndarray)):
            self.evaluator.sought([owner] if name in SEEKING else (), access)
            if not self.changes.put_off(owner, access, name):
                self.objects.contents(owner, access)
        elif is_a(owner, str):
            if name in ("format", "format_map") and any(c in owner for c in ".["):
                why("calls str.format with a field that reads attributes", access)
        elif is_a(owner, type):
            if owner not in PURE_CLASS_METHODS and not (owner in FIXED and name in MADE_OF_TEXT):
                why(f"calls {owner.__name__}.{name}", access)
        elif _plain_base(owner, name) or name in ("__reduce__", "__init_subclass__"):
            return
        elif type(owner) in TRANSIENT and not self.facts.existing(owner):
            pass
        elif not hasattr(type(owner), "__next__") or self.facts.existing(owner):
            why(f"calls {type(owner).__name__}.{name}", access)
