"""What the Python of a call does with the data among its arguments, instruction by instruction.

Invariant: data stays an input of the graph only if every instruction that touched it moved it on,
asked for its shape or dtype, or made a tensor of it in each of its runs (hybrid told so); anything
else may read its content, which no replay checks, and is a reason.
"""

from __future__ import annotations

from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

from ....ir.mode import Versioned
from ...bytecode.expressions import FRESH, MANY, TOP, Expr, Slot
from ...bytecode.operands import Use, uses_of
from ...bytecode.summary import instructions_of, summarize
from ...heap.allowlist import NUMPY, Wrapped, is_a, lookup, trusted
from ...heap.data import Carried, carried
from ..evaluator import Evaluator
from ..fact_table import Access
from ..rules.call_rules import name_of
from ..walks import ITERATOR, Receiver

__all__ = ["DataReads"]

SIGNED = "shape ndim size dtype itemsize nbytes"  # attributes that the signature tells
ATTRIBUTES = frozenset(SIGNED.split())
QUIET = (isinstance, issubclass, callable, len, type)  # C functions that ask for no content
# Instructions that move what they take, whatever it is.
MOVING = """COPY SWAP POP_TOP STORE_FAST STORE_FAST_STORE_FAST STORE_FAST_LOAD_FAST BUILD_TUPLE
    BUILD_LIST BUILD_MAP BUILD_CONST_KEY_MAP LIST_APPEND MAP_ADD LIST_TO_TUPLE IS_OP MAKE_FUNCTION
    SET_FUNCTION_ATTRIBUTE POP_JUMP_FORWARD_IF_NONE POP_JUMP_FORWARD_IF_NOT_NONE
    POP_JUMP_BACKWARD_IF_NONE POP_JUMP_BACKWARD_IF_NOT_NONE POP_JUMP_IF_NONE POP_JUMP_IF_NOT_NONE
    END_FOR"""
MOVES = frozenset(MOVING.split())
# Instructions that only look at a container, but at the content of an array.
OPENING = """GET_ITER FOR_ITER UNPACK_SEQUENCE UNPACK_EX LIST_EXTEND DICT_UPDATE DICT_MERGE
    UNARY_NOT
    POP_JUMP_FORWARD_IF_FALSE POP_JUMP_FORWARD_IF_TRUE POP_JUMP_BACKWARD_IF_FALSE
    POP_JUMP_BACKWARD_IF_TRUE POP_JUMP_IF_FALSE POP_JUMP_IF_TRUE JUMP_IF_FALSE_OR_POP
    JUMP_IF_TRUE_OR_POP TO_BOOL"""
OPENS = frozenset(OPENING.split())
# Names by which the variables of functions and frames are found past the instructions that use them
HIDDEN = "__closure__ __defaults__ __kwdefaults__ cell_contents f_locals gi_frame __dict__ vars"
HIDDEN_NAMES = frozenset(HIDDEN.split())
# C callables whose results hold what their arguments hold, and how deep
GATHERERS: tuple[tuple[Any, int], ...] = ((zip, 2), (enumerate, 2), (list, 1), (tuple, 1))
GATHERERS += ((reversed, 1), (iter, 1))
GATHERING = {"items": 2, "values": 1, "keys": 1, "get": 0}  # the same for methods of dicts
MAX_GATHERED = 4  # gatherers inside each other
COMPREHENSIONS = frozenset(("<listcomp>", "<dictcomp>", "<setcomp>"))
COMPUTES = frozenset(("BINARY_OP", "COMPARE_OP"))
CALLS = frozenset(("CALL", "CALL_KW", "CALL_FUNCTION_EX"))
RESULTS = frozenset(("RETURN_VALUE", "YIELD_VALUE"))
# where a property, `__getitem__` or a generator gives its result
READS = frozenset(("LOAD_ATTR", "LOAD_METHOD", "BINARY_SUBSCR", "FOR_ITER"))
# Instructions that ask a list whether it is empty.
ASKING = """UNARY_NOT TO_BOOL JUMP_IF_FALSE_OR_POP JUMP_IF_TRUE_OR_POP
    POP_JUMP_FORWARD_IF_FALSE POP_JUMP_FORWARD_IF_TRUE POP_JUMP_BACKWARD_IF_FALSE
    POP_JUMP_BACKWARD_IF_TRUE POP_JUMP_IF_FALSE POP_JUMP_IF_TRUE"""
ASKS = frozenset(ASKING.split())


class DataReads:
    """Looks at the instructions that may have touched data: those that ran in frames which got some
    (`watch.steps`); `watch.made` says how often a tensor was made of an argument under each."""

    def __init__(self, evaluator: Evaluator, root: CodeType | None) -> None:
        self.evaluator, self.watch = evaluator, evaluator.watch
        self.data, self.root = self.watch.data, root
        self.runs = 0  # of the instruction in hand
        self.held = set(self.data)  # the data that it may get, by id
        follow = self.watch.follow
        known = follow is not None and not follow.failed
        # how many runs of an instruction do what replays do again, and the calls that do that only
        self.again = follow.again if follow is not None and known else {}
        self.pure = follow.pure_calls - follow.called if follow is not None and known else set()

    def check(self) -> None:
        """Note a reason for each instruction that may have read content."""
        for ident, code in self.watch.traced.items():
            self.held = set(self.data)
            if HIDDEN_NAMES & set(code.co_names):
                reason = "looks into functions or frames that may hold a NumPy array"
                self._why(code, Use(0, "", None, ()), reason)
            for use in uses_of(code):
                runs = self.watch.steps.get((ident, use.offset))
                if runs and use.name == "IS_OP":
                    self._compared(code, use)
                elif runs and use.name not in MOVES:
                    self.runs = runs - self.again.get((ident, use.offset), 0)
                    if self.runs > 0:
                        self._use(code, use)

    def _compared(self, code: CodeType, use: Use) -> None:
        """Plans serve calls that get one array twice, too."""
        pair = [self._carried(code, slot).direct for slot in use.slots]
        if len(pair) == 2 and all(pair):
            reason = "asks whether two of its arguments, NumPy arrays, are one"
            self.evaluator.facts.why(reason, Access(code, use.offset))

    def _use(self, code: CodeType, use: Use) -> None:
        slots = [self._carried(code, slot) for slot in use.slots]
        self.held = {ident for slot in slots for ident, _ in slot.levels}
        if not self.held or (use.name in ASKS and self._lists(slots[-1].direct)):
            return
        if use.name in OPENS:
            # what gathers changes a container below the one that it opens
            opened = slots[-1:] if use.name not in ("GET_ITER", "FOR_ITER") else slots
            if not any(slot.direct for slot in opened):
                return
        elif use.name in ("LOAD_ATTR", "LOAD_METHOD"):
            if not slots[0].direct or (use.key in ATTRIBUTES and self._arrays(slots[0])):
                return
            self._why(code, use, f"reads {use.key} of an argument that is a NumPy array")
            return
        elif use.name == "CALL_FUNCTION_EX" and any(slot.direct for slot in slots):
            pass  # what is behind a star is taken apart
        elif use.name in CALLS:
            self._call(code, use, slots)
            return
        elif self._computes(code, use, slots):
            return
        elif use.name == "RETURN_VALUE" and code.co_name in COMPREHENSIONS:
            return  # what it made is looked through where it goes
        elif use.name == "RETURN_VALUE" and len(self.watch.frames[code]) == 1 and code is self.root:
            return  # the result of the recorded call, which looks for arguments in it
        elif use.name in RESULTS and self._received(code):
            return
        self._why(code, use, "reads the content of an argument that is a NumPy array")

    def _lists(self, idents: set[int]) -> bool:
        """Whether all of some data are lists."""
        return idents <= self.watch.listed.keys()

    def _listed(self) -> bool:
        """Whether lists are among what an instruction may get."""
        return not self.held.isdisjoint(self.watch.listed)

    def _computes(self, code: CodeType, use: Use, slots: list[Carried]) -> bool:
        """Whether an operator or subscript made tensors of the arrays among its operands."""
        if use.name in COMPUTES:
            return not any(slot.inside for slot in slots) and self._made(code, use, slots)
        if use.name == "CONTAINS_OP":
            return (
                not slots[0].levels and not slots[-1].direct and self._mappings(code, use.slots[-1])
            )
        if use.name == "BINARY_SUBSCR":
            base, key = slots[-2:]
            made = not key.levels or (not self._listed() and self._made(code, use, [key]))
            return not base.direct and made
        if use.name == "STORE_SUBSCR":
            value, base, key = slots[-3:]
            fresh = base.levels or self.evaluator.values(code, use.slots[-2])
            tensors = not fresh and self._tensors(code, use.slots[-2])
            return tensors and not self._listed() and self._made(code, use, [value, key])
        return False

    def _received(self, code: CodeType) -> bool:
        """Whether what code of the user returned was the result of the user's own instructions,
        which are looked at as well: of a call, of a property or an item in Python, of a loop."""
        places = self.watch.handed.places.get(id(code), {None})
        return all(place is not None and self._receives(place, code) for place in places)

    def _receives(self, place: Receiver, returned: CodeType) -> bool:
        name = instructions_of(place.code)[place.offset].opname
        if name in READS:
            return not place.within
        if name not in CALLS:
            return False
        callee = summarize(place.code).call(place.offset).callee
        if not place.within and callee and all(e == FRESH for e in callee):  # made by `def`
            return any(constant is returned for constant in place.code.co_consts)
        functions = self.evaluator.values(place.code, callee)
        if any(self.evaluator.evaluate(place.code, e).unseen for e in callee):
            return False
        # hybrid's code says what it made of each array that a call hands it
        fits = _own if place.within else _written
        return bool(functions) and all(map(fits, functions))

    # ---- calls
    def _call(self, code: CodeType, use: Use, slots: list[Carried]) -> None:
        call = summarize(code).call(use.offset)
        functions = self.evaluator.values(code, call.callee)
        arguments = [self._carried(code, slot) for slot in call.args]
        if not any(slot.levels for slot in arguments):
            return
        if not functions and not all(e == FRESH for e in call.callee):
            bases = [e.base if e.kind == "attr" else None for e in call.callee]
            owners = [base for base in bases if base is not None]
            method = len(owners) == len(bases) and self.evaluator.only_tensors(code, owners)
            if not method or not self._made(code, use, arguments):
                reason = "hands a NumPy array among its arguments to an unknown function"
                self._why(code, use, reason)
            return
        known = [e for e in call.callee if e != FRESH]
        if any(self.evaluator.evaluate(code, e).unseen for e in known):
            self._why(code, use, "hands a NumPy array among its arguments to an unknown function")
            return
        for function in functions:
            if any(function is quiet for quiet in QUIET) or _watched(function):
                continue
            if _gathers(function) is not None and not any(slot.direct for slot in arguments):
                continue
            if not _own(function):
                name = name_of(function)
                self._why(code, use, f"hands a NumPy array among its arguments to {name}")
                return
            taken = self._takes(function) and self._made(code, use, arguments)
            if not _forwards(function) and not taken:
                name = name_of(function)
                reason = f"has {name} read a NumPy array among its arguments in Python"
                self._why(code, use, reason)
                return

    def _takes(self, function: Any) -> bool:
        """Whether a function of hybrid's takes what is in hand as an array; of a list it may look
        at the numbers, too."""
        return not self._listed() or bool(getattr(function, "makes_tensors", False))

    # ---- what slots are
    def _carried(self, code: CodeType, slot: Slot, level: int = 0) -> Carried:
        found = Carried(set())
        for expression in slot:
            boxes = 0
            while expression.kind == "box" and expression.base is not None:
                boxes, expression = boxes + 1, expression.base
            if expression.kind == "call" and (id(code), expression.at) in self.pure:
                continue
            inner = Carried(set())
            if not self._gathered(code, expression, inner, level):
                objects = [] if self._key(code, expression) else self._objects(code, expression)
                inner.levels.update(carried(objects, self.data).levels)
            found.levels.update((ident, deep + boxes) for ident, deep in inner.levels)
        if MANY in slot:  # too many to be told apart: it may be any of them
            found.levels.update((ident, 0) for ident in self.data)
        return found

    def _objects(self, code: CodeType, expression: Expr) -> list[Any]:
        return list(self.evaluator.evaluate(code, expression).objects.values())

    def _key(self, code: CodeType, expression: Expr) -> bool:
        """Whether an expression is what a loop over dicts gives: keys, which hold no array."""
        inner = expression.base
        if expression.kind != "elem" or inner is None:
            return False
        if instructions_of(code)[expression.at].opname != "FOR_ITER":
            return False
        base = self.evaluator.evaluate(code, inner)
        containers = list(base.objects.values())
        return bool(containers) and not base.unseen and all(type(v) is dict for v in containers)

    def _gathered(self, code: CodeType, expression: Expr, found: Carried, level: int) -> bool:
        """Add what comes out of the result of a gatherer (`zip(a, b)`, `d.items()`); whether the
        expression is that."""
        below, inner = 0, expression
        while inner.kind in ("elem", "item", "box") and inner.base is not None:
            below, inner = below + (inner.kind != "box"), inner.base
        if inner.kind == "arg" and inner.key == ITERATOR:
            held = self.watch.walks.given.get(id(code), set[tuple[int, int]]())
            found.levels.update((ident, deep - below) for ident, deep in held)
            return False
        if inner.kind != "call" or level > MAX_GATHERED:
            return False
        call = summarize(code).call(inner.at)
        depths = [_gathers(f) for f in self.evaluator.values(code, call.callee)]
        for depth in depths:
            if depth is not None:
                for slot in call.args:
                    held = self._carried(code, slot, level + 1).levels
                    found.levels.update((ident, deep + depth - 1 - below) for ident, deep in held)
        return bool(depths) and None not in depths

    def _arrays(self, slot: Carried) -> bool:
        """Whether all data of a slot are arrays, whose attributes are those of the signature."""
        return all(is_a(self.data[ident], np.ndarray) for ident in slot.direct)

    def _made(self, code: CodeType, use: Use, slots: list[Carried]) -> bool:
        """Whether each run of an instruction made a tensor of all the arrays that it got."""
        runs, counts = self.runs, self.watch.made
        made = {ident: counts.get((id(code), use.offset, ident), 0) for ident in self.data}
        direct = [slot.direct for slot in slots if slot.direct]
        if any(sum(made[ident] for ident in slot) < runs for slot in direct):
            return False
        if sum(made[ident] for ident in set[int]().union(*direct)) < runs * len(direct):
            return False
        return all(made[ident] >= runs for slot in slots for ident in slot.inside)

    def _tensors(self, code: CodeType, slot: Slot) -> bool:
        """Whether a slot is a tensor, as far as it was seen."""
        return TOP not in slot and not any(self.evaluator.evaluate(code, e).unseen for e in slot)

    def _mappings(self, code: CodeType, slot: Slot) -> bool:
        return all(is_a(value, dict) for value in self.evaluator.values(code, slot))

    def _why(self, code: CodeType, use: Use, reason: str) -> None:
        access, listed = Access(code, use.offset), self.watch.listed
        if self._lists(self.held):
            reason = reason.replace("a NumPy array", "a list of numbers")
        self.evaluator.facts.why(reason, access)
        self.watch.walked.update([listed[ident] for ident in self.held if ident in listed])
        if not self._lists(self.held):
            self.watch.falls.add("content")


def _gathers(function: Any) -> int | None:
    """How deep the result of a C callable holds what its arguments hold; None for others."""
    for gatherer, depth in GATHERERS:
        if function is gatherer:
            return depth
    owner = getattr(function, "__self__", None) if type(function) is type(len) else None
    return GATHERING.get(function.__name__) if type(owner) is dict else None


def _function(function: Any) -> Any:
    """The Python function that runs when this is called, if any."""
    if type(function) is MethodType:
        function = function.__func__
    if not is_a(function, (FunctionType, type, Wrapped)):
        function = lookup(type(function), "__call__")
    return function


def _watched(function: Any) -> bool:
    """Whether a callable is user code in Python, whose instructions are seen by themselves."""
    inner = _function(function)
    if is_a(inner, Wrapped):
        return True
    return is_a(inner, FunctionType) and not trusted(inner.__code__.co_filename)


def _written(function: Any) -> bool:
    """Whether a callable is a function or method of the user, whose result is what it returns."""
    function = function.__func__ if type(function) is MethodType else function
    return type(function) is FunctionType and not trusted(function.__code__.co_filename)


def _own(function: Any) -> bool:
    """Whether a callable is code of hybrid's, which tells of the tensors that it makes."""
    inner = _function(function)
    if not is_a(inner, FunctionType):
        return False
    filename = inner.__code__.co_filename
    return trusted(filename) and not filename.startswith((NUMPY, "<frozen"))


def _forwards(function: Any) -> bool:
    """Whether a callable hands all it gets to code of the user."""
    if not is_a(function, Versioned):
        return False
    forward = lookup(type(function), "forward")
    return is_a(forward, FunctionType) and not trusted(forward.__code__.co_filename)
