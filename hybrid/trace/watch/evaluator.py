"""Evaluating the expressions of a code summary on the real objects.

Invariant: an expression that cannot be evaluated is reported as unseen, and what it may read is
guarded wherever it could be.
"""

from __future__ import annotations

import builtins
import collections
import inspect
import sys
import types
from collections.abc import Callable, Iterable
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from ...ir.tensor import Handle
from ..bytecode.expressions import FRESH, MANY, NOWHERE, TOP, Args, Expr, ExprKind
from ..bytecode.summary import instructions_of, start_of, summarize
from ..heap.allowlist import BOXES, MISSING, NUMPY, VIEWS, is_a, plain
from ..heap.facts import fetch
from ..heap.library import reads_identity
from ..heap.structure import has_twins, holds_nan, stands_alone
from ..heap.walks import Zipped
from .classes import in_python
from .fact_table import Access, Facts
from .objects import Objects

__all__ = ["Evaluator", "Found"]


_DISPATCHED = type(np.clip)


def _of_numpy(function: Any) -> bool:
    """Whether a function in Python is one of NumPy's own."""
    if is_a(function, _DISPATCHED):
        return True
    plainly = is_a(function, types.FunctionType)
    return plainly and function.__code__.co_filename.startswith(NUMPY)


class Found(NamedTuple):
    """Objects an expression may be (by id), and whether it may also be something unseen."""

    objects: dict[int, Any]
    unseen: bool


_CYCLE = Found({}, False)
_ASKED: frozenset[ExprKind] = frozenset(("deep", "text", "truth", "same", "sought"))


class Evaluator:
    """What the expressions of entered code may be."""

    def __init__(self, facts: Facts, objects: Objects) -> None:
        self.facts, self.objects, self.watch = facts, objects, facts.watch
        # (code, offset) -> what Python code returned to this instruction
        self.returns: dict[tuple[CodeType, int], list[Any]] = {}
        self.answered: set[tuple[CodeType, int]] = set()  # calls that an event tells of
        # by id: a code object is hashed by content, anew each time
        self._memo: dict[tuple[int, Expr], Found] = {}
        # what stands for the tuples of walks, by id of the walk
        self._tuples: dict[int, tuple[Zipped, collections.deque[Any]]] = {}
        # whether the facts about a container that is used here can wait
        self.put_off: Callable[[Any, Access], bool] = lambda value, access: False
        # the keys of a container that an instruction used, where they are known
        self.keys_at: Callable[[Any, Access], list[Any] | None] = lambda value, access: None
        # whether the call at an instruction is one of Python's own world that is made again
        self.made_again: Callable[[CodeType, int], bool] = lambda code, offset: False
        self._lines: dict[CodeType, dict[int, int | None]] = {}

        # the dicts and keys of a call that took what is there
        self.looked_up: Callable[[CodeType, int], list[tuple[Any, Any]]] = lambda code, offset: []

    def normalise(self) -> None:
        """Take the events by instruction."""
        for (code, offset), values in self.watch.returns.items():
            self.returns.setdefault((code, start_of(code, offset)), []).extend(values)
        self.answered = set(self.returns)
        for code, offset, *_ in self.watch.ccalls.values():
            self.answered.add((code, start_of(code, offset)))

    def forget(self) -> None:
        """What was found may be more by now."""
        self._memo = {}

    # ---- what ran
    def ran(self, code: CodeType, offset: int) -> bool:
        """Whether the line of this instruction ran (an instruction without a line may have); where
        every instruction was followed, whether it ran itself."""
        executed = self.watch.executed.get(code)
        if executed and self.watch.follow is not None and not self.watch.follow.failed:
            return offset in executed or self._long(code, offset, executed)
        table = self._lines.get(code)
        if table is None:
            table = self._lines[code] = {
                offset: line
                for start, end, line in code.co_lines()
                for offset in range(start, end, 2)
            }
        line = table.get(offset)
        return line is None or line in self.watch.lines[code]

    @staticmethod
    def _long(code: CodeType, offset: int, executed: set[int]) -> bool:
        """Whether an instruction with a long operand ran: only its first part is announced."""
        instructions = instructions_of(code)
        while instructions[offset].offset - 2 in instructions:
            offset -= 2
            if instructions[offset].opname != "EXTENDED_ARG":
                return False
            if offset in executed:
                return True
        return False

    # ---- expressions
    def evaluate(self, code: CodeType, expression: Expr, stores: bool = False) -> Found:
        """What an expression may be; `stores`: what was there before is not looked at."""
        got = self._memo.get((id(code), expression))
        if got is not None:
            return got
        self._memo[id(code), expression] = _CYCLE  # cuts cycles: what is inside itself adds nothing
        offset = expression.at
        if offset == NOWHERE:
            offset = summarize(code).names.get(expression, 0)
        # a variable stands for all that is ever stored there
        runs = expression.at == NOWHERE or self.ran(code, offset)
        access = Access(code, offset, stores)
        found, unseen = self._evaluate(code, expression, access) if runs else ((), False)
        seen: dict[int, Any] = {}
        for value in found:
            if is_a(value, Handle):
                self.objects.loaded.setdefault(id(value), value)
            elif value is not MISSING:
                seen[id(value)] = value
        out = self._memo[id(code), expression] = Found(seen, unseen)
        return out

    def values(self, code: CodeType, exprs: Iterable[Expr]) -> list[Any]:
        """Objects that the expressions may be."""
        return [o for e in exprs for o in self.evaluate(code, e).objects.values()]

    def only_tensors(self, code: CodeType, exprs: Iterable[Expr]) -> bool:
        """Whether all that the expressions were seen to be are tensors."""
        for expression in exprs:
            found, unseen = self._evaluate(code, expression, Access(code, max(expression.at, 0)))
            objects = list(found)
            if unseen or not objects or not all(is_a(value, Handle) for value in objects):
                return False
        return True

    def slots(self, code: CodeType, function: Any, arguments: Args) -> list[list[Any]]:
        """Objects that each argument of a call may be.

        A call that looked a C function up in an object does not hand it that object."""
        slots: list[Any] = arguments
        if arguments and arguments.method and not is_a(function, types.FunctionType):
            slots = arguments[1:]
        return [self.values(code, slot) for slot in slots]

    def unnamed(self, code: CodeType, arguments: Args) -> bool:
        """Whether some argument of a call was not seen."""
        return any(e != FRESH and self.evaluate(code, e).unseen for slot in arguments for e in slot)

    def _evaluate(
        self, code: CodeType, expression: Expr, access: Access
    ) -> tuple[Iterable[Any], bool]:
        kind, key = expression.kind, expression.key
        if kind == "arg":
            return [frame[key] for frame in self.watch.frames[code] if key in frame], False
        if kind == "const":
            return [key], False
        if kind == "glob":
            return self._global(code, key, access), False
        if kind == "cell":
            return self.cell(code, key, access), False
        if kind == "import":
            return self._module(key, access), False
        if kind == "call":
            return self._result(code, access)
        if kind == "iter":  # an iterator made by C code gives the items of what it was made from
            return self.returns.get((code, expression.at), ()), False
        if expression.base is None:  # fresh, null, top, many
            return (), expression in (TOP, FRESH, MANY)
        base = self.evaluate(code, expression.base)
        if kind in _ASKED:
            self._asked(kind, list(base.objects.values()), access)
            return (), False
        if kind == "box":
            return list(base.objects.values()), base.unseen and expression.base != FRESH
        return self._derived(code, expression, base, access)

    def _asked(self, kind: ExprKind, values: list[Any], access: Access) -> None:
        """C code looks at values: at all of each, whether it is empty, or which object it is."""
        if kind == "same":
            self._told_by_identity(values, access)
            return
        if kind == "sought" or kind == "deep":  # numbers by themselves are compared as such
            self.sought([v for v in values if kind == "sought" or not plain(v)], access)
        for value in values if kind in ("deep", "text") else ():
            self.told_apart(value, access, kind == "text")
            self.objects.deep(value, access, kind == "text")
        for value in values if kind == "truth" else ():
            if not self.put_off(value, access):
                self.objects.truth(value, access)

    def _told_by_identity(self, values: list[Any], access: Access) -> None:
        """`is`: signatures and facts know some by what they hold only."""
        if any(id(value) in self.facts.in_signature for value in values):
            reason = "asks whether a container among the arguments is some object"
            self.facts.why(reason, access)
            self.watch.falls.add("identity")
        memo = access.code is not None and reads_identity(access.code)
        if not memo and any(map(has_twins, values)):
            self.facts.why("asks whether a number, text or tuple is some object", access)

    def sought(self, values: Iterable[Any], access: Access) -> None:
        """C code looks for equal values: it takes a NaN for equal to itself, and to no other."""
        if any(map(holds_nan, values)):
            self.facts.why("compares a NaN, which is equal to the same object only", access)

    def told_apart(self, value: Any, access: Access, text: bool = False) -> None:
        """C code compares a value, hashes it or makes a text of it: an argument that the signature
        knows by its structure must not be told from an equal one."""
        if id(value) in self.facts.in_signature and stands_alone(value, text):
            reason = f"may ask which {type(value).__name__} among equal ones its argument is"
            self.facts.why(reason, access)
            self.watch.falls.add("identity")

    # ---- results of calls
    def _result(self, code: CodeType, access: Access) -> tuple[list[Any], bool]:
        """What a call gave: returned by Python code, or made by C code of what is known."""
        offset = access.at
        kept = self.looked_up(code, offset)
        if kept:
            return [v for pair in kept for v in self.looked_up_in(*pair, access)], False
        objects = [*self.returns.get((code, offset), ()), *self._types_asked(code, access)]
        callee, arguments = summarize(code).call(offset)
        functions = [f for f in self.values(code, callee) if callable(f)]
        if self.made_again(code, offset):
            return [], False  # a number, text or array
        seen = bool(objects)
        if functions and all(map(_of_numpy, functions)):  # new arrays, or some that it was given
            objects = [value for value in objects if type(value) is not np.ndarray]
        for function in functions:
            if in_python(function) or function is type:
                continue
            slots = self.slots(code, function, arguments)
            access = access._replace(unnamed=self.unnamed(code, arguments))
            made = self.objects.c_calls.made(function, slots, (code, offset))
            objects += made
            objects += self.objects.c_calls.read_by(function, slots, access, arguments.spread)
            # what `__init__` returned is not the new object
            seen = bool(made) and (seen or len(functions) == 1)
        return objects, not seen and not self._makes_generator(code, offset)

    def looked_up_in(self, owner: Any, key: Any, access: Access) -> list[Any]:
        """What a call took out of a dict; of a cached function's, which nobody else has, too."""
        follow = self.watch.follow
        function, _ = (None, None) if follow is None else follow.caches.get(id(owner), (None, None))
        if function is not None and self.facts.existing(function):
            self.facts.root(owner)
        return self.objects.item(owner, key, access)

    def _types_asked(self, code: CodeType, access: Access) -> list[Any]:
        """Results of `type(o)`."""
        callee, arguments = summarize(code).call(access.at)
        if len(arguments) != 1 or not any(f is type for f in self.values(code, callee)):
            return []
        return [self.objects.reach(type(o), access, o) for o in self.values(code, arguments[0])]

    def _makes_generator(self, code: CodeType, offset: int) -> bool:
        """Whether the call gives a new generator (only what it yields is reported)."""
        functions = self.values(code, summarize(code).call(offset).callee)
        codes = [getattr(getattr(f, "__func__", f), "__code__", None) for f in functions]
        return bool(codes) and all(
            c is not None and c.co_flags & inspect.CO_GENERATOR for c in codes
        )

    # ---- attributes and items
    def _derived(
        self, code: CodeType, expression: Expr, base: Found, access: Access
    ) -> tuple[list[Any], bool]:
        # property, __getattr__, __getitem__, __next__
        objects = list(self.returns.get((code, expression.at), ()))
        # what `__iter__` returned is no item; a generator's work is seen by itself
        if expression.kind == "elem":
            objects = [o for o in objects if not is_a(o, types.GeneratorType)]
        inner = expression.base
        if expression.kind == "attr" and expression.key == "__self__" and inner is not None:
            if inner.kind == "attr" and inner.base is not None:
                objects += self.evaluate(code, inner.base).objects.values()
        unseen = base.unseen
        for value in list(base.objects.values()):
            objects += self._read(expression, value, access)
            if expression.kind == "elem":
                # what a generator gave is in `returns`
                containers = (*BOXES, *VIEWS, Handle, types.GeneratorType)
                if type(value) is Zipped:
                    unseen = unseen or not value.known
                else:
                    unseen = unseen or not (is_a(value, containers) or plain(value))
        if unseen or inner in (FRESH, TOP):
            if expression.kind == "attr" or expression.kind == "super":
                self.facts.unseen_name(expression.key, access)
            elif not self.facts.of_made(code, expression.at):
                self.facts.unseen_item(access)
            return objects, True
        return objects, False

    def _read(self, expression: Expr, value: Any, access: Access) -> list[Any]:
        """What reading this one object gives."""
        if type(value) is Zipped:
            return self._joined(value, access)
        if expression.kind == "attr":
            return self.objects.attr(value, expression.key, access)
        if expression.kind == "super":
            cls = value if is_a(value, type) else type(value)
            return self.objects.classes.super_attr(cls, expression.key, value, access)
        if expression.kind == "item":
            if self.put_off(value, access):  # a tensor, at the end of what the call appends to
                return []
            return self.objects.item(value, expression.key, access)
        keys = self.keys_at(value, access) if expression.kind == "elem" else None
        if keys is not None:
            return [v for key in keys for v in self.objects.item(value, key, access)]
        return self.objects.contents(value, access)

    def _joined(self, walk: Zipped, access: Access) -> list[Any]:
        """A container that stands for the fresh tuples of items that a walk gives."""
        items = [v for part in walk.parts for v in self.objects.contents(part, access)]
        items += self.returns.get((access.code, access.at), ()) if access.code else ()
        found = self._tuples.setdefault(id(walk), (walk, collections.deque()))[1]
        found.extend([v for v in items if not any(v is known for known in found)])
        self.watch.young.add(id(found))
        return [found]

    # ---- names
    def _module(self, key: tuple[str, bool], access: Access) -> list[Any]:
        name, package = key
        self.facts.root(sys.modules)
        return self.objects.item(sys.modules, name.split(".")[0] if package else name, access)

    def _global(self, code: CodeType, name: str, access: Access) -> list[Any]:
        out, builtin = [], builtins.__dict__
        for space in self.watch.globals[code]:
            self.facts.root(space)
            self.facts.note("item", space, name, access)
            if name in space:
                out.append(self.objects.reach(space[name], access))
            else:
                self.facts.root(builtin)
                self.facts.note("item", builtin, name, access)
                out.append(builtin.get(name, MISSING))
        return out

    def cell(self, code: CodeType, name: str, access: Access) -> list[Any]:
        """What a variable of an outer function may be."""
        out = [frame[name] for frame in self.watch.frames[code] if name in frame]
        for function in self.objects.functions[code]:
            cells = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))
            cell = cells.get(name)
            if cell is not None and self.facts.existing(cell):
                self.facts.note("cell", cell, name, access)
                out.append(self.objects.reach(fetch("cell", cell, None), access, cell))
        return out
